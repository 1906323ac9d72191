/** Addition and subtraction of normalised values. */
import { type Expr, i64, select } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { add, and, clz, eq, eqz, ltS, ltU, narrow, ne, negate, or, shl, shr, sub, TOP_BIT, wide, X87 } from "./f80-emit.ts";
import { finish, shiftRightSticky } from "./f80-round.ts";
import { defineCore } from "./registry.ts";

/** A normalised operand: sign 0 or 0x8000, biased exponent of any size, significand with bit 63 set. */
export interface Normal {
	readonly sign: Expr;
	readonly exponent: Expr;
	readonly mantissa: Expr;
}

/** Stores a + b. All three parts of each are pinned. */
export function addNormal(x: X87, calls: Callables, slot: Expr, a: Normal, b: Normal): void {
	x.f.block((done) => addInBlock(x, calls, slot, a, b, done));
}

function addInBlock(x: X87, calls: Callables, slot: Expr, a: Normal, b: Normal, done: Label): void {
	const { f } = x;
	const swaps = f.let(or(ltS(a.exponent, b.exponent), and(eq(a.exponent, b.exponent), ltU(a.mantissa, b.mantissa))));
	const sign = f.let(select(swaps, b.sign, a.sign));
	const large = f.let(select(swaps, b.mantissa, a.mantissa));
	const small = f.let(select(swaps, a.mantissa, b.mantissa));
	const exponent = x.variable32(select(swaps, b.exponent, a.exponent));
	const distance = f.let(sub(exponent.value, select(swaps, a.exponent, b.exponent)));
	// The smaller one, moved under the larger one.
	const hi = x.variable64(small);
	const lo = x.variable64();
	f.if(
		ltU(sub(distance, 1), 63),
		() => {
			const n = f.let(wide(distance));
			lo.value = shl(small, negate(n));
			hi.value = shr(small, n);
		},
		() => {
			lo.value = i64(0);
			f.if(distance, () => shiftRightSticky(x, hi, lo, distance));
		},
	);
	f.if(
		eq(a.sign, b.sign),
		() => {
			hi.value = add(large, hi.value);
			f.if(ltU(hi.value, large), () => {
				lo.value = or(or(shl(hi.value, 63), shr(lo.value, 1)), and(lo.value, 1));
				hi.value = or(shr(hi.value, 1), TOP_BIT);
				exponent.value = add(exponent.value, 1);
			});
		},
		() => {
			hi.value = sub(sub(large, hi.value), wide(ne(lo.value, 0)));
			lo.value = negate(lo.value);
			f.if(eqz(hi.value), () => {
				f.if(eqz(lo.value), () => {
					const isDown = eq(and(x.field("fcw"), 0x0c00), 0x0400);
					x.store(slot, shl(isDown, 15), i64(0));
					x.clearC1();
					f.br(done);
				});
				hi.value = lo.value;
				lo.value = i64(0);
				exponent.value = sub(exponent.value, 64);
			});
			const n = f.let(clz(hi.value));
			f.if(ne(n, 0), () => {
				hi.value = or(shl(hi.value, n), shr(lo.value, sub(i64(64), n)));
				lo.value = shl(lo.value, n);
				exponent.value = sub(exponent.value, narrow(n));
			});
		},
	);
	finish(x, calls, slot, sign, exponent.value, hi.value, lo.value);
}

/** (cpu, slot, signA, signB, exponentA, mantissaA, exponentB, mantissaB): a + b. */
defineCore("f80AddNormal", ["i32", "i32", "i32", "i32", "i32", "i64", "i32", "i64"], undefined, (f, calls) => {
	const x = new X87(f);
	addNormal(
		x,
		calls,
		f.param(1),
		{ sign: f.param(2), exponent: f.param(4), mantissa: f.param(5) },
		{ sign: f.param(3), exponent: f.param(6), mantissa: f.param(7) },
	);
});
