/**
 * One lane of SSE addition, multiplication, division and square root, exact in every mode. Where MXCSR is plain and nothing can
 * be raised but PE, WebAssembly's result is the result and only its exactness is looked at; the rest is done by integers.
 */
import { type Expr, f32Const, f64Const, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import { at } from "../state/layout.ts";
import { add, and, clz, ctz, eq, eqz, gtS, ltU, mul, ne, or, sar, shl, shr, sub, xor } from "./f80-emit.ts";
import { defineCore } from "./registry.ts";
import {
	DOUBLE,
	type FloatFormat,
	FloatFunction,
	fromFloat,
	isDenormal,
	isInfinite,
	isZero,
	MXCSR,
	MXCSR_NOT_FLAGS,
	MXCSR_PLAIN,
	magnitude,
	SINGLE,
	shiftRightSticky,
	toFloat,
} from "./sse-format.ts";

const constant = (fmt: FloatFormat, value: number): Expr => (fmt.bits === 64 ? f64Const(value) : f32Const(value));
const leastNormal = (fmt: FloatFormat): Expr => constant(fmt, fmt.bits === 64 ? 2 ** -1022 : 2 ** -126);

/** Instructions of a format: `ieee(DOUBLE)("Add", a, b)`. */
const ieee =
	(fmt: FloatFormat) =>
	(name: string, ...args: Expr[]): Expr =>
		op(`${fmt.type}${name}` as OpName, ...args);

/** Beyond the least normal number (which may have come about by rounding a tiny one) and finite. */
function isOrdinary(fmt: FloatFormat, number: Expr): Expr {
	const is = ieee(fmt);
	const size = is("Abs", number);
	return and(is("Gt", size, leastNormal(fmt)), is("Lt", size, constant(fmt, Number.POSITIVE_INFINITY)));
}

/** Whether MXCSR is plain and no operand denormal: then only the result decides whether more than PE can be raised. */
function isPlain(x: FloatFunction, fmt: FloatFormat, ...operands: Expr[]): Expr {
	const plain = eq(and(x.mxcsr, MXCSR_NOT_FLAGS), MXCSR_PLAIN);
	return operands.reduce((all, operand) => and(all, eqz(isDenormal(fmt, operand))), plain);
}

/** Returns `number`, with PE unless it is exact (which is asked only if PE does not stand already). */
function returnWithPrecision(x: FloatFunction, number: Expr, isExact: () => Expr): void {
	x.f.if(eqz(and(x.mxcsr, MXCSR.PE)), () => x.raiseIf(eqz(isExact()), MXCSR.PE));
	x.f.return(fromFloat(number));
}

/** The significand of a normal number as an odd integer. */
function oddSignificand(f: FunctionBuilder, fmt: FloatFormat, bits: Expr): Expr {
	const whole = f.let(or(and(bits, fmt.leastNormal - 1n), fmt.leastNormal));
	return f.let(shr(whole, ctz(whole)));
}

/** Whether a product of normal doubles fits 53 bits; `equals`: and is that odd number (times a power of two). */
function isProductExact(f: FunctionBuilder, a: Expr, b: Expr, equals?: Expr): Expr {
	const oddA = oddSignificand(f, DOUBLE, a);
	const oddB = oddSignificand(f, DOUBLE, b);
	// Lengths m and n give a product of m + n − 1 or m + n bits.
	const fits = gtS(add(op("i32WrapI64", clz(oddA)), op("i32WrapI64", clz(oddB))), 128 - 55);
	const product = f.let(mul(oddA, oddB));
	return and(fits, equals === undefined ? ltU(product, 1n << 53n) : eq(product, oddSignificand(f, DOUBLE, equals)));
}

for (const fmt of [SINGLE, DOUBLE]) {
	const { bits } = fmt;
	const is = ieee(fmt);
	/** Two-sum: what rounding took away, computed exactly (Knuth, TAOCP Vol. 2 §4.2.2, theorem B). */
	const sumIsExact = (f: FunctionBuilder, a: Expr, b: Expr, sum: Expr): Expr => {
		const partOfB = f.let(is("Sub", sum, a));
		const error = is("Add", is("Sub", a, is("Sub", sum, partOfB)), is("Sub", b, partOfB));
		return is("Eq", error, constant(fmt, 0));
	};

	// (cpu, a, b, what b's sign is changed by)
	defineCore(`sseAdd${bits}`, ["i32", "i64", "i64", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const flip = f.param(3);
		f.if(isPlain(x, fmt, f.param(1), f.param(2)), () => {
			const a = f.let(toFloat(fmt, f.param(1)));
			const b = f.let(toFloat(fmt, xor(f.param(2), flip)));
			const sum = f.let(is("Add", a, b));
			// A sum that is denormal or 0 is exact.
			f.if(is("Lt", is("Abs", sum), constant(fmt, Number.POSITIVE_INFINITY)), () =>
				returnWithPrecision(x, sum, () => sumIsExact(f, a, b, sum)),
			);
		});
		const a = x.operand(fmt, f.param(1));
		const given = x.operand(fmt, f.param(2));
		x.returnNaN(fmt, a, given);
		const b = f.let(xor(given, flip));
		const signA = f.let(and(a, fmt.sign));
		const signB = f.let(and(b, fmt.sign));
		f.if(isInfinite(fmt, a), () => {
			f.if(and(isInfinite(fmt, b), ne(signA, signB)), () => x.returnInvalid(fmt));
			x.raiseDenormal(fmt, b);
			f.return(a);
		});
		x.raiseDenormal(fmt, a, b);
		f.if(isInfinite(fmt, b), () => f.return(b));
		// The greater one first; bit 61 is the integer bit, so that a carry reaches bit 62.
		const isSwapped = f.let(ltU(magnitude(fmt, a), magnitude(fmt, b)));
		const great = f.let(magnitude(fmt, select(isSwapped, b, a)));
		const small = f.let(magnitude(fmt, select(isSwapped, a, b)));
		const sign = f.let(select(isSwapped, signB, signA));
		const part = (value: Expr) => {
			const field = f.let(op("i32WrapI64", shr(value, fmt.fractionBits)));
			const integerBit = shl(op("i64ExtendI32U", ne(field, 0)), fmt.fractionBits);
			const significand = shl(or(and(value, fmt.leastNormal - 1n), integerBit), 61 - fmt.fractionBits);
			return { exponent: f.let(add(field, eqz(field))), significand: f.let(significand) };
		};
		const p = part(great);
		const q = part(small);
		const aligned = shiftRightSticky(f, q.significand, sub(p.exponent, q.exponent));
		const sum = f.let(select(eq(signA, signB), add(p.significand, aligned), sub(p.significand, aligned)));
		f.if(op("i64Eqz", sum), () => {
			// Zeros of one sign keep it; otherwise +0, or −0 when rounding down (SDM Vol. 1 §4.8.3.1).
			f.if(eq(signA, signB), () => f.return(signA));
			f.return(select(eq(x.rounding(), 1), i64(fmt.sign), i64(0)));
		});
		const shift = f.let(sub(clz(sum), 1));
		const exponent = sub(add(p.exponent, 1), op("i32WrapI64", shift));
		x.returnRounded(fmt, sign, exponent, shl(sum, shift));
		f.unreachable();
	});

	defineCore(`sseMul${bits}`, ["i32", "i64", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		f.if(isPlain(x, fmt, f.param(1), f.param(2)), () => {
			const a = f.let(toFloat(fmt, f.param(1)));
			const b = f.let(toFloat(fmt, f.param(2)));
			const product = f.let(is("Mul", a, b));
			f.if(isOrdinary(fmt, product), () =>
				returnWithPrecision(x, product, () =>
					bits === 64
						? isProductExact(f, f.param(1), f.param(2))
						: op("f64Eq", op("f64Mul", op("f64PromoteF32", a), op("f64PromoteF32", b)), op("f64PromoteF32", product)),
				),
			);
			const isZeroTimes = and(is("Eq", product, constant(fmt, 0)), or(isZero(fmt, f.param(1)), isZero(fmt, f.param(2))));
			f.if(isZeroTimes, () => f.return(fromFloat(product)));
		});
		const a = x.operand(fmt, f.param(1));
		const b = x.operand(fmt, f.param(2));
		x.returnNaN(fmt, a, b);
		const sign = f.let(and(xor(a, b), fmt.sign));
		f.if(or(and(isInfinite(fmt, a), isZero(fmt, b)), and(isZero(fmt, a), isInfinite(fmt, b))), () => x.returnInvalid(fmt));
		x.raiseDenormal(fmt, a, b);
		f.if(or(isInfinite(fmt, a), isInfinite(fmt, b)), () => f.return(or(sign, fmt.infinity)));
		f.if(or(isZero(fmt, a), isZero(fmt, b)), () => f.return(sign));
		const p = x.unpack(fmt, a);
		const q = x.unpack(fmt, b);
		const factor = f.let(shl(q.significand, 1));
		const high = f.callLet(calls.index("mulHighU"), "i64", [p.significand, factor]);
		const product = f.let(or(high, op("i64ExtendI32U", op("i64Ne", mul(p.significand, factor), i64(0)))));
		const exponent = f.let(sub(add(p.exponent, q.exponent), fmt.bias));
		f.if(op("i64Eqz", shr(product, 62)), () => x.returnRounded(fmt, sign, exponent, shl(product, 1)));
		x.returnRounded(fmt, sign, add(exponent, 1), product);
		f.unreachable();
	});

	defineCore(`sseDiv${bits}`, ["i32", "i64", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		f.if(isPlain(x, fmt, f.param(1), f.param(2)), () => {
			const a = f.let(toFloat(fmt, f.param(1)));
			const b = f.let(toFloat(fmt, f.param(2)));
			const quotient = f.let(is("Div", a, b));
			const isBelowInfinity = is("Lt", is("Abs", a), constant(fmt, Number.POSITIVE_INFINITY));
			f.if(and(isOrdinary(fmt, quotient), isBelowInfinity), () =>
				returnWithPrecision(x, quotient, () =>
					bits === 64
						? isProductExact(f, f.let(fromFloat(quotient)), f.param(2), f.param(1))
						: op("f64Eq", op("f64Mul", op("f64PromoteF32", quotient), op("f64PromoteF32", b)), op("f64PromoteF32", a)),
				),
			);
			f.if(and(is("Eq", quotient, constant(fmt, 0)), isZero(fmt, f.param(1))), () => f.return(fromFloat(quotient)));
		});
		const a = x.operand(fmt, f.param(1));
		const b = x.operand(fmt, f.param(2));
		x.returnNaN(fmt, a, b);
		const sign = f.let(and(xor(a, b), fmt.sign));
		f.if(or(and(isInfinite(fmt, a), isInfinite(fmt, b)), and(isZero(fmt, a), isZero(fmt, b))), () => x.returnInvalid(fmt));
		f.if(and(isZero(fmt, b), eqz(isInfinite(fmt, a))), () => {
			x.raise(MXCSR.ZE);
			f.return(or(sign, fmt.infinity));
		});
		x.raiseDenormal(fmt, a, b);
		f.if(isInfinite(fmt, a), () => f.return(or(sign, fmt.infinity)));
		f.if(or(isZero(fmt, a), isInfinite(fmt, b)), () => f.return(sign));
		const p = x.unpack(fmt, a);
		const q = x.unpack(fmt, b);
		f.call(calls.index("divide128U"), [x.cpu, i64(0), shr(p.significand, 1), shl(q.significand, 1)], true);
		const isRest = op("i64ExtendI32U", op("i64Ne", loadOp("i64Load", x.cpu, at("arg1")), i64(0)));
		const quotient = f.let(or(loadOp("i64Load", x.cpu, at("arg0")), isRest));
		const exponent = f.let(add(sub(p.exponent, q.exponent), fmt.bias));
		f.if(op("i64Eqz", shr(quotient, 62)), () => x.returnRounded(fmt, sign, sub(exponent, 1), shl(quotient, 1)));
		x.returnRounded(fmt, sign, exponent, quotient);
		f.unreachable();
	});

	defineCore(`sseSqrt${bits}`, ["i32", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const a = x.operand(fmt, f.param(1));
		x.returnNaN(fmt, a);
		f.if(isZero(fmt, a), () => f.return(a));
		f.if(ne(and(a, fmt.sign), 0n), () => x.returnInvalid(fmt));
		x.raiseDenormal(fmt, a);
		f.if(isInfinite(fmt, a), () => f.return(a));
		const p = x.unpack(fmt, a);
		// The number is m × 2^(2k) with m in [1, 4). The root of m, 53 bits rounded to nearest, and how its square misses m:
		// both are less than 2⁶³ apart when scaled by 2¹⁰⁴, so the low 64 bits tell.
		const unbiased = f.let(sub(p.exponent, fmt.bias));
		const isOdd = f.let(op("i64ExtendI32U", and(unbiased, 1)));
		const scaled = op("f64ConvertI64U", shl(p.significand, isOdd));
		const root = f.let(op("i64TruncSatF64S", op("f64Mul", op("f64Sqrt", scaled), f64Const(2 ** 21))));
		const missing = f.let(sub(shl(p.significand, add(isOdd, 42)), mul(root, root)));
		const nudge = op("i64ExtendI32S", sub(op("i64GtS", missing, i64(0)), op("i64LtS", missing, i64(0))));
		x.returnRounded(fmt, i64(0), add(sar(unbiased, 1), fmt.bias), add(shl(root, 10), nudge));
		f.unreachable();
	});
}
