import { expect, test } from "vitest";
import { host, hub, Lab, type LabDraft, LabError, lab, nat, router, server, sw } from "../../src/lab/index.ts";
import { readLabText } from "../../src/labfile/index.ts";
import { ping, plainLab } from "./plain-lab.ts";

/** Four switches, two routers, a NAT, and hosts all over. */
function campus(): LabDraft {
	const draft = lab("campus", { seed: 11 });
	const switches = ["s1", "s2", "s3", "s4"].map((name) => draft.add(sw(name, { stp: "rstp" })));
	const r1 = draft.add(router("r1", { ip: { s1: "10.1.0.1/24", s3: "10.3.0.1/24" } }));
	const r2 = draft.add(router("r2", { ip: { s3: "10.3.0.2/24", s4: "10.4.0.1/24" }, dns: true }));
	const isp = draft.add(nat("isp", { allow: "any internet" }));
	const [s1, s2, s3, s4] = switches as [(typeof switches)[0], (typeof switches)[0], (typeof switches)[0], (typeof switches)[0]];
	draft.link(s1, s2, "100mbit");
	draft.link(r1, s1, "1gbit");
	draft.link(r1, s3, { rate: "10mbit", delay: "5ms" });
	draft.link(r2, s3, "100mbit");
	draft.link(r2, s4, "100mbit");
	draft.link(r1.port("wan"), isp, "dsl");
	draft.link(draft.add(host("a", { ip: "10.1.0.10/24", gateway: "10.1.0.1" })), s2, "100mbit");
	draft.link(draft.add(host("b", { ip: "10.4.0.10/24", gateway: "10.4.0.1" })), s4, "100mbit");
	return draft;
}

test("routes find themselves through two routers, and out", async () => {
	const { lab: running, host: outside } = await plainLab(campus());
	outside.pings.set("93.184.216.34", "reply");
	await running.run({ until: "4s" });
	const times = await ping(running, "a", "b", 5);
	expect(times).toHaveLength(5);
	expect(Math.min(...times) / 1e6).toBeCloseTo(10.2, 0);
	expect(await ping(running, "b", "93.184.216.34")).toHaveLength(3);
	expect(await ping(running, "a", "r2")).toHaveLength(3);
	expect(running.addressOf("isp")).toBe("10.0.2.1");
});

test("ping RTT is twice delay and serialisation, to the nanosecond", async () => {
	const draft = lab("two", { seed: 1 });
	draft.link(draft.add(host("a", { ip: "10.0.0.1/24" })), draft.add(host("b", { ip: "10.0.0.2/24" })), { rate: "10mbit", delay: "25ms" });
	const { lab: running } = await plainLab(draft);
	// An echo of 56 bytes is a frame of 98 bytes, 122 with what Ethernet adds; the first one waits for ARP.
	expect((await ping(running, "a", "b")).slice(1)).toEqual([2 * (25e6 + 122 * 800), 2 * (25e6 + 122 * 800)]);
});

test("VLANs keep hosts apart, and a router on the trunk joins them", async () => {
	const draft = lab("vlans");
	const s = draft.add(sw("s", { vlan: { a: 10, b: 20, c: 10, gw: "trunk" } }));
	for (const [name, net] of [
		["a", 10],
		["b", 20],
		["c", 10],
	] as const)
		draft.link(draft.add(host(name, { ip: `10.0.${net}.${name.charCodeAt(0)}/24`, gateway: `10.0.${net}.1` })), s);
	// In the same subnet, but another VLAN: not to be reached.
	const stray = draft.add(host("d", { ip: "10.0.10.200/24" }));
	const t = draft.add(sw("t", { vlan: { s: "trunk", d: 30 } }));
	draft.link(stray, t);
	draft.link(t, s);
	draft.link(draft.add(router("gw", { ip: { "s.10": "10.0.10.1/24", "s.20": "10.0.20.1/24" } })), s);
	const spec = draft.toJSON();
	(spec.nodes.s as { vlan: Record<string, unknown> }).vlan.t = "trunk";
	const { lab: running } = await plainLab(readLabText(JSON.stringify(spec), "lab.json").model!);
	expect(await ping(running, "a", "c")).toHaveLength(3);
	expect(await ping(running, "a", "b")).toHaveLength(3);
	expect(await ping(running, "a", "d")).toHaveLength(0);
	expect(running.network.switches.get("s")?.counters("t").outFrames).toBeGreaterThan(0);
});

test("a loop of switches converges by the standard's times: STP 30 s, RSTP at once and round a cut cable again", async () => {
	for (const [stp, firstS, healedS] of [
		["stp", 30, 50],
		["rstp", 0, 1],
	] as const) {
		const draft = lab("ring");
		const ring = ["s1", "s2", "s3"].map((name, index) =>
			draft.add(sw(name, { stp, priority: 4096 * (index + 1), edge: index < 2 ? `h${index + 1}` : [] })),
		);
		for (const [index, each] of ring.entries()) draft.link(each, ring[(index + 1) % 3]!, "100base-tx");
		for (const number of [1, 2]) draft.link(draft.add(host(`h${number}`, { ip: `10.0.0.${number}/24` })), ring[number - 1]!);
		const { lab: running } = await plainLab(draft);
		const reachedAfter = async (fromNs: number): Promise<number> => {
			let firstNs: number | undefined;
			const end = running.station("h1").ping(running.network.addressOf("h2")!, { count: 700, intervalNs: 100e6 }, () => {
				firstNs ??= running.nowNs;
			});
			await running.run({ until: fromNs + 70e9, isDone: () => firstNs !== undefined });
			end();
			return ((firstNs ?? Number.POSITIVE_INFINITY) - fromNs) / 1e9;
		};
		const first = await reachedAfter(0);
		expect(first).toBeGreaterThanOrEqual(firstS);
		expect(first).toBeLessThan(firstS + 2);
		await running.run({ until: running.nowNs + 60e9 });
		running.link("s1 -- s2").down();
		const healed = await reachedAfter(running.nowNs);
		expect(healed).toBeLessThan(healedS + 2);
		if (stp === "stp") expect(healed).toBeGreaterThan(28);
	}
});

test("a hub shares one medium; a server hands out addresses; a mirror sees everything", async () => {
	const draft = lab("old");
	const h = draft.add(hub("h", { rate: "10mbit" }));
	for (const number of [1, 2, 3]) draft.link(draft.add(host(`p${number}`, { ip: `10.0.0.${number}/24` })), h, "10base-t");
	draft.link(draft.add(server("dhcp", { ip: "10.0.0.100/24", dhcp: { first: "10.0.0.50", last: "10.0.0.60" }, dns: true })), h);
	const m = draft.add(sw("m", { mirror: { ports: "h", to: "tap" } }));
	draft.link(h, m);
	draft.link(draft.add(host("tap", { ip: "10.0.0.200/24" })), m);
	const { lab: running } = await plainLab(draft);
	expect(await ping(running, "p1", "p2")).toHaveLength(3);
	expect(running.link("tap -- m").back.stats.deliveredFrames).toBeGreaterThanOrEqual(6);
	expect(running.network.routers.get("dhcp")?.dhcp("lan")).toBeDefined();
});

test("what a node cannot be built of is told before anything runs", async () => {
	const draft = lab("bad");
	draft.add(nat("isp"));
	await expect(
		Lab.create(draft.read(), (await plainLab(lab("x"))).lab.runtime, { machineSpec: () => Promise.reject(new Error()) }),
	).rejects.toThrow(LabError);
	expect(() => draft.add(nat("isp"))).toThrow(/isp is there twice/);
});
