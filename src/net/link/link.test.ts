import { expect, test } from "vitest";
import { buildEthernet, buildIpv4, buildTcp, parseEthernet, parseIpv4, withTag } from "../frames/index.ts";
import { type SuperFrame, segmentsOf, superFrame } from "../offload/segment.ts";
import { Jack } from "../port.ts";
import { VirtualClock } from "../time.ts";
import { Link, type LinkSnapshot } from "./link.ts";
import { anyBitHit, expectedLoss, gilbert } from "./loss.ts";
import type { LinkSpecText } from "./spec.ts";
import type { TapEvent } from "./stats.ts";

/** A cable, and what came out at its far end and when. */
function rig(spec: LinkSpecText, seed = 7) {
	const clock = new VirtualClock();
	const link = new Link({ name: "wan", clock, seed, spec });
	const arrivals: { timeNs: number; frame: Uint8Array }[] = [];
	link.b.onFrame = (frame) => arrivals.push({ timeNs: clock.nowNs, frame });
	return { clock, link, arrivals, times: () => arrivals.map((each) => each.timeNs), ids: () => arrivals.map((each) => idOf(each.frame)) };
}

function frame(id: number, sizeBytes = 1514): Uint8Array {
	const bytes = new Uint8Array(sizeBytes);
	bytes[14] = id >> 8;
	bytes[15] = id;
	return bytes;
}

function idOf(bytes: Uint8Array): number {
	return (bytes[14]! << 8) | bytes[15]!;
}

test("serialisation is store and forward, exact to the nanosecond: 1538 bytes at 10 Mbit/s take 1230400 ns", () => {
	const { clock, link, times } = rig({ rate: "10mbit", delay: "1ms" });
	link.a.send(frame(0));
	link.a.send(frame(1));
	clock.advance(10e6);
	link.a.send(frame(2, 60));
	clock.advance(10e6);
	expect(times()).toEqual([2_230_400, 3_460_800, 10e6 + 67_200 + 1e6]);
});

test("what a frame leaves of a nanosecond is kept: 3 bytes a second short of nothing over 100 s", () => {
	const { clock, link, times } = rig({ rate: "7kbit", framing: "raw", queue: "1000000 packets" });
	for (let id = 0; id < 700; id++) link.a.send(frame(id, 125));
	clock.advance(101e9);
	expect(times().at(-1)).toBe(100e9);
	expect(times()[0]).toBe(142_857_143);
});

test("a cable without rate and delay still takes a microsecond, and delivers nothing while a send is on the stack", () => {
	const { clock, link, arrivals, times } = rig({});
	link.a.send(frame(0));
	expect(arrivals).toHaveLength(0);
	clock.advance(1e6);
	expect(times()).toEqual([1000]);
});

test("the frame being sent is outside the queue's bounds; bytes, packets and time each bound it", () => {
	for (const queue of ["4542B", "3 packets", { time: "3.6912ms" }] as const) {
		const { clock, link, ids } = rig({ rate: "10mbit", queue });
		for (let id = 0; id < 10; id++) link.a.send(frame(id));
		expect(link.up.queuedFrames).toBe(3);
		clock.advance(1e9);
		expect(ids()).toEqual([0, 1, 2, 3]);
		expect(link.up.stats).toMatchObject({ sentFrames: 10, deliveredFrames: 4, maxQueueNs: 3 * 1_230_400, drops: { queue: 6 } });
	}
});

test("MTU: oversize frames are counted at the sender, tags not held against them", () => {
	const { clock, link, ids } = rig({ mtu: 1500 });
	const tag = { tpid: 0x8100, priority: 0, isDropEligible: false, id: 5 };
	const outer = { ...tag, tpid: 0x88a8 };
	link.a.send(frame(1, 1514));
	link.a.send(frame(2, 1515));
	link.a.send(withTag(frame(3, 1514), tag));
	link.a.send(withTag(frame(4, 1515), tag));
	link.a.send(withTag(withTag(frame(5, 1514), tag), outer));
	clock.advance(1e6);
	expect(ids().length).toBe(3);
	expect(link.up.stats.drops.mtu).toBe(2);
});

