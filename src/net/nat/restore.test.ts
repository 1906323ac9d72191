import { expect, test } from "vitest";
import { parseIpv4Address } from "../frames/address.ts";
import { IpNode } from "../ip/node.ts";
import { Link, type LinkSnapshot } from "../link/link.ts";
import type { TcpConnection } from "../tcp/connection.ts";
import { type TcpEndpoints, TcpStack } from "../tcp/stack.ts";
import { VirtualClock } from "../time.ts";
import { FakeHost, type FakePeer } from "./fake-host.ts";
import { Nat, type NatState } from "./nat.ts";

const SERVER = "93.184.216.34";

/** A guest with one connection to a server that answers each line with its number; all of it but the server can be put back. */
function rig() {
	const clock = new VirtualClock();
	const host = new FakeHost(clock);
	const outside: string[] = [];
	let peer: FakePeer | undefined;
	let lines = 0;
	host.tcpServers.set(`${SERVER}:80`, (each) => {
		peer = each;
		each.onData = (bytes) => {
			const text = String.fromCharCode(...bytes);
			outside.push(text);
			each.write(new TextEncoder().encode(`${++lines}:${text}`));
		};
		each.onClosed = () => outside.push("closed");
	});
	const options = { name: "isp", clock, host, seed: 1, mac: 0x0200_0000_0001, allow: ["any any"] };
	const nat = new Nat({ ...options, life: "one" });
	const link = new Link({ name: "l", clock, seed: 1 });
	const node = new IpNode({ name: "guest", clock, forwards: false });
	node.addInterface({ name: "eth0", mac: 0x0200_0000_0002, address: "10.0.2.50/24" });
	node.addRoute("0.0.0.0/0", "10.0.2.1");
	node.port("eth0").plug(link.a);
	nat.port().plug(link.b);
	const tcp = new TcpStack(node, { seed: 2 });
	const inside: string[] = [];
	const events = (self: () => TcpConnection) => ({
		data: (bytes: Uint8Array) => {
			inside.push(String.fromCharCode(...bytes));
			self().consumed(bytes.length);
		},
		closed: (reason: string) => inside.push(reason),
	});
	let endpoints: TcpEndpoints | undefined;
	let connection = tcp.connect(parseIpv4Address(SERVER) as number, 80, (self, four) => {
		endpoints = four;
		return events(self);
	}) as TcpConnection;
	clock.advance(1e9);
	const say = (text: string) => {
		connection.write(new TextEncoder().encode(text));
		clock.advance(1e9);
	};
	const save = () => structuredClone({ nowNs: clock.nowNs, link: link.save(), nat: nat.save(), guest: connection.save() }) as Saved;
	const load = (saved: Saved, into: Nat = nat) => {
		clock.set(saved.nowNs);
		link.load(saved.link);
		tcp.forgetAll();
		connection = tcp.restore(endpoints as TcpEndpoints, saved.guest, events);
		into.load(saved.nat);
		clock.advance(1e9);
	};
	const another = () => {
		const second = new Nat({ ...options, life: "two" });
		nat.port().unplug();
		second.port().plug(link.b);
		return second;
	};
	return { clock, nat, say, save, load, inside, outside, another, peer: () => peer as FakePeer };
}

interface Saved {
	readonly nowNs: number;
	readonly link: LinkSnapshot;
	readonly nat: NatState;
	readonly guest: NonNullable<ReturnType<TcpConnection["save"]>>;
}

test("a session that has been silent since the snapshot just goes on", () => {
	const { say, save, load, inside, outside } = rig();
	say("a");
	const saved = save();
	load(saved);
	say("b");
	load(saved);
	expect(inside.splice(0)).toEqual(["1:a", "2:b"]);
	expect(outside).toEqual(["a", "b"]);
});

test("a guest that says the same again hears the same again, and nobody outside notices", () => {
	const { say, save, load, inside, outside, peer, clock, nat } = rig();
	say("a");
	const saved = save();
	say("b");
	say("c");
	peer().write(new TextEncoder().encode("news"));
	clock.advance(1e9);
	expect(inside.splice(0)).toEqual(["1:a", "2:b", "3:c", "news"]);
	load(saved);
	expect(inside.splice(0)).toEqual([]);
	say("b");
	expect(inside.splice(0)).toEqual(["2:b"]);
	const between = save();
	say("cd");
	expect(inside.splice(0).join("")).toEqual("3:cnews4:d");
	load(between);
	say("cde");
	expect(inside.splice(0).join("")).toEqual("3:cnews4:d5:e");
	expect(outside).toEqual(["a", "b", "c", "d", "e"]);
	expect(nat.flowCounts.tcp).toBe(1);
});

test("one that says something else gets a reset, and so does the server", () => {
	const { say, save, load, inside, outside, nat } = rig();
	const saved = save();
	say("a");
	load(saved);
	say("x");
	expect(inside).toEqual(["1:a", "reset"]);
	expect(outside).toEqual(["a", "closed"]);
	expect(nat.flowCounts.tcp).toBe(0);
});

test("what the server has ended meanwhile, or another process had, ends with a reset at once", () => {
	const first = rig();
	const saved = first.save();
	first.peer().reset();
	first.clock.advance(1e9);
	first.inside.length = 0;
	first.load(saved);
	expect(first.inside).toEqual(["reset"]);
	const second = rig();
	const there = second.save();
	second.load(there, second.another());
	expect(second.inside).toEqual(["reset"]);
});

test("a session that says too much between two snapshots cannot be gone back into", () => {
	const { say, save, load, inside, outside } = rig();
	const saved = save();
	for (let part = 0; part < 40; part++) say("x".repeat(30_000));
	const heard = outside.length;
	load(saved);
	expect(inside.at(-1)).toBe("reset");
	expect(outside.slice(heard)).toEqual(["closed"]);
});
