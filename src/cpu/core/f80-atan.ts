/** FPATAN (SDM Vol. 2A, FPATAN, table 3-30). */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { binaryOperands, inexact } from "./f80-binary.ts";
import {
	add,
	and,
	BIAS,
	EXP_MAX,
	type Ext,
	eq,
	eqz,
	gtS,
	gtU,
	ltS,
	ltU,
	mul,
	mulWide,
	narrow,
	or,
	shl,
	shr,
	sub,
	wide,
	X87,
} from "./f80-emit.ts";
import {
	ARCTANGENTS,
	addWide,
	divideFraction,
	horner,
	isLess,
	mulFraction,
	normaliseWide,
	ODD_RECIPROCALS,
	PI_EIGHTH,
	pick,
	pin,
	shiftLeft,
	shiftRight,
	subWide,
	type Wide,
	WideVariable,
	wideConstant,
} from "./f80-fixed.ts";
import { exponentOf, normalise, signOf } from "./f80-special.ts";
import { reportDenormal } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

/** 1/3, 1/5 …: enough for arguments up to 1/32. */
const SERIES = ODD_RECIPROCALS.slice(0, 12);

/** v × (1 − z/3 + z²/5 …), z the square of what v stands for, v in any unit. */
function series(x: X87, calls: Callables, v: Wide, z: Wide): Wide {
	const rest = mulFraction(x, z, horner(x, calls, z, SERIES, i32(1)));
	return subWide(x, v, mulFraction(x, v, rest));
}

/** (cpu, slot, sign, isObtuse, isSteep, exponent, hi, lo): the angle whose tangent (or cotangent, steep) is given, at most 1. */
defineCore("f80Arctangent", ["i32", "i32", "i32", "i32", "i32", "i32", "i64", "i64"], undefined, (f, calls) => {
	const x = new X87(f);
	const [isObtuse, isSteep, exponent] = [f.param(3), f.param(4), f.param(5)];
	const significand = { hi: f.param(6), lo: f.param(7) };
	const done = (e: Expr, w: Wide) => {
		const v = inexact(x, w);
		f.call(calls.index("f80RoundExtended"), [x.cpu, f.param(1), f.param(2), e, v.hi, v.lo]);
		f.return();
	};
	// The angle in units of 2^-128; for tangents below 1/32 straight from the series.
	const angle = new WideVariable(x);
	f.if(
		ltS(exponent, BIAS - 5),
		() => {
			const fraction = shiftRight(x, significand, sub(i32(BIAS - 1), exponent));
			const z = mulFraction(x, fraction, fraction);
			f.if(eqz(or(isObtuse, isSteep)), () => {
				const less = subWide(x, series(x, calls, significand, z), { hi: i64(0), lo: i64(1) });
				const n = normaliseWide(x, less);
				done(sub(exponent, n.shift), n.value);
			});
			angle.value = series(x, calls, fraction, z);
		},
		() => {
			// atan t = atan c + atan ((t − c) / (1 + t c)) with c = k/16 next to t.
			const t = shiftRight(x, significand, sub(i32(BIAS), exponent));
			const k = f.let(shr(add(t.hi, 1n << 58n), 59));
			const c = pin(x, shl(k, 59), i64(0));
			const isBelow = f.let(isLess(t, c));
			const difference = new WideVariable(x, subWide(x, t, c));
			f.if(isBelow, () => {
				difference.value = subWide(x, c, t);
			});
			const part = shiftRight(x, t, i32(5));
			const low = mulWide(f, part.lo, k);
			const product = pin(x, add(low.hi, mul(part.hi, k)), low.lo);
			const bottom = normaliseWide(x, addWide(x, product, wideConstant(1n << 126n)));
			const ratio = divideFraction(x, difference.take(), bottom.value);
			const u = shiftLeft(x, ratio, f.let(wide(bottom.shift)));
			const a = series(x, calls, u, mulFraction(x, u, u));
			const base = pick(x, ARCTANGENTS, f.let(narrow(k)));
			f.if(
				isBelow,
				() => {
					angle.value = subWide(x, base, a);
				},
				() => {
					angle.value = addWide(x, base, a);
				},
			);
			f.if(eqz(or(isObtuse, isSteep)), () => {
				const n = normaliseWide(x, angle.take());
				done(sub(i32(BIAS - 1), n.shift), n.value);
			});
		},
	);
	// π and π/2 in units of 2^-125.
	const small = shiftRight(x, angle.take(), i32(3));
	const result = new WideVariable(x);
	f.if(
		isSteep,
		() => {
			const right = wideConstant(PI_EIGHTH >> 1n);
			f.if(
				isObtuse,
				() => {
					result.value = addWide(x, right, small);
				},
				() => {
					result.value = subWide(x, right, small);
				},
			);
		},
		() => {
			result.value = subWide(x, wideConstant(PI_EIGHTH), small);
		},
	);
	const n = normaliseWide(x, result.take());
	done(sub(i32(BIAS + 2), n.shift), n.value);
});

/** (cpu): ST(1) becomes the angle of the point (ST(0), ST(1)); pops. */
defineCore("x87Arctangent", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const { slot, first: abscissa, second: ordinate } = binaryOperands(x, calls);
	const sign = f.let(signOf(ordinate));
	const isObtuse = f.let(shr(signOf(abscissa), 15));
	const isInfinite = (v: Ext) => eq(exponentOf(v), EXP_MAX);
	const angle = (isSteep: Expr, exponent: Expr, hi: Expr, lo: Expr) => {
		f.call(calls.index("f80Arctangent"), [x.cpu, slot, sign, isObtuse, isSteep, exponent, hi, lo]);
		x.pop();
		f.return();
	};
	reportDenormal(x, calls, abscissa, ordinate);
	x.clearC1();
	const farX = f.let(isInfinite(abscissa));
	const farY = f.let(isInfinite(ordinate));
	f.if(and(farX, farY), () => angle(i32(0), i32(BIAS), i64(1n << 63n), i64(0)));
	// A quotient of nothing: along the axis to the right exactly 0, else as if it were next to nothing.
	const flat = f.let(or(farX, eqz(ordinate.mantissa)));
	f.if(and(flat, eqz(isObtuse)), () => {
		x.store(slot, sign, i64(0));
		x.pop();
		f.return();
	});
	const tiny: [Expr, Expr, Expr] = [i32(-0x10000), i64(1n << 63n), i64(0)];
	f.if(flat, () => angle(i32(0), ...tiny));
	f.if(or(farY, eqz(abscissa.mantissa)), () => angle(i32(1), ...tiny));
	const a = normalise(x, abscissa);
	const b = normalise(x, ordinate);
	const isSteep = f.let(or(gtS(b.exponent, a.exponent), and(eq(b.exponent, a.exponent), gtU(b.mantissa, a.mantissa))));
	const top = f.let(select(isSteep, a.mantissa, b.mantissa));
	const bottom = f.let(select(isSteep, b.mantissa, a.mantissa));
	const difference = f.let(sub(a.exponent, b.exponent));
	const distance = f.let(select(isSteep, difference, sub(i32(0), difference)));
	const halves = f.let(eqz(ltU(top, bottom)));
	const numerator = pin(x, select(halves, shr(top, 1), top), select(halves, shl(top, 63), i64(0)));
	const n = normaliseWide(x, divideFraction(x, numerator, { hi: bottom, lo: i64(0) }));
	angle(isSteep, f.let(sub(add(add(distance, BIAS), halves), n.shift)), n.value.hi, n.value.lo);
});
