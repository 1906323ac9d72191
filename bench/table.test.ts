import { describe, expect, test } from "vitest";
import { ENGINE_BYTES, GuestMemory } from "../src/machine/memory.ts";
import { judge, renderVerdicts } from "./acceptance.ts";
import { beyondRam, mappingsOf, residentBeyondRam } from "./resident.ts";
import { gather, geometricMean, type Measured, median, renderTable, speedups } from "./table.ts";

const own: Measured = { engine: "Basenji", bits: 32, seconds: { sieve: [2, 1, 3], alu: [1], boot: [5] }, beyondRamBytes: undefined };
const peer: Measured = { engine: "peer", bits: 32, seconds: { sieve: [4, 4, 9], boot: [10] }, beyondRamBytes: undefined };

test("medians of odd and even counts", () => {
	expect(median([3, 1, 2])).toBe(2);
	expect(median([4, 1, 3, 2])).toBe(2.5);
});

test("a speedup says how many times faster the first is; what one of them lacks is left out", () => {
	expect(speedups(own, peer, ["sieve", "alu"])).toEqual({ sieve: 2 });
	expect(geometricMean([2, 8])).toBeCloseTo(4);
});

test("the table has a ratio for each peer, and leaves the boot out of the mean", () => {
	const table = renderTable([peer, own], "Basenji", ["sieve", "alu"], ["boot", "login"]).split("\n");
	expect(table[0]).toContain("against peer");
	expect(table.at(-2)).toMatch(/geometric mean +2\.00 ×/);
	expect(table.at(-1)).toMatch(/boot +10\.0 +5\.00 +2\.00 ×/);
	expect(table.find((line) => line.startsWith("alu"))).toMatch(/– +1\.00 +–/);
});

test("a column's runs are gathered by program, its memory at its highest", () => {
	const run = (seconds: number, beyondRamBytes: number | undefined) => ({ timings: new Map([["alu", seconds]]), beyondRamBytes });
	expect(gather({ name: "Basenji", bits: 64 }, [run(3, 5), run(1, undefined), run(2, 9)])).toEqual({
		engine: "Basenji",
		bits: 64,
		seconds: { alu: [3, 1, 2] },
		beyondRamBytes: 9,
	});
});

describe("acceptance", () => {
	const at = (engine: string, bits: 64 | 32, seconds: number, beyondRamBytes?: number): Measured => ({
		engine,
		bits,
		seconds: Object.fromEntries(["sieve", "alu", "boot"].map((name) => [name, [seconds]])),
		beyondRamBytes,
	});

	test("a line is met or short by what was measured, and open where nothing was", () => {
		const verdicts = judge([at("Basenji", 64, 2, 400 * 1024 ** 2), at("QEMU TCG x86-64", 64, 1)], "Basenji", ["sieve", "alu"]);
		const met = Object.fromEntries(verdicts.map(({ what, isMet }) => [what, isMet]));
		expect(met).toMatchObject({
			"64-bit programs against QEMU TCG, geometric mean": false,
			"64-bit programs against QEMU TCG, the slowest": true,
			"32-bit programs against v86, geometric mean": undefined,
			"boot to power-off against QEMU TCG": false,
			"memory beyond the guest's": false,
		});
		expect(renderVerdicts(verdicts)).toMatch(/the slowest +0\.50 × +at least 0\.5 × +met/);
	});
});

describe("memory beyond the guest's RAM", () => {
	const smaps = (mappings: readonly (readonly [size: number, rss: number])[]): string =>
		mappings.map(([size, rss]) => `7f00-7f01 rw-p 0 00:00 0\nSize: ${size} kB\nKernelPageSize: 4 kB\nRss: ${rss} kB\nPss: 1 kB\n`).join("");

	test("is all that is resident but the guest's pages; the engine's area in the same mapping counts", () => {
		const mappings = mappingsOf(
			smaps([
				[100, 80],
				[1024 * 1024 + 65_536, 500_000 + 65_536],
				[9e9, 10],
			]),
		);
		expect(beyondRam(mappings, 1024 ** 3, () => undefined)).toBe((80 + 10 + 65_536) * 1024);
		const asked: number[] = [];
		const resident = (...range: number[]) => asked.push(...range) && 4096;
		expect(beyondRam(mappings, 1024 ** 3, resident), "what of it is there, where that can be told").toBe((80 + 10 + 4) * 1024);
		expect(asked).toEqual([0x7f00, 64 * 1024 ** 2]);
	});

	test("is unknown without such a mapping", () => {
		expect(beyondRam(mappingsOf(smaps([[100, 80]])), 1024 ** 3, () => 0)).toBeUndefined();
	});

	test("is told of a living process", () => {
		expect(residentBeyondRam(process.pid, 1024 ** 4)).toBeUndefined();
		const { memory } = new GuestMemory(64 << 20);
		new Uint8Array(memory.buffer, ENGINE_BYTES).fill(1);
		const before = residentBeyondRam(process.pid, 64 << 20) as number;
		new Uint8Array(memory.buffer, 0, 8 << 20).fill(1);
		expect((residentBeyondRam(process.pid, 64 << 20) as number) - before).toBeGreaterThan(7 << 20);
	});
});
