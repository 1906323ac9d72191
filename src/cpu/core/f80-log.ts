/** FYL2X and FYL2XP1 (SDM Vol. 2A, tables 3-41 to 3-43). */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import { binaryInvalid, binaryOperands, conclude } from "./f80-binary.ts";
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
	ltS,
	ltU,
	ne,
	negate,
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
	HALF_LOG2_E,
	horner,
	isLess,
	isZero,
	mulFraction,
	negateWide,
	normaliseWide,
	ODD_RECIPROCALS,
	pin,
	shiftRight,
	subWide,
	type Wide,
	WideVariable,
	wideConstant,
} from "./f80-fixed.ts";
import { exponentOf, normalise, signOf } from "./f80-special.ts";
import { reportDenormal } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

/** √2 in units of 2^-127. */
const ROOT_2 = 0xb504_f333_f9de_6484_597d_89b3_754a_be9fn;
const ONE_127 = 1n << 127n;

/**
 * (cpu, slot, y, whole, isNegative, s, exponent): stores y × (whole ± log2((1 + s) / (1 − s))), s given by its normalised
 * significand (0: the logarithm is exactly `whole`) and biased exponent.
 */
defineCore("f80LogTail", ["i32", "i32", "i32", "i64", "i32", "i32", "i64", "i64", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const y: Ext = { se: f.param(2), mantissa: f.param(3) };
	const whole = f.param(4);
	const isNegative = f.param(5);
	const s = { hi: f.param(6), lo: f.param(7) };
	const exponent = f.param(8);
	// log2 = 2/ln 2 × s × (1 + s²/3 + s⁴/5 …)
	const fraction = shiftRight(x, s, sub(i32(BIAS - 1), exponent));
	const z = mulFraction(x, fraction, fraction);
	const series = mulFraction(x, z, horner(x, calls, z, ODD_RECIPROCALS, i32(0)));
	const half = shiftRight(x, s, i32(1));
	const log = mulFraction(x, addWide(x, half, mulFraction(x, half, series)), wideConstant(HALF_LOG2_E));
	// In units of 2^-127 × 2^(exponent + 3).
	const significand = new WideVariable(x);
	const resultExponent = x.variable32();
	const sign = x.variable32();
	const sticky = x.variable64(wide(ne(s.hi, 0)));
	f.if(
		eqz(whole),
		() => {
			const n = normaliseWide(x, log);
			significand.value = n.value;
			resultExponent.value = sub(add(exponent, 3), n.shift);
			sign.value = shl(isNegative, 15);
		},
		() => {
			// In units of 2^-112.
			const isDown = f.let(ltS(whole, 0));
			const magnitude = pin(x, shl(wide(select(isDown, negate(whole), whole)), 48), i64(0));
			const part = shiftRight(x, log, sub(i32(BIAS + 127 - 112 - 3), exponent));
			const sum = new WideVariable(x);
			f.if(
				eq(isDown, isNegative),
				() => {
					sum.value = addWide(x, magnitude, part);
				},
				() => {
					sum.value = subWide(x, magnitude, part);
				},
			);
			const n = normaliseWide(x, sum.take());
			significand.value = n.value;
			resultExponent.value = sub(i32(BIAS + 127 - 112), n.shift);
			sign.value = shl(isDown, 15);
		},
	);
	const factor = normalise(x, y);
	const product = normaliseWide(x, mulFraction(x, significand.take(), { hi: factor.mantissa, lo: i64(0) }));
	f.call(calls.index("f80RoundExtended"), [
		x.cpu,
		f.param(1),
		xor(sign.value, signOf(y)),
		sub(add(resultExponent.value, sub(factor.exponent, BIAS - 1)), product.shift),
		product.value.hi,
		or(product.value.lo, sticky.value),
	]);
	// Hardware calls even 1 × log2 8 inexact.
	const isTiny = eqz(exponentOf(x.load(f.param(1))));
	f.call(calls.index("f80Raise"), [x.cpu, or(i32(FSW.PE), select(isTiny, i32(FSW.UE), i32(0)))], true);
});

