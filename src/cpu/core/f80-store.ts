/**
 * FST, FSTP, FIST, FISTP, FISTTP: functions (cpu, host, pops) → i32 that store at offset `host` of the memory and pop. Where host
 * is -1 they leave the value in arg3 and return 1: the caller stores it and pops. Otherwise 0, also when an unmasked exception
 * keeps memory and stack as they were.
 */
import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
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
	gtU,
	INDEFINITE_MANTISSA,
	INDEFINITE_SE,
	leS,
	ltS,
	ltU,
	ne,
	or,
	shl,
	shr,
	sub,
	type Variable,
	wide,
	X87,
} from "./f80-emit.ts";
import { roundsUp, shiftRightSticky } from "./f80-round.ts";
import { exponentOf, isNan, isSignalling, isUnsupported, normalise, signOf } from "./f80-special.ts";
import { defineCore } from "./registry.ts";

interface Format {
	readonly name: "Double" | "Single";
	readonly fractionBits: number;
	readonly maxExponent: number;
	readonly bias: number;
}

const FORMATS: readonly Format[] = [
	{ name: "Double", fractionBits: 52, maxExponent: 0x7ff, bias: 1023 },
	{ name: "Single", fractionBits: 23, maxExponent: 0xff, bias: 127 },
];

/** The stored bits for sign 0 or 0x8000. */
function signBit(format: Format, sign: Expr): Expr {
	return shl(wide(sign), format.fractionBits === 52 ? 48 : 16);
}

/** Stores an i64 (4 or 2 low bytes of it) and pops, or leaves both to the caller; returns from the function. */
export function deliver(x: X87, value: Expr, bytes: 2 | 4 | 8): void {
	const { f } = x;
	const host = f.param(1);
	f.if(eq(host, -1), () => {
		f.store("i64Store", x.cpu, value, at("arg3"));
		f.return(i32(1));
	});
	f.store(bytes === 8 ? "i64Store" : bytes === 4 ? "i64Store32" : "i64Store16", host, value);
	f.if(f.param(2), () => x.pop());
	f.return(i32(0));
}

/** Returns from the function if `flags` holds an unmasked exception. */
export function raiseOrReturn(x: X87, calls: Callables, flags: Expr): void {
	x.f.if(x.f.callLet(calls.index("f80Raise"), "i32", [x.cpu, flags]), () => x.f.return(i32(0)));
}

/** What `value` is in the format, into `bits`; exceptions raised. */
function narrowSpecial(x: X87, calls: Callables, format: Format, value: Ext, bits: Variable): void {
	const { f } = x;
	const infinity = BigInt(format.maxExponent) << BigInt(format.fractionBits);
	const quiet = 1n << BigInt(format.fractionBits - 1);
	const n = 63 - format.fractionBits;
	const sign = f.let(signOf(value));
	x.clearC1();
	f.block((done) => {
		f.if(isUnsupported(value), () => {
			raiseOrReturn(x, calls, i32(FSW.IE));
			bits.value = i64(infinity | quiet | (1n << BigInt(format.fractionBits === 52 ? 63 : 31)));
			f.br(done);
		});
		f.if(isNan(value), () => {
			f.if(isSignalling(value), () => raiseOrReturn(x, calls, i32(FSW.IE)));
			bits.value = or(or(signBit(format, sign), shr(shl(value.mantissa, 1), n + 1)), infinity | quiet);
			f.br(done);
		});
		f.if(eq(exponentOf(value), EXP_MAX), () => {
			bits.value = or(signBit(format, sign), infinity);
			f.br(done);
		});
		f.if(eqz(value.mantissa), () => {
			bits.value = signBit(format, sign);
			f.br(done);
		});
		const normal = normalise(x, value);
		const fcw = f.let(x.field("fcw"));
		const rc = f.let(and(shr(fcw, 10), 3));
		const exponent = x.variable32(sub(normal.exponent, BIAS - format.bias));
		const hi = x.variable64(normal.mantissa);
		const lo = x.variable64(i64(0));
		const flags = x.variable32(i32(0));
		const isTiny = x.variable32(i32(0));
		const split = () => {
			lo.value = or(shl(hi.value, 64 - n), wide(ne(lo.value, 0)));
			hi.value = shr(hi.value, n);
		};
		f.if(leS(exponent.value, 0), () => {
			split();
			const carries = and(roundsUp(rc, sign, hi.value, lo.value), eq(hi.value, (1n << BigInt(64 - n)) - 1n));
			isTiny.value = eqz(and(eqz(exponent.value), carries));
			hi.value = normal.mantissa;
			lo.value = i64(0);
			f.if(and(isTiny.value, eqz(and(fcw, FSW.UE))), () => {
				f.call(calls.index("f80Raise"), [x.cpu, i32(FSW.UE)], true);
				f.return(i32(0));
			});
			shiftRightSticky(x, hi, lo, sub(i32(1), exponent.value));
			exponent.value = i32(1);
		});
		split();
		const up = f.let(roundsUp(rc, sign, hi.value, lo.value));
		f.if(ne(lo.value, 0), () => {
			flags.value = or(or(i32(FSW.PE), select(isTiny.value, i32(FSW.UE), i32(0))), shl(up, 9));
		});
		// The integer bit, present or not, adds one to the exponent field below it.
		bits.value = add(add(shl(wide(sub(exponent.value, 1)), format.fractionBits), hi.value), wide(up));
		f.if(or(geS(exponent.value, format.maxExponent), op("i64GeU", bits.value, i64(infinity))), () => {
			f.if(eqz(and(fcw, FSW.OE)), () => {
				f.call(calls.index("f80Raise"), [x.cpu, i32(FSW.OE)], true);
				f.return(i32(0));
			});
			const toInfinity = f.let(or(eqz(rc), eq(rc, select(sign, i32(1), i32(2)))));
			bits.value = select(toInfinity, i64(infinity), i64(infinity - 1n));
			flags.value = or(i32(FSW.OE | FSW.PE), shl(toInfinity, 9));
		});
		bits.value = or(bits.value, signBit(format, sign));
		f.call(calls.index("f80Raise"), [x.cpu, flags.value], true);
	});
}

