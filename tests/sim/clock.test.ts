import { expect, test } from "vitest";
import { MachineClock, SteppedClock } from "../../src/machine/clock.ts";
import { Link } from "../../src/net/index.ts";

test("links run on a machine's own clock", () => {
	const clock = new SteppedClock();
	const link = new Link({ name: "l", clock, seed: 1, spec: { rate: "10mbit", delay: "5ms" } });
	const times: number[] = [];
	link.b.onFrame = () => times.push(clock.nowNs);
	link.a.send(new Uint8Array(1514));
	link.a.send(new Uint8Array(1514));
	clock.advance(100e6);
	expect(times).toEqual([6_230_400, 7_460_800]);
});

test("a host that looks after its timers only every 7 ms still sends the rate, and no burst makes up for idle time", () => {
	let nowNs = 0;
	const clock = new MachineClock(() => nowNs);
	const link = new Link({ name: "l", clock, seed: 1, spec: { rate: "10mbit", queue: "100 packets" } });
	let delivered = 0;
	link.b.onFrame = () => delivered++;
	for (let round = 0; round < 2000; round++) {
		while (link.up.queuedFrames < 50) link.a.send(new Uint8Array(1514));
		nowNs += 7_000_000;
		clock.runDue();
	}
	expect(delivered).toBe(Math.floor(nowNs / 1_230_400));
	nowNs += 1e9;
	clock.runDue();
	const before = delivered;
	nowNs += 5e9;
	for (let count = 0; count < 50; count++) link.a.send(new Uint8Array(1514));
	nowNs += 12_304_000;
	clock.runDue();
	expect(delivered - before).toBe(10);
});
