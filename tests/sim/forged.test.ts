import { expect, test } from "vitest";
import {
	buildArp,
	buildEthernet,
	buildIpv4,
	buildUdp,
	ETHERTYPE_ARP,
	ETHERTYPE_IPV4,
	FakeHost,
	Jack,
	Nat,
	PROTOCOL_UDP,
	RandomStream,
	Router,
	Station,
	Switch,
	VirtualClock,
} from "../../src/net/index.ts";
import { cable, ip } from "./hosts.ts";

const MAC = { router: 0x0200_0000_bb01, victim: 0x0200_0000_0001, attacker: 0x0200_0000_0666 };
const BROADCAST = 0xffff_ffff_ffff;

/** A router that serves DHCP, a host, and somebody who wishes them ill, on one switch. */
function lan() {
	const clock = new VirtualClock();
	const sw = new Switch({ name: "sw", clock, mac: 0x0200_0000_ff01, maxStations: 1000 });
	const router = new Router({
		name: "gw",
		clock,
		seed: 1,
		interfaces: [{ name: "lan", mac: MAC.router, address: "10.0.0.1/24", dhcp: true }],
	});
	const victim = new Station({ name: "victim", clock, seed: 1, mac: MAC.victim, address: "10.0.0.50/24", gateway: "10.0.0.1" });
	const attacker = new Jack("attacker");
	cable(clock, "gw", router.port("lan"), sw.port("gw"));
	cable(clock, "victim", victim.port(), sw.port("victim"));
	cable(clock, "attacker", attacker, sw.port("attacker"), { mtu: 9000 });
	const pings = (): number => {
		let replies = 0;
		const end = victim.ping(ip("10.0.0.1"), { count: 3, intervalNs: 1e8 }, () => replies++);
		clock.advance(5e9);
		end();
		return replies;
	};
	return { clock, sw, router, victim, attacker, pings };
}

function arp(fields: {
	operation: number;
	senderMac: number;
	senderIp: string;
	targetMac?: number;
	targetIp: string;
	to?: number;
}): Uint8Array {
	const payload = buildArp({
		operation: fields.operation,
		senderMac: fields.senderMac,
		senderIp: ip(fields.senderIp),
		targetMac: fields.targetMac ?? 0,
		targetIp: ip(fields.targetIp),
	});
	return buildEthernet({ destination: fields.to ?? BROADCAST, source: fields.senderMac, etherType: ETHERTYPE_ARP, payload });
}

/** A DHCP message of a client with this MAC: type, and options as they are. */
function dhcp(mac: number, options: readonly number[], fields: { op?: number; hardwareLength?: number } = {}): Uint8Array {
	const bytes = new Uint8Array(240 + options.length + 1);
	const view = new DataView(bytes.buffer);
	bytes.set([fields.op ?? 1, 1, fields.hardwareLength ?? 6, 0]);
	view.setUint32(4, mac >>> 0);
	view.setUint16(28, Math.floor(mac / 2 ** 32));
	view.setUint32(30, mac >>> 0);
	view.setUint32(236, 0x6382_5363);
	bytes.set([...options, 255], 240);
	const udp = buildUdp({ sourcePort: 68, destinationPort: 67, payload: bytes }, 0, 0xffff_ffff);
	const payload = buildIpv4({ protocol: PROTOCOL_UDP, source: 0, destination: 0xffff_ffff, payload: udp });
	return buildEthernet({ destination: BROADCAST, source: mac, etherType: ETHERTYPE_IPV4, payload });
}

test("ARP answers that nobody asked for make no entries, and a router never believes that it is somewhere else", () => {
	const { clock, router, attacker, pings } = lan();
	expect(pings()).toBe(3);
	for (let host = 60; host < 250; host++)
		attacker.send(
			arp({
				operation: 2,
				senderMac: MAC.attacker,
				senderIp: `10.0.0.${host}`,
				targetMac: MAC.router,
				targetIp: "10.0.0.1",
				to: MAC.router,
			}),
		);
	attacker.send(arp({ operation: 2, senderMac: MAC.attacker, senderIp: "10.0.0.1", targetIp: "10.0.0.1" }));
	attacker.send(arp({ operation: 1, senderMac: BROADCAST, senderIp: "10.0.0.50", targetIp: "10.0.0.1" }));
	attacker.send(
		arp({ operation: 2, senderMac: MAC.attacker, senderIp: "192.0.2.1", targetMac: MAC.router, targetIp: "10.0.0.1", to: MAC.router }),
	);
	clock.advance(1e9);
	const known = router.node.interfaces[0]?.neighbours.entries() ?? [];
	// A flood of what claims to answer us is believed at most by the bounded table; strangers' subnets and broadcasts never.
	expect(known.every(({ address }) => address >>> 8 === ip("10.0.0.0") >>> 8 && address !== ip("10.0.0.1"))).toBe(true);
	expect(known.find(({ address }) => address === ip("10.0.0.50"))?.mac).toBe(MAC.victim);
	expect(known.length).toBeLessThanOrEqual(1024);
	// A host that had the router's address believes that it has moved, as RFC 826 has it, until it asks again.
	clock.advance(61e9);
	expect(pings()).toBe(3);
});

