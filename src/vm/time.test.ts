import { expect, test } from "vitest";
import type { Host } from "./host.ts";
import { HostPacedTime } from "./time.ts";

const MS = 1e6;

test("guest time leaves out what the host withheld, but not what the machine slept, whoever looks meanwhile", () => {
	let nowNs = 0;
	const time = new HostPacedTime({ nowNs: () => nowNs } as Host);
	time.start();
	nowNs += MS;
	expect(time.clock.nowNs).toBe(MS);
	nowNs += 50 * MS;
	expect(time.clock.nowNs, "no more than 2 ms at a time").toBe(3 * MS);
	expect(time.idle(103 * MS)).toBe(100 * MS);
	for (let step = 0; step < 4; step++) {
		nowNs += 25 * MS;
		expect(time.clock.nowNs).toBe((28 + 25 * step) * MS);
	}
	time.awake();
	nowNs += 50 * MS;
	expect(time.clock.nowNs).toBe(105 * MS);
});
