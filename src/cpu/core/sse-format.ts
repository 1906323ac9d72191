/**
 * IEEE 754 numbers as bit patterns, for the SSE cases that plain WebAssembly arithmetic does not settle: exceptions, rounding
 * modes, DAZ and FTZ (SDM Vol. 1 §10.2.3, "MXCSR Control and Status Register"; §11.5, "SSE, SSE2, and SSE3 Exceptions").
 * A number travels as an i64, singles zero-extended. Exceptions met on the way gather in `arg3`; `sseFinish` settles them.
 */
import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { add, and, clz, eq, eqz, geU, gtU, ltS, ltU, mul, ne, or, shl, shr, sub, xor } from "./f80-emit.ts";
import { defineCore } from "./registry.ts";

export const MXCSR = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32, DAZ: 0x40, UM: 0x800, FTZ: 0x8000 } as const;
/** Every exception masked, to nearest, no DAZ, no FTZ: the state in which WebAssembly's own arithmetic is right. */
export const MXCSR_PLAIN = 0x1f80;
export const MXCSR_NOT_FLAGS = 0xffc0;
const PRE_COMPUTATION = MXCSR.IE | MXCSR.DE | MXCSR.ZE;
const EXCEPTIONS = 0x3f;

export interface FloatFormat {
	readonly bits: 32 | 64;
	readonly type: "f32" | "f64";
	readonly fractionBits: number;
	readonly exponentMax: number;
	readonly bias: number;
	readonly sign: bigint;
	/** Everything but the sign. */
	readonly magnitude: bigint;
	readonly infinity: bigint;
	readonly quiet: bigint;
	readonly leastNormal: bigint;
	/** The QNaN floating-point indefinite (SDM Vol. 1 §4.8.3.7). */
	readonly indefinite: bigint;
}

function format(bits: 32 | 64, fractionBits: number): FloatFormat {
	const sign = 1n << BigInt(bits - 1);
	const exponentMax = 2 ** (bits - 1 - fractionBits) - 1;
	const infinity = BigInt(exponentMax) << BigInt(fractionBits);
	const quiet = 1n << BigInt(fractionBits - 1);
	return {
		bits,
		type: bits === 64 ? "f64" : "f32",
		fractionBits,
		exponentMax,
		bias: exponentMax >> 1,
		sign,
		magnitude: sign - 1n,
		infinity,
		quiet,
		leastNormal: 1n << BigInt(fractionBits),
		indefinite: sign | infinity | quiet,
	};
}

export const SINGLE = format(32, 23);
export const DOUBLE = format(64, 52);

/** A function over bit patterns: cpu is parameter 0. */
export class FloatFunction {
	readonly f: FunctionBuilder;
	readonly cpu: Expr;
	readonly mxcsr: Expr;
	readonly calls: Callables;

	constructor(f: FunctionBuilder, calls: Callables) {
		this.f = f;
		this.calls = calls;
		this.cpu = f.param(0);
		this.mxcsr = f.let(loadOp("i32Load", this.cpu, at("mxcsr")));
	}

	raise(flags: number | Expr): void {
		const bits = typeof flags === "number" ? i32(flags) : flags;
		this.f.store("i32Store", this.cpu, or(loadOp("i32Load", this.cpu, at("arg3")), bits), at("arg3"));
	}

	raiseIf(condition: Expr, flag: number): void {
		this.f.if(condition, () => this.raise(flag));
	}

	call(name: string, type: "i32" | "i64", ...args: Expr[]): Expr {
		return this.f.callLet(this.calls.index(name), type, [this.cpu, ...args]);
	}

	isSet(bit: number): Expr {
		return ne(and(this.mxcsr, bit), 0);
	}

	/** 0 nearest, 1 down, 2 up, 3 toward zero. */
	rounding(): Expr {
		return this.f.let(and(shr(this.mxcsr, 13), 3));
	}

	/** Zero of the same sign for a denormal under DAZ. */
	operand(fmt: FloatFormat, bits: Expr): Expr {
		return this.f.let(select(and(this.isSet(MXCSR.DAZ), isDenormal(fmt, bits)), and(bits, fmt.sign), bits));
	}

