import type { CpuContext } from "../context.ts";
import { EXIT, MODE } from "../state/layout.ts";
import { Descriptor, fetchDescriptor, isNull, markAccessed, readHighBase, SYSTEM_TYPE } from "./descriptors.ts";
import { guarded, raise, readMemory, VECTOR, writeMemory } from "./fault.ts";
import { ATTR, isCode64, isLongMode, isProtected, SEG, updateMode } from "./mode.ts";
import { isVirtual8086 } from "./rflags.ts";
import {
	CPL,
	GDTR_LIMIT,
	INTERRUPT_SHADOW,
	isCanonical,
	MODE_KEY,
	RIP,
	SEG_ATTR,
	SEG_BASE,
	SEG_LIMIT,
	SEG_READ_HIGH,
	SEG_READ_LOW,
	SEG_SELECTOR,
	SEG_WRITE_HIGH,
	SEG_WRITE_LOW,
	setAddress,
} from "./words.ts";

/** Present, read/write data, accessed: what real mode makes of a segment (Intel SDM Vol. 3A §9.1.1, table 9-1). */
const REAL_ATTR = ATTR.P | ATTR.S | ATTR.writable | ATTR.accessed;
const VM86_ATTR = REAL_ATTR | ATTR.dplMask;

const descriptor = new Descriptor();

/** Writes a segment's hidden part and what is derived from it. Callers see to `updateMode`. */
export function setSegment(cpu: CpuContext, seg: number, selector: number, base: number, limit: number, attr: number): void {
	const i32 = cpu.state.i32;
	i32[SEG_SELECTOR + seg] = selector & 0xffff;
	setAddress(i32, SEG_BASE + 2 * seg, base);
	i32[SEG_LIMIT + seg] = limit;
	i32[SEG_ATTR + seg] = attr;
	deriveRanges(cpu, seg);
}

/** The offsets that may be read and written through a segment (§5.3, "Limit Checking"; §5.5 for types). */
export function deriveRanges(cpu: CpuContext, seg: number): void {
	const i32 = cpu.state.i32;
	const attr = i32[SEG_ATTR + seg] as number;
	const limit = i32[SEG_LIMIT + seg] as number;
	let low = 0;
	let high = limit;
	let canRead = (attr & ATTR.P) !== 0;
	let canWrite = canRead;
	if (isProtected(cpu)) {
		const isCode = (attr & ATTR.code) !== 0;
		if (isCode) {
			canRead &&= (attr & ATTR.writable) !== 0;
			canWrite = false;
		} else {
			canWrite &&= (attr & ATTR.writable) !== 0;
			if ((attr & ATTR.expandDown) !== 0) {
				low = limit + 1;
				high = (attr & ATTR.DB) !== 0 ? -1 : 0xffff;
				// A limit at the very top leaves nothing.
				if (limit >>> 0 >= high >>> 0) canRead = canWrite = false;
			}
		}
	}
	i32[SEG_READ_LOW + seg] = canRead ? low : -1;
	i32[SEG_READ_HIGH + seg] = canRead ? high : 0;
	i32[SEG_WRITE_LOW + seg] = canWrite ? low : -1;
	i32[SEG_WRITE_HIGH + seg] = canWrite ? high : 0;
}

/** After PE changed, or a state was loaded. */
export function deriveAllRanges(cpu: CpuContext): void {
	for (let seg = 0; seg < 8; seg++) deriveRanges(cpu, seg);
}

/** Puts a fetched descriptor into a segment register. */
export function setFromDescriptor(cpu: CpuContext, seg: number, selector: number, from: Descriptor): void {
	setSegment(cpu, seg, selector, from.base, from.limit, from.attr);
}

/** A null selector: unusable, base 0. In 64-bit mode it hurts nobody. */
export function setNull(cpu: CpuContext, seg: number, selector: number): void {
	setSegment(cpu, seg, selector, 0, 0, 0);
}

/** Real mode moves the base and nothing else (so a limit loaded in protected mode stays: "unreal" mode). */
export function setReal(cpu: CpuContext, seg: number, selector: number): void {
	const i32 = cpu.state.i32;
	const attr = i32[SEG_ATTR + seg] as number;
	const isUsable = (attr & ATTR.P) !== 0;
	const limit = isUsable ? (i32[SEG_LIMIT + seg] as number) : 0xffff;
	setSegment(cpu, seg, selector, (selector & 0xffff) << 4, limit, REAL_ATTR | (isUsable ? attr & (ATTR.DB | ATTR.G) : 0));
}

