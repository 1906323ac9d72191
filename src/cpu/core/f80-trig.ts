/**
 * FSIN, FCOS, FSINCOS, FPTAN (SDM Vol. 1 §8.3.7, §8.3.8 "Approximation of Pi"). Arguments are reduced exactly by a π of 66
 * bits, as x87 hardware does it; after that errors stay far below the last place, so results are rounded right.
 */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { inexact } from "./f80-binary.ts";
import {
	add,
	and,
	BIAS,
	EXP_MAX,
	type Ext,
	eq,
	eqz,
	FSW,
	geS,
	geU,
	gtU,
	INDEFINITE_MANTISSA,
	INDEFINITE_SE,
	ltS,
	mul,
	mulWide,
	narrow,
	or,
	shl,
	shr,
	sub,
	TOP_BIT,
	wide,
	X87,
	xor,
} from "./f80-emit.ts";
import {
	addWide,
	divideFraction,
	FACTORIAL_RECIPROCALS,
	horner,
	isLess,
	mulFraction,
	negateWide,
	normaliseWide,
	pin,
	shiftLeft,
	shiftRight,
	subWide,
	type Wide,
	WideVariable,
} from "./f80-fixed.ts";
import { divideWide } from "./f80-mul.ts";
import { exponentOf, isDenormal, isNan, isUnsupported, normalise, signOf } from "./f80-special.ts";
import { defineCore } from "./registry.ts";

/** π/2 in units of 2^-65: the 66 bits, 4 × this + 3. */
const HALF_PI_TOP = 0xc90f_daa2_2168_c234n;
const HALF_PI_LOW = 3n;

/** 1/3!, 1/5! … and 1/2!, 1/4! …: enough terms for arguments up to π/4. */
const SINE = FACTORIAL_RECIPROCALS.filter((_, i) => i % 2 === 1).slice(0, 13);
const COSINE = FACTORIAL_RECIPROCALS.filter((_, i) => i % 2 === 0).slice(0, 14);

/** A positive value: `significand` normalised, exponent biased. */
interface Positive {
	readonly significand: Wide;
	readonly exponent: Expr;
}

/** Never 0: 64 bits have no factor of 66. */
interface Reduced extends Positive {
	/** 1 if the remainder is negative (for a positive argument). */
	readonly isNegative: Expr;
	/** Multiples of π/2 taken away, modulo 4. */
	readonly quadrant: Expr;
}

/** |value| below 2^63 to a remainder within ±π/4. */
function reduce(x: X87, v: { exponent: Expr; mantissa: Expr }): Reduced {
	const { f } = x;
	const significand = new WideVariable(x, { hi: v.mantissa, lo: i64(0) });
	const exponent = x.variable32(v.exponent);
	const isNegative = x.variable32(i32(0));
	const quadrant = x.variable32(i32(0));
	// Below 1/2 nothing needs to be done.
	f.if(geS(v.exponent, BIAS - 1), () => {
		// The argument in units of 2^-65, divided by π/2 with its last two bits left off: at most one too much.
		const up = f.let(sub(v.exponent, BIAS - 2));
		const whole = new WideVariable(x, { hi: i64(0), lo: v.mantissa });
		f.if(
			geU(up, 64),
			() => {
				whole.value = { hi: shl(v.mantissa, wide(sub(up, 64))), lo: i64(0) };
			},
			() => {
				whole.value = shiftLeft(x, { hi: i64(0), lo: v.mantissa }, f.let(wide(up)));
			},
		);
		const w = whole.take();
		const d = i64(HALF_PI_TOP);
		const quotient = x.variable64(divideWide(x, f.let(shr(w.hi, 2)), f.let(or(shr(w.lo, 2), shl(w.hi, 62))), d).quotient);
		const halfPi = (count: Expr): Wide => {
			const top = shiftLeft(x, mulWide(f, count, d), i64(2));
			const low = f.let(mul(count, HALF_PI_LOW));
			const three = pin(x, wide(gtU(count, low)), low);
			return addWide(x, top, three);
		};
		const rest = new WideVariable(x, subWide(x, w, halfPi(quotient.value)));
		const unit = { hi: i64(HALF_PI_TOP >> 62n), lo: i64(BigInt.asIntN(64, (HALF_PI_TOP << 2n) | HALF_PI_LOW)) };
		f.if(ltS(rest.value.hi, 0), () => {
			quotient.value = sub(quotient.value, 1);
			rest.value = addWide(x, rest.take(), unit);
		});
		const other = subWide(x, unit, rest.take());
		f.if(isLess(other, rest.value), () => {
			rest.value = other;
			quotient.value = add(quotient.value, 1);
			isNegative.value = i32(1);
		});
		quadrant.value = and(narrow(quotient.value), 3);
		const n = normaliseWide(x, rest.take());
		significand.value = n.value;
		exponent.value = sub(i32(BIAS + 127 - 65), n.shift);
	});
	return {
		significand: significand.take(),
		exponent: f.let(exponent.value),
		isNegative: f.let(isNegative.value),
		quadrant: f.let(quadrant.value),
	};
}

