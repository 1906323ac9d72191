import type { GuestMemory } from "../../machine/memory.ts";
import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import { KEPT_PLACES, KEPT_PLACES_BYTES } from "./decoded-area.ts";

/** Where a block begins in its page, and as what. */
export interface KeptPlace {
	readonly offset: number;
	readonly modeKey: number;
	readonly firstByte: number;
}

const OFFSET_MASK = 0xfff;
const ROW_SHIFT = 3;
/** Odd, so that first bytes, of which few are common, spread over a row's 64 bits. */
const SPREAD = 167;
const SPREAD_SHIFT = 2;

/**
 * Where blocks may begin that earlier runs have translated: a row of 64 bits for each place in a page, a bit for the mode and the first byte.
 * Generated code asks it of each block that it decodes (core/decode-block.ts); where it says no, there is nothing.
 */
export class KeptPlaces {
	readonly #memory: GuestMemory;
	readonly #rows: DataView;
	#isEmpty = true;

	constructor(memory: GuestMemory) {
		this.#memory = memory;
		this.#rows = new DataView(memory.memory.buffer, KEPT_PLACES, KEPT_PLACES_BYTES);
	}

	mark({ offset, modeKey, firstByte }: KeptPlace): void {
		this.#isEmpty = false;
		const row = rowOf(offset);
		this.#rows.setBigUint64(row, this.#rows.getBigUint64(row, true) | (1n << BigInt(bitOf(modeKey, firstByte))), true);
	}

	/** For the code that stands at a physical address now. */
	mayHave(phys: number, modeKey: number): boolean {
		if (this.#isEmpty) return false;
		const firstByte = this.#memory.plainByteAt(phys);
		if (firstByte < 0) return false;
		const bit = bitOf(modeKey, firstByte);
		return ((this.#rows.getInt32(rowOf(phys) + (bit >> 5) * 4, true) >>> (bit & 31)) & 1) === 1;
	}
}

const rowOf = (phys: number): number => (phys & OFFSET_MASK) << ROW_SHIFT;
const bitOf = (modeKey: number, firstByte: number): number => (((firstByte * SPREAD) >>> SPREAD_SHIFT) ^ modeKey) & 63;

/** `mayHave` in generated code: 1 or 0. @param low half of the physical address */
export function mayHaveKept(low: Expr, modeKey: Expr, firstByte: Expr): Expr {
	const row = loadOp("i64Load", op("i32Shl", op("i32And", low, i32(OFFSET_MASK)), i32(ROW_SHIFT)), KEPT_PLACES);
	// A shift of 64 bits takes the count's lower six.
	const bit = op("i32Xor", op("i32ShrU", op("i32Mul", firstByte, i32(SPREAD)), i32(SPREAD_SHIFT)), modeKey);
	return op("i32WrapI64", op("i64And", op("i64ShrU", row, op("i64ExtendI32U", bit)), i64(1)));
}
