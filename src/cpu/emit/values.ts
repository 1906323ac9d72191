import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import { EXIT, MODE, TLB_ENTRIES, TLB_ENTRY_BYTES } from "../state/layout.ts";
import type { Width } from "./condition.ts";

// Small words that meanings are written in.

/** Whether a system helper's status says that the instruction has not happened (other exits come after its success). */
export function gaveUp(status: Expr): Expr {
	return op("i32Or", op("i32Eq", status, i32(EXIT.fault)), op("i32Eq", status, i32(EXIT.single)));
}

export function both(a: Expr, b: Expr | undefined): Expr {
	return b === undefined ? a : op("i32And", a, b);
}

/** Whether bits 63:47 of a 64-bit address are not all alike. */
export function isNonCanonical(address: Expr): Expr {
	return op("i64GtU", op("i64Add", op("i64ShrS", address, i64(47)), i64(1)), i64(1));
}

/** Whether a `modeKey` is that of 64-bit code. */
export function isCode64(modeKey: Expr): Expr {
	return op("i32Eq", op("i32And", modeKey, i32(MODE.codeMask)), i32(MODE.code64));
}

/** 1 if a `modeKey` is that of user code, else 0. */
export function isUser(modeKey: Expr): Expr {
	return op("i32And", op("i32ShrU", modeKey, i32(Math.log2(MODE.user))), i32(1));
}

/** Offset, from its TLB's start, of the entry for the page of a linear address; takes the low half. */
export function tlbSlot(low: Expr): Expr {
	return op("i32And", op("i32ShrU", low, i32(12 - Math.log2(TLB_ENTRY_BYTES))), i32((TLB_ENTRIES - 1) * TLB_ENTRY_BYTES));
}

/** `alu(32, "Add", a, b)`: the i32 instruction up to 32 bits, else the i64 one. */
export function alu(width: Width, name: IntegerOp, ...args: Expr[]): Expr {
	return op(`${width === 64 ? "i64" : "i32"}${name}` as OpName, ...args);
}

type IntegerOp =
	| "Add"
	| "Sub"
	| "Mul"
	| "And"
	| "Or"
	| "Xor"
	| "Shl"
	| "ShrS"
	| "ShrU"
	| "Rotl"
	| "Rotr"
	| "DivS"
	| "DivU"
	| "RemS"
	| "RemU"
	| "Clz"
	| "Ctz"
	| "Popcnt"
	| "Eqz"
	| "Eq"
	| "Ne"
	| "LtS"
	| "LtU"
	| "GtS"
	| "GtU"
	| "LeS"
	| "LeU"
	| "GeS"
	| "GeU";

/** A constant of the width's type. */
export function constant(width: Width, value: number | bigint): Expr {
	return width === 64 ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));
}

/** Cuts an i32 to 8 or 16 bits; wider values stay. */
export function truncate(width: Width, e: Expr): Expr {
	return width === 8 ? op("i32And", e, i32(0xff)) : width === 16 ? op("i32And", e, i32(0xffff)) : e;
}

/** Sign-extends a zero-extended value of `from` bits to the type of `to`. */
export function signExtendTo(from: Width, to: Width, e: Expr): Expr {
	const narrow = from === 8 ? op("i32Extend8S", e) : from === 16 ? op("i32Extend16S", e) : e;
	return to === 64 && from !== 64 ? op("i64ExtendI32S", narrow) : narrow;
}

/** Zero-extends a value of `from` bits to the type of `to`. */
export function zeroExtendTo(from: Width, to: Width, e: Expr): Expr {
	return to === 64 && from !== 64 ? op("i64ExtendI32U", e) : e;
}

export { select };
