/// <reference path="../webassembly.d.ts" />
import { expect, it } from "vitest";
import { CALLEE, i32, op, openConst } from "./expr.ts";
import { FunctionBuilder } from "./function-builder.ts";
import type { FunctionCode } from "./function-code.ts";
import { ModuleBuilder } from "./module-builder.ts";

const PLUS = 1;

/** (x) → callee(x + constant), where `callees` are imported in this order. */
function runs(code: FunctionCode, callees: readonly ((x: number) => number)[], x: number): number {
	const module = new ModuleBuilder();
	for (const n of callees.keys()) module.importFunction("host", `f${n}`, ["i32"], "i32");
	module.export("run", module.function(code));
	const host = Object.fromEntries(callees.map((callee, n) => [`f${n}`, callee]));
	const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { host });
	return (exports.run as (x: number) => number)(x);
}

const double = (x: number): number => 2 * x;
const negate = (x: number): number => -x;

it("is used again with other constants and other functions", () => {
	const f = new FunctionBuilder(["i32"], "i32");
	// What is rare has its place in the code as well.
	f.ifRarely(op("i32Eqz", f.param(0)), () => f.return(i32(7)));
	f.return(f.callLet(0, "i32", [op("i32Add", f.param(0), openConst("i32", 5, { kind: PLUS, argument: -3 }))]));
	f.unreachable();
	const code = f.freeze();
	expect(runs(code, [double], 10)).toBe(30);
	const asked: [number, number][] = [];
	const other = code.with((kind, argument) => {
		asked.push([kind, argument]);
		return kind === CALLEE ? 1 : -0x4000_0000;
	});
	expect(asked).toEqual([
		[PLUS, -3],
		[CALLEE, 0],
	]);
	expect(runs(other, [double, negate], 10)).toBe(0x4000_0000 - 10);
	expect(runs(other, [double, negate], 0)).toBe(7);
	expect(runs(code, [double], 10)).toBe(30);
});

it("folds nothing with what is open", () => {
	const f = new FunctionBuilder([], "i64");
	f.return(op("i64Add", openConst("i64", -2, { kind: PLUS, argument: 0 }), openConst("i64", 1, { kind: PLUS, argument: 1 })));
	f.unreachable();
	const module = new ModuleBuilder();
	module.export("run", module.function(f.freeze().with((_, argument) => (argument === 0 ? -0x8000_0000 : 0x7fff_ffff))));
	const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()));
	expect((exports.run as () => bigint)()).toBe(-1n);
});
