import { expect, test } from "vitest";
import { geometricMean, type Measured, median, renderTable, speedups } from "./table.ts";

const own: Measured = { engine: "Basenji", bits: 32, seconds: { sieve: [2, 1, 3], alu: [1], boot: [5] } };
const peer: Measured = { engine: "peer", bits: 32, seconds: { sieve: [4, 4, 9], boot: [10] } };

test("medians of odd and even counts", () => {
	expect(median([3, 1, 2])).toBe(2);
	expect(median([4, 1, 3, 2])).toBe(2.5);
});

test("a speedup says how many times faster the first is; what one of them lacks is left out", () => {
	expect(speedups(own, peer, ["sieve", "alu"])).toEqual({ sieve: 2 });
	expect(geometricMean([2, 8])).toBeCloseTo(4);
});

test("the table has a ratio for each peer, and leaves the boot out of the mean", () => {
	const table = renderTable([peer, own], "Basenji", ["sieve", "alu"], "boot").split("\n");
	expect(table[0]).toContain("against peer");
	expect(table.at(-1)).toMatch(/geometric mean +2\.00 ×/);
	expect(table.find((line) => line.startsWith("alu"))).toMatch(/– +1\.00 +–/);
});
