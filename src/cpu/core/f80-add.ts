/** Addition and subtraction of normalised values. */
import { type Expr, i64 } from "../../wasm/expr.ts";
import type { Label } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { add, and, clz, eq, eqz, ltU, narrow, ne, negate, or, sar, shl, shr, sub, wide, wideSigned, X87, xor } from "./f80-emit.ts";
import { finish, shiftRightSticky } from "./f80-round.ts";
import { defineCore } from "./registry.ts";

/** A normalised operand: sign 0 or 0x8000, biased exponent of any size, significand with bit 63 set. */
export interface Normal {
	readonly sign: Expr;
	readonly exponent: Expr;
	readonly mantissa: Expr;
}

/** Stores a + b. All three parts of each are pinned. Branches only where they are easily foreseen. */
export function addNormal(x: X87, calls: Callables, slot: Expr, a: Normal, b: Normal): void {
	x.f.block((done) => addInBlock(x, calls, slot, a, b, done));
}

function addInBlock(x: X87, calls: Callables, slot: Expr, a: Normal, b: Normal, done: Label): void {
	const { f } = x;
	// The one with the larger exponent first: all ones in `swap` exchange them.
	const difference = f.let(sub(a.exponent, b.exponent));
	const swap = f.let(sar(difference, 31));
	const distance = f.let(sub(xor(difference, swap), swap));
	const exponent = x.variable32(sub(a.exponent, and(difference, swap)));
	const signs = f.let(xor(a.sign, b.sign));
	const sign = x.variable32(xor(a.sign, and(signs, swap)));
	const exchange = f.let(and(xor(a.mantissa, b.mantissa), wideSigned(swap)));
	const large = f.let(xor(a.mantissa, exchange));
	const small = f.let(xor(b.mantissa, exchange));
	const hi = x.variable64();
	const lo = x.variable64();
	f.if(
		ltU(distance, 64),
		() => {
			const n = f.let(wide(distance));
			lo.value = shl(shl(small, 1), xor(n, 63));
			hi.value = shr(small, n);
		},
		() => {
			hi.value = small;
			shiftRightSticky(x, hi, lo, distance);
		},
	);
	f.if(
		signs,
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
			f.if(eqz(distance), () => {
				f.if(ltU(large, small), () => {
					hi.value = negate(hi.value);
					sign.value = xor(sign.value, 0x8000);
				});
			});
			const n = f.let(clz(hi.value));
			hi.value = or(shl(hi.value, n), shr(shr(lo.value, 1), xor(n, 63)));
			lo.value = shl(lo.value, n);
			exponent.value = sub(exponent.value, narrow(n));
		},
		() => {
			hi.value = add(large, hi.value);
			const carry = f.let(wide(ltU(hi.value, large)));
			lo.value = or(or(shr(lo.value, carry), and(lo.value, carry)), shl(and(hi.value, carry), 63));
			hi.value = or(shr(hi.value, carry), shl(carry, 63));
			exponent.value = add(exponent.value, narrow(carry));
		},
	);
	finish(x, calls, slot, sign.value, exponent.value, hi.value, lo.value);
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
