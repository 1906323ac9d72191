import { expect, test } from "vitest";
import { DEFAULT_DIRECTION, queueLimits, wireBytes } from "./config.ts";
import { SpecError } from "./errors.ts";
import { PRESET_NAMES } from "./presets.ts";
import { formatRate, formatTime, parseCount, parseRate, parseRatio, parseSize, parseTime } from "./quantity.ts";
import { changeLink, type LinkSpecText, parseLink, parseMahimahi } from "./spec.ts";

test("quantities carry their units", () => {
	expect([parseRate("10mbit"), parseRate("56 kbit/s"), parseRate("1.25MB/s"), parseRate("28.8kbit")]).toEqual([1e7, 56_000, 1e7, 28_800]);
	expect([parseTime("40ms"), parseTime("0.1ms"), parseTime("1.5s"), parseTime("250µs"), parseTime("7ns")]).toEqual([
		4e7, 1e5, 1.5e9, 25e4, 7,
	]);
	expect([parseSize("64KB"), parseSize("64KiB"), parseSize("1514B")]).toEqual([64_000, 65_536, 1514]);
	expect([parseRatio("1%"), parseRatio("0.3%"), parseRatio("200ppm"), parseRatio("100%")]).toEqual([0.01, 0.003, 0.0002, 1]);
	expect(parseCount(7, 1, 10)).toBe(7);
	expect([formatRate(1e7), formatRate(28_800), formatRate(1), formatTime(1.5e9), formatTime(123)]).toEqual([
		"10mbit",
		"28.8kbit",
		"1bit",
		"1.5s",
		"123ns",
	]);
});

test.each([
	[() => parseRate("10"), "missing-unit", "10mbit"],
	[() => parseRate(10), "missing-unit", "10mbit"],
	[() => parseRate("10mbps"), "bad-value", "mbit or MB/s"],
	[() => parseRate("0bit"), "out-of-range", "1bit"],
	[() => parseTime("5m"), "bad-value", "min or ms"],
	[() => parseTime("-5ms"), "bad-value", "40ms"],
	[() => parseSize("64K"), "bad-value", "KB or KiB"],
	[() => parseRatio("0.5"), "missing-unit", "1%"],
	[() => parseRatio("101%"), "out-of-range", "100%"],
	[() => parseCount(1.5, 1, 4094), "out-of-range", "1 to 4094"],
] as const)("%s is refused: %s", (parse, kind, hint) => {
	const error = caught(parse);
	expect(error.kind).toBe(kind);
	expect(error.message).toContain(hint);
});

function caught(run: () => unknown): SpecError {
	try {
		run();
	} catch (error) {
		if (error instanceof SpecError) return error;
		throw error;
	}
	throw new Error("nothing was thrown");
}

test("a cable is a rate, a preset, or an object with directions of its own", () => {
	expect(parseLink("100mbit").up.rateBps).toBe(1e8);
	const adsl = parseLink({ down: "16mbit", up: "1mbit", delay: "12ms", queue: "64KB" });
	expect([adsl.up.rateBps, adsl.down.rateBps, adsl.up.delayNs, adsl.down.queue.bytes]).toEqual([1e6, 16e6, 12e6, 64_000]);
	expect(parseLink("dsl").down.rateBps).toBe(16e6);
	expect(parseLink({ up: "lte", down: { rate: "5mbit", loss: "1%" } }).down.loss).toEqual({ model: "random", ratio: 0.01 });
	for (const name of PRESET_NAMES) parseLink(name);
});

test("the words of a lab file", () => {
	const link = parseLink({
		rate: "10mbit",
		delay: "40ms ±5ms normal 25%",
		loss: { model: "gilbert", rate: "1%", burst: 6 },
		queue: "100 packets, fq_codel, ecn",
		reorder: { ratio: "2%", by: 3 },
		mtu: 1400,
	}).up;
	expect(link.delayNs).toBe(40e6);
	expect(link.jitter).toEqual({ spreadNs: 5e6, shape: "normal", correlation: 0.25, order: "keep" });
	expect(link.queue).toEqual({ packets: 100, aqm: "fq_codel", ecn: true });
	expect(link.reorder).toEqual({ ratio: 0.02, byFrames: 3, timeoutNs: 5e7 });
	expect(link.mtuBytes).toBe(1400);
	expect(parseLink({ delay: "2ms +-3ms" }).up.jitter).toEqual({ spreadNs: 3e6, shape: "uniform", correlation: 0, order: "keep" });
	expect(parseLink({ queue: "50ms, codel" }).up.queue).toEqual({ timeNs: 5e7, aqm: "codel", ecn: false });
});

test("a change touches what it names", () => {
	const before = parseLink({ rate: "10mbit", delay: "40ms ±5ms normal", queue: { bytes: "64KB", aqm: "red" } });
	const after = changeLink(before, { loss: "1%", jitter: { order: "free" }, queue: { ecn: true }, down: { delay: "10ms" } });
	expect(after.up).toEqual({
		...before.up,
		loss: { model: "random", ratio: 0.01 },
		jitter: { spreadNs: 5e6, shape: "normal", correlation: 0, order: "free" },
		queue: { bytes: 64_000, aqm: "red", ecn: true },
	});
	expect(after.down).toEqual({ ...after.up, delayNs: 10e6 });
	expect(changeLink(after, { rate: null, jitter: null, loss: null }).up).toMatchObject({
		rateBps: undefined,
		jitter: undefined,
		loss: { model: "none" },
	});
});