for (const format of FORMATS) {
	defineCore(`x87Store${format.name}`, ["i32", "i32", "i32"], "i32", (f, calls) => {
		const x = new X87(f);
		const n = 63 - format.fractionBits;
		const top = f.let(x.field("ftop"));
		const value = x.load(x.slot(top));
		const bits = x.variable64();
		const e = f.let(sub(exponentOf(value), BIAS - format.bias));
		const isSimple = eq(and(x.field("fcw"), 0x0c20), 0x20);
		f.if(
			and(and(isSimple, eqz(x.isEmpty(top))), and(ltS(value.mantissa, 0), ltU(sub(e, 1), format.maxExponent - 2))),
			() => {
				const rest = f.let(and(value.mantissa, (1n << BigInt(n)) - 1n));
				const last = and(shr(value.mantissa, n), 1);
				const up = f.let(gtU(add(rest, last), 1n << BigInt(n - 1)));
				const fraction = shr(shl(value.mantissa, 1), n + 1);
				const magnitude = add(or(fraction, shl(wide(e), format.fractionBits)), wide(up));
				bits.value = or(magnitude, signBit(format, signOf(value)));
				x.clearC1(or(shl(ne(rest, 0), 5), shl(up, 9)));
			},
			() =>
				f.if(
					x.isEmpty(top),
					() => {
						x.clearC1();
						raiseOrReturn(x, calls, i32(FSW.IE | FSW.SF));
						bits.value = i64(format.name === "Double" ? 0xfff8_0000_0000_0000n : 0xffc0_0000n);
					},
					() => narrowSpecial(x, calls, format, value, bits),
				),
		);
		deliver(x, bits.value, format.name === "Double" ? 8 : 4);
	});
}

/** (cpu) → 0 with ST(0)'s significand in arg2, sign and exponent in arg3; 1 if an unmasked underflow forbids the store. */
defineCore("x87Read", ["i32"], "i32", (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const value = x.load(x.slot(top));
	const mantissa = x.variable64(value.mantissa);
	const se = x.variable32(value.se);
	x.clearC1();
	f.if(x.isEmpty(top), () => {
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.IE | FSW.SF)]), () => f.return(i32(1)));
		mantissa.value = i64(INDEFINITE_MANTISSA);
		se.value = i32(INDEFINITE_SE);
	});
	f.store("i64Store", x.cpu, mantissa.value, at("arg2"));
	f.store("i64Store", x.cpu, wide(se.value), at("arg3"));
	f.return(i32(0));
});

/** (cpu, i, pops): FST ST(i), FSTP ST(i). */
defineCore("x87StoreRegister", ["i32", "i32", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const to = x.physical(top, f.param(1));
	x.clearC1();
	f.if(
		x.isEmpty(top),
		() => f.if(f.callLet(calls.index("x87Underflow"), "i32", [x.cpu, to]), () => f.return()),
		() => {
			const value = x.load(x.slot(top));
			x.store(x.slot(to), value.se, value.mantissa);
			x.markValid(to);
		},
	);
	f.if(f.param(2), () => x.pop());
});

/** (cpu): what a caller that stored by itself does last. */
defineCore("x87Pop", ["i32"], undefined, (f) => new X87(f).pop());