	/** If there is a NaN, returns the first one, quieted; a signalling one is invalid (SDM Vol. 1 table 4-7, SSE's column). */
	returnNaN(fmt: FloatFormat, a: Expr, b?: Expr): void {
		const any = b === undefined ? isNotANumber(fmt, a) : or(isNotANumber(fmt, a), isNotANumber(fmt, b));
		this.f.if(any, () => {
			const signals = b === undefined ? isSignalling(fmt, a) : or(isSignalling(fmt, a), isSignalling(fmt, b));
			this.raiseIf(signals, MXCSR.IE);
			this.f.return(or(b === undefined ? a : select(isNotANumber(fmt, a), a, b), fmt.quiet));
		});
	}

	returnInvalid(fmt: FloatFormat): void {
		this.raise(MXCSR.IE);
		this.f.return(i64(fmt.indefinite));
	}

	/** After everything that has precedence over a denormal operand (SDM Vol. 1 §4.9.2). */
	raiseDenormal(fmt: FloatFormat, a: Expr, b?: Expr): void {
		this.raiseIf(b === undefined ? isDenormal(fmt, a) : or(isDenormal(fmt, a), isDenormal(fmt, b)), MXCSR.DE);
	}

	/** Biased exponent and significand of a finite number other than 0, the significand's first one at bit 62. */
	unpack(fmt: FloatFormat, bits: Expr): { exponent: Expr; significand: Expr } {
		const f = this.f;
		const fraction = f.let(and(bits, fmt.leastNormal - 1n));
		const field = f.let(exponentField(fmt, bits));
		const exponent = f.local("i32");
		const significand = f.local("i64");
		f.if(
			eqz(field),
			() => {
				const shift = f.let(sub(clz(fraction), 1));
				f.set(significand, shl(fraction, shift));
				f.set(exponent, sub(i32(63 - fmt.fractionBits), op("i32WrapI64", shift)));
			},
			() => {
				f.set(significand, shl(or(fraction, fmt.leastNormal), 62 - fmt.fractionBits));
				f.set(exponent, field);
			},
		);
		return { exponent: f.get(exponent), significand: f.get(significand) };
	}

	/** Rounds and returns: the number is significand ÷ 2⁶² × 2^(exponent − bias), the significand's first one at bit 62. */
	returnRounded(fmt: FloatFormat, sign: Expr, exponent: Expr, significand: Expr): void {
		this.f.return(this.call(`ssePack${fmt.bits}`, "i64", sign, exponent, significand));
	}
}

export const magnitude = (fmt: FloatFormat, bits: Expr): Expr => and(bits, fmt.magnitude);
export const isNotANumber = (fmt: FloatFormat, bits: Expr): Expr => gtU(magnitude(fmt, bits), fmt.infinity);
export const isSignalling = (fmt: FloatFormat, bits: Expr): Expr => and(isNotANumber(fmt, bits), eqz(and(bits, fmt.quiet)));
export const isInfinite = (fmt: FloatFormat, bits: Expr): Expr => eq(magnitude(fmt, bits), fmt.infinity);
export const isZero = (fmt: FloatFormat, bits: Expr): Expr => eqz(magnitude(fmt, bits));
export const isDenormal = (fmt: FloatFormat, bits: Expr): Expr => ltU(sub(magnitude(fmt, bits), 1), fmt.leastNormal - 1n);
const exponentField = (fmt: FloatFormat, bits: Expr): Expr => and(op("i32WrapI64", shr(bits, fmt.fractionBits)), fmt.exponentMax);

/** The number itself, for WebAssembly's arithmetic; and back. */
export const toFloat = (fmt: FloatFormat, bits: Expr): Expr =>
	fmt.bits === 64 ? op("f64ReinterpretI64", bits) : op("f32ReinterpretI32", op("i32WrapI64", bits));
export const fromFloat = (number: Expr): Expr =>
	number.type === "f64" ? op("i64ReinterpretF64", number) : op("i64ExtendI32U", op("i32ReinterpretF32", number));

