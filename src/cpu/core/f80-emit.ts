import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import { at, type FieldName } from "../state/layout.ts";

/** Integer instructions named once for both types: the first operand decides, plain numbers become constants of its type. */
export type Arg = Expr | number | bigint;

function lift(like: Expr, a: Arg): Expr {
	if (typeof a === "object") return a;
	return like.type === "i64" ? i64(a) : i32(Number(BigInt.asIntN(32, BigInt(a))));
}

const binary =
	(name: string) =>
	(a: Expr, b: Arg): Expr =>
		op(`${a.type}${name}` as OpName, a, lift(a, b));
const unary =
	(name: string) =>
	(a: Expr): Expr =>
		op(`${a.type}${name}` as OpName, a);

export const add = binary("Add");
export const sub = binary("Sub");
export const mul = binary("Mul");
export const divU = binary("DivU");
export const remU = binary("RemU");
export const and = binary("And");
export const or = binary("Or");
export const xor = binary("Xor");
export const shl = binary("Shl");
export const shr = binary("ShrU");
export const sar = binary("ShrS");
export const eq = binary("Eq");
export const ne = binary("Ne");
export const ltU = binary("LtU");
export const ltS = binary("LtS");
export const gtU = binary("GtU");
export const gtS = binary("GtS");
export const leU = binary("LeU");
export const leS = binary("LeS");
export const geU = binary("GeU");
export const geS = binary("GeS");
export const eqz = unary("Eqz");
export const clz = unary("Clz");
export const ctz = unary("Ctz");
/** i32 → i64, zero-extended. */
export const wide = (a: Expr): Expr => op("i64ExtendI32U", a);
export const wideSigned = (a: Expr): Expr => op("i64ExtendI32S", a);
/** i64 → i32. */
export const narrow = (a: Expr): Expr => op("i32WrapI64", a);
/** 0 − a. */
export const negate = (a: Expr): Expr => (a.type === "i64" ? op("i64Sub", i64(0), a) : op("i32Sub", i32(0), a));

/** The integer bit of a significand. */
export const TOP_BIT = 1n << 63n;
/** Exponent of ±∞ and NaN. */
export const EXP_MAX = 0x7fff;
export const BIAS = 0x3fff;
/** What is added to or taken from the exponent when an unmasked underflow or overflow is reported (SDM Vol. 1 §8.5.4, §8.5.5). */
export const BIAS_ADJUST = 0x6000;
/** The real indefinite: sign and exponent, significand (SDM Vol. 1 table 4-3). */
export const INDEFINITE_SE = 0xffff;
export const INDEFINITE_MANTISSA = 0xc000_0000_0000_0000n;

/** Status word (SDM Vol. 1 §8.1.3); the six exceptions have their masks at the same places of the control word. */
export const FSW = {
	IE: 0x01,
	DE: 0x02,
	ZE: 0x04,
	OE: 0x08,
	UE: 0x10,
	PE: 0x20,
	SF: 0x40,
	ES: 0x80,
	C0: 0x100,
	C1: 0x200,
	C2: 0x400,
	C3: 0x4000,
	B: 0x8000,
} as const;
export const EXCEPTIONS = 0x3f;

/** What a result that was rounded to nearest leaves in the status word: PE if it is not exact, C1 if it was rounded up; both 0 or 1. */
export const roundingFlags = (isInexact: Expr, isUp: Expr): Expr => or(shl(isInexact, 5), shl(isUp, 9));

/** A mutable local. */
export class Variable {
	readonly #f: FunctionBuilder;
	readonly #local: number;

	constructor(f: FunctionBuilder, type: "i32" | "i64") {
		this.#f = f;
		this.#local = f.local(type);
	}

	get value(): Expr {
		return this.#f.get(this.#local);
	}

	set value(e: Expr) {
		this.#f.set(this.#local, e);
	}
}

/** An extended value taken apart: sign and exponent as in memory (i32), significand (i64). */
export interface Ext {
	readonly se: Expr;
	readonly mantissa: Expr;
}

/**
 * Access to one CPU's x87 state from inside a core function. A *slot* is the CPU's offset plus 16 × physical register number:
 * with the field's offset as the access's immediate it addresses a register.
 */
export class X87 {
	readonly f: FunctionBuilder;
	readonly cpu: Expr;

	constructor(f: FunctionBuilder) {
		this.f = f;
		this.cpu = f.param(0);
	}

	variable32(initial?: Expr): Variable {
		const v = new Variable(this.f, "i32");
		if (initial !== undefined) v.value = initial;
		return v;
	}

	variable64(initial?: Expr): Variable {
		const v = new Variable(this.f, "i64");
		if (initial !== undefined) v.value = initial;
		return v;
	}

	field(name: FieldName): Expr {
		return loadOp("i32Load", this.cpu, at(name));
	}

	setField(name: FieldName, value: Expr): void {
		this.f.store("i32Store", this.cpu, value, at(name));
	}

	setField64(name: FieldName, value: Expr): void {
		this.f.store("i64Store", this.cpu, value, at(name));
	}

	/** The physical number of ST(i). */
	physical(top: Expr, i: Arg): Expr {
		return this.f.let(and(add(top, i), 7));
	}

	slot(physical: Expr): Expr {
		return this.f.let(add(this.cpu, shl(physical, 4)));
	}

	load(slot: Expr): Ext {
		return {
			se: this.f.let(loadOp("i32Load16U", slot, at("fpr") + 8)),
			mantissa: this.f.let(loadOp("i64Load", slot, at("fpr"))),
		};
	}

	store(slot: Expr, se: Expr, mantissa: Expr): void {
		this.f.store("i64Store", slot, mantissa, at("fpr"));
		this.f.store("i32Store", slot, se, at("fpr") + 8);
	}

	storeIndefinite(slot: Expr): void {
		this.store(slot, i32(INDEFINITE_SE), i64(INDEFINITE_MANTISSA));
	}

	/** C1 = 0, and what else is given set. */
	clearC1(alsoSet?: Expr): void {
		const cleared = and(this.field("fsw"), ~FSW.C1);
		this.setField("fsw", alsoSet === undefined ? cleared : or(cleared, alsoSet));
	}

	isEmpty(physical: Expr): Expr {
		return eqz(and(shr(this.field("ftagValid"), physical), 1));
	}

	markValid(physical: Expr): void {
		this.setField("ftagValid", or(this.field("ftagValid"), shl(i32(1), physical)));
	}

	/** Marks ST(0) empty and moves the top up. */
	pop(): void {
		const top = this.f.let(this.field("ftop"));
		this.setField("ftagValid", and(this.field("ftagValid"), xor(shl(i32(1), top), -1)));
		this.setField("ftop", and(add(top, 1), 7));
	}
}

/** 64 × 64 → 128 bits from four 32-bit products. */
export function mulWide(f: FunctionBuilder, a: Expr, b: Expr): { hi: Expr; lo: Expr } {
	const low = (e: Expr) => f.let(and(e, 0xffff_ffffn));
	const aLow = low(a);
	const bLow = low(b);
	const aHigh = f.let(shr(a, 32));
	const bHigh = f.let(shr(b, 32));
	const ll = f.let(mul(aLow, bLow));
	const middle = f.let(add(mul(aLow, bHigh), shr(ll, 32)));
	const middle2 = f.let(add(mul(aHigh, bLow), and(middle, 0xffff_ffffn)));
	const hi = f.let(add(add(mul(aHigh, bHigh), shr(middle, 32)), shr(middle2, 32)));
	const lo = f.let(or(shl(middle2, 32), and(ll, 0xffff_ffffn)));
	return { hi, lo };
}
