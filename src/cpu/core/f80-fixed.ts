/** 128-bit unsigned arithmetic on pairs of 64-bit values, and the constants that the transcendental functions need in it. */
import { type Expr, i64, loadOp, op } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { add, and, clz, eqz, geU, ltU, mulWide, narrow, ne, negate, or, shl, shr, sub, wide, X87, xor } from "./f80-emit.ts";
import { divideWide } from "./f80-mul.ts";
import { defineCore } from "./registry.ts";

/** hi × 2^64 + lo, pinned; mostly a fraction in units of 2^-128. */
export interface Wide {
	readonly hi: Expr;
	readonly lo: Expr;
}

export function pin(x: X87, hi: Expr, lo: Expr): Wide {
	return { hi: x.f.let(hi), lo: x.f.let(lo) };
}

export function wideConstant(value: bigint): Wide {
	return { hi: i64(BigInt.asIntN(64, value >> 64n)), lo: i64(BigInt.asIntN(64, value)) };
}

/** A 128-bit variable. */
export class WideVariable {
	readonly #x: X87;
	readonly #hi: number;
	readonly #lo: number;

	constructor(x: X87, initial?: Wide) {
		this.#x = x;
		this.#hi = x.f.local("i64");
		this.#lo = x.f.local("i64");
		if (initial !== undefined) this.value = initial;
	}

