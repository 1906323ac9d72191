/** SSE conversions: SDM Vol. 1 §5.5.1.6, §5.6.1.6; integers out of range give the integer indefinite (§4.8.3.7, table 4-1). */
import { type Expr, f64Const, i32, i64, op, select, v128 } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { add, and, clz, eq, eqz, or, shl, shr, sub } from "./f80-emit.ts";
import { defineCore } from "./registry.ts";
import { DOUBLE, FloatFunction, fromFloat, isInfinite, isNotANumber, isSignalling, isZero, MXCSR, SINGLE, toFloat } from "./sse-format.ts";
import { defineVector, eachLane, getLane, setLane } from "./sse-vector.ts";

const ZERO = v128(new Uint8Array(16));
/** What a conversion to an integer takes as its mode: 3 truncates, 4 goes by MXCSR. */
export const TRUNCATE = 3;
export const BY_MXCSR = 4;

for (const fmt of [SINGLE, DOUBLE]) {
	// (cpu, number, bits of the integer, mode) → the integer, zero-extended
	defineCore(`sseToInteger${fmt.bits}`, ["i32", "i64", "i32", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const a = x.operand(fmt, f.param(1));
		const isNarrow = f.let(eq(f.param(2), 32));
		const given = f.let(op("i32WrapI64", f.param(3)));
		const mode = f.let(select(eq(given, BY_MXCSR), x.rounding(), given));
		const number = f.let(fmt.bits === 64 ? toFloat(fmt, a) : op("f64PromoteF32", toFloat(fmt, a)));
		const rounded = f.local("f64");
		f.set(rounded, op("f64Nearest", number));
		f.if(eq(mode, 1), () => f.set(rounded, op("f64Floor", number)));
		f.if(eq(mode, 2), () => f.set(rounded, op("f64Ceil", number)));
		f.if(eq(mode, 3), () => f.set(rounded, op("f64Trunc", number)));
		const limit = f.let(select(isNarrow, f64Const(2 ** 31), f64Const(2 ** 63)));
		const isWithin = and(op("f64Lt", f.get(rounded), limit), op("f64Ge", f.get(rounded), op("f64Neg", limit)));
		f.if(eqz(isWithin), () => {
			x.raise(MXCSR.IE);
			f.return(select(isNarrow, i64(0x8000_0000n), i64(1n << 63n)));
		});
		x.raiseIf(op("f64Ne", f.get(rounded), number), MXCSR.PE);
		const integer = f.let(op("i64TruncSatF64S", f.get(rounded)));
		f.return(select(isNarrow, and(integer, 0xffff_ffffn), integer));
		f.unreachable();
	});

	// (cpu, signed integer)
	defineCore(`sseFromInteger${fmt.bits}`, ["i32", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const value = f.param(1);
		f.if(op("i64Eqz", value), () => f.return(i64(0)));
		const isNegative = f.let(op("i64LtS", value, i64(0)));
		const size = f.let(select(isNegative, op("i64Sub", i64(0), value), value));
		const sign = f.let(select(isNegative, i64(fmt.sign), i64(0)));
		// Only −2⁶³ reaches bit 63.
		f.if(op("i64LtS", size, i64(0)), () => x.returnRounded(fmt, sign, i32(fmt.bias + 63), i64(1n << 62n)));
		const shift = f.let(sub(clz(size), 1));
		x.returnRounded(fmt, sign, sub(i32(fmt.bias + 62), op("i32WrapI64", shift)), shl(size, shift));
		f.unreachable();
	});
}

defineCore("sseNarrow", ["i32", "i64"], "i64", (f, calls) => {
	const x = new FloatFunction(f, calls);
	const a = x.operand(DOUBLE, f.param(1));
	const sign = f.let(and(shr(a, 32), SINGLE.sign));
	f.if(isNotANumber(DOUBLE, a), () => {
		x.raiseIf(isSignalling(DOUBLE, a), MXCSR.IE);
		f.return(or(or(sign, SINGLE.infinity | SINGLE.quiet), and(shr(a, 29), SINGLE.leastNormal - 1n)));
	});
	f.if(isInfinite(DOUBLE, a), () => f.return(or(sign, SINGLE.infinity)));
	f.if(isZero(DOUBLE, a), () => f.return(sign));
	x.raiseDenormal(DOUBLE, a);
	const p = x.unpack(DOUBLE, a);
	x.returnRounded(SINGLE, sign, add(p.exponent, SINGLE.bias - DOUBLE.bias), p.significand);
	f.unreachable();
});

