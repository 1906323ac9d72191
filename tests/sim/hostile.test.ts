import { expect, test } from "vitest";
import { FakeHost, Hub, Jack, Link, Nat, RandomStream, Router, Switch, VirtualClock } from "../../src/net/index.ts";
import { cable, ip, SimHost } from "./hosts.ts";
import { buildLab } from "./lab.ts";

const FRAME_COUNT = 1_000_000;

/** Frames that a lab has really seen, as seeds for worse ones. */
function realFrames(): Uint8Array[] {
	const lab = buildLab();
	const frames: Uint8Array[] = [];
	for (const link of Object.values(lab.links))
		for (const direction of [link.up, link.down])
			direction.tap(({ point, frame }) => {
				if (point === "sent" && frames.length < 4000) frames.push(frame.slice());
			});
	lab.clock.runUntil(5e9);
	lab.hosts.pc!.node.ping(ip("10.0.10.12"), 1, 1);
	lab.hosts.phone!.tcp.connect(ip("10.0.10.1"), 53, () => ({}));
	lab.hosts.srv!.tcp.connect(ip("93.184.216.34"), 80, (connection) => ({ established: () => connection().write(new Uint8Array(3000)) }));
	lab.hosts.srv!.node.sendUdp({ sourcePort: 68, destination: ip("10.0.10.1"), destinationPort: 67, payload: new Uint8Array(300) });
	lab.hosts.srv!.node.sendUdp({ sourcePort: 5, destination: ip("10.0.10.1"), destinationPort: 53, payload: new Uint8Array(40) });
	lab.clock.advance(2e9);
	return frames;
}

test("a million random and spoilt frames harm no node", { timeout: 300_000 }, () => {
	const clock = new VirtualClock();
	const host = new FakeHost(clock);
	host.tcpServers.set("93.184.216.34:80", () => {});
	const nat = new Nat({ name: "isp", clock, host, seed: 1, mac: 0x0200_0000_aa01, allow: ["any any"] });
	const router = new Router({
		name: "gw",
		clock,
		seed: 1,
		interfaces: [{ name: "lan", mac: 0x0200_0000_bb01, address: "10.0.10.1/24", dhcp: true }],
		dns: true,
	});
	const end = new SimHost(clock, "srv", "10.0.10.12/24");
	end.sink(80);
	const sw = new Switch({ name: "sw", clock, mac: 0x0200_0000_ff01, stp: "rstp", maxStations: 1000 });
	const vlans = new Switch({ name: "vlans", clock, mac: 0x0200_0000_ff02, stp: "stp" });
	vlans.addPort("trunk", { vlan: "trunk" });
	const far = new Jack("far");
	cable(clock, "v", vlans.addPort("a", { vlan: 5 }), far);
	const hub = new Hub({ name: "hub", clock });
	const targets = [nat.port(), router.port("lan"), end.jack, sw.port("p"), vlans.port("trunk"), hub.port("x")];
	const attackers = targets.map((target, index) => {
		const attacker = new Jack(`attacker${index}`);
		return { attacker, link: cable(clock, `l${index}`, attacker, target, { mtu: 9000 }) };
	});
	const seeds = realFrames();
	const random = new RandomStream(99, "fuzz");
	const pick = (index: number, draw: number, below: number) => random.u32(index, draw) % below;
	for (let index = 0; index < FRAME_COUNT; index++) {
		const kind = pick(index, 0, 8);
		let frame = (seeds[pick(index, 1, seeds.length)] as Uint8Array).slice();
		if (kind === 0) frame = Uint8Array.from({ length: pick(index, 2, 120) }, (_, at) => random.u32(index, 3 + (at % 200)));
		else if (kind === 1) frame = frame.slice(0, pick(index, 2, frame.length + 1));
		else for (let flip = 0; flip < kind - 1; flip++) frame[pick(index, 10 + flip, frame.length)] = random.u32(index, 30 + flip);
		(attackers[pick(index, 4, attackers.length)] as { attacker: Jack }).attacker.send(frame);
		if (index % 8 === 7) clock.advance(20_000);
	}
	clock.advance(200e9);
	expect(sw.stations().length).toBeLessThanOrEqual(1000);
	expect(nat.flowCounts.tcp).toBeLessThanOrEqual(1024);
	expect(router.node.interfaces[0]!.neighbours.entries().length).toBeLessThanOrEqual(1024);
	for (const { link } of attackers) expect(link.up.flyingFrames + link.up.queuedFrames).toBe(0);
	// And all of them still do their work.
	const replies: number[] = [];
	const probe = new SimHost(clock, "probe", "10.0.10.99/24");
	attackers[1]!.attacker.unplug();
	probe.jack.plug(attackers[1]!.link.a);
	probe.node.onIcmp = (message) => replies.push(message.type);
	probe.node.ping(ip("10.0.10.1"), 1, 1);
	clock.advance(5e9);
	expect(replies).toEqual([0]);
});

test("a loop of ideal cables without a spanning tree storms, but time goes on and nothing grows without bound", () => {
	const clock = new VirtualClock();
	const switches = ["a", "b", "c"].map((name) => new Switch({ name, clock, mac: name.charCodeAt(0) }));
	for (const [index, sw] of switches.entries()) cable(clock, `ring${index}`, sw.port("next"), switches[(index + 1) % 3]!.port("previous"));
	const attacker = new Jack("attacker");
	const link = cable(clock, "in", attacker, switches[0]!.port("in"));
	const frame = new Uint8Array(60).fill(255, 0, 6);
	for (let count = 0; count < 10; count++) attacker.send(frame);
	clock.advance(10e6);
	expect(clock.nowNs).toBe(10e6);
	expect(link.down.stats.deliveredFrames).toBeGreaterThan(1000);
});

test("giants, runts and empty frames are counted and lost", () => {
	const clock = new VirtualClock();
	const link = new Link({ name: "l", clock, seed: 1, spec: "10mbit" });
	const sizes: number[] = [];
	link.b.onFrame = (frame) => sizes.push(frame.length);
	for (const size of [0, 1, 13, 14, 59, 60, 1514, 1515, 9000, 65_600]) link.a.send(new Uint8Array(size));
	clock.advance(1e9);
	expect(sizes).toEqual([0, 1, 13, 14, 59, 60, 1514]);
	expect(link.up.stats.drops.mtu).toBe(3);
});
