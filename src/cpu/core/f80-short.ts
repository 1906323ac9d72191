/**
 * The short way through 80-bit arithmetic, for regions to have in line: operands that are normal or zero, 64 bits of precision rounded to
 * nearest, the precision exception masked. Whatever else it meets branches to `otherwise`, with nothing changed.
 */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import {
	add,
	and,
	BIAS,
	clz,
	EXP_MAX,
	type Ext,
	eq,
	eqz,
	geS,
	geU,
	gtS,
	gtU,
	ltS,
	ltU,
	mulWide,
	narrow,
	ne,
	negate,
	or,
	roundingFlags,
	sar,
	shl,
	shr,
	sub,
	TOP_BIT,
	wide,
	wideSigned,
	xor,
} from "./f80-emit.ts";

/** An operand; `isShort`: it is known to be normal or zero. */
export interface Operand extends Ext {
	readonly isShort: boolean;
}

/** Where results go: locals of a value's two parts. */
export interface Place {
	readonly se: number;
	readonly mantissa: number;
}

const SIGN = 0x8000;
/** Exponents of 0 and all ones, the sign beside them, become 0. */
const unlessEdge = (se: Expr): Expr => and(add(se, 1), EXP_MAX - 1);

/** What a double holds. */
export function shortDouble(f: FunctionBuilder, otherwise: Label, bits: Expr, to: Place): void {
	const exponent = f.let(and(narrow(shr(bits, 52)), 0x7ff));
	const sign = and(narrow(shr(bits, 48)), SIGN);
	widen(f, otherwise, { exponent, sign, max: 0x7ff, bias: 1023, fraction: shl(bits, 11), magnitude: shl(bits, 1) }, to);
}

/** What a single holds. */
export function shortSingle(f: FunctionBuilder, otherwise: Label, bits: Expr, to: Place): void {
	const exponent = f.let(and(shr(bits, 23), 0xff));
	const sign = and(shr(bits, 16), SIGN);
	widen(f, otherwise, { exponent, sign, max: 0xff, bias: 127, fraction: shl(wide(bits), 40), magnitude: shl(bits, 1) }, to);
}

interface Parts {
	readonly exponent: Expr;
	readonly sign: Expr;
	readonly max: number;
	readonly bias: number;
	/** The fraction below the integer bit's place; that is to be set. */
	readonly fraction: Expr;
	/** 0 for a zero. */
	readonly magnitude: Expr;
}

function widen(f: FunctionBuilder, otherwise: Label, { exponent, sign, max, bias, fraction, magnitude }: Parts, to: Place): void {
	f.ifRarely(
		eqz(and(add(exponent, 1), max - 1)),
		() => {
			f.brIf(otherwise, ne(magnitude, 0));
			f.set(to.mantissa, i64(0));
			f.set(to.se, sign);
		},
		() => {
			f.set(to.mantissa, or(fraction, TOP_BIT));
			f.set(to.se, or(sign, add(exponent, BIAS - bias)));
		},
	);
}

/** Branches unless the operand is normal or zero. */
function unlessShort(f: FunctionBuilder, otherwise: Label, { se, mantissa, isShort }: Operand): void {
	if (isShort) return;
	const e = f.let(and(se, EXP_MAX));
	f.brIfRarely(otherwise, or(or(eq(e, EXP_MAX), gtS(mantissa, 0)), ne(eqz(e), eqz(mantissa))));
}

/** Rounds a normalised value into `to`. */
function round(f: FunctionBuilder, otherwise: Label, sign: Expr, exponent: Expr, hi: Expr, lo: Expr, to: Place): Expr {
	const up = f.let(gtU(lo, sub(i64(TOP_BIT), and(hi, 1))));
	const rounded = f.let(add(hi, wide(up)));
	f.brIfRarely(otherwise, geU(sub(exponent, 1), EXP_MAX - 2));
	f.brIfRarely(otherwise, eqz(rounded));
	f.set(to.mantissa, rounded);
	f.set(to.se, or(sign, exponent));
	return f.let(roundingFlags(ne(lo, 0), up));
}

/** a × b. */
export function shortProduct(f: FunctionBuilder, otherwise: Label, a: Operand, b: Operand, to: Place): Expr {
	const sign = f.let(and(xor(a.se, b.se), SIGN));
	const flags = f.temporary("i32");
	f.block((done) => {
		f.block((isZero) => {
			f.brIfRarely(isZero, geS(and(a.mantissa, b.mantissa), 0));
			for (const { se } of [a, b].filter((operand) => !operand.isShort)) f.brIfRarely(otherwise, eqz(unlessEdge(se)));
			const product = mulWide(f, a.mantissa, b.mantissa);
			// The product has 127 or 128 bits.
			const isLong = f.let(ltS(product.hi, 0));
			const hi = f.let(select(isLong, product.hi, or(shl(product.hi, 1), shr(product.lo, 63))));
			const lo = f.let(select(isLong, product.lo, shl(product.lo, 1)));
			const exponent = f.let(add(sub(add(and(a.se, EXP_MAX), and(b.se, EXP_MAX)), BIAS), isLong));
			f.set(flags, round(f, otherwise, sign, exponent, hi, lo, to));
			f.br(done);
		});
		unlessShort(f, otherwise, a);
		unlessShort(f, otherwise, b);
		f.set(to.mantissa, i64(0));
		f.set(to.se, sign);
		f.set(flags, i32(0));
	});
	return f.get(flags);
}

