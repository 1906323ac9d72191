import { expect, test } from "vitest";
import { delaysOf, fly } from "./link-rig.ts";
import { deviation, ksDistance, lag1, mean, normalCdf, reorderedShare } from "./statistics.ts";

const COUNT = 100_000;
const MS = 1e6;
/** Kolmogorov and Smirnov at 1 %. */
const KS_LIMIT = 1.63 / Math.sqrt(COUNT);

/** Frames far enough apart that none could overtake another: order is not at stake, only time. */
const jitter = (shape: "uniform" | "normal" | "pareto", correlation = "0%") =>
	delaysOf(fly({ delay: "100ms", jitter: { spread: "10ms", shape, correlation } }, COUNT, 400 * MS)).map((delay) => delay / MS - 100);

/** Exponent 3, cut at 1/4096 of its tail, shifted and scaled to mean 0 and deviation 1. */
function paretoCdf(value: number): number {
	const cut = 1 / 4096;
	const middle = (1.5 * (1 - 1 / 256)) / (1 - cut);
	const spread = Math.sqrt((3 * (1 - 1 / 16)) / (1 - cut) - middle * middle);
	const x = value * spread + middle;
	return x < 1 ? 0 : Math.min(1, (1 - x ** -3) / (1 - cut));
}

test("uniform: −10 to +10 ms, evenly", () => {
	const delays = jitter("uniform");
	expect(ksDistance(delays, (value) => Math.max(0, Math.min(1, (value + 10) / 20)))).toBeLessThan(KS_LIMIT);
	expect(deviation(delays) / (10 / Math.sqrt(3))).toBeCloseTo(1, 1.7);
	expect(Math.abs(lag1(delays))).toBeLessThan(3 / Math.sqrt(COUNT));
});

test("normal: deviation 10 ms, to the tails", () => {
	const delays = jitter("normal");
	expect(ksDistance(delays, (value) => normalCdf(value / 10))).toBeLessThan(KS_LIMIT);
	expect(Math.abs(deviation(delays) / 10 - 1)).toBeLessThan(0.026);
	expect(Math.abs(mean(delays))).toBeLessThan((3.3 * 10) / Math.sqrt(COUNT));
	const beyond3 = delays.filter((value) => Math.abs(value) > 30).length;
	expect(beyond3).toBeGreaterThan(200);
	expect(beyond3).toBeLessThan(340);
	expect(Math.abs(lag1(delays))).toBeLessThan(3 / Math.sqrt(COUNT));
});

test("Pareto: the deviation asked for, one long tail", () => {
	const delays = jitter("pareto");
	expect(ksDistance(delays, (value) => paretoCdf(value / 10))).toBeLessThan(KS_LIMIT);
	expect(Math.abs(deviation(delays) / 10 - 1)).toBeLessThan(0.026);
	expect(Math.min(...delays.slice(0, 10_000))).toBeGreaterThan(-6.6);
	expect(Math.max(...delays.slice(0, 50_000))).toBeGreaterThan(80);
});

test.each([
	["uniform", 0.5],
	["normal", 0.25],
	["normal", 0.9],
	["pareto", 0.5],
] as const)("correlated %s jitter, ρ = %d: its shape stays, neighbours are alike", (shape, correlation) => {
	const delays = jitter(shape, `${correlation * 100}%`);
	// The copula's ρ is that of the normals beneath; for the uniform it is 6/π·asin(ρ/2), for the Pareto less.
	const expected = shape === "uniform" ? (6 / Math.PI) * Math.asin(correlation / 2) : correlation;
	if (shape === "pareto") expect(lag1(delays)).toBeGreaterThan(0.3);
	else expect(Math.abs(lag1(delays) - expected)).toBeLessThan(3.3 / Math.sqrt(COUNT));
	const spread = shape === "uniform" ? 10 / Math.sqrt(3) : 10;
	expect(Math.abs(deviation(delays) / spread - 1)).toBeLessThan(0.03 + 0.05 * correlation);
});

test("a table's values are equally likely; a trace's come one after another", () => {
	const table = delaysOf(fly({ delay: "100ms", jitter: { spread: "1ms", shape: { table: [-10, 0, 30] } } }, COUNT, 400 * MS)).map(
		(delay) => delay / MS - 100,
	);
	const cdf = (value: number) => (value < 0 ? (value + 10) / 20 : 0.5 + value / 60);
	expect(ksDistance(table, cdf)).toBeLessThan(KS_LIMIT);
	const trace = delaysOf(fly({ delay: "10ms", jitter: { shape: { trace: ["0ms", "3ms", "1ms"] } } }, 300, 50 * MS)).map(
		(delay) => delay / MS,
	);
	expect(trace.slice(0, 6)).toEqual([10, 13, 11, 10, 13, 11]);
});

test("order: kept under any jitter by default; when freed, ±5 ms at 1 ms apart reorders 58 %", () => {
	const kept = fly({ delay: "50ms", jitter: { spread: "5ms" } }, COUNT, MS);
	expect(reorderedShare(kept.arrivals.map(({ id }) => id))).toBe(0);
	const free = fly({ delay: "50ms", jitter: { spread: "5ms", order: "free" } }, COUNT, MS);
	expect(reorderedShare(free.arrivals.map(({ id }) => id))).toBeCloseTo(0.589, 1.9);
});
