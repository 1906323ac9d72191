import type { CpuContext } from "../context.ts";
import { CR0, EFER } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { at, EXIT } from "../state/layout.ts";
import { nextRip } from "./far-transfer.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { exitAfterFlags } from "./flag-instructions.ts";
import { ATTR, isCode64, isLongMode, isProtected, SEG, updateMode } from "./mode.ts";
import { RFLAGS_MASK, readRflags, writeRflags } from "./rflags.ts";
import { setSegment } from "./segments.ts";
import { CPL, CR0_WORD, DEBUG_PENDING, EFER_WORD, getAddress, isCanonical, R11, RCX, RDX, RIP, RSP, setAddress, setPair } from "./words.ts";

const STAR = at("star") >> 2;
const LSTAR = at("lstar") >> 2;
const CSTAR = at("cstar") >> 2;
const SFMASK = at("sfmask") >> 2;
const SYSENTER_CS = at("sysenterCs") >> 2;
const SYSENTER_ESP = at("sysenterEsp") >> 2;
const SYSENTER_EIP = at("sysenterEip") >> 2;

const FLAT = ATTR.P | ATTR.S | ATTR.accessed | ATTR.writable | ATTR.G;
const CODE32 = FLAT | ATTR.code | ATTR.DB;
const CODE64 = FLAT | ATTR.code | ATTR.L;
const DATA = FLAT | ATTR.DB;

/** The same, DPL 0, for core/fast-calls.ts. */
export { CODE64 as FAST_CODE64, DATA as FAST_DATA };

/** The flat segments that these instructions make up without reading any table. */
function setFlat(cpu: CpuContext, codeSelector: number, codeAttr: number, stackSelector: number, cpl: number): void {
	const dpl = cpl << ATTR.dplShift;
	setSegment(cpu, SEG.CS, codeSelector, 0, -1, codeAttr | dpl);
	setSegment(cpu, SEG.SS, stackSelector, 0, -1, DATA | dpl);
	cpu.state.i32[CPL] = cpl;
}

function requireSyscall(cpu: CpuContext): void {
	if (((cpu.state.i32[EFER_WORD] as number) & EFER.SCE) === 0 || !isProtected(cpu)) raise(cpu, VECTOR.UD);
}

/** AMD APM Vol. 2 §6.1.1, "SYSCALL and SYSRET": also in compatibility and legacy mode. */
function syscall(cpu: CpuContext, length: number): number {
	requireSyscall(cpu);
	const i32 = cpu.state.i32;
	const next = nextRip(cpu, length);
	const selector = (i32[STAR + 1] as number) & 0xfffc;
	const flags = readRflags(cpu.state);
	setAddress(i32, RCX, next);
	if (isLongMode(cpu)) {
		const entry = isCode64(cpu) ? LSTAR : CSTAR;
		setPair(i32, R11, flags & ~FLAG.RF, 0);
		setPair(i32, RIP, i32[entry] as number, i32[entry + 1] as number);
		setFlat(cpu, selector, CODE64, selector + 8, 0);
		writeRflags(cpu.state, 0, (i32[SFMASK] as number) | FLAG.RF);
	} else {
		setPair(i32, RIP, i32[STAR] as number, 0);
		setFlat(cpu, selector, CODE32, selector + 8, 0);
		writeRflags(cpu.state, 0, FLAG.VM | FLAG.IF | FLAG.RF);
	}
	// The step trap is decided by TF as it is now: a masked TF means none.
	i32[DEBUG_PENDING] = 0;
	updateMode(cpu);
	return exitAfterFlags(cpu);
}

function sysret(cpu: CpuContext, _length: number, is64: number): number {
	requireSyscall(cpu);
	const i32 = cpu.state.i32;
	if (i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
	const selector = ((i32[STAR + 1] as number) >>> 16) | 3;
	const isLong = isLongMode(cpu);
	if (is64 !== 0 && isLong) {
		if (!isCanonical(getAddress(i32, RCX))) raise(cpu, VECTOR.GP, 0);
		setPair(i32, RIP, i32[RCX] as number, i32[RCX + 1] as number);
		setFlat(cpu, (selector + 16) & 0xffff, CODE64, (selector + 8) & 0xffff, 3);
	} else {
		setPair(i32, RIP, i32[RCX] as number, 0);
		setFlat(cpu, selector, CODE32, (selector + 8) & 0xffff, 3);
	}
	if (isLong) writeRflags(cpu.state, i32[R11] as number, RFLAGS_MASK & ~FLAG.VM);
	else writeRflags(cpu.state, FLAG.IF, FLAG.IF | FLAG.RF);
	updateMode(cpu);
	return exitAfterFlags(cpu);
}

/** Intel SDM Vol. 3A §5.8.7; AMD processors, as which this one identifies itself, have neither in long mode (APM Vol. 2 §6.1.2). */
function sysenter(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	if (isLongMode(cpu)) raise(cpu, VECTOR.UD);
	const selector = (i32[SYSENTER_CS] as number) & 0xfffc;
	if (((i32[CR0_WORD] as number) & CR0.PE) === 0 || selector === 0) raise(cpu, VECTOR.GP, 0);
	writeRflags(cpu.state, 0, FLAG.VM | FLAG.IF);
	setFlat(cpu, selector, CODE32, selector + 8, 0);
	setPair(i32, RSP, i32[SYSENTER_ESP] as number, 0);
	setPair(i32, RIP, i32[SYSENTER_EIP] as number, 0);
	updateMode(cpu);
	return EXIT.lookup;
}

function sysexit(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	if (isLongMode(cpu)) raise(cpu, VECTOR.UD);
	const selector = (i32[SYSENTER_CS] as number) & 0xfffc;
	if (((i32[CR0_WORD] as number) & CR0.PE) === 0 || i32[CPL] !== 0 || selector === 0) raise(cpu, VECTOR.GP, 0);
	setFlat(cpu, (selector + 16) | 3, CODE32, (selector + 24) | 3, 3);
	setPair(i32, RSP, i32[RCX] as number, 0);
	setPair(i32, RIP, i32[RDX] as number, 0);
	updateMode(cpu);
	return EXIT.lookup;
}

export const fastCallHelpers = {
	/** System. a: length. */
	syscall: guarded(syscall),
	/** System. a: length, b: 1 with REX.W. */
	sysret: guarded(sysret),
	/** System. a: length. */
	sysenter: guarded(sysenter),
	/** System. a: length. */
	sysexit: guarded(sysexit),
} as const;
