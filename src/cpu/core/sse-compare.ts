/** One lane of SSE comparison, minimum, maximum and rounding to an integer. */
import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import { at } from "../state/layout.ts";
import { and, eq, or, shl } from "./f80-emit.ts";
import { defineCore } from "./registry.ts";
import { DOUBLE, FloatFunction, fromFloat, isNotANumber, isSignalling, MXCSR, SINGLE, toFloat } from "./sse-format.ts";

/** Bits of a relation: exactly one holds. */
export const RELATION = { less: 1, equal: 2, greater: 4, unordered: 8 } as const;

for (const fmt of [SINGLE, DOUBLE]) {
	const is = (name: string, ...args: Expr[]): Expr => op(`${fmt.type}${name}` as OpName, ...args);

	// (cpu, a, b, 1 if a quiet NaN is invalid too) → relation
	defineCore(`sseCompare${fmt.bits}`, ["i32", "i64", "i64", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const a = x.operand(fmt, f.param(1));
		const b = x.operand(fmt, f.param(2));
		f.if(or(isNotANumber(fmt, a), isNotANumber(fmt, b)), () => {
			const isInvalid = or(op("i32WrapI64", f.param(3)), or(isSignalling(fmt, a), isSignalling(fmt, b)));
			x.raiseIf(isInvalid, MXCSR.IE);
			f.return(i64(RELATION.unordered));
		});
		x.raiseDenormal(fmt, a, b);
		const left = f.let(toFloat(fmt, a));
		const right = f.let(toFloat(fmt, b));
		const relation = or(is("Lt", left, right), or(shl(is("Eq", left, right), 1), shl(is("Gt", left, right), 2)));
		f.return(op("i64ExtendI32U", relation));
		f.unreachable();
	});

	// (cpu, a, b, 0 minimum or 1 maximum): b unless a is strictly beyond it.
	defineCore(`sseMinMax${fmt.bits}`, ["i32", "i64", "i64", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const a = x.operand(fmt, f.param(1));
		const b = x.operand(fmt, f.param(2));
		f.if(or(isNotANumber(fmt, a), isNotANumber(fmt, b)), () => {
			x.raise(MXCSR.IE);
			f.return(b);
		});
		x.raiseDenormal(fmt, a, b);
		const left = f.let(toFloat(fmt, a));
		const right = f.let(toFloat(fmt, b));
		const isFirst = select(op("i32WrapI64", f.param(3)), is("Gt", left, right), is("Lt", left, right));
		f.return(select(isFirst, a, b));
		f.unreachable();
	});

	// (cpu, a, 0–3 or 4 for MXCSR's rounding, 1 if inexactness is to be told)
	defineCore(`sseRound${fmt.bits}`, ["i32", "i64", "i64", "i64"], "i64", (f, calls) => {
		const x = new FloatFunction(f, calls);
		const a = x.operand(fmt, f.param(1));
		x.returnNaN(fmt, a);
		const given = f.let(op("i32WrapI64", f.param(2)));
		const mode = f.let(select(eq(given, 4), x.rounding(), given));
		const number = f.let(toFloat(fmt, a));
		const rounded = f.local(fmt.type);
		f.set(rounded, is("Nearest", number));
		f.if(eq(mode, 1), () => f.set(rounded, is("Floor", number)));
		f.if(eq(mode, 2), () => f.set(rounded, is("Ceil", number)));
		f.if(eq(mode, 3), () => f.set(rounded, is("Trunc", number)));
		x.raiseIf(and(op("i32WrapI64", f.param(3)), is("Ne", f.get(rounded), number)), MXCSR.PE);
		f.return(fromFloat(f.get(rounded)));
		f.unreachable();
	});
}

// (cpu, a, b as bit patterns, 1 if a quiet NaN is invalid too) → relation; settles exceptions.
for (const [suffix, fmt] of [
	["SS", SINGLE],
	["SD", DOUBLE],
] as const)
	defineCore(`COMI${suffix}`, ["i32", "i64", "i64", "i64"], "i64", (f, calls) => {
		const cpu = f.param(0);
		f.store("i32Store", cpu, i32(0), at("arg3"));
		const relation = f.callLet(calls.index(`sseCompare${fmt.bits}`), "i64", [cpu, f.param(1), f.param(2), f.param(3)]);
		f.call(calls.index("sseFinish"), [cpu]);
		f.return(relation);
		f.unreachable();
	});
