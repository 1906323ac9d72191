import type { CpuContext } from "../context.ts";
import { CR0, CR4, EFER } from "../mmu/access.ts";
import { FLAG, WIDTH_LOG2 } from "../state/flags.ts";
import { jumpTagOf, MODE, TLB_KERNEL, TLB_KERNEL_AC, TLB_USER } from "../state/layout.ts";
import { writeRflags } from "./rflags.ts";
import {
	CC_OP,
	CPL,
	CR0_WORD,
	CR4_WORD,
	EFER_WORD,
	FLAGS,
	JUMP_GENERATION,
	JUMP_TAG,
	MODE_KEY,
	SEG_ATTR,
	SEG_BASE,
	SEG_LIMIT,
	SEG_READ_HIGH,
	SEG_READ_LOW,
	SEG_WRITE_HIGH,
	SEG_WRITE_LOW,
	TLB_BASE,
} from "./words.ts";

/** Segment numbers (Intel SDM Vol. 2A §2.1.3, table 2-1, and LDTR, TR as layout.ts adds them). */
export const SEG = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;

/** Bits of `segAttr`: a descriptor's high doubleword without base and limit (Intel SDM Vol. 3A §3.4.5, figure 3-8). */
export const ATTR = {
	accessed: 1 << 8,
	/** Data: writable. Code: readable. */
	writable: 1 << 9,
	/** Data: expand-down. Code: conforming. */
	expandDown: 1 << 10,
	conforming: 1 << 10,
	code: 1 << 11,
	typeMask: 15 << 8,
	S: 1 << 12,
	dplShift: 13,
	dplMask: 3 << 13,
	P: 1 << 15,
	L: 1 << 21,
	DB: 1 << 22,
	G: 1 << 23,
	all: 0x00f0_ff00,
} as const;

export function isProtected(cpu: CpuContext): boolean {
	return ((cpu.state.i32[CR0_WORD] as number) & CR0.PE) !== 0;
}

export function isLongMode(cpu: CpuContext): boolean {
	return ((cpu.state.i32[EFER_WORD] as number) & EFER.LMA) !== 0;
}

/** The running code is 64-bit (not compatibility mode). */
export function isCode64(cpu: CpuContext): boolean {
	return ((cpu.state.i32[MODE_KEY] as number) & MODE.codeMask) === MODE.code64;
}

function isFlat(i32: Int32Array, seg: number): boolean {
	if (i32[SEG_BASE + 2 * seg] !== 0 || i32[SEG_BASE + 2 * seg + 1] !== 0) return false;
	if (i32[SEG_READ_LOW + seg] !== 0 || i32[SEG_READ_HIGH + seg] !== -1) return false;
	return seg === SEG.CS || (i32[SEG_WRITE_LOW + seg] === 0 && i32[SEG_WRITE_HIGH + seg] === -1);
}

/**
 * Works out `modeKey` and `tlbBase` from CPL, segments, RFLAGS.AC and control registers. Call after any of them changed.
 * Flat says nothing about writes through CS, which protected mode forbids.
 */
export function updateMode(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	const cpl = i32[CPL] as number;
	const csAttr = i32[SEG_ATTR + SEG.CS] as number;
	let key = (i32[MODE_KEY] as number) & MODE.step;
	const isLong = ((i32[EFER_WORD] as number) & EFER.LMA) !== 0;
	if (isLong && (csAttr & ATTR.L) !== 0) key |= MODE.code64 | MODE.stack32 | MODE.flat;
	else {
		if ((csAttr & ATTR.DB) !== 0) key |= MODE.code32;
		if (((i32[SEG_ATTR + SEG.SS] as number) & ATTR.DB) !== 0) key |= MODE.stack32;
		if (isFlat(i32, SEG.DS) && isFlat(i32, SEG.ES) && isFlat(i32, SEG.SS) && isFlat(i32, SEG.CS)) key |= MODE.flat;
	}
	if (cpl === 3) key |= MODE.user;
	i32[MODE_KEY] = key;
	// Regions of narrower code have halves of the flags' inputs only: what a 64-bit operation left is settled first.
	if ((key & MODE.codeMask) !== MODE.code64 && (i32[CC_OP] as number) >> 4 === WIDTH_LOG2[64]) writeRflags(cpu.state, 0, 0);
	const needsSegment = (key & MODE.flat) === 0;
	const segment = needsSegment ? codeSegmentId(cpu) : 0;
	i32[JUMP_TAG] = jumpTagOf(key, segment, i32[JUMP_GENERATION + (cpl === 3 ? 1 : 0)] as number);
	const hasAc = ((i32[FLAGS] as number) & FLAG.AC) !== 0;
	let tlb = TLB_KERNEL;
	if (cpl === 3) tlb = TLB_USER;
	else if (hasAc && ((i32[CR4_WORD] as number) & CR4.SMAP) !== 0) tlb = TLB_KERNEL_AC;
	i32[TLB_BASE] = cpu.state.base + tlb;
	cpu.mmu.modeChanged(cpl === 3 && hasAc && ((i32[CR0_WORD] as number) & CR0.AM) !== 0);
}

/** The segment's number in the jump cache: code at the same offset of another segment is other code. */
function codeSegmentId(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	return cpu.code.codeSegmentId(i32[SEG_BASE + 2 * SEG.CS] as number, i32[SEG_LIMIT + SEG.CS] as number);
}

/** ACCESS bits of an explicit access at privilege `cpl`. */
export function accessAt(cpu: CpuContext, cpl: number): number {
	if (cpl === 3) return 4;
	const i32 = cpu.state.i32;
	return ((i32[FLAGS] as number) & FLAG.AC) !== 0 && ((i32[CR4_WORD] as number) & CR4.SMAP) !== 0 ? 32 : 0;
}