export function setVirtual8086(cpu: CpuContext, seg: number, selector: number): void {
	setSegment(cpu, seg, selector, (selector & 0xffff) << 4, 0xffff, VM86_ATTR);
}

/** CS as a control transfer leaves it: RPL is the new CPL. Sets CPL; callers see to `updateMode`. */
export function setCode(cpu: CpuContext, selector: number, from: Descriptor, cpl: number): void {
	markAccessed(cpu, from);
	setSegment(cpu, SEG.CS, (selector & 0xfffc) | cpl, from.base, from.limit, from.attr);
	cpu.state.i32[CPL] = cpl;
}

/**
 * The checks of a stack segment for privilege `cpl`; `vector` is #GP for loads, #TS within transfers. Leaves the descriptor
 * in `into`.
 */
export function checkStackSegment(cpu: CpuContext, into: Descriptor, selector: number, cpl: number, vector: number, ext = 0): void {
	const code = (selector & 0xfffc) | ext;
	fetchDescriptor(cpu, into, selector, vector, ext);
	if ((selector & 3) !== cpl || into.dpl !== cpl || !into.isWritableData) raise(cpu, vector, code);
	if (!into.isPresent) raise(cpu, VECTOR.SS, code);
}

/** Loads ES, SS, DS, FS or GS as MOV, POP and LxS do (Intel SDM Vol. 2B, "MOV—Move", protected-mode exceptions). */
export function loadSegment(cpu: CpuContext, seg: number, selector: number): void {
	selector &= 0xffff;
	if (!isProtected(cpu)) setReal(cpu, seg, selector);
	else if (isVirtual8086(cpu.state)) setVirtual8086(cpu, seg, selector);
	else if (seg === SEG.SS) loadStackSegment(cpu, selector);
	else loadDataSegment(cpu, seg, selector);
	updateMode(cpu);
}

function loadStackSegment(cpu: CpuContext, selector: number): void {
	const cpl = cpu.state.i32[CPL] as number;
	if (isNull(selector)) {
		if (!isCode64(cpu) || cpl === 3 || (selector & 3) !== cpl) raise(cpu, VECTOR.GP, 0);
		setNull(cpu, SEG.SS, selector);
		return;
	}
	checkStackSegment(cpu, descriptor, selector, cpl, VECTOR.GP);
	markAccessed(cpu, descriptor);
	setFromDescriptor(cpu, SEG.SS, selector, descriptor);
}

function loadDataSegment(cpu: CpuContext, seg: number, selector: number): void {
	if (isNull(selector)) {
		setNull(cpu, seg, selector);
		return;
	}
	const code = selector & 0xfffc;
	fetchDescriptor(cpu, descriptor, selector, VECTOR.GP);
	if (!descriptor.isReadable) raise(cpu, VECTOR.GP, code);
	const isConformingCode = descriptor.isCode && descriptor.isConforming;
	const cpl = cpu.state.i32[CPL] as number;
	if (!isConformingCode && ((selector & 3) > descriptor.dpl || cpl > descriptor.dpl)) raise(cpu, VECTOR.GP, code);
	if (!descriptor.isPresent) raise(cpu, VECTOR.NP, code);
	markAccessed(cpu, descriptor);
	setFromDescriptor(cpu, seg, selector, descriptor);
}

/** After a return to less privilege: data segments that the new CPL may not use become null (§5.8.6, step 7). */
export function dropInaccessibleSegments(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	const cpl = i32[CPL] as number;
	for (const seg of [SEG.ES, SEG.DS, SEG.FS, SEG.GS]) {
		const attr = i32[SEG_ATTR + seg] as number;
		const isConformingCode = (attr & (ATTR.code | ATTR.conforming)) === (ATTR.code | ATTR.conforming);
		const dpl = (attr >> ATTR.dplShift) & 3;
		if (dpl >= cpl || isConformingCode) continue;
		// A null selector's base is the program's own (WRFSBASE and the MSRs write it).
		if (isNull(i32[SEG_SELECTOR + seg] as number) && (attr & ATTR.P) === 0) {
			i32[SEG_SELECTOR + seg] = 0;
			continue;
		}
		setNull(cpu, seg, 0);
	}
}