/** The square of a value below 1 as a fraction of 2^128. */
function square(x: X87, v: Positive): Wide {
	const fraction = shiftRight(x, v.significand, sub(i32(BIAS - 1), v.exponent));
	return mulFraction(x, fraction, fraction);
}

/** r × (1 − r²/3! + r⁴/5! …) */
function sine(x: X87, calls: Callables, r: Positive, z: Wide): Positive {
	const series = mulFraction(x, z, horner(x, calls, z, SINE, i32(1)));
	const less = mulFraction(x, r.significand, addWide(x, series, { hi: i64(0), lo: i64(1) }));
	const n = normaliseWide(x, subWide(x, r.significand, addWide(x, less, { hi: i64(0), lo: i64(1) })));
	return { significand: inexact(x, n.value), exponent: x.f.let(sub(r.exponent, n.shift)) };
}

/** 1 − r²/2! + r⁴/4! … */
function cosine(x: X87, calls: Callables, z: Wide): Positive {
	const series = mulFraction(x, z, horner(x, calls, z, COSINE, i32(1)));
	const value = negateWide(x, addWide(x, series, { hi: i64(0), lo: i64(1) }));
	return { significand: inexact(x, value), exponent: i32(BIAS - 1) };
}

/** (cpu, slot, se, mantissa, which): the sine (0) or cosine (1) of a nonzero argument below 2^63, rounded, into the slot. */
defineCore("f80SineCosine", ["i32", "i32", "i32", "i64", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const value: Ext = { se: f.param(2), mantissa: f.param(3) };
	const r = reduce(x, normalise(x, value));
	const z = square(x, r);
	// cos a = sin (a + π/2)
	const quadrant = f.let(and(add(r.quadrant, f.param(4)), 3));
	const significand = new WideVariable(x);
	const exponent = x.variable32();
	const sign = x.variable32(shl(shr(quadrant, 1), 15));
	const isCosine = f.let(and(quadrant, 1));
	f.if(
		isCosine,
		() => {
			const c = cosine(x, calls, z);
			significand.value = c.significand;
			exponent.value = c.exponent;
		},
		() => {
			const s = sine(x, calls, r, z);
			significand.value = s.significand;
			exponent.value = s.exponent;
			sign.value = xor(sign.value, shl(r.isNegative, 15));
		},
	);
	f.if(eqz(f.param(4)), () => {
		sign.value = xor(sign.value, signOf(value));
	});
	const args = [x.cpu, f.param(1), sign.value, exponent.value, significand.value.hi, significand.value.lo];
	f.call(calls.index("f80RoundExtended"), args);
});

/** (cpu, slot, se, mantissa): the tangent. */
defineCore("f80Tangent", ["i32", "i32", "i32", "i64"], undefined, (f, calls) => {
	const x = new X87(f);
	const value: Ext = { se: f.param(2), mantissa: f.param(3) };
	const r = reduce(x, normalise(x, value));
	const z = square(x, r);
	const s = sine(x, calls, r, z);
	const c = cosine(x, calls, z);
	// sin / cos, or −cos / sin in odd quadrants.
	const isOdd = f.let(and(r.quadrant, 1));
	const choose = (a: Wide, b: Wide): Wide => pin(x, select(isOdd, b.hi, a.hi), select(isOdd, b.lo, a.lo));
	const top = choose(s.significand, c.significand);
	const bottom = choose(c.significand, s.significand);
	const difference = f.let(sub(s.exponent, c.exponent));
	const isShort = f.let(isLess(top, bottom));
	const numerator = new WideVariable(x, top);
	f.if(eqz(isShort), () => {
		numerator.value = pin(x, shr(top.hi, 1), or(shr(top.lo, 1), shl(top.hi, 63)));
	});
	const quotient = normaliseWide(x, divideFraction(x, numerator.take(), bottom));
	const exponent = add(add(select(isOdd, sub(i32(0), difference), difference), BIAS), eqz(isShort));
	const sign = xor(signOf(value), shl(xor(isOdd, r.isNegative), 15));
	const w = inexact(x, quotient.value);
	f.call(calls.index("f80RoundExtended"), [x.cpu, f.param(1), sign, sub(exponent, quotient.shift), w.hi, w.lo]);
});

