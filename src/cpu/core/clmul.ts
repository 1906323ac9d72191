/**
 * Carry-less multiplication by ordinary multiplication: with only every fourth bit of a factor set, at most eight ones meet at a
 * place of the product and their carries stay within the three places above, which are masked away.
 */
import { type Expr, i64, laneOp, op } from "../../wasm/expr.ts";
import { defineCore } from "./registry.ts";

const EVERY_FOURTH = 0x1111_1111_1111_1111n;

const xorAll = (terms: readonly Expr[]): Expr => terms.reduce((sum, term) => op("i64Xor", sum, term));

/** 32 × 32 → 64 bits; the factors' upper halves are 0. */
defineCore("clmul32", ["i64", "i64"], "i64", (f) => {
	const parts = (factor: Expr): Expr[] => [0, 1, 2, 3].map((i) => f.let(op("i64And", factor, i64(EVERY_FOURTH << BigInt(i)))));
	const a = parts(f.param(0));
	const b = parts(f.param(1));
	const sums = [0, 1, 2, 3].map((place) => {
		const products = a.map((part, i) => op("i64Mul", part, b[(place - i + 4) % 4] as Expr));
		return op("i64And", xorAll(products), i64(EVERY_FOURTH << BigInt(place)));
	});
	f.return(xorAll(sums));
	f.unreachable();
});

/** 64 × 64 → 128 bits, from three products of halves (Karatsuba). */
defineCore("clmul64", ["i64", "i64"], "v128", (f, calls) => {
	const low = (e: Expr): Expr => op("i64And", e, i64(0xffff_ffffn));
	const high = (e: Expr): Expr => op("i64ShrU", e, i64(32));
	const product = (a: Expr, b: Expr): Expr => f.callLet(calls.index("clmul32"), "i64", [a, b]);
	const [a, b] = [f.param(0), f.param(1)];
	const lows = product(low(a), low(b));
	const highs = product(high(a), high(b));
	const crossed = product(op("i64Xor", low(a), high(a)), op("i64Xor", low(b), high(b)));
	const middle = f.let(xorAll([crossed, lows, highs]));
	const bottom = op("i64Xor", lows, op("i64Shl", middle, i64(32)));
	const top = op("i64Xor", highs, op("i64ShrU", middle, i64(32)));
	f.return(laneOp("i64x2ReplaceLane", 1, op("i64x2Splat", bottom), top));
	f.unreachable();
});