/** LLDT. */
export function loadLocalTable(cpu: CpuContext, selector: number): void {
	selector &= 0xffff;
	if (isNull(selector)) {
		setNull(cpu, SEG.LDTR, selector);
		return;
	}
	const code = selector & 0xfffc;
	if ((selector & 4) !== 0) raise(cpu, VECTOR.GP, code);
	fetchDescriptor(cpu, descriptor, selector, VECTOR.GP);
	if (!descriptor.isSystem || descriptor.type !== SYSTEM_TYPE.ldt) raise(cpu, VECTOR.GP, code);
	if (!descriptor.isPresent) raise(cpu, VECTOR.NP, code);
	setSegment(cpu, SEG.LDTR, selector, wideBase(cpu, descriptor, code), descriptor.limit, descriptor.attr);
}

/** LTR: marks the TSS busy. */
export function loadTaskRegister(cpu: CpuContext, selector: number): void {
	selector &= 0xffff;
	const code = selector & 0xfffc;
	if (isNull(selector) || (selector & 4) !== 0) raise(cpu, VECTOR.GP, code);
	fetchDescriptor(cpu, descriptor, selector, VECTOR.GP);
	const isTss16 = descriptor.type === SYSTEM_TYPE.tss16 && !isLongMode(cpu);
	if (!descriptor.isSystem || (descriptor.type !== SYSTEM_TYPE.tss32 && !isTss16)) raise(cpu, VECTOR.GP, code);
	if (!descriptor.isPresent) raise(cpu, VECTOR.NP, code);
	const base = wideBase(cpu, descriptor, code);
	descriptor.high |= 2 << 8;
	writeMemory(cpu, descriptor.address + 5, 1, (descriptor.high >> 8) & 0xff);
	setSegment(cpu, SEG.TR, selector, base, descriptor.limit, descriptor.attr);
}

/** Base of a system descriptor: 64 bits in IA-32e mode, where it must be canonical and the upper type field 0 (§7.2.3). */
function wideBase(cpu: CpuContext, from: Descriptor, code: number): number {
	if (!isLongMode(cpu)) return from.base;
	if ((from.selector & 0xfff8) + 15 > (cpu.state.i32[GDTR_LIMIT] as number)) raise(cpu, VECTOR.GP, code);
	if ((readMemory(cpu, from.address + 12, 4) & 0x1f00) !== 0) raise(cpu, VECTOR.GP, code);
	const base = (readHighBase(cpu, from) | 0) * 0x1_0000_0000 + from.base;
	if (!isCanonical(base)) raise(cpu, VECTOR.GP, code);
	return base;
}

function loadSegmentRegister(cpu: CpuContext, seg: number, selector: number, castsShadow: boolean): void {
	if (seg === SEG.CS) raise(cpu, VECTOR.UD);
	loadSegment(cpu, seg, selector);
	// No interrupt and no debug trap until the stack pointer can have been loaded too (§6.8.3).
	if (seg === SEG.SS && castsShadow) cpu.state.i32[INTERRUPT_SHADOW] = 2;
}

export const segmentHelpers = {
	/** System. a: length of the instruction, b: segment register 0–5, c: selector. MOV Sreg. */
	loadSegment: guarded((cpu, length, seg, selector) => {
		loadSegmentRegister(cpu, seg, selector, true);
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/**
	 * Query. a: segment register 0–5, b: selector, c: 1 for LxS, which brings the stack pointer along. POP Sreg, LxS: `next` must end
	 * the block then, for the mode may be another.
	 */
	segmentLoad: guarded((cpu, seg, selector, isPointer) => {
		loadSegmentRegister(cpu, seg, selector, isPointer === 0);
		return 0;
	}),
	/** System. a: length. Ends the block and nothing else. */
	next: (cpu: CpuContext, length: number) => {
		advance(cpu, length);
		return EXIT.lookup;
	},
	/** System. a: length, b: selector. */
	lldt: guarded((cpu, length, selector) => {
		loadLocalTable(cpu, selector);
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** System. a: length, b: selector. */
	ltr: guarded((cpu, length, selector) => {
		loadTaskRegister(cpu, selector);
		advance(cpu, length);
		return 0;
	}),
} as const;

/** Moves rip to the next instruction, as the running code counts. */
export function advance(cpu: CpuContext, length: number): void {
	const i32 = cpu.state.i32;
	const low = ((i32[RIP] as number) >>> 0) + length;
	const code = (i32[MODE_KEY] as number) & MODE.codeMask;
	// Nothing wraps at 64 KiB: what comes behind a 16-bit segment's end faults.
	i32[RIP] = low;
	if (code !== MODE.code64) i32[RIP + 1] = 0;
	else if (low >= 0x1_0000_0000) i32[RIP + 1] = (i32[RIP + 1] as number) + 1;
}
