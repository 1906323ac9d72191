import type { CpuContext } from "../context.ts";
import type { Descriptor } from "./descriptors.ts";
import { raise, readMemory, readMemoryPair, VECTOR, writeMemory, writeMemoryPair } from "./fault.ts";
import { ATTR, accessAt, isCode64, SEG } from "./mode.ts";
import { CPL, getAddress, isCanonical, RSP, SEG_ATTR, SEG_BASE, SEG_WRITE_HIGH, SEG_WRITE_LOW } from "./words.ts";

const FOUR_GIB = 0x1_0000_0000;

/**
 * A stack that a transfer works on before anything is committed: pushes and pops move `pointer` only. Faults on it are #SS with
 * `errorCode` (0 for the stack in use, the selector for one being switched to).
 */
export class StackCursor {
	pointer = 0;
	/** High half, signed, of the last value popped with 8 bytes. */
	high = 0;
	#cpu!: CpuContext;
	#base = 0;
	#lowest = 0;
	#highest = 0;
	/** 16, 32 or 64. */
	#width = 16;
	#access = 0;
	#errorCode = 0;

	/** SS:rSP as they are. */
	useCurrent(cpu: CpuContext): void {
		const i32 = cpu.state.i32;
		this.#cpu = cpu;
		this.#errorCode = 0;
		this.#access = accessAt(cpu, i32[CPL] as number);
		if (isCode64(cpu)) {
			this.#width = 64;
			this.#base = 0;
			this.pointer = getAddress(i32, RSP);
			return;
		}
		this.#width = ((i32[SEG_ATTR + SEG.SS] as number) & ATTR.DB) !== 0 ? 32 : 16;
		this.#base = getAddress(i32, SEG_BASE + 2 * SEG.SS);
		this.#lowest = (i32[SEG_WRITE_LOW + SEG.SS] as number) >>> 0;
		this.#highest = (i32[SEG_WRITE_HIGH + SEG.SS] as number) >>> 0;
		this.pointer = this.#cut(i32[RSP] as number);
	}

	/** A stack segment about to be loaded, for privilege `cpl`. */
	useSegment(cpu: CpuContext, from: Descriptor, pointer: number, cpl: number, errorCode: number): void {
		this.#cpu = cpu;
		this.#errorCode = errorCode;
		this.#access = accessAt(cpu, cpl);
		this.#width = (from.high & ATTR.DB) !== 0 ? 32 : 16;
		this.#base = from.base;
		const isDown = (from.high & ATTR.expandDown) !== 0;
		this.#lowest = isDown ? from.limit + 1 : 0;
		this.#highest = isDown ? (this.#width === 32 ? 0xffff_ffff : 0xffff) : from.limit;
		this.pointer = this.#cut(pointer);
	}

	/** A 64-bit stack at `pointer`. */
	use64(cpu: CpuContext, pointer: number, cpl: number): void {
		this.#cpu = cpu;
		this.#errorCode = 0;
		this.#access = accessAt(cpu, cpl);
		this.#width = 64;
		this.#base = 0;
		this.pointer = pointer;
	}

	#cut(value: number): number {
		if (this.#width === 64) return value;
		return this.#width === 32 ? value >>> 0 : value & 0xffff;
	}

	#linear(bytes: number): number {
		const first = this.pointer;
		if (this.#width === 64) {
			if (!isCanonical(first) || !isCanonical(first + bytes - 1)) raise(this.#cpu, VECTOR.SS, this.#errorCode);
			return first;
		}
		if (first < this.#lowest || first + bytes - 1 > this.#highest) raise(this.#cpu, VECTOR.SS, this.#errorCode);
		return (this.#base + first) >>> 0;
	}

	/** Pushes `bytes` of high:low; values shorter than 8 bytes have no high half. */
	push(bytes: number, low: number, high = 0): void {
		this.pointer = this.#cut(this.pointer - bytes);
		const lin = this.#linear(bytes);
		if (bytes === 8) writeMemoryPair(this.#cpu, lin, low, high, this.#access);
		else writeMemory(this.#cpu, lin, bytes, low, this.#access);
	}

	/** Pushes a signed-number address. */
	pushAddress(bytes: number, value: number): void {
		this.push(bytes, value, Math.floor(value / FOUR_GIB));
	}

	/** Reads the item `offset` bytes above the pointer: unsigned, and with 8 bytes its upper half, signed, goes to `high`. */
	peek(offset: number, bytes: number): number {
		const at = this.pointer;
		this.pointer = this.#cut(at + offset);
		const lin = this.#linear(bytes);
		this.pointer = at;
		if (bytes !== 8) {
			this.high = 0;
			return readMemory(this.#cpu, lin, bytes, this.#access);
		}
		const low = readMemoryPair(this.#cpu, lin, this.#access);
		this.high = this.#cpu.mmu.pairHigh;
		return low;
	}

	pop(bytes: number): number {
		const low = this.peek(0, bytes);
		this.skip(bytes);
		return low;
	}

	/** Pops an address as a signed number (8 bytes) or unsigned. */
	popAddress(bytes: number): number {
		const low = this.pop(bytes);
		return bytes === 8 ? this.high * FOUR_GIB + low : low;
	}

	skip(bytes: number): void {
		this.pointer = this.#cut(this.pointer + bytes);
	}

	/** Writes the pointer to SP, ESP or RSP, as wide as the stack is. */
	commit(): void {
		const i32 = this.#cpu.state.i32;
		if (this.#width === 16) i32[RSP] = ((i32[RSP] as number) & -0x1_0000) | this.pointer;
		else {
			i32[RSP] = this.pointer;
			i32[RSP + 1] = this.#width === 64 ? Math.floor(this.pointer / FOUR_GIB) : 0;
		}
	}
}
