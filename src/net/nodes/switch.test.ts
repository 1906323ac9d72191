import { expect, test } from "vitest";
import { parseMac, writeMac } from "../frames/address.ts";
import { vlanTag, withTag } from "../frames/ethernet.ts";
import { Link } from "../link/link.ts";
import type { LinkSpecText } from "../link/spec.ts";
import { VirtualClock } from "../time.ts";
import { Hub } from "./hub.ts";
import { Switch, type SwitchOptions, type SwitchState } from "./switch.ts";

/** A switch with stations a, b, c… on cables; each notes what it hears. */
function rig(names: string, options: Partial<SwitchOptions> = {}) {
	const clock = new VirtualClock();
	const sw = new Switch({ name: "sw", clock, mac: parseMac("02:00:00:00:ff:01")!, ...options });
	const heard: Record<string, Uint8Array[]> = {};
	const links: Record<string, Link> = {};
	for (const name of names) {
		const link = new Link({ name, clock, seed: 1 });
		sw.port(name).plug(link.b);
		heard[name] = [];
		link.a.onFrame = (frame) => heard[name]!.push(frame);
		links[name] = link;
	}
	const send = (from: string, frame: Uint8Array) => {
		links[from]!.a.send(frame);
		clock.advance(1e6);
	};
	const counts = () => Object.fromEntries([...names].map((name) => [name, heard[name]!.splice(0).length]));
	return { clock, sw, send, counts, heard, links };
}

const mac = (letter: string) => letter.charCodeAt(0);
const BROADCAST = 0xffff_ffff_ffff;

function frame(from: string, to: string | number, vlan?: number, sizeBytes = 60): Uint8Array {
	const bytes = new Uint8Array(sizeBytes);
	writeMac(bytes, 0, typeof to === "number" ? to : mac(to));
	writeMac(bytes, 6, mac(from));
	bytes[13] = 0x42;
	return vlan === undefined ? bytes : withTag(bytes, { tpid: 0x8100, priority: 3, isDropEligible: false, id: vlan });
}

test("learns where stations are, floods what it does not know, moves at once, forgets after 300 s", () => {
	const { clock, sw, send, counts } = rig("abc");
	send("a", frame("a", "b"));
	expect(counts()).toEqual({ a: 0, b: 1, c: 1 });
	send("b", frame("b", "a"));
	send("a", frame("a", "b"));
	expect(counts()).toEqual({ a: 1, b: 1, c: 0 });
	send("c", frame("b", BROADCAST));
	counts();
	send("a", frame("a", "b"));
	expect(counts()).toEqual({ a: 0, b: 0, c: 1 });
	send("c", frame("x", "b"));
	expect(counts()).toEqual({ a: 0, b: 0, c: 0 });
	expect(sw.counters("c").drops.filtered).toBe(1);
	clock.advance(300e9);
	send("a", frame("a", "b"));
	expect(counts()).toEqual({ a: 0, b: 1, c: 1 });
});

test("group sources are not learnt, reserved addresses stay on their cable, runts die, a full table floods", () => {
	const { sw, send, counts } = rig("abc", { maxStations: 2 });
	send("a", frame("a", 0x0180_c200_0001));
	send("a", frame("a", 0x0180_c200_000e));
	send("a", new Uint8Array(13));
	send("a", new Uint8Array(0));
	expect(counts()).toEqual({ a: 0, b: 0, c: 0 });
	expect(sw.counters("a").drops).toMatchObject({ reserved: 2, runt: 2 });
	send("a", frame("a", 0x0180_c200_0000));
	expect(counts()).toEqual({ a: 0, b: 1, c: 1 });
	const forged = frame("a", "b");
	forged[6] = 0x01;
	send("a", forged);
	expect(sw.stations()).toHaveLength(1);
	for (const station of "uvwxyz") send("a", frame(station, "b"));
	counts();
	expect(sw.stations()).toHaveLength(2);
	send("b", frame("b", "z"));
	expect(counts()).toEqual({ a: 1, b: 0, c: 1 });
});

