import { expect, test } from "vitest";
import { expectedLoss, type LinkSpec, parseLink } from "../../src/net/index.ts";
import { fly, lostOf } from "./link-rig.ts";
import { mean, reorderedShare, runLengths, runsTest, wilson } from "./statistics.ts";

const COUNT = 100_000;

/** Sends 1 000 frames a millisecond apart at a time; what counts is order, not time. */
const lose = (loss: LinkSpec["loss"], count = COUNT) => {
	const flight = fly({ loss: loss! }, count, 2000);
	expect(flight.link.up.stats.drops.loss).toBe(count - flight.arrivals.length);
	return lostOf(flight);
};

test.each(["0.1%", "1%", "5%", "50%"])("random loss of %s: right share, independent", (rate) => {
	const lost = lose(rate);
	const hits = lost.filter((each) => each).length;
	const share = parseLink({ loss: rate }).up.loss;
	const { low, high } = wilson(hits, COUNT);
	const expected = expectedLoss(share);
	expect(expected).toBeGreaterThan(low);
	expect(expected).toBeLessThan(high);
	expect(Math.abs(runsTest(lost))).toBeLessThan(3.3);
	expect(mean(runLengths(lost))).toBeCloseTo(1 / (1 - expected), 1);
});

test("no loss is none, all is all", () => {
	expect(lose("0%", 10_000)).not.toContain(true);
	expect(lose("100%", 10_000)).not.toContain(false);
});

test.each([
	[1, 2],
	[1, 6],
	[5, 10],
	[20, 3],
])("Gilbert by rate and burst: percent %d, burst %d", (percent, burst) => {
	const count = 200_000;
	const lost = lose({ model: "gilbert", rate: `${percent}%`, burst }, count);
	const share = percent / 100;
	const r = 1 / burst;
	const p = (r * share) / (1 - share);
	const rho = 1 - p - r;
	const { low, high } = wilson(lost.filter((each) => each).length, count, (1 + rho) / (1 - rho));
	expect(share).toBeGreaterThan(low);
	expect(share).toBeLessThan(high);
	// Geometric lengths: deviation √(B²−B), over the number of bursts.
	const runs = runLengths(lost);
	expect(Math.abs(mean(runs) - burst)).toBeLessThan((3.3 * Math.sqrt(burst * burst - burst)) / Math.sqrt(runs.length));
	const ones = runs.filter((length) => length === 1).length;
	const oneShare = wilson(ones, runs.length);
	expect(r).toBeGreaterThan(oneShare.low);
	expect(r).toBeLessThan(oneShare.high);
});

test.each<[string, NonNullable<LinkSpec["loss"]>, number]>([
	["Gilbert–Elliott 1 % 25 %", { model: "ge", p: "1%", r: "25%" }, 6.7],
	["Gilbert–Elliott 1 % 25 % losing 70 % and 0.1 %", { model: "ge", p: "1%", r: "25%", h: "30%", k: "99.9%" }, 6.7],
	["four states 2 30 10 40 0.5", { model: "markov4", p13: "2%", p31: "30%", p32: "10%", p23: "40%", p14: "0.5%" }, 8],
])("%s: the share that its closed form gives", (_name, loss, inflation) => {
	const lost = lose(loss, 200_000);
	const expected = expectedLoss(parseLink({ loss }).up.loss);
	const { low, high } = wilson(lost.filter((each) => each).length, 200_000, inflation);
	expect(expected).toBeGreaterThan(low);
	expect(expected).toBeLessThan(high);
});

test("bit errors lose 1 − (1 − ber)^bits of all frames, by their bytes on the wire", () => {
	for (const [ber, sizeBytes] of [
		[1e-6, 1514],
		[1e-5, 60],
	] as const) {
		const { link } = fly({ ber }, COUNT, 2000, { sizeBytes });
		const expected = 1 - (1 - ber) ** (8 * (sizeBytes + 24));
		const { low, high } = wilson(link.up.stats.drops.fcs, COUNT);
		expect(expected).toBeGreaterThan(low);
		expect(expected).toBeLessThan(high);
	}
});

test("duplicates, damage and reordering come as often as asked, each by itself", () => {
	const { link, arrivals } = fly({ duplicate: "2%", corrupt: "1%", reorder: { ratio: "3%", by: 2 } }, COUNT, 2000, { sizeBytes: 1514 });
	const { duplicatedFrames, corruptedFrames, reorderedFrames } = link.up.stats;
	for (const [hits, expected] of [
		[duplicatedFrames, 0.02],
		[corruptedFrames, 0.01],
		[reorderedFrames, 0.03],
	] as const) {
		const { low, high } = wilson(hits, COUNT);
		expect(expected).toBeGreaterThan(low);
		expect(expected).toBeLessThan(high);
	}
	expect(arrivals.length).toBe(COUNT + duplicatedFrames);
	const plain = fly({ reorder: { ratio: "3%", by: 2 } }, COUNT, 2000);
	expect(reorderedShare(plain.arrivals.map(({ id }) => id))).toBe(plain.link.up.stats.reorderedFrames / COUNT);
	expect(plain.link.up.stats.reorderedFrames).toBe(reorderedFrames);
});
