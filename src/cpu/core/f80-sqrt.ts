/** FSQRT. */
import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import {
	add,
	and,
	BIAS,
	EXP_MAX,
	eq,
	eqz,
	geS,
	gtS,
	gtU,
	ltS,
	mulWide,
	ne,
	or,
	sar,
	shl,
	shr,
	sub,
	TOP_BIT,
	wide,
	X87,
} from "./f80-emit.ts";
import { finish } from "./f80-round.ts";
import { exponentOf, normalise, signOf } from "./f80-special.ts";
import { answerInvalid, reportDenormal, unaryOperand } from "./f80-unary.ts";
import { defineCore } from "./registry.ts";

const f64 = (name: "f64Sqrt" | "f64Mul" | "f64ConvertI64U", ...args: Expr[]): Expr => op(name, ...args);

defineCore("x87Sqrt", ["i32"], undefined, (f, calls) => {
	const x = new X87(f);
	const { slot, value } = unaryOperand(x, calls);
	f.if(eqz(value.mantissa), () => {
		x.clearC1();
		f.return();
	});
	f.if(signOf(value), () => answerInvalid(x, calls, slot));
	f.if(eq(exponentOf(value), EXP_MAX), () => {
		x.clearC1();
		f.return();
	});
	reportDenormal(x, calls, value);
	const v = normalise(x, value);
	const e = f.let(sub(v.exponent, BIAS));
	// Radicand of 127 or 128 bits whose root has 64: significand × 2^63, or × 2^64 for odd exponents.
	const isOdd = f.let(and(e, 1));
	const radicandHi = f.let(select(isOdd, v.mantissa, shr(v.mantissa, 1)));
	const radicandLo = f.let(select(isOdd, i64(0), shl(v.mantissa, 63)));
	// A double's root is good to some 2^-52; one step of Newton's takes it within a few units.
	const scaled = f64("f64Mul", f64("f64Sqrt", f64("f64ConvertI64U", radicandHi)), op("f64ConvertI64U", i64(1n << 31n)));
	const estimate = f.let(shl(op("i64TruncSatF64S", scaled), 1));
	const root = x.variable64(estimate);
	const restHi = x.variable64();
	const restLo = x.variable64();
	const measure = () => {
		const square = mulWide(f, root.value, root.value);
		const borrow = wide(op("i64LtU", radicandLo, square.lo));
		restHi.value = sub(sub(radicandHi, square.hi), borrow);
		restLo.value = sub(radicandLo, square.lo);
	};
	measure();
	const part = f.let(or(shl(restHi.value, 50), shr(restLo.value, 14)));
	root.value = add(root.value, op("i64DivS", part, shr(root.value, 13)));
	f.if(geS(root.value, 0), () => {
		root.value = select(gtS(part, 0), i64(-1), i64(TOP_BIT));
	});
	measure();
	f.loop((again) => {
		f.if(ltS(restHi.value, 0), () => {
			root.value = sub(root.value, 1);
			// rest += 2 × root + 1
			const low = f.let(add(restLo.value, add(shl(root.value, 1), 1)));
			restHi.value = add(add(restHi.value, shr(root.value, 63)), wide(op("i64LtU", low, restLo.value)));
			restLo.value = low;
			f.br(again);
		});
		f.if(or(gtS(restHi.value, 1), and(eq(restHi.value, 1), gtU(restLo.value, shl(root.value, 1)))), () => {
			// rest −= 2 × root + 1
			const less = f.let(add(shl(root.value, 1), 1));
			restHi.value = sub(sub(restHi.value, shr(root.value, 63)), wide(op("i64LtU", restLo.value, less)));
			restLo.value = sub(restLo.value, less);
			root.value = add(root.value, 1);
			f.br(again);
		});
	});
	const isAboveHalf = or(ne(restHi.value, 0), gtU(restLo.value, root.value));
	const lo = f.let(or(select(isAboveHalf, i64(TOP_BIT), i64(0)), wide(ne(or(restHi.value, restLo.value), 0))));
	finish(x, calls, slot, i32(0), f.let(add(sar(e, 1), BIAS)), root.value, lo);
});