test("a pulled cable takes its stations with it", () => {
	const { sw, send, counts, links } = rig("abc");
	send("b", frame("b", "a"));
	counts();
	links.b!.set({ state: "down" });
	links.b!.set({ state: "up" });
	expect(sw.stations()).toEqual([]);
	send("a", frame("a", "b"));
	expect(counts()).toEqual({ a: 0, b: 1, c: 1 });
});

test("802.1Q: access and trunk ports keep VLANs apart; tags are put on and taken off where they belong", () => {
	const { sw, send, counts, heard } = rig("abtn");
	sw.setVlan("a", 10);
	sw.setVlan("b", 20);
	sw.setVlan("t", "trunk");
	sw.setVlan("n", { allowed: [10, 20], native: 20 });
	send("a", frame("a", BROADCAST));
	expect(vlanTag(heard.t![0]!)).toMatchObject({ id: 10, priority: 0 });
	expect(vlanTag(heard.n![0]!)).toMatchObject({ id: 10 });
	expect(counts()).toEqual({ a: 0, b: 0, t: 1, n: 1 });
	send("t", frame("t", BROADCAST, 20));
	expect(vlanTag(heard.b![0]!)).toBeUndefined();
	expect(heard.b![0]).toEqual(frame("t", BROADCAST));
	expect(vlanTag(heard.n![0]!)).toBeUndefined();
	expect(counts()).toEqual({ a: 0, b: 1, t: 0, n: 1 });
	send("n", frame("n", BROADCAST));
	expect(counts()).toEqual({ a: 0, b: 1, t: 1, n: 0 });
	send("a", frame("a", BROADCAST, 0));
	expect(vlanTag(heard.t![0]!)).toMatchObject({ id: 10, priority: 3 });
	counts();
	send("a", frame("a", BROADCAST, 10));
	send("t", frame("t", BROADCAST));
	send("t", frame("t", BROADCAST, 4095));
	send("n", frame("n", BROADCAST, 30));
	expect(counts()).toEqual({ a: 0, b: 0, t: 0, n: 0 });
	expect(["a", "t", "n"].map((port) => sw.counters(port).drops.vlan)).toEqual([1, 2, 1]);
	// Independent learning: the same station in two VLANs.
	send("t", frame("s", BROADCAST, 10));
	send("b", frame("s", BROADCAST));
	expect(sw.stations().filter((each) => each.mac.endsWith(mac("s").toString(16)))).toHaveLength(2);
	for (const vlan of [0, 4095, 1.5, 70_000]) expect(() => sw.setVlan("a", vlan)).toThrow("1 to 4094");
});

test("a mirror sees what others receive and send and gives nothing back; isolated ports do not meet", () => {
	const { sw, send, counts } = rig("abcm");
	sw.setMirror({ ports: ["a"], direction: "both", to: "m" });
	send("a", frame("a", "b"));
	send("b", frame("b", "a"));
	expect(counts()).toEqual({ a: 1, b: 1, c: 1, m: 2 });
	send("m", frame("m", "a"));
	expect(counts()).toEqual({ a: 0, b: 0, c: 0, m: 0 });
	sw.setMirror(undefined);
	expect(() => sw.setMirror({ ports: ["a"], direction: "in", to: "nowhere" })).toThrow("a port of it: a, b, c, m");
	const isolated = rig("c");
	for (const name of ["x", "y"]) isolated.sw.addPort(name, { isIsolated: true });
	const [x, y] = ["x", "y"].map((name) => new Link({ name, clock: isolated.clock, seed: 1 }));
	let atY = 0;
	isolated.sw.port("x").plug(x!.b);
	isolated.sw.port("y").plug(y!.b);
	y!.a.onFrame = () => atY++;
	x!.a.send(frame("x", BROADCAST));
	isolated.clock.advance(1e6);
	expect([atY, isolated.counts()]).toEqual([0, { c: 1 }]);
});