test("order is kept under jitter by default and not when freed", () => {
	const run = (order: "keep" | "free") => {
		const { clock, link, ids } = rig({ delay: "50ms", jitter: { spread: "10ms", order } });
		for (let id = 0; id < 1000; id++) {
			link.a.send(frame(id, 60));
			clock.advance(1e6);
		}
		clock.advance(1e9);
		expect(ids().toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, id) => id));
		return ids().filter((id, at) => at > 0 && id < ids()[at - 1]!).length;
	};
	expect(run("keep")).toBe(0);
	expect(run("free")).toBeGreaterThan(200);
});

test("a shorter delay set while frames are on the way lets nothing overtake", () => {
	const { clock, link, times, ids } = rig({ delay: "100ms" });
	link.a.send(frame(0));
	link.set({ delay: "1ms" });
	link.a.send(frame(1));
	clock.advance(1e9);
	expect(ids()).toEqual([0, 1]);
	expect(times()).toEqual([100e6, 100e6]);
});

test("each value changes alone, in one direction, live", () => {
	const { clock, link, times } = rig({ rate: "10mbit", delay: "1ms" });
	link.a.send(frame(0));
	link.a.send(frame(1));
	link.set({ rate: "100mbit" }, "up");
	clock.advance(1e9);
	expect(times()).toEqual([2_230_400, 2_230_400 + 123_040]);
	expect(link.down.config.rateBps).toBe(1e7);
	link.set({ rate: null });
	link.a.send(frame(2));
	clock.advance(1e9);
	expect(times()[2]).toBe(1e9 + 1e6);
	expect(() => link.set({ rate: "10mbit", loss: "1" })).toThrow("1%");
	expect(link.up.config.rateBps).toBeUndefined();
});

test("a rate taken away lets the queue run out before what comes later", () => {
	const { clock, link, ids } = rig({ rate: "1mbit" });
	for (let id = 0; id < 5; id++) link.a.send(frame(id));
	link.set({ rate: null });
	link.a.send(frame(5));
	clock.advance(1e9);
	expect(ids()).toEqual([0, 1, 2, 3, 4, 5]);
});

test("down loses what waits and what flies and drops carrier at both ends; up replays nothing", () => {
	const { clock, link, ids } = rig({ rate: "10mbit", delay: "10ms" });
	const jack = new Jack("eth0");
	const carrier: boolean[] = [];
	jack.onCarrier = (isUp) => carrier.push(isUp);
	jack.plug(link.a);
	for (let id = 0; id < 5; id++) jack.send(frame(id));
	clock.advance(2e6);
	link.set({ state: "down" }, "down");
	expect(link.b.hasCarrier).toBe(false);
	link.set({ state: "down" });
	jack.send(frame(5));
	clock.advance(100e6);
	link.set({ state: "up" });
	jack.send(frame(6));
	clock.advance(100e6);
	expect(ids()).toEqual([6]);
	expect(link.up.stats.drops.down).toBe(6);
	expect(carrier).toEqual([true, false, true]);
});

test("silent failure keeps carrier and loses one way only", () => {
	const { clock, link, arrivals } = rig("10mbit");
	let back = 0;
	link.a.onFrame = () => back++;
	link.set({ state: "silent" }, "up");
	link.a.send(frame(0));
	link.b.send(frame(0));
	clock.advance(1e9);
	expect([arrivals.length, back, link.a.hasCarrier, link.up.stats.drops.silent]).toEqual([0, 1, true, 1]);
});

test("a pattern loses exactly what it says; a script may drop by what it sees", () => {
	const { clock, link, ids } = rig({ loss: { model: "pattern", pattern: "..x" } });
	link.up.filter = (_frame, index) => (index === 0 ? "drop" : "pass");
	for (let id = 0; id < 8; id++) link.a.send(frame(id));
	clock.advance(1e6);
	expect(ids()).toEqual([1, 2, 4, 5, 7]);
	expect(link.up.stats.drops).toMatchObject({ loss: 2, script: 1 });
});

test("a duplicate follows its original; a corrupted frame differs in one bit of a copy", () => {
	const { clock, link, arrivals } = rig({ duplicate: "100%", corrupt: "100%" });
	const original = frame(3);
	link.a.send(original);
	clock.advance(1e6);
	expect(arrivals).toHaveLength(2);
	expect(arrivals[0]!.frame).toEqual(arrivals[1]!.frame);
	expect(original).toEqual(frame(3));
	const flipped = [...original].map((byte, at) => byte ^ arrivals[0]!.frame[at]!).filter((bits) => bits !== 0);
	expect(flipped).toHaveLength(1);
	expect(Math.log2(flipped[0]!) % 1).toBe(0);
	expect(link.up.stats).toMatchObject({ duplicatedFrames: 1, corruptedFrames: 1, deliveredFrames: 2 });
});

