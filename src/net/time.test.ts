import { expect, test } from "vitest";
import { TimerQueue, VirtualClock } from "./time.ts";

test("alarms go off in order of time, then of arming, and re-arming keeps the latest deadline only", () => {
	const clock = new VirtualClock();
	const log: string[] = [];
	const timers = ["a", "b", "c", "d"].map((name) => clock.timer(name, (deadlineNs) => log.push(`${name}@${deadlineNs}/${clock.nowNs}`)));
	timers[0]!.arm(50);
	timers[1]!.arm(20);
	timers[2]!.arm(20);
	timers[3]!.arm(5);
	timers[3]!.arm(60);
	timers[0]!.arm(10);
	clock.runUntil(30);
	expect(log).toEqual(["a@10/10", "b@20/20", "c@20/20"]);
	timers[3]!.disarm();
	clock.advance(100);
	expect(log).toHaveLength(3);
	expect(clock.nowNs).toBe(130);
	expect(clock.step()).toBe(false);
});

test("thousands of random timers fire in order through one timer of the clock below", () => {
	const clock = new VirtualClock();
	const queue = new TimerQueue(clock, "queue");
	const fired: number[] = [];
	let x = 1;
	const timers = Array.from({ length: 2000 }, () => queue.timer("t", (deadlineNs) => fired.push(deadlineNs)));
	for (const timer of timers) timer.arm((x = (x * 48271) % 2147483647) % 10_000);
	for (let index = 0; index < timers.length; index += 3) timers[index]!.disarm();
	clock.runUntil(10_000);
	expect(fired).toHaveLength(2000 - 667);
	expect(fired).toEqual(fired.toSorted((a, b) => a - b));
});

test("a timer of a queue may arm others, for now as well", () => {
	const clock = new VirtualClock();
	const queue = new TimerQueue(clock, "queue");
	const log: number[] = [];
	const second = queue.timer("second", () => log.push(clock.nowNs));
	const first = queue.timer("first", (deadlineNs) => {
		log.push(deadlineNs);
		second.arm(deadlineNs);
		if (deadlineNs < 30) first.arm(deadlineNs + 10);
	});
	first.arm(10);
	clock.runUntil(100);
	expect(log).toEqual([10, 10, 20, 20, 30, 30]);
});
