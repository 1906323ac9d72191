import { describe, expect, it } from "vitest";
import { renderReport, reportOf } from "./report.ts";
import { SymbolTable } from "./symbols.ts";

const symbols = SymbolTable.parse("ffffffff81000000 T _text\nffffffff81000100 t start_kernel\n", "System.map");

describe("a profile's report", () => {
	const report = reportOf(
		[
			{ name: "region1 ffffffff81000104", url: "wasm://wasm/1", seconds: 1 },
			{ name: "region2 401000", url: "wasm://wasm/2", seconds: 2 },
			{ name: "MOV 8 159", url: "wasm://wasm/3", seconds: 0.5 },
			{ name: "fillTlb", url: "wasm://wasm/4", seconds: 0.25 },
			{ name: "walk", url: "file:///x/src/cpu/mmu/walk.ts", seconds: 0.125 },
			{ name: "Module", url: "", seconds: 0.125 },
		],
		symbols,
	);

	it("sums by what the time was spent on", () => {
		expect(report.seconds).toBe(4);
		expect(Object.fromEntries(report.categories.map(({ name, seconds }) => [name, seconds]))).toEqual({
			"translated code": 3,
			"interpreted code": 0.5,
			"core functions": 0.25,
			"memory, slow path": 0.125,
			translating: 0.125,
		});
		expect(report.categories[0]).toEqual({ name: "translated code", seconds: 3, share: 0.75 });
	});

	it("names the guest's code, the busiest first", () => {
		expect(report.regions.map(({ address, symbol, tier }) => [address, symbol, tier])).toEqual([
			["401000", undefined, 2],
			["ffffffff81000104", "start_kernel+0x4", 1],
		]);
		expect(renderReport(report)).toContain("ffffffff81000104  first  start_kernel+0x4");
	});
});

it("refuses a file without symbols by name", () => {
	expect(() => SymbolTable.parse("hello\n", "README")).toThrow(/README: no line says/);
});