/** a + b. Sums that are zero do not go this way. */
export function shortSum(f: FunctionBuilder, otherwise: Label, a: Operand, b: Operand, to: Place): Expr {
	const exponentA = f.let(and(a.se, EXP_MAX));
	const difference = f.let(sub(exponentA, and(b.se, EXP_MAX)));
	// All ones where b has the larger exponent: it comes first.
	const swap = f.let(sar(difference, 31));
	const distance = f.let(sub(xor(difference, swap), swap));
	const first = f.let(sub(exponentA, and(difference, swap)));
	const exchange = f.let(and(xor(a.mantissa, b.mantissa), wideSigned(swap)));
	const large = f.let(xor(a.mantissa, exchange));
	const small = f.let(xor(b.mantissa, exchange));
	const signs = f.let(and(xor(a.se, b.se), SIGN));
	const sign = f.temporary("i32");
	const exponent = f.temporary("i32");
	const hi = f.temporary("i64");
	const lo = f.temporary("i64");
	f.brIfRarely(otherwise, eqz(unlessEdge(first)));
	f.brIfRarely(otherwise, geS(large, 0));
	f.ifRarely(
		geS(small, 0),
		() => f.brIf(otherwise, or(ne(small, 0), ne(first, distance))),
		() => {
			f.brIfRarely(otherwise, geU(distance, 64));
			f.brIfRarely(otherwise, eq(first, distance));
		},
	);
	f.set(sign, and(xor(a.se, and(signs, swap)), SIGN));
	f.set(exponent, first);
	const n = f.let(wide(distance));
	f.set(lo, shl(shl(small, 1), xor(n, 63)));
	f.set(hi, shr(small, n));
	f.if(
		signs,
		() => {
			f.set(hi, sub(sub(large, f.get(hi)), wide(ne(f.get(lo), 0))));
			f.set(lo, negate(f.get(lo)));
			f.if(and(eqz(distance), ltU(large, small)), () => {
				f.set(hi, negate(f.get(hi)));
				f.set(sign, xor(f.get(sign), SIGN));
			});
			f.brIfRarely(otherwise, eqz(f.get(hi)));
			const zeros = f.let(clz(f.get(hi)));
			f.set(hi, or(shl(f.get(hi), zeros), shr(shr(f.get(lo), 1), xor(zeros, 63))));
			f.set(lo, shl(f.get(lo), zeros));
			f.set(exponent, sub(f.get(exponent), narrow(zeros)));
		},
		() => {
			f.set(hi, add(large, f.get(hi)));
			const carry = f.let(ltU(f.get(hi), large));
			const sticky = or(shr(f.get(lo), 1), and(f.get(lo), 1));
			f.set(lo, select(carry, or(sticky, shl(f.get(hi), 63)), f.get(lo)));
			f.set(hi, select(carry, or(shr(f.get(hi), 1), TOP_BIT), f.get(hi)));
			f.set(exponent, add(f.get(exponent), carry));
		},
	);
	return round(f, otherwise, f.get(sign), f.get(exponent), f.get(hi), f.get(lo), to);
}

/** The value as a double or single, pinned, and its flags. Denormal results do not go this way. */
export function shortStore(f: FunctionBuilder, otherwise: Label, value: Ext, bytes: 4 | 8): { bits: Expr; flags: Expr } {
	const [fractionBits, bias, maxExponent] = bytes === 8 ? [52, 1023, 0x7ff] : [23, 127, 0xff];
	const n = 63 - fractionBits;
	const { se, mantissa } = value;
	const bits = f.temporary("i64");
	const flags = f.temporary("i32");
	const sign = f.let(shl(wide(and(se, SIGN)), fractionBits === 52 ? 48 : 16));
	f.if(
		ne(mantissa, 0),
		() => {
			const e = f.let(sub(and(se, EXP_MAX), BIAS - bias));
			f.brIfRarely(otherwise, or(gtS(mantissa, 0), geU(sub(e, 1), maxExponent - 2)));
			const rest = f.let(and(mantissa, (1n << BigInt(n)) - 1n));
			const up = f.let(gtU(add(rest, and(shr(mantissa, n), 1)), 1n << BigInt(n - 1)));
			const fraction = shr(shl(mantissa, 1), n + 1);
			f.set(bits, or(add(or(fraction, shl(wide(e), fractionBits)), wide(up)), sign));
			f.set(flags, roundingFlags(ne(rest, 0), up));
		},
		() => {
			f.brIfRarely(otherwise, and(se, EXP_MAX));
			f.set(bits, sign);
			f.set(flags, i32(0));
		},
	);
	return { bits: f.get(bits), flags: f.get(flags) };
}
