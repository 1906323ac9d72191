/** The beginnings that functions of one or two stack registers share: empty registers, NaN, what no longer is a number. */
import { type Expr, i32 } from "../../wasm/expr.ts";
import type { Callables } from "../emit/ops.ts";
import { type Ext, FSW, or, type X87 } from "./f80-emit.ts";
import { isDenormal, isNan, isUnsupported } from "./f80-special.ts";

/** ST(0) as a supported number, ∞ included. Empty, unsupported and NaN operands are answered, as is the denormal exception. */
export function unaryOperand(x: X87, calls: Callables): { slot: Expr; value: Ext } {
	const { f } = x;
	const top = f.let(x.field("ftop"));
	f.if(x.isEmpty(top), () => {
		f.call(calls.index("x87Underflow"), [x.cpu, top], true);
		f.return();
	});
	const slot = x.slot(top);
	const value = x.load(slot);
	answerNan(x, calls, slot, value, value);
	return { slot, value };
}

/** Returns from the function (that leaves nothing) if either is no number; `slot` takes the answer. */
export function answerNan(x: X87, calls: Callables, slot: Expr, a: Ext, b: Ext, after: () => void = () => {}): void {
	const { f } = x;
	const either = (test: (v: Ext) => Expr) => (a === b ? test(a) : or(test(a), test(b)));
	f.if(either(isUnsupported), () => {
		answerInvalid(x, calls, slot, after);
	});
	f.if(either(isNan), () => {
		const stopped = f.callLet(calls.index("f80Nan"), "i32", [x.cpu, slot, a.se, a.mantissa, b.se, b.mantissa]);
		f.if(stopped, () => f.return());
		after();
		f.return();
	});
}

/** The invalid operation: the indefinite in `slot` unless unmasked. Returns from the function. */
export function answerInvalid(x: X87, calls: Callables, slot: Expr, after: () => void = () => {}): void {
	const { f } = x;
	f.if(f.callLet(calls.index("f80Invalid"), "i32", [x.cpu, slot]), () => f.return());
	after();
	f.return();
}

/** Returns from the function if a denormal operand's exception is unmasked. */
export function reportDenormal(x: X87, calls: Callables, ...values: Ext[]): void {
	const { f } = x;
	const any = values.map(isDenormal).reduce((a, b) => or(a, b));
	f.if(any, () => {
		x.clearC1();
		f.if(f.callLet(calls.index("f80Raise"), "i32", [x.cpu, i32(FSW.DE)]), () => f.return());
	});
}
