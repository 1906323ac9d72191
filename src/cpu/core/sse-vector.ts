/**
 * Whole SSE instructions, lane by lane, under their mnemonics: (cpu, destination, source …) → the destination's new value. `arg2`
 * tells whether an exception is unmasked (see `sseFinish`).
 */
import { type Expr, i32, i64, laneOp, loadOp, op, v128 } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { ValueType } from "../../wasm/opcodes.ts";
import type { Callables } from "../emit/ops.ts";
import { at } from "../state/layout.ts";
import { defineCore } from "./registry.ts";
import { DOUBLE, type FloatFormat, SINGLE } from "./sse-format.ts";

const ZERO = v128(new Uint8Array(16));

export const laneCount = (fmt: FloatFormat): number => 128 / fmt.bits;

/** Lane i as an i64, a single zero-extended. */
export const getLane = (fmt: FloatFormat, vector: Expr, lane: number): Expr =>
	fmt.bits === 64 ? laneOp("i64x2ExtractLane", lane, vector) : op("i64ExtendI32U", laneOp("i32x4ExtractLane", lane, vector));

export const setLane = (fmt: FloatFormat, vector: Expr, lane: number, value: Expr): Expr =>
	fmt.bits === 64 ? laneOp("i64x2ReplaceLane", lane, vector, value) : laneOp("i32x4ReplaceLane", lane, vector, op("i32WrapI64", value));

export interface LaneCaller {
	readonly f: FunctionBuilder;
	call(name: string, ...args: Expr[]): Expr;
	/** Settles what has been met so far; an unmasked exception ends the instruction here. */
	finish(): void;
}

/** Defines an instruction; `body` returns the result. */
export function defineVector(
	name: string,
	params: readonly ValueType[],
	body: (x: LaneCaller, args: readonly Expr[]) => Expr,
	result: ValueType = "v128",
): void {
	defineCore(name, ["i32", ...params], result, (f: FunctionBuilder, calls: Callables) => {
		const cpu = f.param(0);
		f.store("i32Store", cpu, i32(0), at("arg3"));
		const finish = (): void => f.call(calls.index("sseFinish"), [cpu]);
		const value = body(
			{
				f,
				call: (callee, ...args) => f.callLet(calls.index(callee), "i64", [cpu, ...args]),
				finish() {
					finish();
					f.if(loadOp("i32Load", cpu, at("arg2")), () => f.return(ZERO));
				},
			},
			params.map((_, i) => f.param(i + 1)),
		);
		const pinned = f.let(value);
		finish();
		f.return(pinned);
		f.unreachable();
	});
}

/** Lanes worked out one after another, the rest from `base`. */
export function eachLane(x: LaneCaller, fmt: FloatFormat, count: number, base: Expr, lane: (i: number) => Expr): Expr {
	let result = base;
	for (let i = 0; i < count; i++) result = x.f.let(setLane(fmt, result, i, lane(i)));
	return result;
}

const FORMS = [
	["PS", SINGLE, 4],
	["SS", SINGLE, 1],
	["PD", DOUBLE, 2],
	["SD", DOUBLE, 1],
] as const;

for (const [suffix, fmt, count] of FORMS) {
	const flip = i64(fmt.sign);
	const binary = (name: string, lane: (x: LaneCaller, a: Expr, b: Expr) => Expr): void =>
		defineVector(`${name}${suffix}`, ["v128", "v128"], (x, [a, b]) =>
			eachLane(x, fmt, count, a as Expr, (i) => lane(x, getLane(fmt, a as Expr, i), getLane(fmt, b as Expr, i))),
		);
	binary("ADD", (x, a, b) => x.call(`sseAdd${fmt.bits}`, a, b, i64(0)));
	binary("SUB", (x, a, b) => x.call(`sseAdd${fmt.bits}`, a, b, flip));
	binary("MUL", (x, a, b) => x.call(`sseMul${fmt.bits}`, a, b));
	binary("DIV", (x, a, b) => x.call(`sseDiv${fmt.bits}`, a, b));
	binary("SQRT", (x, _a, b) => x.call(`sseSqrt${fmt.bits}`, b));
	binary("MIN", (x, a, b) => x.call(`sseMinMax${fmt.bits}`, a, b, i64(0)));
	binary("MAX", (x, a, b) => x.call(`sseMinMax${fmt.bits}`, a, b, i64(1)));
	// (…, relations that make it true, whether a quiet NaN is invalid)
	defineVector(`CMP${suffix}`, ["v128", "v128", "i64", "i64"], (x, [a, b, wanted, signals]) =>
		eachLane(x, fmt, count, a as Expr, (i) => {
			const relation = x.call(`sseCompare${fmt.bits}`, getLane(fmt, a as Expr, i), getLane(fmt, b as Expr, i), signals as Expr);
			return op("i64ExtendI32S", op("i32Sub", i32(0), op("i64Ne", op("i64And", relation, wanted as Expr), i64(0))));
		}),
	);
	// (…, 0–3 or 4 for MXCSR's rounding, whether inexactness is to be told)
	defineVector(`ROUND${suffix}`, ["v128", "v128", "i64", "i64"], (x, [a, b, mode, tells]) =>
		eachLane(x, fmt, count, a as Expr, (i) => x.call(`sseRound${fmt.bits}`, getLane(fmt, b as Expr, i), mode as Expr, tells as Expr)),
	);
	if (count === 1) continue;
	defineVector(`ADDSUB${suffix}`, ["v128", "v128"], (x, [a, b]) =>
		eachLane(x, fmt, count, a as Expr, (i) =>
			x.call(`sseAdd${fmt.bits}`, getLane(fmt, a as Expr, i), getLane(fmt, b as Expr, i), i % 2 === 0 ? flip : i64(0)),
		),
	);
	/** Products of the lanes `high` chooses, summed in pairs; `low` says which lanes of the result get the sum. */
	defineVector(`DP${suffix}`, ["v128", "v128", "i32"], (x, [a, b, control]) => {
		const isChosen = (bit: number): Expr => op("i32And", op("i32ShrU", control as Expr, i32(bit)), i32(1));
		const products: Expr[] = [];
		for (let i = 0; i < count; i++) {
			const product = x.f.local("i64");
			x.f.if(isChosen(4 + i), () => x.f.set(product, x.call(`sseMul${fmt.bits}`, getLane(fmt, a as Expr, i), getLane(fmt, b as Expr, i))));
			products.push(x.f.get(product));
		}
		let sums = products;
		while (sums.length > 1) {
			x.finish();
			const pairs: Expr[] = [];
			for (let i = 0; i < sums.length; i += 2) pairs.push(x.call(`sseAdd${fmt.bits}`, sums[i] as Expr, sums[i + 1] as Expr, i64(0)));
			sums = pairs;
		}
		const sum = sums[0] as Expr;
		return eachLane(x, fmt, count, ZERO, (i) => op("i64And", sum, op("i64Sub", i64(0), op("i64ExtendI32U", isChosen(i)))));
	});
}
