/** F2XM1. */
import { type Expr, i32, i64 } from "../../wasm/expr.ts";
import { inexact } from "./f80-binary.ts";
import { add, and, BIAS, EXP_MAX, eq, eqz, FSW, geS, ltS, narrow, shr, sub, TOP_BIT, X87 } from "./f80-emit.ts";
import {
	addWide,
	EIGHTH_POWERS,
	FACTORIAL_RECIPROCALS,
	horner,
	LN2_FRACTION,
	mulFraction,
	negateWide,
	normaliseWide,
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
import { reportDenormal, unaryOperand } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

/** 1/2!, 1/3! …: enough for arguments up to ln 2 / 8. */
const SERIES = FACTORIAL_RECIPROCALS.slice(0, 18);

/** (cpu): 2^ST(0) − 1 for −1 ≤ ST(0) ≤ 1. Other values stay, as hardware leaves them. */
defineCore("x87Exponential", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const { slot, value } = unaryOperand(x, calls);
	x.clearC1();
	f.if(eqz(value.mantissa), () => f.return());
	const sign = f.let(signOf(value));
	f.if(eq(exponentOf(value), EXP_MAX), () => {
		f.if(sign, () => x.store(slot, i32(0x8000 | BIAS), i64(TOP_BIT)));
		f.return();
	});
	reportDenormal(x, calls, value);
	f.if(geS(exponentOf(value), BIAS), () => {
		const isOne = f.let(and(eq(exponentOf(value), BIAS), eq(value.mantissa, TOP_BIT)));
		f.if(and(isOne, eqz(sign)), () => {
			// Hardware comes to it from below.
			f.call(calls.index("f80RoundExtended"), [x.cpu, slot, sign, i32(BIAS - 1), i64(-1), i64(-1)]);
			f.return();
		});
		f.if(isOne, () => x.store(slot, i32(0x8000 | (BIAS - 1)), i64(TOP_BIT)));
		f.call(calls.index("f80Raise"), [x.cpu, i32(FSW.PE)], true);
		f.return();
	});
	const v = normalise(x, value);
	const done = (exponent: Expr, w: Wide) => {
		const n = normaliseWide(x, w);
		const r = inexact(x, n.value);
		f.call(calls.index("f80RoundExtended"), [x.cpu, slot, sign, sub(exponent, n.shift), r.hi, r.lo]);
		f.return();
	};
	const significand = { hi: v.mantissa, lo: i64(0) };
	f.if(ltS(v.exponent, BIAS - 3), () => {
		// t ± t²/2! + t³/3! ± …, t = |x| ln 2
		const t = normaliseWide(x, mulFraction(x, significand, wideConstant(LN2_FRACTION)));
		const exponent = f.let(sub(v.exponent, t.shift));
		const fraction = shiftRight(x, t.value, sub(i32(BIAS - 1), exponent));
		const isDown = f.let(shr(sign, 15));
		const series = mulFraction(x, fraction, horner(x, calls, fraction, SERIES, isDown));
		const half = shiftRight(x, t.value, i32(1));
		const part = mulFraction(x, half, series);
		f.if(isDown, () => done(f.let(add(exponent, 1)), subWide(x, half, part)));
		done(f.let(add(exponent, 1)), addWide(x, half, part));
	});
	// 2^x = 2 × 2^(k/8) / 2 × 2^f, f below 1/8; for negative x, 2^x = 2^(1 + x) / 2.
	const fraction = new WideVariable(x, shiftRight(x, significand, sub(i32(BIAS - 1), v.exponent)));
	f.if(sign, () => {
		fraction.value = negateWide(x, fraction.take());
	});
	const whole = fraction.take();
	const k = f.let(narrow(shr(whole.hi, 61)));
	const t = mulFraction(x, pin(x, and(whole.hi, (1n << 61n) - 1n), whole.lo), wideConstant(LN2_FRACTION));
	const growth = addWide(x, t, mulFraction(x, t, mulFraction(x, t, horner(x, calls, t, SERIES, i32(0)))));
	const base = pick(x, EIGHTH_POWERS, k);
	const power = addWide(x, base, mulFraction(x, base, growth));
	f.if(sign, () => done(i32(BIAS - 1), negateWide(x, power)));
	done(i32(BIAS - 1), shiftLeft(x, power, i64(1)));
});
