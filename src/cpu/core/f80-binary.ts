/** What functions of ST(0) and ST(1) share that leave their result in ST(1) and pop. */
import type { Expr } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { type Ext, or, type X87 } from "./f80-emit.ts";
import { pin, type Wide } from "./f80-fixed.ts";
import { answerInvalid, answerNan } from "./f80-unary.ts";

/** The operands, ST(1)'s slot; empty registers, NaN and unsupported values are answered. */
export function binaryOperands(x: X87, calls: Callables): { slot: Expr; first: Ext; second: Ext } {
	const { f } = x;
	const top = f.let(x.field("ftop"));
	const other = x.physical(top, 1);
	f.if(or(x.isEmpty(top), x.isEmpty(other)), () => {
		f.if(f.callLet(calls.index("x87Underflow"), "i32", [x.cpu, other]), () => f.return());
		x.pop();
		f.return();
	});
	const slot = x.slot(other);
	const first = x.load(x.slot(top));
	const second = x.load(slot);
	answerNan(x, calls, slot, first, second, () => x.pop());
	return { slot, first, second };
}

/** The invalid operation of such a function. Returns. */
export function binaryInvalid(x: X87, calls: Callables, slot: Expr): void {
	answerInvalid(x, calls, slot, () => x.pop());
}

/** Stores, pops and returns. */
export function conclude(x: X87, slot: Expr, se: Expr, mantissa: Expr): void {
	x.clearC1();
	x.store(slot, se, mantissa);
	x.pop();
	x.f.return();
}

/** Never quite exact: the last bit keeps it from looking so. */
export function inexact(x: X87, v: Wide): Wide {
	return pin(x, v.hi, or(v.lo, 1));
}