const UNKNOWN: Ext = { se: i32(INDEFINITE_SE), mantissa: i64(INDEFINITE_MANTISSA) };

/**
 * What the four have in common. `pushes`: a second result goes on top of the first; `compute` gets slots for the two. Zero,
 * ∞, NaN, empty and full registers are answered here, |arguments| from 2^63 refused with C2.
 */
function trigonometric(
	x: X87,
	calls: Callables,
	pushes: boolean,
	zero: { readonly first: (value: Ext) => Ext; readonly second?: Ext },
	compute: (value: Ext, first: Expr, second: Expr) => void,
): void {
	const { f } = x;
	const top = f.let(x.field("ftop"));
	const next = x.physical(top, -1);
	const slot = x.slot(top);
	const slotNext = x.slot(next);
	const raiseOrReturn = (flags: number) => f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(flags)]), () => f.return());
	const finish = (first?: Ext, second?: Ext) => {
		if (first !== undefined) x.store(slot, first.se, first.mantissa);
		x.markValid(top);
		if (pushes) {
			if (second !== undefined) x.store(slotNext, second.se, second.mantissa);
			x.markValid(next);
			x.setField("ftop", next);
		}
		f.return();
	};
	const isEmpty = f.let(x.isEmpty(top));
	x.setField("fsw", and(x.field("fsw"), ~(FSW.C1 | FSW.C2)));
	f.if(isEmpty, () => {
		raiseOrReturn(FSW.IE | FSW.SF);
		finish(UNKNOWN, UNKNOWN);
	});
	if (pushes)
		f.if(eqz(x.isEmpty(next)), () => {
			raiseOrReturn(FSW.IE | FSW.SF | FSW.C1);
			finish(UNKNOWN, UNKNOWN);
		});
	const value = x.load(slot);
	f.if(isUnsupported(value), () => {
		raiseOrReturn(FSW.IE);
		finish(UNKNOWN, UNKNOWN);
	});
	f.if(isNan(value), () => {
		const stopped = f.callLet(calls.index("f80Nan"), "i32", [x.cpu, slot, value.se, value.mantissa, value.se, value.mantissa]);
		f.if(stopped, () => f.return());
		finish(undefined, x.load(slot));
	});
	f.if(eq(exponentOf(value), EXP_MAX), () => {
		raiseOrReturn(FSW.IE);
		finish(UNKNOWN, UNKNOWN);
	});
	f.if(eqz(value.mantissa), () => finish(zero.first(value), zero.second));
	f.if(isDenormal(value), () => raiseOrReturn(FSW.DE));
	f.if(geS(exponentOf(value), BIAS + 63), () => {
		x.setField("fsw", or(x.field("fsw"), FSW.C2));
		f.return();
	});
	compute(value, slot, slotNext);
	finish();
}

const PLUS_ONE: Ext = { se: i32(BIAS), mantissa: i64(TOP_BIT) };

defineCore("x87Sine", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	trigonometric(x, calls, false, { first: (value) => value }, (value, slot) =>
		f.call(calls.index("f80SineCosine"), [x.cpu, slot, value.se, value.mantissa, i32(0)]),
	);
});

defineCore("x87Cosine", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	trigonometric(x, calls, false, { first: () => PLUS_ONE }, (value, slot) =>
		f.call(calls.index("f80SineCosine"), [x.cpu, slot, value.se, value.mantissa, i32(1)]),
	);
});

defineCore("x87SineCosine", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	trigonometric(x, calls, true, { first: (value) => value, second: PLUS_ONE }, (value, slot, next) => {
		f.call(calls.index("f80SineCosine"), [x.cpu, next, value.se, value.mantissa, i32(1)]);
		f.call(calls.index("f80SineCosine"), [x.cpu, slot, value.se, value.mantissa, i32(0)]);
	});
});

defineCore("x87Tangent", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	trigonometric(x, calls, true, { first: (value) => value, second: PLUS_ONE }, (value, slot, next) => {
		f.call(calls.index("f80Tangent"), [x.cpu, slot, value.se, value.mantissa]);
		x.store(next, PLUS_ONE.se, PLUS_ONE.mantissa);
	});
});
