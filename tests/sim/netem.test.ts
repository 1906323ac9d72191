import { expect, test } from "vitest";
import { delaysOf, fly, lostOf } from "./link-rig.ts";
import { deviation, lag1, mean, reorderedShare, runLengths } from "./statistics.ts";

/** Figures measured on a Linux 6.1 kernel's netem; ours has to have its faults too. */
const COUNT = 200_000;

function lossPercent(words: string): number {
	return (100 * lostOf(fly({ netem: words }, COUNT, 2000)).filter((lost) => lost).length) / COUNT;
}

test.each([
	["loss 10%", 9.99, 0.25],
	["loss 0.3% 25%", 0, 0.001],
	["loss 5% 25%", 0.19, 0.05],
	["loss 10% 25%", 1.76, 0.15],
	["loss 10% 50%", 0.11, 0.05],
	["loss 25% 25%", 16.6, 0.4],
	["loss 25% 50%", 6.91, 0.4],
	["loss 25% 75%", 0.8, 0.25],
	["loss gemodel 1% 25%", 3.85, 0.3],
	["loss gemodel 1% 25% 70% 0.1%", 2.79, 0.25],
	["loss state 2 30 10 40 0.5", 6.59, 0.4],
])("%s loses %d in a hundred", (words, expected, tolerance) => {
	expect(Math.abs(lossPercent(words) - expected)).toBeLessThan(tolerance);
});

test("50 % loss at 75 % correlation keeps its rate and comes in bursts of four", () => {
	const lost = lostOf(fly({ netem: "loss 50% 75%" }, COUNT, 2000));
	expect(lost.filter((each) => each).length / COUNT).toBeCloseTo(0.5, 1.5);
	expect(Math.abs(mean(runLengths(lost)) - 4)).toBeLessThan(0.2);
});

test("duplicates: 2.01 % of frames for 2 %", () => {
	const { arrivals } = fly({ netem: "duplicate 2%" }, COUNT, 2000);
	expect(arrivals.length / COUNT - 1).toBeCloseTo(0.02, 2.5);
});

test("delay: jitter below zero is cut off, so 5 ms ± 10 ms has a mean of 5.6; correlation does nothing", () => {
	const cut = delaysOf(fly({ netem: "delay 5ms 10ms" }, 50_000, 25e6)).map((delay) => delay / 1e6);
	expect(Math.abs(mean(cut) - 5.625)).toBeLessThan(0.1);
	const correlated = delaysOf(fly({ netem: "delay 50ms 10ms 50%" }, 50_000, 100e6)).map((delay) => delay / 1e6);
	expect(Math.abs(deviation(correlated) - 5.77)).toBeLessThan(0.15);
	expect(Math.abs(lag1(correlated))).toBeLessThan(0.05);
});

test.each([
	["normal", -0.001, 1.0],
	["pareto", -0.034, 0.82],
	["paretonormal", -0.025, 0.834],
])("distribution %s: mean and deviation of tc's tables", (name, expectedMean, expectedDeviation) => {
	const delays = delaysOf(fly({ netem: `delay 100ms 10ms distribution ${name}` }, 100_000, 400e6)).map((delay) => (delay / 1e6 - 100) / 10);
	expect(Math.abs(mean(delays) - expectedMean)).toBeLessThan(0.015);
	expect(Math.abs(deviation(delays) - expectedDeviation)).toBeLessThan(0.02);
});

test("jitter reorders 58 % at ±5 ms and 1 ms apart, unless there is a rate", () => {
	const share = (words: string) => reorderedShare(fly({ netem: words }, 100_000, 1e6).arrivals.map(({ id }) => id));
	expect(share("delay 50ms 5ms")).toBeCloseTo(0.587, 1.7);
	expect(share("delay 50ms 5ms rate 10mbit")).toBe(0);
});

test("reorder 25 % 50 % makes 7.3 %", () => {
	const { link } = fly({ netem: "delay 10ms reorder 25% 50%" }, 100_000, 100_000);
	expect(Math.abs(link.up.stats.reorderedFrames / 1000 - 7.3)).toBeLessThan(1);
});

test("rate 10mbit limit 42: what waits is 42 frames, dropped at the tail", () => {
	const { arrivals, sentNs, link } = fly({ netem: "rate 10mbit limit 42" }, 20_000, 600_000, { sizeBytes: 1514 });
	const waits = arrivals.map(({ id, timeNs }) => timeNs - sentNs[id]!);
	expect(Math.max(...waits)).toBeLessThanOrEqual(42 * 1_211_200);
	expect(link.up.stats.drops.queue).toBeGreaterThan(9000);
	const seconds = (arrivals.at(-1)!.timeNs - arrivals[0]!.timeNs) / 1e9;
	expect(((arrivals.length - 1) * 1514 * 8) / seconds).toBeCloseTo(10e6, -2);
});
