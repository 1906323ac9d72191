import { createHash } from "node:crypto";
import {
	captureLink,
	FakeHost,
	Hub,
	Link,
	type LinkSpecText,
	Nat,
	PcapngWriter,
	Router,
	Switch,
	VirtualClock,
} from "../../src/net/index.ts";
import { ip, SimHost } from "./hosts.ts";

export interface LabOptions {
	readonly seed?: number;
	/** Links are cut from the roll in this order; no order may matter. */
	readonly isReversed?: boolean;
	/** A cable between two hosts of their own, with traffic on it. */
	readonly hasStranger?: boolean;
	readonly script?: (lab: SimLab) => void;
}

export interface SimLab {
	readonly clock: VirtualClock;
	readonly links: Record<string, Link>;
	readonly hosts: Record<string, SimHost>;
	readonly switches: readonly Switch[];
	readonly router: Router;
	readonly nat: Nat;
	/** Bytes that came to the sinks. */
	readonly received: () => number[];
	/** SHA-256 of each link's capture. */
	readonly hashes: () => Record<string, string>;
	readonly captures: Record<string, Uint8Array[]>;
}

const SPECS: Record<string, LinkSpecText> = {
	"pc-sw1": "100mbit",
	"phone-sw1": { rate: "20mbit", delay: "2ms ±3ms normal 40%", loss: { model: "gilbert", rate: "2%", burst: 6 } },
	"sw1-sw2": { rate: "50mbit", delay: "1ms", duplicate: "1%" },
	"sw1-sw3": "1gbit",
	"sw2-sw3": "1gbit",
	"srv-sw2": { rate: "10mbit", delay: "20ms ±5ms pareto", loss: "0.5%", reorder: "1%", corrupt: "0.2%", queue: "60 packets, codel" },
	"gw-sw3": { rate: "10mbit", queue: "64KB, fq_codel" },
	"gw-isp": "dsl",
};

/** Three switches in a ring, three hosts, a router and a NAT, all of them busy. */
export function buildLab(options: LabOptions = {}): SimLab {
	const clock = new VirtualClock();
	const seed = options.seed ?? 7;
	const switches = [1, 2, 3].map((index) => new Switch({ name: `sw${index}`, clock, mac: 0x0200_0000_ff00 + index, stp: "rstp" }));
	const [sw1, sw2, sw3] = switches as [Switch, Switch, Switch];
	const host = new FakeHost(clock, 15_000_000);
	host.tcpServers.set("93.184.216.34:80", (peer) => {
		peer.onData = (bytes) => peer.write(new Uint8Array(bytes.length * 10));
	});
	const nat = new Nat({ name: "isp", clock, host, seed, mac: 0x0200_0000_aa01, allow: ["any internet"] });
	const router = new Router({
		name: "gw",
		clock,
		seed,
		interfaces: [
			{ name: "lan", mac: 0x0200_0000_bb01, address: "10.0.10.1/24", dhcp: true },
			{ name: "wan", mac: 0x0200_0000_bb02, address: "10.0.2.2/24" },
		],
		routes: { "0.0.0.0/0": "10.0.2.1" },
		dns: { upstream: "10.0.2.1" },
	});
	nat.node.addRoute("10.0.10.0/24", "10.0.2.2");
	const names = ["pc", "phone", "srv"];
	const hosts: Record<string, SimHost> = Object.fromEntries(
		names.map((name, index) => [name, new SimHost(clock, name, `10.0.10.${10 + index}/24`, { gateway: "10.0.10.1" })]),
	);
	const ends = {
		"pc-sw1": [hosts.pc!.jack, sw1.port("pc")],
		"phone-sw1": [hosts.phone!.jack, sw1.port("phone")],
		"sw1-sw2": [sw1.port("sw2"), sw2.port("sw1")],
		"sw1-sw3": [sw1.port("sw3"), sw3.port("sw1")],
		"sw2-sw3": [sw2.port("sw3"), sw3.port("sw2")],
		"srv-sw2": [hosts.srv!.jack, sw2.port("srv")],
		"gw-sw3": [router.port("lan"), sw3.port("gw")],
		"gw-isp": [router.port("wan"), nat.port()],
	} as const;
	const order = Object.keys(ends) as (keyof typeof ends)[];
	if (options.isReversed === true) order.reverse();
	const links: Record<string, Link> = {};
	const captures: Record<string, Uint8Array[]> = {};
	for (const name of order) links[name] = new Link({ name, clock, seed, spec: SPECS[name]! });
	if (options.hasStranger === true) addStranger(clock, seed);
	for (const name of Object.keys(ends) as (keyof typeof ends)[]) {
		const blocks: Uint8Array[] = [];
		captures[name] = blocks;
		captureLink(links[name]!, new PcapngWriter((bytes) => blocks.push(bytes)), clock);
		ends[name][0].plug(links[name]!.a);
		ends[name][1].plug(links[name]!.b);
	}
	const sinks = [hosts.srv!.sink(80), hosts.pc!.sink(81)];
	const hashes = () =>
		Object.fromEntries(
			Object.entries(captures).map(([name, blocks]) => {
				const hash = createHash("sha256");
				for (const block of blocks) hash.update(block);
				return [name, hash.digest("hex")];
			}),
		);
	return { clock, links, hosts, switches, router, nat, received: () => sinks.map((sink) => sink.bytes), hashes, captures };
}

/** Traffic of two seconds: two transfers, pings, names and a download from outside. */
export function runLab(options: LabOptions = {}): SimLab {
	const lab = buildLab(options);
	const { clock, hosts } = lab;
	// The spanning tree takes three seconds to see that a host is no bridge.
	clock.runUntil(5e9);
	options.script?.(lab);
	hosts.pc!.flood(ip("10.0.10.12"), 80);
	hosts.phone!.flood(ip("10.0.10.10"), 81);
	hosts.srv!.tcp.connect(ip("93.184.216.34"), 80, (connection) => ({
		established: () => connection().write(new Uint8Array(3000)),
		data: (bytes) => connection().consumed(bytes.length),
	}));
	for (let round = 0; round < 20; round++) {
		hosts.phone!.node.ping(ip("10.0.10.1"), 1, round);
		clock.advance(100e6);
	}
	return lab;
}

function addStranger(clock: VirtualClock, seed: number): void {
	const link = new Link({ name: "stranger", clock, seed, spec: { rate: "5mbit", loss: "3%", delay: "1ms ±1ms" } });
	const hub = new Hub({ name: "hub", clock });
	const [a, b] = [new SimHost(clock, "x", "10.9.0.1/24"), new SimHost(clock, "y", "10.9.0.2/24")];
	a.jack.plug(link.a);
	hub.port("a").plug(link.b);
	const other = new Link({ name: "stranger-2", clock, seed });
	hub.port("b").plug(other.a);
	b.jack.plug(other.b);
	b.sink(80);
	a.flood(b.address, 80);
}