/** A right shift that leaves a one at the bottom for whatever it pushes out; the count is an i32 of any size. */
export function shiftRightSticky(f: FunctionBuilder, value: Expr, count: Expr): Expr {
	const by = f.let(op("i64ExtendI32U", select(gtU(count, 63), i32(63), count)));
	const kept = f.let(shr(value, by));
	return f.let(or(kept, op("i64ExtendI32U", ne(shl(kept, by), value))));
}

for (const fmt of [SINGLE, DOUBLE])
	defineCore(`ssePack${fmt.bits}`, ["i32", "i64", "i32", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const sign = f.param(1);
		const spare = 62 - fmt.fractionBits;
		const half = 1n << BigInt(spare - 1);
		const below = (1n << BigInt(spare)) - 1n;
		const exponent = f.local("i32");
		const significand = f.local("i64");
		const isTiny = f.local("i32");
		f.set(exponent, f.param(2));
		f.set(significand, f.param(3));
		const rounding = x.rounding();
		// Down raises the magnitude of negative numbers, up that of positive ones.
		const away = eq(rounding, select(op("i64Eqz", sign), i32(2), i32(1)));
		const increment = f.let(select(eqz(rounding), i64(half), select(away, i64(below), i64(0))));
		f.if(ltS(f.get(exponent), 1), () => {
			// Tininess is detected after rounding as if the exponent had no bounds (SDM Vol. 1 §4.9.1.5).
			f.set(isTiny, or(ltS(f.get(exponent), 0), op("i64GeS", add(f.get(significand), increment), i64(0))));
			f.if(and(f.get(isTiny), eqz(and(x.mxcsr, MXCSR.UM))), () => {
				// An unmasked underflow is told with the precision of the unbounded result.
				x.raise(MXCSR.UE);
				x.raiseIf(op("i64Ne", and(f.get(significand), below), i64(0)), MXCSR.PE);
				f.return(sign);
			});
			f.if(and(f.get(isTiny), x.isSet(MXCSR.FTZ)), () => {
				x.raise(MXCSR.UE | MXCSR.PE);
				f.return(sign);
			});
			f.set(significand, shiftRightSticky(f, f.get(significand), sub(i32(1), f.get(exponent))));
			f.set(exponent, i32(1));
		});
		const rest = f.let(and(f.get(significand), below));
		const isInexact = f.let(op("i64Ne", rest, i64(0)));
		const rounded = shr(add(f.get(significand), increment), spare);
		const isTie = and(eqz(rounding), op("i64Eq", rest, i64(half)));
		// The integer bit, if there is one, carries into the exponent.
		const fraction = and(rounded, xor(op("i64ExtendI32U", isTie), -1));
		const biased = op("i64ExtendI32U", sub(f.get(exponent), 1));
		const result = f.let(add(shl(biased, fmt.fractionBits), fraction));
		f.if(geU(result, fmt.infinity), () => {
			x.raise(MXCSR.OE);
			x.raiseIf(or(isInexact, ne(and(x.mxcsr, 0x400), 0)), MXCSR.PE);
			f.return(or(sign, select(op("i64Eqz", increment), i64(fmt.infinity - 1n), i64(fmt.infinity))));
		});
		f.if(isInexact, () => x.raise(or(i32(MXCSR.PE), mul(f.get(isTiny), MXCSR.UE))));
		f.return(or(sign, result));
		f.unreachable();
	});

/**
 * Settles what an instruction (or one step of it) met: flags into MXCSR, `arg2` not 0 if one of them is unmasked. Unmasked
 * faults known before the computation keep those known after it from being looked for (SDM Vol. 1 §4.9.3).
 */
defineCore("sseFinish", ["i32"], undefined, (f) => {
	const cpu = f.param(0);
	const met = f.let(and(loadOp("i32Load", cpu, at("arg3")), EXCEPTIONS));
	const mxcsr = f.let(loadOp("i32Load", cpu, at("mxcsr")));
	const unmasked = f.let(and(met, xor(shr(mxcsr, 7), -1)));
	const flags = select(and(unmasked, PRE_COMPUTATION), and(met, PRE_COMPUTATION), met);
	f.store("i32Store", cpu, or(mxcsr, flags), at("mxcsr"));
	f.store("i32Store", cpu, unmasked, at("arg2"));
	f.store("i32Store", cpu, i32(0), at("arg3"));
});