	get value(): Wide {
		return { hi: this.#x.f.get(this.#hi), lo: this.#x.f.get(this.#lo) };
	}

	set value(w: Wide) {
		const hi = this.#x.f.let(w.hi);
		this.#x.f.set(this.#lo, w.lo);
		this.#x.f.set(this.#hi, hi);
	}

	/** A copy that stays. */
	take(): Wide {
		return pin(this.#x, this.value.hi, this.value.lo);
	}
}

export function addWide(x: X87, a: Wide, b: Wide): Wide {
	const lo = x.f.let(add(a.lo, b.lo));
	return { hi: x.f.let(add(add(a.hi, b.hi), wide(ltU(lo, b.lo)))), lo };
}

export function subWide(x: X87, a: Wide, b: Wide): Wide {
	return pin(x, sub(sub(a.hi, b.hi), wide(ltU(a.lo, b.lo))), sub(a.lo, b.lo));
}

export function negateWide(x: X87, a: Wide): Wide {
	return pin(x, sub(negate(a.hi), wide(ne(a.lo, 0))), negate(a.lo));
}

export function isLess(a: Wide, b: Wide): Expr {
	return or(ltU(a.hi, b.hi), and(op("i64Eq", a.hi, b.hi), ltU(a.lo, b.lo)));
}

export function isZero(a: Wide): Expr {
	return eqz(or(a.hi, a.lo));
}

/** a << n, 0 ≤ n < 64 (i64). */
export function shiftLeft(x: X87, a: Wide, n: Expr): Wide {
	return pin(x, or(shl(a.hi, n), shr(shr(a.lo, 1), xor(n, 63))), shl(a.lo, n));
}

/** a >> n for any n ≥ 0 (i32). */
export function shiftRight(x: X87, a: Wide, n: Expr): Wide {
	const { f } = x;
	const count = f.let(n);
	const result = new WideVariable(x, a);
	f.if(geU(count, 64), () => {
		result.value = { hi: i64(0), lo: a.hi };
	});
	f.if(geU(count, 128), () => {
		result.value = { hi: i64(0), lo: i64(0) };
	});
	const c = f.let(wide(and(count, 63)));
	const v = result.take();
	return pin(x, shr(v.hi, c), or(shr(v.lo, c), shl(shl(v.hi, 1), xor(c, 63))));
}

/** A nonzero value with its top bit set, and by how much it was shifted (i32). */
export function normaliseWide(x: X87, a: Wide): { value: Wide; shift: Expr } {
	const { f } = x;
	const v = new WideVariable(x, a);
	const shift = x.variable64(i64(0));
	f.if(eqz(a.hi), () => {
		v.value = { hi: a.lo, lo: i64(0) };
		shift.value = i64(64);
	});
	const n = f.let(clz(v.value.hi));
	return { value: shiftLeft(x, v.take(), n), shift: f.let(narrow(add(shift.value, n))) };
}

/** Upper 64 bits of a product. */
function mulHigh(x: X87, a: Expr, b: Expr): Expr {
	return mulWide(x.f, a, b).hi;
}

/** a × b >> 128, at most 3 too small. */
export function mulFraction(x: X87, a: Wide, b: Wide): Wide {
	const { f } = x;
	const top = mulWide(f, a.hi, b.hi);
	const cross = f.let(mulHigh(x, a.hi, b.lo));
	const cross2 = f.let(mulHigh(x, a.lo, b.hi));
	const sum = addWide(x, top, { hi: i64(0), lo: cross });
	return addWide(x, sum, { hi: i64(0), lo: cross2 });
}

/** a / b as a fraction of 2^127, good to a few units of its last place: b's top bit is set, a < b. */
export function divideFraction(x: X87, a: Wide, b: Wide): Wide {
	const { f } = x;
	// a / 2, so that the upper halves alone make a digit in base 2^64 (Knuth, algorithm D).
	const half = pin(x, shr(a.hi, 1), or(shr(a.lo, 1), shl(a.hi, 63)));
	const first = divideWide(x, half.hi, half.lo, b.hi);
	const digit = x.variable64(first.quotient);
	const rest = x.variable64(first.remainder);
	const product = new WideVariable(x, mulWide(f, first.quotient, b.lo));
	f.loop((again) => {
		f.if(isLess({ hi: rest.value, lo: i64(0) }, product.value), () => {
			digit.value = sub(digit.value, 1);
			product.value = subWide(x, product.take(), { hi: i64(0), lo: b.lo });
			const before = f.let(rest.value);
			rest.value = add(before, b.hi);
			f.brIf(again, geU(rest.value, before));
		});
	});
	const left = subWide(x, pin(x, rest.value, i64(0)), product.take());
	const second = x.variable64(i64(-1));
	f.if(ltU(left.hi, b.hi), () => {
		second.value = divideWide(x, left.hi, left.lo, b.hi).quotient;
	});
	return pin(x, digit.value, second.value);
}

/** (cpu, z, c, sign): the accumulator (first of x87Fixed) becomes c + z × accumulator, or c − z × accumulator for sign 1. */
defineCore("f80Horner", ["i32", "i64", "i64", "i64", "i64", "i32"], undefined, (f) => {
	const x = new X87(f);
	const accumulator = loadAccumulator(x);
	const product = mulFraction(x, { hi: f.param(1), lo: f.param(2) }, accumulator);
	const c = { hi: f.param(3), lo: f.param(4) };
	f.if(
		f.param(5),
		() => storeAccumulator(x, subWide(x, c, product)),
		() => storeAccumulator(x, addWide(x, c, product)),
	);
});

function storeAccumulator(x: X87, w: Wide): void {
	x.f.store("i64Store", x.cpu, w.hi, at("x87Fixed"));
	x.f.store("i64Store", x.cpu, w.lo, at("x87Fixed") + 8);
}

function loadAccumulator(x: X87): Wide {
	return pin(x, loadOp("i64Load", x.cpu, at("x87Fixed")), loadOp("i64Load", x.cpu, at("x87Fixed") + 8));
}

/** coefficients[0] ± z × (coefficients[1] ± z × (…)), `sign` 1 for minus; fractions of 2^128. */
export function horner(x: X87, calls: Callables, z: Wide, coefficients: readonly bigint[], sign: Expr): Wide {
	storeAccumulator(x, wideConstant(coefficients.at(-1) as bigint));
	for (const coefficient of coefficients.slice(0, -1).reverse()) {
		const c = wideConstant(coefficient);
		x.f.call(calls.index("f80Horner"), [x.cpu, z.hi, z.lo, c.hi, c.lo, sign]);
	}
	return loadAccumulator(x);
}

/** table[index] as fractions of 2^128. */
export function pick(x: X87, table: readonly bigint[], index: Expr): Wide {
	const { f } = x;
	const result = new WideVariable(x);
	f.block((done) => {
		const labels: Label[] = [];
		const open = (i: number): void => {
			if (i < 0) {
				f.brTable(labels.slice(0, -1), labels.at(-1) as Label, index);
				return;
			}
			f.block((label) => {
				labels[i] = label;
				open(i - 1);
			});
			result.value = wideConstant(table[i] as bigint);
			f.br(done);
		};
		open(table.length - 1);
	});
	return result.take();
}

// ---- constants, worked out once with more bits than are kept ----

const BITS = 192n;
const ONE = 1n << BITS;

/** To units of 2^-128, to nearest. */
function keep(value: bigint): bigint {
	return ((value >> (BITS - 129n)) + 1n) >> 1n;
}

/** Euler's series: all its terms have one sign, and each is less than half the one before for |n/d| ≤ 1. */
function arctangent(n: bigint, d: bigint): bigint {
	let term = (ONE * n * d) / (n * n + d * d);
	let sum = 0n;
	for (let k = 1n; term !== 0n; k++) {
		sum += term;
		term = (term * 2n * k * n * n) / ((2n * k + 1n) * (n * n + d * d));
	}
	return sum;
}

function logarithm2(): bigint {
	// ln 2 = 2 artanh(1/3)
	let power = ONE / 3n;
	let sum = 0n;
	for (let k = 1n; power !== 0n; k += 2n) {
		sum += power / k;
		power /= 9n;
	}
	return 2n * sum;
}

function squareRoot(value: bigint): bigint {
	let root = 1n << BigInt((value.toString(2).length + 1) >> 1);
	for (;;) {
		const next = (root + value / root) >> 1n;
		if (next >= root) return root;
		root = next;
	}
}

function factorial(n: number): bigint {
	return n < 2 ? 1n : BigInt(n) * factorial(n - 1);
}

const LN2 = logarithm2();
const PI = 4n * arctangent(1n, 1n);

/** π/8 × 2^128: times 8 it is π. */
export const PI_EIGHTH = keep(PI >> 3n);
/** ln 2. */
export const LN2_FRACTION = keep(LN2);
/** 1 / (2 ln 2). */
export const HALF_LOG2_E = keep((ONE * ONE) / (2n * LN2));
/** 1 / (2k + 1), k from 1. */
export const ODD_RECIPROCALS = Array.from({ length: 20 }, (_, i) => keep(ONE / BigInt(2 * i + 3)));
/** 1 / n!, n from 2. */
export const FACTORIAL_RECIPROCALS = Array.from({ length: 30 }, (_, i) => keep(ONE / factorial(i + 2)));
/** atan(k/16), k from 0 to 16. */
export const ARCTANGENTS = Array.from({ length: 17 }, (_, k) => keep(arctangent(BigInt(k), 16n)));
/** 2^(k/8) / 2, k from 0 to 7. */
export const EIGHTH_POWERS = Array.from({ length: 8 }, (_, k) => {
	let power = ONE << BigInt(k);
	// Three square roots of 2^k.
	for (let i = 0; i < 3; i++) power = squareRoot(power * ONE);
	return keep(power >> 1n);
});
