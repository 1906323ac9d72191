/** Rounding to integers: FIST, FISTP, FISTTP, FBSTP, FRNDINT. */
import { type Expr, i32, i64, select } from "../../wasm/expr.ts";
import { at } from "../state/layout.ts";
import {
	add,
	and,
	BIAS,
	clz,
	divU,
	type Ext,
	eqz,
	FSW,
	geS,
	gtU,
	ltU,
	mul,
	narrow,
	ne,
	negate,
	or,
	remU,
	shl,
	shr,
	sub,
	wide,
	X87,
} from "./f80-emit.ts";
import { roundsUp, shiftRightSticky } from "./f80-round.ts";
import { exponentOf, isUnsupported, signOf } from "./f80-special.ts";
import { deliver, raiseOrReturn } from "./f80-store.ts";
import { reportDenormal, unaryOperand } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

interface Rounded {
	readonly sign: Expr;
	/** Away from zero. */
	readonly up: Expr;
	/** What was cut off: 0 if nothing. */
	readonly rest: Expr;
	readonly magnitude: Expr;
}

/** `value` below 2^64 to an integer, as RC says or toward zero. */
function roundToInteger(x: X87, value: Ext, truncates: boolean): Rounded {
	const { f } = x;
	const sign = f.let(signOf(value));
	const hi = x.variable64(value.mantissa);
	const lo = x.variable64(i64(0));
	const shift = f.let(sub(i32(BIAS + 63), exponentOf(value)));
	f.if(
		ltU(sub(shift, 1), 63),
		() => {
			const n = f.let(wide(shift));
			lo.value = shl(value.mantissa, negate(n));
			hi.value = shr(value.mantissa, n);
		},
		() => f.if(shift, () => shiftRightSticky(x, hi, lo, shift)),
	);
	const rc = truncates ? i32(3) : f.let(and(shr(x.field("fcw"), 10), 3));
	const up = f.let(roundsUp(rc, sign, hi.value, lo.value));
	return { sign, up, rest: lo.value, magnitude: f.let(add(hi.value, wide(up))) };
}

for (const bytes of [2, 4, 8] as const) {
	for (const truncates of [false, true]) {
		defineCore(`x87${truncates ? "Truncate" : "Store"}Int${bytes * 8}`, ["i32", "i32", "i32"], "i32", (f, calls) => {
			const x = new X87(f);
			const indefinite = -(1n << BigInt(bytes * 8 - 1));
			const top = f.let(x.field("ftop"));
			const value = x.load(x.slot(top));
			const result = x.variable64();
			const flags = x.variable32(i32(0));
			x.clearC1();
			f.block((done) => {
				f.block((invalid) => {
					f.if(x.isEmpty(top), () => {
						flags.value = i32(FSW.SF);
						f.br(invalid);
					});
					// ∞, NaN and whatever reaches 2^64.
					f.brIf(invalid, or(geS(exponentOf(value), BIAS + 64), isUnsupported(value)));
					const { sign, up, rest, magnitude } = roundToInteger(x, value, truncates);
					// Bounds: 2^(bits−1) − 1, one more for negative values; a carry out of 64 bits leaves 0.
					f.brIf(invalid, gtU(magnitude, sub(i64(-indefinite), wide(eqz(sign)))));
					f.brIf(invalid, and(up, eqz(magnitude)));
					result.value = select(sign, negate(magnitude), magnitude);
					flags.value = select(ne(rest, 0), or(i32(FSW.PE), shl(up, 9)), i32(0));
					f.if(flags.value, () => f.call(calls.index("f80Raise"), [x.cpu, flags.value], true));
					f.br(done);
				});
				raiseOrReturn(x, calls, or(flags.value, FSW.IE));
				result.value = i64(indefinite);
			});
			deliver(x, result.value, bytes);
		});
	}
}

/** (cpu) → 0 with the eighteen digits and the sign in arg2 and arg3 (two bytes); 1 if an unmasked exception forbids the store. */
defineCore("x87ReadDecimal", ["i32"], "i32", (f, calls) => {
	const x = new X87(f);
	const top = f.let(x.field("ftop"));
	const value = x.load(x.slot(top));
	const low = x.variable64();
	const high = x.variable64();
	const flags = x.variable32(i32(0));
	x.clearC1();
	f.block((done) => {
		f.block((invalid) => {
			f.if(x.isEmpty(top), () => {
				flags.value = i32(FSW.SF);
				f.br(invalid);
			});
			f.brIf(invalid, or(geS(exponentOf(value), BIAS + 64), isUnsupported(value)));
			const { sign, up, rest, magnitude } = roundToInteger(x, value, false);
			f.brIf(invalid, or(gtU(magnitude, 999_999_999_999_999_999n), and(up, eqz(magnitude))));
			const digits = x.variable64(magnitude);
			const packed = x.variable64(i64(0));
			const place = x.variable64(i64(0));
			const sixteen = () =>
				f.loop((again) => {
					packed.value = or(packed.value, shl(remU(digits.value, 10), place.value));
					digits.value = divU(digits.value, 10);
					place.value = add(place.value, 4);
					f.brIf(again, ltU(place.value, 64));
				});
			sixteen();
			low.value = packed.value;
			packed.value = i64(0);
			place.value = i64(0);
			sixteen();
			high.value = or(packed.value, wide(sign));
			flags.value = select(ne(rest, 0), or(i32(FSW.PE), shl(up, 9)), i32(0));
			f.call(calls.index("f80Raise"), [x.cpu, flags.value], true);
			f.br(done);
		});
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, or(flags.value, FSW.IE)]), () => f.return(i32(1)));
		low.value = i64(0xc000_0000_0000_0000n);
		high.value = i64(0xffff);
	});
	f.store("i64Store", x.cpu, low.value, at("arg2"));
	f.store("i64Store", x.cpu, high.value, at("arg3"));
	f.return(i32(0));
});

/** (cpu, digits, two upper digits and sign): FBLD. Digits above 9 count as what they are worth. */
defineCore("x87LoadDecimal", ["i32", "i64", "i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const upper = f.param(2);
	const value = x.variable64(wide(add(mul(and(shr(upper, 4), 15), 10), and(upper, 15))));
	const place = x.variable64(i64(64));
	f.loop((again) => {
		place.value = sub(place.value, 4);
		value.value = add(mul(value.value, 10), and(shr(f.param(1), place.value), 15));
		f.brIf(again, ne(place.value, 0));
	});
	const sign = f.let(and(upper, 0x8000));
	const n = f.let(clz(value.value));
	const se = select(eqz(value.value), i32(0), sub(i32(BIAS + 63), narrow(n)));
	f.call(calls.index("x87Load"), [x.cpu, shl(value.value, n), or(se, sign)]);
});

/** (cpu): FRNDINT. */
defineCore("x87RoundToInteger", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const { slot, value } = unaryOperand(x, calls);
	f.if(or(geS(exponentOf(value), BIAS + 63), eqz(value.mantissa)), () => {
		x.clearC1();
		f.return();
	});
	reportDenormal(x, calls, value);
	x.clearC1();
	const { sign, up, rest, magnitude } = roundToInteger(x, value, false);
	const n = f.let(clz(magnitude));
	x.store(slot, or(sign, select(eqz(magnitude), i32(0), sub(i32(BIAS + 63), narrow(n)))), shl(magnitude, n));
	f.if(ne(rest, 0), () => f.call(calls.index("f80Raise"), [x.cpu, or(i32(FSW.PE), shl(up, 9))], true));
});
