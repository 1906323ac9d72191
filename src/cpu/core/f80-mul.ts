/** Multiplication, division and square root of normalised values. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import type { Normal } from "./f80-add.ts";
import {
	add,
	and,
	BIAS,
	divU,
	eqz,
	geU,
	gtU,
	ltS,
	ltU,
	mul,
	mulWide,
	narrow,
	ne,
	or,
	shl,
	shr,
	sub,
	TOP_BIT,
	wide,
	X87,
	xor,
} from "./f80-emit.ts";
import { finish } from "./f80-round.ts";
import { defineCore } from "./registry.ts";

export function mulNormal(x: X87, calls: Callables, slot: Expr, a: Normal, b: Normal): void {
	const { f } = x;
	const product = mulWide(f, a.mantissa, b.mantissa);
	// The product has 127 or 128 bits.
	const n = f.let(xor(shr(product.hi, 63), 1));
	const hi = f.let(or(shl(product.hi, n), and(shr(product.lo, 63), n)));
	const lo = f.let(shl(product.lo, n));
	const exponent = f.let(sub(sub(add(a.exponent, b.exponent), BIAS - 1), narrow(n)));
	finish(x, calls, slot, f.let(xor(a.sign, b.sign)), exponent, hi, lo);
}

/**
 * 64 bits of hi:low-zero / d and the remainder, d with its top bit set and hi < d: two digits of 32 bits, each estimated from
 * the divisor's upper half and put right at most twice (Knuth, The Art of Computer Programming 2, §4.3.1, algorithm D).
 */
export function divideWide(x: X87, hi: Expr, lowBits: Expr, d: Expr): { quotient: Expr; remainder: Expr } {
	const { f } = x;
	const dHigh = f.let(shr(d, 32));
	const dLow = f.let(and(d, 0xffff_ffffn));
	const digit = (rest: Expr, next: Expr): { q: Expr; rest: Expr } => {
		const q = x.variable64(divU(rest, dHigh));
		// rest − q × dHigh, then the next digit: it may be short by q × dLow.
		const r = x.variable64(sub(rest, mul(q.value, dHigh)));
		f.loop((again) => {
			f.if(and(eqz(shr(r.value, 32)), or(ne(shr(q.value, 32), 0), gtU(mul(q.value, dLow), or(shl(r.value, 32), next)))), () => {
				q.value = sub(q.value, 1);
				r.value = add(r.value, dHigh);
				f.br(again);
			});
		});
		const pinned = f.let(q.value);
		return { q: pinned, rest: f.let(sub(or(shl(rest, 32), next), mul(pinned, d))) };
	};
	const first = digit(hi, f.let(shr(lowBits, 32)));
	const second = digit(first.rest, f.let(and(lowBits, 0xffff_ffffn)));
	return { quotient: f.let(or(shl(first.q, 32), second.q)), remainder: second.rest };
}

export function divNormal(x: X87, calls: Callables, slot: Expr, a: Normal, b: Normal): void {
	const { f } = x;
	const isLess = f.let(ltU(a.mantissa, b.mantissa));
	// a/2 where a ≥ b, so that the quotient has 64 bits either way.
	const hi = f.let(select(isLess, a.mantissa, shr(a.mantissa, 1)));
	const low = f.let(select(isLess, i64(0), shl(a.mantissa, 63)));
	const { quotient, remainder } = divideWide(x, hi, low, b.mantissa);
	const exponent = f.let(sub(add(sub(a.exponent, b.exponent), BIAS), isLess));
	const twice = f.let(shl(remainder, 1));
	const isAboveHalf = or(ltS(remainder, 0), geU(twice, b.mantissa));
	const lo = f.let(or(select(isAboveHalf, i64(TOP_BIT), i64(0)), wide(ne(remainder, 0))));
	finish(x, calls, slot, f.let(xor(a.sign, b.sign)), exponent, quotient, lo);
}

const params = ["i32", "i32", "i32", "i32", "i64", "i32", "i64"] as const;

/** (cpu, slot, sign, exponentA, mantissaA, exponentB, mantissaB): a × b. */
defineCore("f80MulNormal", params, undefined, (f, calls) => {
	const [slot, a, b] = operands(f);
	mulNormal(new X87(f), calls, slot, a, b);
});

/** As f80MulNormal: a ÷ b. */
defineCore("f80DivNormal", params, undefined, (f, calls) => {
	const [slot, a, b] = operands(f);
	divNormal(new X87(f), calls, slot, a, b);
});

function operands(f: X87["f"]): [Expr, Normal, Normal] {
	return [
		f.param(1),
		{ sign: f.param(2), exponent: f.param(3), mantissa: f.param(4) },
		{ sign: i32(0), exponent: f.param(5), mantissa: f.param(6) },
	];
}