test("stations by the hundred thousand fill the switch's table and nothing else", () => {
	const { clock, sw, attacker, pings } = lan();
	for (let count = 0; count < 100_000; count++) {
		attacker.send(arp({ operation: 1, senderMac: 0x0200_1000_0000 + count, senderIp: "10.0.0.99", targetIp: "10.0.0.98" }));
		if (count % 100 === 0) clock.advance(1e6);
	}
	clock.advance(1e9);
	expect(sw.stations().length).toBeLessThanOrEqual(1000);
	expect(pings()).toBe(3);
});

test("DHCP: starvation ends at the pool's end, forged servers and crooked messages change nothing", () => {
	const { clock, router, attacker, pings } = lan();
	const server = router.dhcp("lan");
	for (let count = 0; count < 5000; count++) {
		attacker.send(dhcp(0x0200_2000_0000 + count, [53, 1, 1]));
		attacker.send(dhcp(0x0200_2000_0000 + count, [53, 1, 3, 50, 4, 10, 0, 0, count & 255]));
		if (count % 50 === 0) clock.advance(1e6);
	}
	const random = new RandomStream(4, "dhcp");
	for (let count = 0; count < 20_000; count++) {
		const options = Array.from({ length: random.u32(count) % 60 }, (_, at) => random.u32(count, 1 + (at % 200)) & 255);
		attacker.send(dhcp(0x0200_3000_0000 + count, options, { op: 1 + (count % 3), hardwareLength: random.u32(count, 210) & 31 }));
		if (count % 50 === 0) clock.advance(1e6);
	}
	clock.advance(1e9);
	const leases = server?.leases() ?? [];
	expect(leases.length).toBeLessThanOrEqual(254);
	expect(leases.some(({ address }) => address === ip("10.0.0.1") || address === ip("10.0.0.0") || address === ip("10.0.0.255"))).toBe(
		false,
	);
	expect(new Set(leases.map(({ address }) => address)).size).toBe(leases.length);
	expect(pings()).toBe(3);
	// Offers lapse: a newcomer is served again.
	clock.advance(25 * 3600e9);
	attacker.send(dhcp(MAC.attacker, [53, 1, 1]));
	clock.advance(1e9);
	expect(server?.leases().find(({ mac }) => mac === MAC.attacker)?.isOffer).toBe(true);
});

test("a NAT asked for a hundred thousand connections keeps its bounds and lets go of them", () => {
	const clock = new VirtualClock();
	const nat = new Nat({ name: "isp", clock, host: new FakeHost(clock), seed: 1, mac: MAC.router, allow: ["any internet"] });
	const attacker = new Jack("attacker");
	cable(clock, "l", attacker, nat.port());
	for (let count = 0; count < 100_000; count++) {
		const source = ip("10.0.2.2") + (count % 200);
		const udp = buildUdp(
			{ sourcePort: 1024 + (count % 60_000), destinationPort: 53 + (count % 7), payload: new Uint8Array(4) },
			source,
			ip("8.8.8.8"),
		);
		const payload = buildIpv4({ protocol: PROTOCOL_UDP, source, destination: ip("8.8.8.8"), payload: udp });
		attacker.send(buildEthernet({ destination: MAC.router, source: MAC.attacker, etherType: ETHERTYPE_IPV4, payload }));
		if (count % 100 === 0) clock.advance(1e6);
	}
	expect(nat.flowCounts.udp).toBeLessThanOrEqual(1024);
	clock.advance(600e9);
	expect(nat.flowCounts.udp).toBe(0);
});