/** (cpu, slot, y, exponent, m): y × log2 of the normalised m (units of 2^-127) times 2^exponent. */
defineCore("f80Log", ["i32", "i32", "i32", "i64", "i32", "i64", "i64"], undefined, (f, calls) => {
	const x = new X87(f);
	const m = { hi: f.param(5), lo: f.param(6) };
	const whole = x.variable32(f.param(4));
	// s = (m − 1) / (m + 1), or with m/2 and a minus for m above √2.
	const isHigh = f.let(isLess(wideConstant(ROOT_2), m));
	const half = shiftRight(x, m, i32(1));
	const top = new WideVariable(x, subWide(x, m, wideConstant(ONE_127)));
	const bottom = new WideVariable(x, addWide(x, half, wideConstant(1n << 126n)));
	f.if(isHigh, () => {
		whole.value = add(whole.value, 1);
		top.value = negateWide(x, m);
		bottom.value = addWide(x, half, wideConstant(ONE_127));
	});
	const tail = (hi: Expr, lo: Expr, exponent: Expr) => {
		f.call(calls.index("f80LogTail"), [x.cpu, f.param(1), f.param(2), f.param(3), whole.value, isHigh, hi, lo, exponent]);
		f.return();
	};
	f.if(isZero(top.value), () => tail(i64(0), i64(0), i32(0)));
	const n = normaliseWide(x, top.take());
	const s = ratio(x, n.value, bottom.take());
	// Numerator and denominator are counted in units that differ by two.
	tail(s.significand.hi, s.significand.lo, f.let(sub(add(s.exponent, BIAS - 1), n.shift)));
});

/** a / b of normalised values as significand and exponent (0 for a quotient from 1 to 2). */
function ratio(x: X87, a: Wide, b: Wide): { significand: Wide; exponent: Expr } {
	const { f } = x;
	const halves = f.let(eqz(isLess(a, b)));
	const numerator = new WideVariable(x, a);
	f.if(halves, () => {
		numerator.value = shiftRight(x, a, i32(1));
	});
	const n = normaliseWide(x, divideFraction(x, numerator.take(), b));
	return { significand: n.value, exponent: f.let(sub(halves, n.shift)) };
}

const isInfinite = (v: Ext): Expr => eq(exponentOf(v), EXP_MAX);
const infinity = (sign: Expr): Expr => or(sign, EXP_MAX);

/** (cpu): ST(1) × log2 ST(0); pops. */
defineCore("x87Log", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const { slot, first: value, second: y } = binaryOperands(x, calls);
	const invalid = () => binaryInvalid(x, calls, slot);
	const signY = f.let(signOf(y));
	const yIsZero = f.let(eqz(y.mantissa));
	const yIsInfinite = f.let(isInfinite(y));
	f.if(and(ne(signOf(value), 0), ne(value.mantissa, 0)), invalid);
	f.if(eqz(value.mantissa), () => {
		f.if(yIsZero, invalid);
		f.if(eqz(yIsInfinite), () => {
			x.clearC1();
			f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.ZE)]), () => f.return());
		});
		conclude(x, slot, xor(infinity(signY), 0x8000), i64(TOP_BIT));
	});
	const isOne = f.let(and(eq(value.se, BIAS), eq(value.mantissa, TOP_BIT)));
	f.if(isInfinite(value), () => {
		f.if(yIsZero, invalid);
		reportDenormal(x, calls, y);
		conclude(x, slot, infinity(signY), i64(TOP_BIT));
	});
	f.if(and(isOne, yIsInfinite), invalid);
	reportDenormal(x, calls, value, y);
	const isBelow = f.let(ltU(value.se, BIAS));
	const sign = f.let(xor(signY, shl(isBelow, 15)));
	f.if(yIsInfinite, () => conclude(x, slot, infinity(sign), i64(TOP_BIT)));
	f.if(or(isOne, yIsZero), () => conclude(x, slot, sign, i64(0)));
	const v = normalise(x, value);
	f.call(calls.index("f80Log"), [x.cpu, slot, y.se, y.mantissa, sub(v.exponent, BIAS), v.mantissa, i64(0)]);
	x.pop();
});