test("a reordered frame goes after so many later ones, or after its time when none come", () => {
	const { clock, link, ids, times } = rig({ reorder: { ratio: "100%", by: 2, timeout: "20ms" } });
	link.a.send(frame(0));
	clock.advance(1e6);
	link.set({ reorder: null });
	for (let id = 1; id < 4; id++) link.a.send(frame(id));
	clock.advance(1e6);
	expect(ids()).toEqual([1, 2, 0, 3]);
	link.set({ reorder: { ratio: "100%", timeout: "20ms" } });
	link.a.send(frame(4));
	clock.advance(1e9);
	expect(ids().at(-1)).toBe(4);
	expect(times().at(-1)).toBe(2e6 + 1000 + 20e6);
});

test("taps see frames before the queue, after the wire, and lost with the reason, until they are taken off", () => {
	const { clock, link } = rig({ rate: "10mbit", delay: "5ms", queue: "1 packets" });
	const events: Omit<TapEvent, "frame">[] = [];
	const end = link.up.tap(({ frame: _frame, ...event }) => events.push(event));
	for (let id = 0; id < 3; id++) link.a.send(frame(id));
	clock.advance(1e9);
	end();
	link.a.send(frame(3));
	expect(events).toEqual([
		{ point: "sent", timeNs: 0, index: 0 },
		{ point: "sent", timeNs: 0, index: 1 },
		{ point: "sent", timeNs: 0, index: 2 },
		{ point: "dropped", timeNs: 0, index: 2, reason: "queue" },
		{ point: "delivered", timeNs: 6_230_400, index: 0 },
		{ point: "delivered", timeNs: 7_460_800, index: 1 },
	]);
});

test("Mahimahi traces: a packet of 1504 bytes per line, repeating, nothing stored while idle", () => {
	const { clock, link, times } = rig({ trace: [10, 10, 25], framing: "raw", queue: "100 packets" });
	for (let id = 0; id < 5; id++) link.a.send(frame(id, 1504));
	clock.advance(101e6);
	expect(times()).toEqual([10e6, 10e6, 25e6, 35e6, 35e6]);
	link.a.send(frame(9, 1504));
	link.a.send(frame(9, 752));
	link.a.send(frame(9, 752));
	clock.advance(1e9);
	// 101 ms lies in the fifth round: 110, 110.
	expect(times().slice(5)).toEqual([110e6, 110e6, 110e6]);
});

const CONGESTION_CODEPOINT = { ect: 2, none: 0 };

function ipFrame(id: number, ecn: keyof typeof CONGESTION_CODEPOINT, source = 1): Uint8Array {
	const payload = new Uint8Array(1480);
	const packet = buildIpv4({ source, destination: 2, protocol: 17, identification: id, trafficClass: CONGESTION_CODEPOINT[ecn], payload });
	return buildEthernet({ destination: 2, source: 1, etherType: 0x0800, payload: packet });
}

test.each(["red", "codel", "fq_codel"] as const)("%s marks what may be marked and drops the rest, long before the queue is full", (aqm) => {
	for (const ecn of ["ect", "none"] as const) {
		const { clock, link, arrivals } = rig({ rate: "10mbit", queue: { bytes: "300KB", aqm, ecn: true } });
		// A fifth more than the link carries, for four seconds.
		for (let id = 0; id < 3900; id++) {
			link.a.send(ipFrame(id, ecn));
			clock.advance(1_025_000);
		}
		clock.advance(2e9);
		const marked = arrivals.filter((each) => (parseIpv4(parseEthernet(each.frame)!.payload)!.trafficClass & 3) === 3).length;
		expect(marked).toBeLessThanOrEqual(link.up.stats.markedFrames);
		if (ecn === "ect") expect(marked).toBeGreaterThan(10);
		else {
			expect(marked).toBe(0);
			expect(link.up.stats.drops.aqm).toBeGreaterThan(10);
		}
		expect(link.up.stats.deliveredFrames + link.up.stats.drops.aqm + link.up.stats.drops.queue).toBe(3900);
	}
});

