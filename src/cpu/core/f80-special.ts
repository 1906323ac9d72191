/** Operands that ordinary arithmetic does not meet: NaN, ∞, zero, denormals, encodings that no longer exist. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import {
	add,
	and,
	clz,
	EXP_MAX,
	type Ext,
	eq,
	eqz,
	FSW,
	geS,
	gtU,
	ltS,
	ltU,
	narrow,
	ne,
	or,
	shl,
	shr,
	sub,
	TOP_BIT,
	type Variable,
	X87,
	xor,
} from "./f80-emit.ts";
import { defineCore } from "./registry.ts";

const QUIET_BIT = 1n << 62n;

export const exponentOf = (v: Ext): Expr => and(v.se, EXP_MAX);
export const signOf = (v: Ext): Expr => and(v.se, 0x8000);
/** Unnormals, pseudo-infinities and pseudo-NaNs (SDM Vol. 1 §8.2.2): a biased exponent, but no integer bit. */
export const isUnsupported = (v: Ext): Expr => and(ne(exponentOf(v), 0), geS(v.mantissa, 0));
/** For supported values. */
export const isNan = (v: Ext): Expr => and(eq(exponentOf(v), EXP_MAX), ne(shl(v.mantissa, 1), 0));
export const isSignalling = (v: Ext): Expr => and(isNan(v), eqz(and(v.mantissa, QUIET_BIT)));
export const isDenormal = (v: Ext): Expr => and(eqz(exponentOf(v)), ne(v.mantissa, 0));

/** (cpu, slot) → 1 if the invalid operation is unmasked (nothing stored), else 0 with the indefinite stored. */
defineCore("f80Invalid", ["i32", "i32"], "i32", (f, calls) => {
	const x = new X87(f);
	x.clearC1();
	const unmasked = f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE)]);
	f.if(unmasked, () => f.return(i32(1)));
	x.storeIndefinite(f.param(1));
	f.return(i32(0));
});

/**
 * (cpu, slot, a, b) with at least one NaN → as f80Invalid. Which NaN results: SDM Vol. 1 table 4-7, "Rules for Handling NaNs";
 * equal significands leave the positive one.
 */
defineCore("f80Nan", ["i32", "i32", "i32", "i64", "i32", "i64"], "i32", (f, calls) => {
	const x = new X87(f);
	const a: Ext = { se: f.param(2), mantissa: f.param(3) };
	const b: Ext = { se: f.param(4), mantissa: f.param(5) };
	x.clearC1();
	const aSignals = f.let(isSignalling(a));
	const bSignals = f.let(isSignalling(b));
	f.if(or(aSignals, bSignals), () => {
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE)]), () => f.return(i32(1)));
	});
	const larger = or(gtU(a.mantissa, b.mantissa), and(eq(a.mantissa, b.mantissa), ltU(a.se, b.se)));
	const takesA = x.variable32(isNan(a));
	f.if(and(takesA.value, isNan(b)), () => {
		takesA.value = select(eq(aSignals, bSignals), larger, bSignals);
	});
	x.store(f.param(1), select(takesA.value, a.se, b.se), or(select(takesA.value, a.mantissa, b.mantissa), QUIET_BIT));
	f.return(i32(0));
});

/** A nonzero finite value with bit 63 set and an exponent of any size. */
export function normalise(x: X87, v: Ext): { exponent: Expr; mantissa: Expr } {
	const { f } = x;
	const n = f.let(clz(v.mantissa));
	const e = f.let(exponentOf(v));
	return {
		exponent: f.let(sub(add(e, eqz(e)), narrow(n))),
		mantissa: f.let(shl(v.mantissa, n)),
	};
}

export const KIND = { add: 0, sub: 1, mul: 2, div: 3 } as const;
export type Kind = keyof typeof KIND;

/**
 * (cpu, slot, kind, a, b, denormal) → 1 if an unmasked exception stops the operation before its result, else 0 and the result is
 * stored. `denormal`: b was one in the format it came from.
 */