/** (cpu): ST(1) × log2(ST(0) + 1); pops. Beyond the range the manual allows too, as long as the logarithm exists. */
defineCore("x87LogPlusOne", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const { slot, first: value, second: y } = binaryOperands(x, calls);
	const invalid = () => binaryInvalid(x, calls, slot);
	const sign = f.let(xor(signOf(value), signOf(y)));
	const yIsZero = f.let(eqz(y.mantissa));
	const yIsInfinite = f.let(isInfinite(y));
	const isNegative = f.let(shr(signOf(value), 15));
	f.if(isInfinite(value), () => {
		f.if(or(yIsZero, isNegative), invalid);
		reportDenormal(x, calls, y);
		conclude(x, slot, infinity(sign), i64(TOP_BIT));
	});
	f.if(and(yIsInfinite, eqz(value.mantissa)), invalid);
	reportDenormal(x, calls, value, y);
	f.if(yIsInfinite, () => conclude(x, slot, infinity(sign), i64(TOP_BIT)));
	f.if(or(yIsZero, eqz(value.mantissa)), () => conclude(x, slot, sign, i64(0)));
	const v = normalise(x, value);
	const e = f.let(sub(v.exponent, BIAS));
	const significand = { hi: v.mantissa, lo: i64(0) };
	// From −1 down there is no logarithm; hardware hands the argument back.
	f.if(and(isNegative, geS(e, 0)), () => {
		f.call(calls.index("f80Raise"), [x.cpu, i32(FSW.PE)], true);
		conclude(x, slot, value.se, value.mantissa);
	});
	f.if(ltS(e, -2), () => {
		// s = x / (2 + x)
		const part = shiftRight(x, significand, sub(i32(1), e));
		const bottom = new WideVariable(x, addWide(x, wideConstant(ONE_127), part));
		f.if(isNegative, () => {
			bottom.value = subWide(x, wideConstant(ONE_127), part);
		});
		const b = normaliseWide(x, bottom.take());
		const s = ratio(x, significand, b.value);
		const exponent = add(add(s.exponent, v.exponent), sub(b.shift, 1));
		f.call(calls.index("f80LogTail"), [x.cpu, slot, y.se, y.mantissa, i32(0), isNegative, s.significand.hi, s.significand.lo, exponent]);
		x.pop();
		f.return();
	});
	// 1 + x outright.
	const sum = new WideVariable(x, significand);
	const whole = x.variable32(e);
	f.if(
		isNegative,
		() => {
			const n = normaliseWide(x, subWide(x, wideConstant(ONE_127), shiftRight(x, significand, negate(e))));
			sum.value = n.value;
			whole.value = negate(n.shift);
		},
		() =>
			f.if(
				ltS(e, 0),
				() => {
					sum.value = addWide(x, wideConstant(ONE_127), shiftRight(x, significand, negate(e)));
					whole.value = i32(0);
				},
				() => {
					const added = addWide(x, significand, shiftRight(x, wideConstant(ONE_127), e));
					sum.value = added;
					f.if(geS(added.hi, 0), () => {
						const shifted = shiftRight(x, added, i32(1));
						sum.value = pin(x, or(shifted.hi, TOP_BIT), shifted.lo);
						whole.value = add(e, 1);
					});
				},
			),
	);
	f.call(calls.index("f80Log"), [x.cpu, slot, y.se, y.mantissa, whole.value, sum.value.hi, sum.value.lo]);
	x.pop();
});