test("RFC 8289: CoDel drops at interval/√n after one interval above target", () => {
	const { clock, link } = rig({ rate: "10mbit", queue: { packets: 100_000, aqm: "codel" } });
	const drops: number[] = [];
	link.up.tap((event) => {
		if (event.point === "dropped") drops.push(event.timeNs / 1e6);
	});
	for (let id = 0; id < 2000; id++) link.a.send(ipFrame(id, "none"));
	clock.advance(1e9);
	// The first frame above 5 ms leaves at 6.15 ms; 100 ms later drops begin, at times that fall on ends of frames.
	const expected = [107.0448];
	let due = expected[0]!;
	for (let count = 1; count < 8; count++) expected.push((due += 100 / Math.sqrt(count)));
	for (const [at, time] of expected.entries()) expect(Math.abs(drops[at]! - time)).toBeLessThan(1.2304 * 1.01);
});

test("fq_codel: a sparse flow does not wait behind a bulk one", () => {
	const { clock, link, arrivals } = rig({ rate: "10mbit", queue: { aqm: "fq_codel" } });
	for (let id = 0; id < 500; id++) link.a.send(ipFrame(id, "none", 1));
	clock.advance(50e6);
	const before = clock.nowNs;
	link.a.send(ipFrame(1, "none", 99));
	clock.advance(1e9);
	const sparse = arrivals.find((each) => parseIpv4(parseEthernet(each.frame)!.payload)!.source === 99)!;
	expect(sparse.timeNs - before).toBeLessThan(3 * 1_230_400);
});

test("saved in the middle and loaded into another link, the rest comes out the same", () => {
	for (const aqm of ["droptail", "red", "codel", "fq_codel"] as const) {
		const spec: LinkSpecText = {
			rate: "10mbit",
			delay: "20ms ±5ms normal 50%",
			loss: { model: "gilbert", rate: "5%", burst: 3 },
			duplicate: "3%",
			corrupt: "3%",
			reorder: { ratio: "5%", by: 4 },
			queue: { bytes: "100KB", aqm },
			ber: 1e-6,
		};
		const play = (snapshotAt: number | undefined) => {
			let current = rig(spec);
			const out: string[] = [];
			const listen = (each: ReturnType<typeof rig>) => {
				each.link.b.onFrame = (bytes) =>
					out.push(`${each.clock.nowNs} ${parseIpv4(parseEthernet(bytes)?.payload ?? bytes)?.identification}`);
			};
			listen(current);
			for (let id = 0; id < 400; id++) {
				current.link.a.send(ipFrame(id, "none", id % 7));
				current.clock.advance(1e6);
				if (id !== snapshotAt) continue;
				const saved = structuredClone(current.link.save()) as LinkSnapshot;
				const next = rig("1gbit");
				next.clock.runUntil(current.clock.nowNs);
				next.link.load(saved);
				expect(next.link.save()).toEqual(saved);
				current = next;
				listen(current);
			}
			current.clock.advance(10e9);
			return { out, stats: current.link.up.stats };
		};
		expect(play(200)).toEqual(play(undefined));
	}
});

test("loss models in closed form", () => {
	expect(expectedLoss({ model: "ge", p: 0.01, r: 0.25, h: 0, k: 1 })).toBeCloseTo(0.0385, 4);
	expect(expectedLoss({ model: "ge", p: 0.01, r: 0.25, h: 0.3, k: 0.999 })).toBeCloseTo(0.0279, 4);
	expect(expectedLoss({ model: "markov4", p13: 0.02, p31: 0.3, p32: 0.1, p23: 0.4, p14: 0.005 })).toBeCloseTo(0.06585, 5);
	expect(expectedLoss(gilbert(0.01, 6)!)).toBeCloseTo(0.01, 12);
	expect(gilbert(0.9, 1)).toBeUndefined();
	expect(anyBitHit(1e-12, 12_304)).toBeCloseTo(1.2304e-8, 15);
	expect(anyBitHit(0.5, 3)).toBe(0.875);
	expect(anyBitHit(1, 8)).toBe(1);
});

