import { host, lab } from "basenji";
import { labTest } from "basenji/vitest";
import { expect } from "vitest";

const draft = lab("pair", { seed: 1 });
const [a, b] = [draft.add(host("a", { ip: "10.0.0.1/24" })), draft.add(host("b", { ip: "10.0.0.2/24" }))];
draft.link(a, b, { rate: "10mbit", delay: "5ms" });

labTest(draft)("a reaches b, and the cable says so", async ({ lab: running }) => {
	const times: number[] = [];
	running.station("a").ping(running.network.addressOf("b")!, { count: 2, intervalNs: 1e9 }, ({ rttNs }) => times.push(rttNs));
	await running.run({ until: "5s" });
	expect(times[1]! / 1e6).toBeCloseTo(10.195, 2);
	expect(running.link("a -- b").stats.deliveredFrames).toBe(6);
});

const shared = labTest(draft, { scope: "file" });
shared("a lab that a file shares runs on", async ({ lab: running }) => {
	await running.run({ until: "3s" });
	running.link("a--b").down();
});
shared("from one test into the next", async ({ lab: running }) => {
	expect(running.nowNs).toBe(3e9);
	await running.run({ until: "4s" });
	expect(running.link("a--b").forth.config.state).toBe("down");
});
