import { describe, expect, it } from "vitest";
import { disassemble } from "./disassemble.ts";
import { i32, i64, op, roleGet, select, varying } from "./expr.ts";
import { FunctionBuilder } from "./function-builder.ts";
import type { Template } from "./template.ts";

const names = { local: (n: number) => `v${n}`, call: (n: number) => `f${n}` };
const text = (f: FunctionBuilder): string[] => disassemble(f.bytes(), names).trimEnd().split("\n");

describe("values", () => {
	it("stay on the stack where they are used next", () => {
		const f = new FunctionBuilder(["i32"]);
		const sum = f.let(op("i32Add", f.param(0), i32(1)));
		f.store("i32Store", sum, sum, 8);
		expect(text(f)).toEqual(["localGet v0, i32Const 1, i32Add, localTee v1, localGet v1, i32Store +8"]);
	});

	it("are copied only where they could be others later", () => {
		const f = new FunctionBuilder([]);
		const register = f.register("i64");
		const changing = f.local("i64");
		const held = f.hold(op("i64Add", f.get(register), i64(1)));
		const copied = f.hold(op("i64Add", f.get(changing), i64(1)));
		f.set(changing, i64(5));
		f.set(register, op("i64Xor", held, copied));
		expect(text(f)).toEqual([
			"localGet v1, i64Const 1, i64Add, localSet v2",
			"i64Const 5, localSet v1",
			"localGet v0, i64Const 1, i64Add, localGet v2, i64Xor, localSet v0",
		]);
	});

	it("that were pinned cannot be set", () => {
		const f = new FunctionBuilder(["i32"]);
		const pinned = f.pin(f.param(0));
		expect(() => f.set(pinned.imm as number, i32(0))).toThrow("counts on it");
	});
});

describe("conditions", () => {
	it("are turned round instead of negated, and need be no more than not 0", () => {
		const f = new FunctionBuilder(["i32", "i32"]);
		f.if(op("i32Eqz", op("i32LtU", f.param(0), f.param(1))), () => f.return());
		f.if(op("i32Eqz", op("i32Eqz", f.param(0))), () => f.return());
		f.set(0, select(op("i32Eqz", op("i64Eq", i64(1), op("i64ExtendI32U", f.param(1)))), f.param(0), i32(3)));
		expect(text(f)).toEqual([
			"localGet v0, localGet v1, i32GeU, if",
			"\treturn",
			"end",
			"localGet v0, if",
			"\treturn",
			"end",
			"localGet v0, i32Const 3, i64Const 1, localGet v1, i64ExtendI32U, i64Ne, select, localSet v0",
		]);
	});
});

describe("ways out", () => {
	it("lead to the ends that they were given, however deep they stand", () => {
		const f = new FunctionBuilder(["i32"], "i32");
		f.brOutIf(1, f.param(0));
		f.block(() => f.brOut(0));
		const ends = ["i32Const 10, return", "i32Const 11, return"];
		f.wrap(2, (n) => f.return(i32(10 + n)), [() => f.return(i32(12))], [1, 0]);
		const lines = text(f).map((line) => line.trim());
		expect(lines).toContain("localGet v0, brIf 0");
		expect(lines).toContain("br 2");
		expect(lines.filter((line) => ends.includes(line))).toEqual(ends);
	});
});

describe("templates", () => {
	const record = (f: FunctionBuilder): Template | undefined => {
		f.record();
		f.set(3, op("i64Add", roleGet("i64", 2, 0), varying("i64", 7, 1000)), 1);
		f.call(4, [i32(0)]);
		return f.recorded();
	};
	const builder = (): FunctionBuilder => {
		const f = new FunctionBuilder(["i32", "i32"]);
		for (let n = 0; n < 4; n++) f.register("i64");
		return f;
	};

	it("are written with other locals, constants and functions", () => {
		const first = builder();
		const template = record(first) as Template;
		expect(text(first)).toEqual(["localGet v2, i64Const 1000, i64Add, localSet v3", "i32Const 0, call f4"]);
		const second = builder();
		second.replay(template, { local: (role) => 4 + role, constant: (which) => -which, way: () => 0, callee: (n) => n + 300 });
		expect(text(second)).toEqual(["localGet v4, i64Const -7, i64Add, localSet v5", "i32Const 0, call f304"]);
	});

	it("are not made of what has locals of its own", () => {
		const f = builder();
		f.record();
		f.let(op("i64Mul", f.get(2), f.get(3)));
		expect(f.recorded()).toBeUndefined();
	});
});
