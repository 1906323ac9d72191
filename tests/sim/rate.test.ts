import { expect, test } from "vitest";
import { Link, type LinkSpec, VirtualClock } from "../../src/net/index.ts";
import { cable, SimHost } from "./hosts.ts";
import { fly } from "./link-rig.ts";
import { mean } from "./statistics.ts";

type Framing = NonNullable<LinkSpec["framing"]>;
const FRAMINGS: [string, Framing][] = [
	["1514", "raw"],
	["1518", { overhead: 4 }],
	["1538", "ethernet"],
];

/** Goodput of one TCP connection, in percent of the link's rate, over 20 s after it has got going. */
function tcpPercent(framing: Framing, rateMbit: number, options: { usesTimestamps?: boolean; vlan?: number } = {}): number {
	const clock = new VirtualClock();
	const a = new SimHost(clock, "a", "10.0.0.1/24", options);
	const b = new SimHost(clock, "b", "10.0.0.2/24", options);
	cable(clock, "l", a.jack, b.jack, { rate: `${rateMbit}mbit`, framing, delay: "1ms", queue: "40 packets" });
	const sink = b.sink(80);
	a.flood(b.address, 80);
	clock.advance(2e9);
	const before = sink.bytes;
	const seconds = 2000 / rateMbit / 10;
	clock.advance(seconds * 1e9);
	return ((sink.bytes - before) * 8 * 100) / (rateMbit * 1e6 * seconds);
}

test.each([
	[0, 95.64, 96.43, 95.39],
	[1, 95.39, 96.18, 95.14],
	[2, 94.15, 94.93, 93.9],
] as const)("efficiency of TCP, row %d: with timestamps, without, with a VLAN tag", (row, stamps, plain, tagged) => {
	const [, framing] = FRAMINGS[row] as [string, Framing];
	for (const [expected, options] of [
		[stamps, {}],
		[plain, { usesTimestamps: false }],
		[tagged, { vlan: 5 }],
	] as const)
		expect(Math.abs(tcpPercent(framing, 10, options) - expected)).toBeLessThan(0.1);
});

test.each([1, 10, 100])("physical Ethernet at %d Mbit/s: TCP has 94.15 of a hundred", (rateMbit) => {
	expect(Math.abs(tcpPercent("ethernet", rateMbit) - 94.15)).toBeLessThan(0.1);
});

test("UDP at twice the rate: what arrives is the rate, within 0.1 % in ten seconds and one frame in any window", () => {
	for (const [row, expected] of [97.23, 96.97, 95.71].entries()) {
		const [, framing] = FRAMINGS[row] as [string, Framing];
		const { arrivals } = fly({ rate: "10mbit", framing, delay: "5ms" }, 17_000, 600_000, { sizeBytes: 1514 });
		const inTenSeconds = arrivals.filter(({ timeNs }) => timeNs <= 10e9 + 5e6).length;
		expect(Math.abs((inTenSeconds * 1472 * 8) / 1e6 - expected)).toBeLessThan(expected * 0.001 + 0.012);
		const wire = framing === "raw" ? 1514 : framing === "ethernet" ? 1538 : 1518;
		const frameNs = (wire * 8e9) / 10e6;
		for (const span of [1, 2, 7, 100, 5000]) {
			for (let at = span; at < arrivals.length; at += 13)
				expect(arrivals[at]!.timeNs - arrivals[at - span]!.timeNs).toBeGreaterThanOrEqual(Math.floor(span * frameNs) - 1);
		}
	}
});

test("over a hundred thousand frames a busy link is exact to the nanosecond, at rates that divide nothing", () => {
	const { arrivals } = fly({ rate: "9999991bit", queue: "1000000 packets" }, 100_000, 1_000_000, { sizeBytes: 1514 });
	const exactNs = (100_000n * 1538n * 8n * 1_000_000_000n) / 9_999_991n;
	expect(arrivals).toHaveLength(100_000);
	expect(BigInt(arrivals.at(-1)!.timeNs) - exactNs).toBeLessThanOrEqual(1n);
	expect(BigInt(arrivals.at(-1)!.timeNs) - exactNs).toBeGreaterThanOrEqual(0n);
});

