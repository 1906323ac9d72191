import type { CpuContext } from "../context.ts";
import { raise, readMemory, readMemoryPair, writeMemory } from "./fault.ts";
import { ATTR, isLongMode, SEG } from "./mode.ts";
import { GDTR_BASE, GDTR_LIMIT, getAddress, SEG_ATTR, SEG_BASE, SEG_LIMIT } from "./words.ts";

/** Types of system descriptors (Intel SDM Vol. 3A §3.5, table 3-2). In IA-32e mode only the "32" ones exist, 16 bytes long. */
export const SYSTEM_TYPE = {
	tss16: 1,
	ldt: 2,
	busyTss16: 3,
	callGate16: 4,
	taskGate: 5,
	interruptGate16: 6,
	trapGate16: 7,
	tss32: 9,
	busyTss32: 11,
	callGate32: 12,
	interruptGate32: 14,
	trapGate32: 15,
} as const;

/** One descriptor as it stands in a table, read apart. */
export class Descriptor {
	selector = 0;
	/** Linear address in its table. */
	address = 0;
	low = 0;
	high = 0;

	get base(): number {
		return ((this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff00_0000)) >>> 0;
	}

	/** Highest offset, in bytes, unsigned. */
	get limit(): number {
		const raw = (this.low & 0xffff) | (this.high & 0xf_0000);
		return (this.high & ATTR.G) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw;
	}

	get attr(): number {
		return this.high & ATTR.all;
	}

	get type(): number {
		return (this.high >> 8) & 15;
	}

	get dpl(): number {
		return (this.high >> ATTR.dplShift) & 3;
	}

	get isPresent(): boolean {
		return (this.high & ATTR.P) !== 0;
	}

	/** Neither code nor data. */
	get isSystem(): boolean {
		return (this.high & ATTR.S) === 0;
	}

	get isCode(): boolean {
		return (this.high & (ATTR.S | ATTR.code)) === (ATTR.S | ATTR.code);
	}

	get isData(): boolean {
		return (this.high & (ATTR.S | ATTR.code)) === ATTR.S;
	}

	get isConforming(): boolean {
		return (this.high & ATTR.conforming) !== 0;
	}

	get isWritableData(): boolean {
		return this.isData && (this.high & ATTR.writable) !== 0;
	}

	/** Data, or code that may be read. */
	get isReadable(): boolean {
		return this.isData || (this.isCode && (this.high & ATTR.writable) !== 0);
	}

	/** Of a gate: target selector and the low 32 bits of the offset. */
	get gateSelector(): number {
		return this.low >>> 16;
	}

	get gateOffset(): number {
		return ((this.low & 0xffff) | (this.high & 0xffff_0000)) >>> 0;
	}
}

/** RPL does not count: selectors 0 to 3. */
export function isNull(selector: number): boolean {
	return (selector & 0xfffc) === 0;
}

/** Reads the descriptor that `selector` (not null) names; false when it lies outside its table. Faults of memory are raised. */
export function lookUpDescriptor(cpu: CpuContext, into: Descriptor, selector: number): boolean {
	const i32 = cpu.state.i32;
	const offset = selector & 0xfff8;
	let base: number;
	if ((selector & 4) !== 0) {
		if (((i32[SEG_ATTR + SEG.LDTR] as number) & ATTR.P) === 0 || offset + 7 > (i32[SEG_LIMIT + SEG.LDTR] as number) >>> 0) return false;
		base = getAddress(i32, SEG_BASE + 2 * SEG.LDTR);
	} else {
		if (offset + 7 > (i32[GDTR_LIMIT] as number)) return false;
		base = getAddress(i32, GDTR_BASE);
	}
	into.selector = selector;
	into.address = base + offset;
	into.low = readMemoryPair(cpu, into.address);
	into.high = cpu.mmu.pairHigh;
	return true;
}

/** As `lookUpDescriptor`, raising `vector` with the selector (and `ext`, the EXT bit) where there is none. */
export function fetchDescriptor(cpu: CpuContext, into: Descriptor, selector: number, vector: number, ext = 0): void {
	if (isNull(selector) || !lookUpDescriptor(cpu, into, selector)) raise(cpu, vector, (selector & 0xfffc) | ext);
}

/** Bits 63:32 of the base (or of a gate's offset) of a 16-byte descriptor; 0 outside IA-32e mode. */
export function readHighBase(cpu: CpuContext, descriptor: Descriptor): number {
	return isLongMode(cpu) ? readMemory(cpu, descriptor.address + 8, 4) : 0;
}

/** Sets the accessed flag in memory and in `descriptor` (§3.4.5.1). */
export function markAccessed(cpu: CpuContext, descriptor: Descriptor): void {
	if ((descriptor.high & ATTR.accessed) !== 0) return;
	descriptor.high |= ATTR.accessed;
	writeMemory(cpu, descriptor.address + 5, 1, (descriptor.high >> 8) & 0xff);
}
