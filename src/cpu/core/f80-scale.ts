/** FSCALE and FXTRACT. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import {
	add,
	and,
	BIAS,
	clz,
	EXP_MAX,
	type Ext,
	eq,
	eqz,
	FSW,
	geS,
	INDEFINITE_MANTISSA,
	INDEFINITE_SE,
	ltS,
	narrow,
	ne,
	negate,
	or,
	shl,
	shr,
	sub,
	TOP_BIT,
	wide,
	X87,
} from "./f80-emit.ts";
import { exponentOf, isNan, isSignalling, isUnsupported, normalise, signOf } from "./f80-special.ts";
import { answerInvalid, answerNan, reportDenormal } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

const isInfinite = (v: Ext): Expr => and(eq(exponentOf(v), EXP_MAX), eqz(shl(v.mantissa, 1)));

/** (cpu): ST(0) × 2^trunc(ST(1)); the precision control does not count. */
defineCore("x87Scale", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const other = x.physical(top, 1);
	f.if(or(x.isEmpty(top), x.isEmpty(other)), () => {
		f.call(calls.index("x87Underflow"), [x.cpu, top], true);
		f.return();
	});
	const slot = x.slot(top);
	const value = x.load(slot);
	const scale = x.load(x.slot(other));
	answerNan(x, calls, slot, value, scale);
	const done = (se: Expr, mantissa: Expr) => {
		x.clearC1();
		x.store(slot, se, mantissa);
		f.return();
	};
	f.if(isInfinite(scale), () => {
		const isDown = f.let(signOf(scale));
		f.if(select(isDown, isInfinite(value), eqz(value.mantissa)), () => answerInvalid(x, calls, slot));
		reportDenormal(x, calls, value);
		f.if(isDown, () => done(signOf(value), i64(0)));
		done(or(signOf(value), EXP_MAX), i64(TOP_BIT));
	});
	reportDenormal(x, calls, value, scale);
	f.if(or(isInfinite(value), eqz(value.mantissa)), () => done(value.se, value.mantissa));
	// Beyond ±2^16 the result is out of range whatever the value.
	const e = f.let(sub(exponentOf(scale), BIAS));
	const magnitude = narrow(shr(scale.mantissa, wide(sub(i32(63), e))));
	const amount = f.let(select(ltS(e, 0), i32(0), select(geS(e, 16), i32(0x10000), magnitude)));
	const v = normalise(x, value);
	const exponent = add(v.exponent, select(signOf(scale), negate(amount), amount));
	f.call(calls.index("f80RoundExtended"), [x.cpu, slot, signOf(value), exponent, v.mantissa, i64(0)]);
});

/** (cpu): ST(0) becomes its exponent, then its significand is pushed. */
defineCore("x87Extract", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const next = x.physical(top, -1);
	const slot = x.slot(top);
	const slotNext = x.slot(next);
	const both = (exponent: Ext, significand: Ext) => {
		x.store(slot, exponent.se, exponent.mantissa);
		x.store(slotNext, significand.se, significand.mantissa);
		x.markValid(top);
		x.markValid(next);
		x.setField("ftop", next);
		f.return();
	};
	const indefinite: Ext = { se: i32(INDEFINITE_SE), mantissa: i64(INDEFINITE_MANTISSA) };
	const raiseOrReturn = (flags: number) => f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(flags)]), () => f.return());
	const isEmpty = f.let(x.isEmpty(top));
	x.clearC1();
	f.if(isEmpty, () => {
		raiseOrReturn(FSW.IE | FSW.SF);
		both(indefinite, indefinite);
	});
	f.if(eqz(x.isEmpty(next)), () => {
		raiseOrReturn(FSW.IE | FSW.SF | FSW.C1);
		both(indefinite, indefinite);
	});
	const value = x.load(slot);
	f.if(isUnsupported(value), () => {
		raiseOrReturn(FSW.IE);
		both(indefinite, indefinite);
	});
	f.if(isNan(value), () => {
		f.if(isSignalling(value), () => raiseOrReturn(FSW.IE));
		const quiet: Ext = { se: value.se, mantissa: f.let(or(value.mantissa, 1n << 62n)) };
		both(quiet, quiet);
	});
	f.if(isInfinite(value), () => both({ se: i32(EXP_MAX), mantissa: i64(TOP_BIT) }, value));
	f.if(eqz(value.mantissa), () => {
		raiseOrReturn(FSW.ZE);
		both({ se: i32(0x8000 | EXP_MAX), mantissa: i64(TOP_BIT) }, value);
	});
	reportDenormal(x, calls, value);
	const v = normalise(x, value);
	const e = f.let(sub(v.exponent, BIAS));
	const isNegative = f.let(ltS(e, 0));
	const magnitude = f.let(wide(select(isNegative, negate(e), e)));
	const n = f.let(clz(magnitude));
	const se = f.let(select(ne(e, 0), or(shl(isNegative, 15), sub(i32(BIAS + 63), narrow(n))), i32(0)));
	both({ se, mantissa: f.let(shl(magnitude, n)) }, { se: f.let(or(signOf(value), BIAS)), mantissa: v.mantissa });
});