test("stations and counters survive saving", () => {
	const { sw, send, clock } = rig("ab", { stp: "rstp" });
	clock.advance(10e9);
	send("a", frame("a", "b"));
	const state = structuredClone(sw.save()) as SwitchState;
	const other = rig("ab", { stp: "rstp" });
	other.clock.runUntil(clock.nowNs);
	other.sw.load(state);
	expect(other.sw.save()).toEqual(state);
	expect(other.sw.stations()).toEqual(sw.stations());
});

test("a hub is one medium: all hear, and two senders share its rate", () => {
	const clock = new VirtualClock();
	const hub = new Hub({ name: "hub", clock, rateBps: 10e6 });
	const arrivals: { at: string; timeNs: number }[] = [];
	const links = [..."abc"].map((name) => {
		const link = new Link({ name, clock, seed: 1 });
		hub.port(name).plug(link.b);
		link.a.onFrame = () => arrivals.push({ at: name, timeNs: clock.nowNs });
		return link;
	});
	links[0]!.a.send(frame("a", "b", undefined, 1514));
	links[1]!.a.send(frame("b", "a", undefined, 1514));
	clock.advance(1e9);
	expect(arrivals.filter((each) => each.at === "c").map((each) => each.timeNs)).toEqual([
		1000 + 1_230_400 + 1000,
		1000 + 2 * 1_230_400 + 1000,
	]);
	expect(arrivals.map((each) => each.at).sort()).toEqual(["a", "b", "c", "c"]);
});

/** Switches joined as `pairs` say; each switch's address rises with its letter, so `a` is root. */
function mesh(pairs: string[], stp: "stp" | "rstp" | Record<string, "stp" | "rstp">, spec: LinkSpecText = "100mbit") {
	const clock = new VirtualClock();
	const letters = [...new Set(pairs.flatMap((pair) => [...pair.slice(0, 2)]))].sort();
	const switches = Object.fromEntries(
		letters.map((letter) => [
			letter,
			new Switch({ name: letter, clock, mac: 0x0200_0000_0000 + mac(letter), stp: typeof stp === "string" ? stp : stp[letter]! }),
		]),
	);
	const links = Object.fromEntries(
		pairs.map((pair) => {
			const link = new Link({ name: pair, clock, seed: 1, spec });
			switches[pair[0]!]!.port(pair).plug(link.a);
			switches[pair[1]!]!.port(pair).plug(link.b);
			return [pair, link];
		}),
	);
	const hosts = Object.fromEntries(
		letters.map((letter) => {
			const link = new Link({ name: `host-${letter}`, clock, seed: 1 });
			const host = { link, heard: 0, heardAtNs: 0 };
			switches[letter]!.addPort("host", { stp: { isEdge: true } }).plug(link.b);
			link.a.onFrame = (bytes) => {
				if (bytes[13] !== 0x42) return;
				host.heard++;
				host.heardAtNs = clock.nowNs;
			};
			return [letter, host];
		}),
	);
	/** One broadcast from `from`; how often each host hears it. */
	const broadcast = (from: string) => {
		for (const host of Object.values(hosts)) host.heard = 0;
		hosts[from]!.link.a.send(frame(from, BROADCAST));
		clock.advance(50e6);
		return letters.map((letter) => hosts[letter]!.heard).join("");
	};
	/** Seconds until a broadcast a second, ten a second, gets from one host to the other. */
	const secondsUntilHeard = (from: string, to: string) => {
		const startNs = clock.nowNs;
		hosts[to]!.heard = 0;
		while (hosts[to]!.heard === 0 && clock.nowNs - startNs < 100e9) {
			hosts[from]!.link.a.send(frame(from, BROADCAST));
			clock.advance(50e6);
		}
		return (clock.nowNs - startNs) / 1e9;
	};
	return { clock, switches, links, hosts, broadcast, secondsUntilHeard };
}

test("802.1D: STP forwards after listening and learning, 30 s, and leaves no loop", () => {
	const { clock, switches, broadcast } = mesh(["ab", "bc", "ca"], "stp");
	clock.runUntil(29e9);
	expect(broadcast("a")).toBe("000");
	clock.runUntil(31e9);
	expect(broadcast("a")).toBe("011");
	expect(broadcast("c")).toBe("110");
	expect([switches.a!.isStpRoot, switches.b!.isStpRoot]).toEqual([true, false]);
	expect(switches.c!.stpPort("bc")).toEqual({ role: "alternate", state: "discarding" });
});

