import { expect, test } from "vitest";
import { host, lab, runChecks, sw } from "../../src/lab/index.ts";
import { plainLab } from "./plain-lab.ts";

test("a lab's expectations are asked at their times and answered with what was seen", async () => {
	const draft = lab("asked", { seed: 5 });
	const s = draft.add(sw("s"));
	const a = draft.add(host("a", { ip: "10.0.0.1/24" }));
	const b = draft.add(host("b", { ip: "10.0.0.2/24" }));
	draft.link(a, s, "1gbit");
	const slow = draft.link(b, s, { rate: "10mbit", delay: "5ms" });
	draft.at("10s", `${slow} down`);
	draft.at("20s", `${slow} up`, `${slow} delay 20ms`);
	draft.expect(
		"at 1s ping a -> b rtt between 10ms and 12ms",
		"at 11s ping a -> b count 2 fails",
		"ping a -> b rtt between 40ms and 42ms loss below 1% count 5",
		"iperf a -> b for 5s between 9.3mbit and 9.45mbit",
		"iperf a -> b above 20mbit",
		"b -> s dropped below 1",
		"ping a -> 10.0.0.9 fails",
	);
	const { lab: running } = await plainLab(draft);
	const results = await runChecks(running);
	expect(results.map(({ isMet }) => isMet)).toEqual([true, true, true, true, false, true, true]);
	expect(results.map(({ found }) => found)).toEqual([
		expect.stringMatching(/^3 of 3 came back, 10\.\d+ ms to 1\d\.\d+ ms$/),
		"0 of 2 came back",
		expect.stringMatching(/^5 of 5 came back, 40\./),
		expect.stringMatching(/^9\.4\d*mbit of TCP payload$/),
		expect.stringMatching(/^9\.4\d*mbit of TCP payload$/),
		"0 frames",
		"0 of 3 came back",
	]);
	expect(results[0]?.atNs).toBe(1e9);
});