defineCore("sseWiden", ["i32", "i64"], "i64", (f, calls) => {
	const x = new FloatFunction(f, calls);
	const a = x.operand(SINGLE, f.param(1));
	f.if(isNotANumber(SINGLE, a), () => {
		x.raiseIf(isSignalling(SINGLE, a), MXCSR.IE);
		const sign = shl(and(a, SINGLE.sign), 32);
		f.return(or(or(sign, DOUBLE.infinity | DOUBLE.quiet), shl(and(a, SINGLE.leastNormal - 1n), 29)));
	});
	x.raiseDenormal(SINGLE, a);
	f.return(fromFloat(op("f64PromoteF32", toFloat(SINGLE, a))));
	f.unreachable();
});

const low32 = (vector: Expr, lane: number): Expr => getLane(SINGLE, vector, lane);
const signed32 = (vector: Expr, lane: number): Expr => op("i64Extend32S", low32(vector, lane));

// From floating point to packed doublewords; MMX forms take the low half.
defineVector("toIntegersPS", ["v128", "i32", "i64"], (x, [a, count, mode]) => {
	const lane = (i: number): Expr => x.call("sseToInteger32", low32(a as Expr, i), i32(32), mode as Expr);
	const low = eachLane(x, SINGLE, 2, ZERO, lane);
	const all = x.f.local("v128");
	x.f.set(all, low);
	x.f.if(eq(count as Expr, 4), () => {
		for (const i of [2, 3]) x.f.set(all, setLane(SINGLE, x.f.get(all), i, lane(i)));
	});
	return x.f.get(all);
});
defineVector("toIntegersPD", ["v128", "i64"], (x, [a, mode]) =>
	eachLane(x, SINGLE, 2, ZERO, (i) => x.call("sseToInteger64", getLane(DOUBLE, a as Expr, i), i32(32), mode as Expr)),
);

// From packed doublewords, the first `count` of them over `base`.
defineVector("CVTDQ2PS", ["v128"], (x, [a]) => eachLane(x, SINGLE, 4, ZERO, (i) => x.call("sseFromInteger32", signed32(a as Expr, i))));
defineVector("CVTPI2PS", ["v128", "v128"], (x, [base, a]) =>
	eachLane(x, SINGLE, 2, base as Expr, (i) => x.call("sseFromInteger32", signed32(a as Expr, i))),
);

defineVector("CVTPS2PD", ["v128"], (x, [a]) => eachLane(x, DOUBLE, 2, ZERO, (i) => x.call("sseWiden", low32(a as Expr, i))));
defineVector("CVTPD2PS", ["v128"], (x, [a]) => eachLane(x, SINGLE, 2, ZERO, (i) => x.call("sseNarrow", getLane(DOUBLE, a as Expr, i))));
defineVector("CVTSS2SD", ["v128", "v128"], (x, [base, a]) =>
	eachLane(x, DOUBLE, 1, base as Expr, () => x.call("sseWiden", low32(a as Expr, 0))),
);
defineVector("CVTSD2SS", ["v128", "v128"], (x, [base, a]) =>
	eachLane(x, SINGLE, 1, base as Expr, () => x.call("sseNarrow", getLane(DOUBLE, a as Expr, 0))),
);
defineVector("CVTSI2SS", ["v128", "i64"], (x, [base, a]) =>
	eachLane(x, SINGLE, 1, base as Expr, () => x.call("sseFromInteger32", a as Expr)),
);
defineVector("CVTSI2SD", ["v128", "i64"], (x, [base, a]) =>
	eachLane(x, DOUBLE, 1, base as Expr, () => x.call("sseFromInteger64", a as Expr)),
);

// (cpu, vector, bits of the integer, mode): a general register's new value.
for (const [suffix, fmt] of [
	["SS", SINGLE],
	["SD", DOUBLE],
] as const)
	defineCore(`toInteger${suffix}`, ["i32", "v128", "i32", "i64"], "i64", (f: FunctionBuilder, calls: Callables) => {
		const cpu = f.param(0);
		f.store("i32Store", cpu, i32(0), at("arg3"));
		const lane = getLane(fmt, f.param(1), 0);
		const integer = f.callLet(calls.index(`sseToInteger${fmt.bits}`), "i64", [cpu, lane, f.param(2), f.param(3)]);
		f.call(calls.index("sseFinish"), [cpu]);
		f.return(integer);
		f.unreachable();
	});
