import type { CpuContext } from "../context.ts";
import { CR4 } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { EXIT } from "../state/layout.ts";
import { guarded, NO_ERROR_CODE, raise, VECTOR } from "./fault.ts";
import { deliverEvent, EVENT } from "./interrupts.ts";
import { isCode64 } from "./mode.ts";
import { advance } from "./segments.ts";
import { ARG0, CPL, CR4_WORD, DEBUG_PENDING, DR, FLAGS, getAddress, INTERRUPT_SHADOW, RIP, SEG_BASE, setPair } from "./words.ts";

/** Intel SDM Vol. 3B §17.2.3, "Debug Status Register (DR6)". */
export const DR6 = { BD: 1 << 13, BS: 1 << 14, BT: 1 << 15, fixed: 0xffff_0ff0 | 0, writable: 0xe00f } as const;
/** §17.2.4, "Debug Control Register (DR7)". */
const DR7 = { GD: 1 << 13, fixed: 0x400, writable: 0xffff_2bff | 0 } as const;
const DR6_WORD = DR + 12;
const DR7_WORD = DR + 14;
const KIND_EXECUTE = 0;
const KIND_IO = 2;
const LENGTHS = [1, 2, 8, 4] as const;

function kindOf(dr7: number, n: number): number {
	return (dr7 >>> (16 + 4 * n)) & 3;
}

function isEnabled(dr7: number, n: number): boolean {
	return ((dr7 >>> (2 * n)) & 3) !== 0;
}

/**
 * Whether instructions must run one at a time with `beginStep`, `finishStep` around them: TF is set, a debug trap waits, or DR7
 * enables a breakpoint.
 */
export function needsSteps(cpu: CpuContext): boolean {
	const i32 = cpu.state.i32;
	return ((i32[FLAGS] as number) & FLAG.TF) !== 0 || ((i32[DR7_WORD] as number) & 0xff) !== 0 || i32[DEBUG_PENDING] !== 0;
}

/** Notes debug conditions in DR6 and returns them for `deliverEvent`. */
function note(cpu: CpuContext, bits: number): void {
	cpu.state.i32[DR6_WORD] = (cpu.state.i32[DR6_WORD] as number) | bits;
}

/**
 * Before one instruction: meets instruction breakpoints (the #DB has then been delivered: an exit other than -1), arms the
 * single-step trap and clears RF.
 */
export function beginStep(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	const flags = i32[FLAGS] as number;
	if ((flags & FLAG.RF) === 0) {
		const hits = instructionBreakpoints(cpu);
		if (hits !== 0) {
			note(cpu, hits);
			return deliverEvent(cpu, VECTOR.DB, NO_ERROR_CODE, EVENT.exception, getAddress(i32, RIP));
		}
	}
	i32[FLAGS] = flags & ~FLAG.RF;
	if ((flags & FLAG.TF) !== 0) i32[DEBUG_PENDING] = (i32[DEBUG_PENDING] as number) | DR6.BS;
	return -1;
}

/** After one instruction that did not fault: delivers the debug traps it met, unless MOV SS holds them back. -1: none. */
export function finishStep(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	const pending = i32[DEBUG_PENDING] as number;
	if (pending === 0 || i32[INTERRUPT_SHADOW] === 2) return -1;
	i32[DEBUG_PENDING] = 0;
	note(cpu, pending);
	return deliverEvent(cpu, VECTOR.DB, NO_ERROR_CODE, EVENT.external, getAddress(i32, RIP));
}

function instructionBreakpoints(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	const dr7 = i32[DR7_WORD] as number;
	if ((dr7 & 0xff) === 0) return 0;
	let linear = getAddress(i32, RIP);
	if (!isCode64(cpu)) linear = (linear + getAddress(i32, SEG_BASE + 2)) >>> 0;
	let hits = 0;
	for (let n = 0; n < 4; n++)
		if (isEnabled(dr7, n) && kindOf(dr7, n) === KIND_EXECUTE && getAddress(i32, DR + 2 * n) === linear) hits |= 1 << n;
	return hits;
}

/** Notes I/O breakpoints (CR4.DE = 1) that an access to a port meets. */
export function matchPort(cpu: CpuContext, port: number, bytes: number): void {
	const i32 = cpu.state.i32;
	const dr7 = i32[DR7_WORD] as number;
	if ((dr7 & 0xff) === 0 || ((i32[CR4_WORD] as number) & CR4.DE) === 0) return;
	for (let n = 0; n < 4; n++) {
		if (!isEnabled(dr7, n) || kindOf(dr7, n) !== KIND_IO) continue;
		const length = LENGTHS[((dr7 >>> (18 + 4 * n)) & 3) as 0 | 1 | 2 | 3];
		const first = ((i32[DR + 2 * n] as number) & -length) >>> 0;
		if (port < first + length && first < port + bytes) i32[DEBUG_PENDING] = (i32[DEBUG_PENDING] as number) | (1 << n);
	}
}

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE forbids them; every access is #DB while DR7.GD is set. */
function checkAccess(cpu: CpuContext, number: number): number {
	const i32 = cpu.state.i32;
	if ((number === 4 || number === 5) && ((i32[CR4_WORD] as number) & CR4.DE) !== 0) raise(cpu, VECTOR.UD);
	if (number > 7) raise(cpu, VECTOR.UD);
	if (i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
	if (((i32[DR7_WORD] as number) & DR7.GD) !== 0) {
		note(cpu, DR6.BD);
		raise(cpu, VECTOR.DB);
	}
	return number === 4 || number === 5 ? number + 2 : number;
}

export const debugHelpers = {
	/** System. a: length, b: number; arg0: value. MOV to DR. */
	writeDr: guarded((cpu, length, number) => {
		const index = checkAccess(cpu, number);
		const i32 = cpu.state.i32;
		const low = i32[ARG0] as number;
		const high = i32[ARG0 + 1] as number;
		if (index >= 6 && high !== 0) raise(cpu, VECTOR.GP, 0);
		if (index === 6) setPair(i32, DR6_WORD, (low & DR6.writable) | DR6.fixed, 0);
		else if (index === 7) setPair(i32, DR7_WORD, (low & DR7.writable) | DR7.fixed, 0);
		else setPair(i32, DR + 2 * index, low, high);
		if (index !== 6) cpu.mmu.breakpointsChanged();
		advance(cpu, length);
		// Whether instructions run one by one may have changed.
		return index === 7 ? EXIT.resync : EXIT.lookup;
	}),
	/** Query. a: number; result in arg0. MOV from DR. */
	readDr: guarded((cpu, number) => {
		const index = checkAccess(cpu, number);
		cpu.state.set64("arg0", cpu.state.get64("dr", index));
		return 0;
	}),
} as const;