test.each([
	[{ speed: "10mbit" }, ["speed"], "rate, framing"],
	[{ up: { rate: "10" } }, ["up", "rate"], "a rate with its unit"],
	[{ queue: { bytes: 64 } }, ["queue", "bytes"], "a size with its unit"],
	[{ queue: { depth: "64KB" } }, ["queue", "depth"], "bytes, packets"],
	[{ queue: "many" }, ["queue"], "100 packets"],
	[{ loss: 0.01 }, ["loss"], "1%"],
	[{ loss: { model: "bernoulli" } }, ["loss", "model"], "gilbert"],
	[{ loss: { model: "gilbert", rate: "60%", burst: 1 } }, ["loss"], "longer burst"],
	[{ loss: { model: "pattern", pattern: "1010" } }, ["loss", "pattern"], "x for a lost"],
	[{ jitter: { shape: "gaussian" } }, ["jitter", "shape"], "normal"],
	[{ state: "off" }, ["state"], "up, down, silent"],
	[{ mtu: "1500" }, ["mtu"], "68 to 65535"],
	[{ ber: 2 }, ["ber"], "1e-6"],
	[{ trace: [5, 3] }, ["trace"], "rising order"],
	["fast", [], "a preset's name"],
	["10", [], "10mbit"],
	[{ netem: "delay 10ms reordr 5%" }, ["netem"], "reorder"],
	[{ netem: "reorder 5%" }, ["netem"], "delay"],
] as const)("%j is refused at %j", (spec, path, hint) => {
	const error = caught(() => parseLink(spec as LinkSpecText));
	expect(error.path).toEqual(path);
	expect(error.message).toContain(hint);
});

test("wire bytes: Ethernet's +24 and 84, netem's plain ones, ATM's cells", () => {
	const dsl = parseLink("dsl").up.framing;
	expect([1514, 60, 42].map((bytes) => wireBytes(DEFAULT_DIRECTION.framing, bytes))).toEqual([1538, 84, 84]);
	expect(wireBytes(parseLink({ framing: "raw" }).up.framing, 1514)).toBe(1514);
	// 64 + 18 bytes need two cells.
	expect(wireBytes(dsl, 64)).toBe(106);
});

test("queues are max(64 KB, 50 ms) unless told", () => {
	expect(queueLimits({ aqm: "droptail", ecn: false }, 1e6).bytes).toBe(64_000);
	expect(queueLimits({ aqm: "droptail", ecn: false }, 1e9).bytes).toBe(6_250_000);
	expect(queueLimits({ aqm: "droptail", ecn: false, timeNs: 1e7 }, 1e7).wireBytes).toBe(12_500);
	expect(queueLimits({ aqm: "fq_codel", ecn: false }, 1e7)).toMatchObject({ packets: 10_240, bytes: 32e6 });
});

test("tc's words", () => {
	const netem = (text: string) => parseLink({ netem: text }).up.netem;
	expect(netem("netem delay 50ms 10ms 25% distribution normal loss 0.3% 25% duplicate 1% corrupt 0.1% limit 500")).toMatchObject({
		delayNs: 5e7,
		jitterNs: 1e7,
		delayCorrelation: 0.25,
		distribution: "normal",
		loss: { model: "random", ratio: 0.003, correlation: 0.25 },
		duplicate: { ratio: 0.01, correlation: 0 },
		limitPackets: 500,
	});
	expect(netem("loss gemodel 1% 25% 70% 0.1%")?.loss).toEqual({ model: "gemodel", p: 0.01, r: 0.25, h: 0.7, k: 0.001 });
	expect(netem("loss state 2 30 10 40 0.5")?.loss).toEqual({ model: "state", p13: 0.02, p31: 0.3, p32: 0.1, p23: 0.4, p14: 0.005 });
	expect(netem("delay 10ms reorder 25% 50%")).toMatchObject({ reorder: { ratio: 0.25, correlation: 0.5 }, gap: 1 });
	expect(netem("rate 1mbit 20 48 5")).toMatchObject({ rateBps: 1e6, packetOverheadBytes: 20, cellBytes: 48, cellOverheadBytes: 5 });
	expect(netem("slot 10ms 20ms packets 5 bytes 9000")?.slot).toEqual({ minNs: 1e7, maxNs: 2e7, packets: 5, bytes: 9000 });
});

test("Mahimahi's files", () => {
	expect(parseMahimahi("0\n3\n3\n\n10\n")).toEqual([0, 3, 3, 10]);
	for (const text of ["", "5\n3\n", "1.5\n", "a\n", "0\n"]) expect(() => parseMahimahi(text)).toThrow("rising order");
});
