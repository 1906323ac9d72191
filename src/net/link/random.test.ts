import { expect, test } from "vitest";
import { normalCdf, normalQuantile, paretoQuantile, tableQuantile, uniformQuantile } from "./distributions.ts";
import { RandomStream, threefry2x32 } from "./random.ts";

test("Threefry-2x32-20 gives its authors' known answers", () => {
	const answer = (key0: number, key1: number, counter0: number, counter1: number) => {
		const out = new Uint32Array(2);
		threefry2x32(key0, key1, counter0, counter1, out);
		return [...out];
	};
	expect(answer(0, 0, 0, 0)).toEqual([0x6b200159, 0x99ba4efe]);
	expect(answer(-1, -1, -1, -1)).toEqual([0x1cb996fc, 0xbb002be7]);
	expect(answer(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3)).toEqual([0xc4923a9c, 0x483df7a0]);
});

test("a stream's values depend on seed, names, index and draw, and on nothing drawn before", () => {
	const stream = new RandomStream(7, "wan", "a>b", "loss");
	const first = stream.u32(5);
	stream.u32(1);
	expect(stream.u32(5)).toBe(first);
	const others = [
		new RandomStream(8, "wan", "a>b", "loss").u32(5),
		new RandomStream(7, "lan", "a>b", "loss").u32(5),
		new RandomStream(7, "wan", "b>a", "loss").u32(5),
		new RandomStream(7, "wan", "a>b", "jitter").u32(5),
		new RandomStream(7, "wana", ">b", "loss").u32(5),
		new RandomStream(7, "wan", "", "a>b", "loss").u32(5),
		stream.u32(5, 1),
		stream.u32(5 + 2 ** 32),
	];
	expect(new Set([first, ...others]).size).toBe(others.length + 1);
});

/** Φ⁻¹ from tables of the normal distribution. */
test.each([
	[0.5, 0],
	[0.8413447460685429, 1],
	[0.975, 1.959963984540054],
	[0.999, 3.090232306167813],
	[1 - 1e-6, 4.753424308822899],
])("the normal quantile of %d is %d", (probability, z) => {
	expect(normalQuantile(Math.floor(probability * 2 ** 32))).toBeCloseTo(z, 3);
	expect(normalCdf(z)).toBeCloseTo(probability, 12);
	expect(normalCdf(-z)).toBeCloseTo(1 - probability, 12);
});

test("quantiles rise, or fall, all the way", () => {
	let [normal, pareto, uniform] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, -2];
	for (let u32 = 0; u32 < 2 ** 32; u32 += 1_000_003) {
		expect(normalQuantile(u32)).toBeGreaterThan(normal);
		expect(paretoQuantile(u32)).toBeLessThan(pareto);
		expect(uniformQuantile(u32)).toBeGreaterThan(uniform);
		[normal, pareto, uniform] = [normalQuantile(u32), paretoQuantile(u32), uniformQuantile(u32)];
	}
	expect(tableQuantile([0, 10, 20], 2 ** 31)).toBe(10);
	expect(tableQuantile([0, 10, 20], 2 ** 30)).toBe(5);
});
