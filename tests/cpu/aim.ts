import { type Instruction, Register } from "iced-x86";
import type { CaseBuilder } from "./builder.ts";
import { CODE_ADDRESS, CODE_BYTES, DATA_ADDRESS, DATA_BYTES, initialBase, STACK_ADDRESS, STACK_BYTES } from "./format.ts";
import { PLACES, RSP, segmentIndex } from "./registers.ts";
import { integerValue } from "./values.ts";

/** Picks a linear address for an operand: mostly inside the areas, often at a border, sometimes across or beyond one. */
export function pickTarget(builder: CaseBuilder, segment: number, sizeBytes: number): number {
	const { random, mode } = builder;
	let address = DATA_ADDRESS;
	let bytes = DATA_BYTES;
	if (mode === 16 ? segment === 2 : random.chance(0.06)) {
		address = STACK_ADDRESS;
		bytes = STACK_BYTES;
	} else if (mode === 16 ? segment === 1 : random.chance(0.02)) {
		address = CODE_ADDRESS;
		bytes = CODE_BYTES;
	}
	const size = Math.min(Math.max(sizeBytes, 1), 512);
	const kind = random.below(32);
	let offset: number;
	if (kind < 24) offset = random.below(bytes - size + 1);
	else if (kind < 27) offset = bytes / 2 - random.below(size + 1);
	else if (kind < 30) offset = bytes - size + (random.chance(0.5) ? 0 : random.below(size + 1));
	else offset = random.chance(0.5) ? 0 : -random.below(size + 1);
	if (kind < 24 && random.chance(0.7)) offset &= ~(Math.min(size, 16) >= 16 ? 15 : Math.max(size - 1, 0) & 15);
	return address + offset;
}

export interface Aimed {
	/** Linear. */
	readonly address: number;
}

/**
 * Makes the ModRM operand of an instruction point at a picked target, by pinning registers and changing the displacement
 * within `bytes`. Undefined: it cannot (a register it needs is dirty); the caller tries another encoding.
 */
export function aimOperand(
	builder: CaseBuilder,
	instruction: Instruction,
	bytes: Uint8Array,
	displacement: { offset: number; size: number },
	sizeBytes: number,
): Aimed | undefined {
	const { random, mode } = builder;
	const segment = segmentIndex(instruction.memorySegment);
	const target = pickTarget(builder, segment, sizeBytes);
	// Segment registers may have been reloaded by then; a case that does both simply goes where it goes.
	const offset = BigInt(target - (mode === 64 && segment < 4 ? 0 : initialBase(mode, segment)));

	const base = instruction.memoryBase;
	const index = instruction.memoryIndex;
	const put = (value: bigint): void => writeLittleEndian(bytes, displacement.offset, displacement.size, value);
	if (base === Register.RIP || base === Register.EIP) {
		put(offset - BigInt(builder.nextAddress + bytes.length));
		return { address: target };
	}
	const basePlace = PLACES[base] as (typeof PLACES)[number];
	const indexPlace = PLACES[index] as (typeof PLACES)[number];
	if (basePlace.gpr < 0 && indexPlace.gpr < 0) {
		put(offset);
		return { address: target };
	}
	const addressBits = Math.max(basePlace.bits, indexPlace.bits);
	let indexPart = 0n;
	if (indexPlace.gpr >= 0) {
		if (builder.isDirty(indexPlace.gpr)) return undefined;
		if (indexPlace.gpr !== basePlace.gpr || !builder.isFree(indexPlace.gpr)) {
			if (builder.isFree(indexPlace.gpr)) builder.pin(indexPlace.gpr, indexValue(builder, addressBits));
			indexPart = builder.valueOf(indexPlace.gpr) * BigInt(instruction.memoryIndexScale);
		}
	}
	const current = signExtended(bytes, displacement.offset, displacement.size);
	if (basePlace.gpr >= 0 && builder.isFree(basePlace.gpr) && basePlace.gpr !== indexPlace.gpr) {
		builder.pin(basePlace.gpr, withGarbage(builder, offset - indexPart - current, addressBits));
		return { address: target };
	}
	if (basePlace.gpr >= 0 && builder.isDirty(basePlace.gpr)) return undefined;
	if (basePlace.gpr >= 0 && builder.isFree(basePlace.gpr)) {
		// The same register twice: any small value, and the displacement does the rest.
		builder.pin(basePlace.gpr, BigInt(random.below(16)));
		indexPart = builder.valueOf(indexPlace.gpr) * BigInt(instruction.memoryIndexScale);
	}
	const basePart = basePlace.gpr >= 0 ? builder.valueOf(basePlace.gpr) : 0n;
	const needed = BigInt.asIntN(addressBits, offset - indexPart - basePart);
	if (displacement.size * 8 < addressBits && BigInt.asIntN(displacement.size * 8, needed) !== needed) {
		// RSP and the like: what they reach without a displacement is just as good, if it is near.
		const reached = BigInt.asUintN(addressBits, basePart + indexPart + current);
		const linear = Number(reached) + initialBase(mode, segment < 0 ? 3 : segment);
		return isNearArea(linear) ? { address: linear } : undefined;
	}
	put(needed);
	return { address: target };
}

/** Pins the register of an implicit operand ([RSI], [RDI], [RBX+AL], [RBP]) to a picked target. */
export function aimRegister(builder: CaseBuilder, register: number, segmentRegister: number, sizeBytes: number): void {
	const place = PLACES[register] as (typeof PLACES)[number];
	if (place.gpr < 0 || place.gpr === RSP || !builder.isFree(place.gpr)) return;
	const segment = segmentIndex(segmentRegister);
	const target = pickTarget(builder, segment, sizeBytes);
	const base = builder.mode === 64 && segment < 4 ? 0 : initialBase(builder.mode, segment);
	builder.pin(place.gpr, withGarbage(builder, BigInt(target - base), place.bits));
}

/** Bits above the address size must not matter. */
function withGarbage(builder: CaseBuilder, value: bigint, addressBits: number): bigint {
	if (addressBits === 64) return BigInt.asUintN(64, value);
	const garbage = builder.random.chance(0.5) ? integerValue(builder.random) : 0n;
	return (garbage & ~((1n << BigInt(addressBits)) - 1n)) | BigInt.asUintN(addressBits, value);
}

function indexValue(builder: CaseBuilder, addressBits: number): bigint {
	const { random } = builder;
	const kind = random.below(4);
	if (kind === 0) return withGarbage(builder, integerValue(random), addressBits);
	if (kind === 1) return withGarbage(builder, -BigInt(random.below(64)), addressBits);
	return withGarbage(builder, BigInt(random.below(256)), addressBits);
}

export function isNearArea(linear: number): boolean {
	return [CODE_ADDRESS, DATA_ADDRESS, STACK_ADDRESS].some((start) => linear > start - 64 && linear < start + DATA_BYTES + 64);
}

export function writeLittleEndian(bytes: Uint8Array, at: number, count: number, value: bigint): void {
	for (let index = 0; index < count; index++) {
		bytes[at + index] = Number(value & 0xffn);
		value >>= 8n;
	}
}

function signExtended(bytes: Uint8Array, at: number, count: number): bigint {
	if (count === 0) return 0n;
	let value = 0n;
	for (let index = count - 1; index >= 0; index--) value = (value << 8n) | BigInt(bytes[at + index] as number);
	return BigInt.asIntN(count * 8, value);
}