test("tc-netem: deterministic parts to the nanosecond", () => {
	const delayed = rig({ netem: "delay 10ms" });
	delayed.link.a.send(frame(0));
	delayed.clock.advance(1e9);
	expect(delayed.times()).toEqual([10e6]);
	const paced = rig({ netem: "rate 10mbit" });
	for (let id = 0; id < 3; id++) paced.link.a.send(frame(id));
	paced.clock.advance(1e9);
	expect(paced.times()).toEqual([1_211_200, 2_422_400, 3_633_600]);
	const cells = rig({ netem: "rate 1mbit 0 48 5" });
	cells.link.a.send(frame(0, 100));
	cells.clock.advance(1e9);
	expect(cells.times()).toEqual([3 * 53 * 8000]);
	const limited = rig({ netem: "delay 10ms limit 3" });
	for (let id = 0; id < 5; id++) limited.link.a.send(frame(id));
	limited.clock.advance(1e9);
	expect(limited.ids()).toEqual([0, 1, 2]);
	const slots = rig({ netem: "delay 1ms slot 10ms packets 2" });
	for (let id = 0; id < 6; id++) slots.link.a.send(frame(id));
	slots.clock.advance(1e9);
	expect(new Set(slots.times()).size).toBe(3);
	const gaps = rig({ netem: "delay 10ms reorder 100% gap 3" });
	for (let id = 0; id < 6; id++) gaps.link.a.send(frame(id));
	gaps.clock.advance(1e9);
	expect(gaps.ids()).toEqual([2, 5, 0, 1, 3, 4]);
});

/** Five frames in one. */
function whole(): SuperFrame {
	const tcp = buildTcp(
		{
			sourcePort: 1,
			destinationPort: 2,
			sequence: 0,
			acknowledgment: 0,
			flags: 0x10,
			window: 9,
			options: {},
			payload: new Uint8Array(7000),
		},
		1,
		2,
	);
	const payload = buildIpv4({ protocol: 6, source: 1, destination: 2, payload: tcp });
	const made = superFrame(buildEthernet({ destination: 1, source: 2, etherType: 0x800, payload }), 1460);
	return made ?? expect.fail("no super-frame");
}

test("a super-frame goes through whole where its frames would meet nothing but delay, counted as its frames", () => {
	const { clock, link, arrivals } = rig({ delay: "1ms" });
	const wholes: number[] = [];
	expect(link.a.sendWhole?.(whole()), "the far end takes frames only").toBe(false);
	link.b.onWhole = () => wholes.push(clock.nowNs);
	link.a.send(frame(1));
	expect(link.a.sendWhole?.(whole())).toBe(true);
	link.a.send(frame(2));
	clock.advance(2e6);
	expect([wholes, arrivals.length]).toEqual([[1e6], 2]);
	expect(link.up.stats).toMatchObject({ sentFrames: 7, deliveredFrames: 7, sentBytes: 2 * 1514 + 7000 + 5 * 54 });
	for (const spec of [{ rate: "1gbit" }, { loss: "1%" }, { mtu: 1400 }, { state: "silent" }, { jitter: "1ms" }] as const) {
		const other = rig(spec);
		other.link.b.onWhole = () => {};
		expect(other.link.a.sendWhole?.(whole()), JSON.stringify(spec)).toBe(false);
	}
});

test("a super-frame on its way is cut when somebody looks, when the cable is pulled, and when it is saved", () => {
	const { clock, link, arrivals } = rig({ delay: "1ms" });
	link.b.onWhole = () => expect.fail("whole");
	link.a.sendWhole?.(whole());
	expect(
		(link.save().up.wire.flight as readonly { frame: Uint8Array; index: number }[]).map(({ frame, index }) => [frame.length, index]),
	).toEqual([0, 1, 2, 3, 4].map((index) => [index < 4 ? 1514 : 54 + 7000 - 4 * 1460, index]));
	const seen: number[] = [];
	const end = link.up.tap(({ index }) => seen.push(index));
	clock.advance(2e6);
	expect([seen, arrivals.map((each) => each.frame)]).toEqual([[0, 1, 2, 3, 4], segmentsOf(whole())]);
	expect(link.a.sendWhole?.(whole()), "somebody looks").toBe(false);
	end();
	link.a.sendWhole?.(whole());
	link.set({ state: "down" });
	expect(link.up.stats.drops.down).toBe(5);
});