test("802.1D: STP comes back 30 s after a direct failure and 50 s after an indirect one", () => {
	const direct = mesh(["ab", "bc", "ca"], "stp");
	direct.clock.runUntil(60e9);
	direct.links.ca!.set({ state: "down" });
	const directS = direct.secondsUntilHeard("a", "c");
	expect(directS).toBeGreaterThan(29.5);
	expect(directS).toBeLessThan(31);
	const indirect = mesh(["ab", "bc", "ca"], "stp");
	indirect.clock.runUntil(60e9);
	indirect.links.ab!.set({ state: "down" });
	const indirectS = indirect.secondsUntilHeard("a", "b");
	expect(indirectS).toBeGreaterThan(46);
	expect(indirectS).toBeLessThan(51);
});

test("802.1w: RSTP agrees in milliseconds, at the start and after failures, direct or not", () => {
	const { clock, switches, links, broadcast, secondsUntilHeard } = mesh(["ab", "bc", "ca", "cd"], "rstp");
	clock.runUntil(1e9);
	expect(broadcast("d")).toBe("1110");
	links.ca!.set({ state: "down" });
	expect(secondsUntilHeard("a", "d")).toBeLessThan(0.2);
	links.ca!.set({ state: "up" });
	clock.advance(3e9);
	expect(broadcast("a")).toBe("0111");
	links.ab!.set({ state: "down" });
	expect(secondsUntilHeard("a", "b")).toBeLessThan(0.2);
	links.cd!.set({ state: "silent" });
	clock.advance(7e9);
	expect(switches.d!.isStpRoot).toBe(true);
	links.cd!.set({ state: "up" });
	clock.advance(3e9);
	expect(switches.d!.isStpRoot).toBe(false);
});

test("two cables between two switches: one forwards; a bigger mesh has one copy of everything", () => {
	const pair = mesh(["ab", "ab2"], "rstp");
	pair.clock.runUntil(3e9);
	expect(pair.broadcast("a")).toBe("01");
	expect(pair.broadcast("b")).toBe("10");
	for (const stp of ["rstp", "stp"] as const) {
		const full = mesh(["ab", "ac", "ad", "bc", "bd", "cd", "de", "ce", "ae"], stp);
		full.clock.runUntil(40e9);
		expect(full.broadcast("c")).toBe("11011");
		full.links.ae!.set({ state: "down" });
		full.clock.advance(60e9);
		expect(full.broadcast("e")).toBe("11110");
	}
});

test("RSTP beside STP falls back to its messages and times, and no loop forms", () => {
	const { clock, broadcast } = mesh(["ab", "bc", "ca"], { a: "rstp", b: "stp", c: "rstp" });
	clock.runUntil(1e9);
	expect(broadcast("a")).toBe("001");
	clock.runUntil(45e9);
	expect(broadcast("a")).toBe("011");
	expect(broadcast("b")).toBe("101");
});

test("a guarded port that hears a bridge is shut; a cable that leads back to the switch is a backup", () => {
	const clock = new VirtualClock();
	const [one, two] = [1, 2].map((mac) => new Switch({ name: `s${mac}`, clock, mac, stp: "rstp" }));
	const link = new Link({ name: "x", clock, seed: 1 });
	one!.addPort("x", { stp: { bpduGuard: true } }).plug(link.a);
	two!.addPort("x").plug(link.b);
	clock.advance(3e9);
	expect(one!.stpPort("x").state).toBe("discarding");
	const loop = new Link({ name: "loop", clock, seed: 1 });
	two!.addPort("p").plug(loop.a);
	two!.addPort("q").plug(loop.b);
	clock.advance(3e9);
	expect([two!.stpPort("p").role, two!.stpPort("q").role]).toEqual(["designated", "backup"]);
});
