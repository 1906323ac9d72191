import type { CpuContext } from "../context.ts";
import { type Descriptor, isNull } from "./descriptors.ts";
import { raise, readMemory, readMemoryPair, VECTOR } from "./fault.ts";
import { ATTR, SEG } from "./mode.ts";
import { checkStackSegment } from "./segments.ts";
import type { StackCursor } from "./stack.ts";
import { getAddress, isCanonical, SEG_ATTR, SEG_BASE, SEG_LIMIT, SEG_SELECTOR } from "./words.ts";

/** The TSS in use has the 32-bit layout (type bit 3). */
export function isTss32(cpu: CpuContext): boolean {
	return ((cpu.state.i32[SEG_ATTR + SEG.TR] as number) & ATTR.code) !== 0;
}

/** Base of the TSS in use. */
export function tssBase(cpu: CpuContext): number {
	return getAddress(cpu.state.i32, SEG_BASE + 2 * SEG.TR);
}

export function tssLimit(cpu: CpuContext): number {
	return (cpu.state.i32[SEG_LIMIT + SEG.TR] as number) >>> 0;
}

function requireTss(cpu: CpuContext, end: number, ext: number): void {
	if (end > tssLimit(cpu)) raise(cpu, VECTOR.TS, ((cpu.state.i32[SEG_SELECTOR + SEG.TR] as number) & 0xfffc) | ext);
}

/**
 * Points `cursor` at the stack that the TSS keeps for privilege `cpl` and checks it (Intel SDM Vol. 3A §5.8.5, "Stack
 * Switching"). The descriptor is left in `into`; the selector is returned.
 */
export function useInnerStack(cpu: CpuContext, cursor: StackCursor, into: Descriptor, cpl: number, ext: number): number {
	const base = tssBase(cpu);
	let pointer: number;
	let selector: number;
	if (isTss32(cpu)) {
		requireTss(cpu, 4 + 8 * cpl + 5, ext);
		pointer = readMemory(cpu, base + 4 + 8 * cpl, 4);
		selector = readMemory(cpu, base + 8 + 8 * cpl, 2);
	} else {
		requireTss(cpu, 2 + 4 * cpl + 3, ext);
		pointer = readMemory(cpu, base + 2 + 4 * cpl, 2);
		selector = readMemory(cpu, base + 4 + 4 * cpl, 2);
	}
	if (isNull(selector)) raise(cpu, VECTOR.TS, (selector & 0xfffc) | ext);
	checkStackSegment(cpu, into, selector, cpl, VECTOR.TS, ext);
	cursor.useSegment(cpu, into, pointer, cpl, (selector & 0xfffc) | ext);
	return selector;
}

/** A stack pointer kept in the 64-bit TSS at `offset`: RSP0–RSP2 or IST1–IST7 (§7.7, figure 7-11). */
export function tssStackPointer(cpu: CpuContext, offset: number, ext: number): number {
	requireTss(cpu, offset + 7, ext);
	const base = tssBase(cpu);
	const low = readMemoryPair(cpu, base + offset);
	const pointer = cpu.mmu.pairHigh * 0x1_0000_0000 + low;
	if (!isCanonical(pointer)) raise(cpu, VECTOR.SS, ext);
	return pointer;
}

/** Offsets of the 64-bit TSS. */
export const TSS64_RSP0 = 4;
export const TSS64_IST1 = 0x24;