test("a full queue of 42 packets takes 42 frames' time, and nothing longer is ever waited", () => {
	const { link, arrivals, sentNs } = fly({ rate: "10mbit", framing: "raw", queue: "42 packets" }, 20_000, 600_000, { sizeBytes: 1514 });
	expect(link.up.stats.maxQueueNs).toBeLessThanOrEqual(42 * 1_211_200);
	expect(link.up.stats.maxQueueNs).toBeGreaterThan(41 * 1_211_200);
	const waits = arrivals.slice(1000).map(({ id, timeNs }) => timeNs - sentNs[id]!);
	expect(mean(waits)).toBeGreaterThan(41 * 1_211_200);
	expect(Math.max(...waits)).toBeLessThanOrEqual(43 * 1_211_200);
});

test("latency under load: drop-tail fills its queue, CoDel and fq_codel do not", () => {
	const pingMs = (queue: NonNullable<LinkSpec["queue"]>) => {
		const clock = new VirtualClock();
		const a = new SimHost(clock, "a", "10.0.0.1/24");
		const b = new SimHost(clock, "b", "10.0.0.2/24");
		const link = cable(clock, "l", a.jack, b.jack, { rate: "10mbit", delay: "5ms", queue });
		const sink = b.sink(80);
		a.flood(b.address, 80);
		clock.advance(10e9);
		const times: number[] = [];
		let sentNs = 0;
		a.node.onIcmp = () => times.push((clock.nowNs - sentNs) / 1e6);
		for (let round = 0; round < 50; round++) {
			sentNs = clock.nowNs;
			a.node.ping(b.address, 1, round);
			clock.advance(200e6);
		}
		expect(link.up.stats.deliveredFrames).toBeGreaterThan(0);
		expect((sink.bytes * 8) / 20e9).toBeGreaterThan(0.009);
		return mean(times);
	};
	expect(pingMs("100 packets")).toBeGreaterThan(80);
	expect(pingMs({ packets: 1000, aqm: "codel" })).toBeLessThan(35);
	expect(pingMs({ aqm: "fq_codel" })).toBeLessThan(14);
});

test("fairness: two connections share a link about evenly under fq_codel", () => {
	const clock = new VirtualClock();
	const a = new SimHost(clock, "a", "10.0.0.1/24");
	const b = new SimHost(clock, "b", "10.0.0.2/24");
	cable(clock, "l", a.jack, b.jack, { rate: "10mbit", delay: "10ms", queue: { aqm: "fq_codel" } });
	const sinks = [80, 81].map((port) => b.sink(port));
	a.flood(b.address, 80);
	clock.advance(5e9);
	a.flood(b.address, 81);
	clock.advance(5e9);
	const before = sinks.map((sink) => sink.bytes);
	clock.advance(20e9);
	const [first, second] = sinks.map((sink, index) => sink.bytes - before[index]!);
	expect(first! / second!).toBeGreaterThan(0.9);
	expect(first! / second!).toBeLessThan(1.1);
});

test("Mathis: with random loss a connection gets about 1.22·MSS/(RTT·√p)", () => {
	const clock = new VirtualClock();
	const a = new SimHost(clock, "a", "10.0.0.1/24");
	const b = new SimHost(clock, "b", "10.0.0.2/24");
	cable(clock, "l", a.jack, b.jack, { rate: "100mbit", delay: "25ms", up: { loss: "0.2%" } });
	const sink = b.sink(80);
	a.flood(b.address, 80);
	clock.advance(120e9);
	const mbit = (sink.bytes * 8) / 120e6;
	const law = (1.22 * 1448 * 8) / (0.05 * Math.sqrt(0.002)) / 1e6;
	expect(mbit / law).toBeGreaterThan(0.5);
	expect(mbit / law).toBeLessThan(1.5);
});

test("a token rate: Mahimahi's trace carries its packets per period", () => {
	const clock = new VirtualClock();
	const trace = Array.from({ length: 100 }, (_, index) => Math.floor(index / 2) + 1);
	const link = new Link({ name: "lte", clock, seed: 1, spec: { trace, framing: "raw", queue: "100 packets" } });
	let bytes = 0;
	link.b.onFrame = (frame) => {
		bytes += frame.length;
	};
	for (let round = 0; round < 20_000; round++) {
		link.a.send(new Uint8Array(1504));
		clock.advance(250_000);
	}
	// Two packets of 1504 bytes in every millisecond.
	expect((bytes * 8) / 5e6).toBeCloseTo(24.064, 1);
});