defineCore("f80Special", ["i32", "i32", "i32", "i32", "i64", "i32", "i64", "i32"], "i32", (f, calls) => {
	const x = new X87(f);
	const slot = f.param(1);
	const kind = f.param(2);
	const a: Ext = { se: f.param(3), mantissa: f.param(4) };
	const b: Ext = { se: f.param(5), mantissa: f.param(6) };
	const isAdd = ltS(kind, KIND.mul);
	const isMul = eq(kind, KIND.mul);
	const invalid = () => f.return(f.callLet(calls.index("f80Invalid"), "i32", [x.cpu, slot]));
	const done = (se: Expr, mantissa: Expr) => {
		x.clearC1();
		x.store(slot, se, mantissa);
		f.return(i32(0));
	};

	f.if(or(isUnsupported(a), isUnsupported(b)), invalid);
	f.if(or(isNan(a), isNan(b)), () => f.return(f.callLet(calls.index("f80Nan"), "i32", [x.cpu, slot, a.se, a.mantissa, b.se, b.mantissa])));
	const signA = f.let(signOf(a));
	const signB = f.let(xor(signOf(b), shl(eq(kind, KIND.sub), 15)));
	const product = f.let(xor(signA, signB));
	const infA = f.let(eq(exponentOf(a), EXP_MAX));
	const infB = f.let(eq(exponentOf(b), EXP_MAX));
	const zeroA = f.let(eqz(a.mantissa));
	const zeroB = f.let(eqz(b.mantissa));
	const anyInfinite = or(infA, infB);

	const isInvalid = select(
		isAdd,
		and(and(infA, infB), ne(product, 0)),
		select(isMul, and(anyInfinite, or(zeroA, zeroB)), or(and(infA, infB), and(zeroA, zeroB))),
	);
	f.if(isInvalid, invalid);
	f.if(and(and(eq(kind, KIND.div), zeroB), eqz(infA)), () => {
		x.clearC1();
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.ZE)]), () => f.return(i32(1)));
		done(or(product, EXP_MAX), i64(TOP_BIT));
	});
	f.if(or(f.param(7), or(isDenormal(a), isDenormal(b))), () => {
		x.clearC1();
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.DE)]), () => f.return(i32(1)));
	});
	f.if(anyInfinite, () => {
		f.if(and(eq(kind, KIND.div), infB), () => done(product, i64(0)));
		done(or(select(isAdd, select(infA, signA, signB), product), EXP_MAX), i64(TOP_BIT));
	});
	f.if(and(or(zeroA, zeroB), eqz(isAdd)), () => done(product, i64(0)));
	const round = calls.index("f80Round");
	f.if(and(zeroA, zeroB), () => {
		const isDown = eq(and(x.field("fcw"), 0x0c00), 0x0400);
		done(select(product, shl(isDown, 15), signA), i64(0));
	});
	// x ± 0 is still rounded to the precision in force.
	f.if(zeroA, () => {
		const n = normalise(x, b);
		f.call(round, [x.cpu, slot, signB, n.exponent, n.mantissa, i64(0)]);
		f.return(i32(0));
	});
	f.if(zeroB, () => {
		const n = normalise(x, a);
		f.call(round, [x.cpu, slot, signA, n.exponent, n.mantissa, i64(0)]);
		f.return(i32(0));
	});
	const na = normalise(x, a);
	const nb = normalise(x, b);
	const operands = [na.exponent, na.mantissa, nb.exponent, nb.mantissa];
	f.if(
		isAdd,
		() => f.call(calls.index("f80AddNormal"), [x.cpu, slot, signA, signB, ...operands]),
		() =>
			f.if(
				isMul,
				() => f.call(calls.index("f80MulNormal"), [x.cpu, slot, product, ...operands]),
				() => f.call(calls.index("f80DivNormal"), [x.cpu, slot, product, ...operands]),
			),
	);
	f.return(i32(0));
});

/** Sets se and mantissa to what a double holds; → 1 where it is denormal (its value is exact all the same). */
export function widenDouble(x: X87, bits: Expr, se: Variable, mantissa: Variable, denormal: Variable): void {
	widen(x, bits, 52, 11, 1023, se, mantissa, denormal);
}

/** As widenDouble for a single in the low half of an i64. */
export function widenSingle(x: X87, bits: Expr, se: Variable, mantissa: Variable, denormal: Variable): void {
	widen(x, bits, 23, 8, 127, se, mantissa, denormal);
}

function widen(
	x: X87,
	bits: Expr,
	fractionBits: number,
	exponentBits: number,
	bias: number,
	se: Variable,
	mantissa: Variable,
	denormal: Variable,
): void {
	const { f } = x;
	const max = (1 << exponentBits) - 1;
	const sign = f.let(and(narrow(shr(bits, fractionBits + exponentBits - 15)), 0x8000));
	const e = f.let(and(narrow(shr(bits, fractionBits)), max));
	const fraction = f.let(and(shl(bits, 63 - fractionBits), TOP_BIT - 1n));
	denormal.value = i32(0);
	f.if(
		and(ne(e, 0), ne(e, max)),
		() => {
			se.value = or(sign, add(e, 0x3fff - bias));
			mantissa.value = or(fraction, TOP_BIT);
		},
		() =>
			f.if(
				e,
				() => {
					se.value = or(sign, EXP_MAX);
					mantissa.value = or(fraction, TOP_BIT);
				},
				() => {
					const n = f.let(clz(fraction));
					mantissa.value = shl(fraction, n);
					denormal.value = ne(fraction, 0);
					se.value = or(sign, select(denormal.value, sub(i32(0x3fff - bias + 1), narrow(n)), i32(0)));
				},
			),
	);
}
