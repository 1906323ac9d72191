import { expect, test } from "vitest";
import { formatIpv4, parseIpv4Address, writeU16 } from "../frames/address.ts";
import { buildArp } from "../frames/arp.ts";
import { buildEthernet, ETHERTYPE_ARP, ETHERTYPE_IPV4, parseEthernet, vlanTag } from "../frames/ethernet.ts";
import { buildIpv4, parseIpv4 } from "../frames/ipv4.ts";
import { Link } from "../link/link.ts";
import type { LinkSpecText } from "../link/spec.ts";
import type { Jack } from "../port.ts";
import { VirtualClock } from "../time.ts";
import { IpNode, type IpNodeState } from "./node.ts";

const ip = (text: string) => parseIpv4Address(text) as number;

function cable(clock: VirtualClock, name: string, a: Jack, b: Jack, spec: LinkSpecText = {}): Link {
	const link = new Link({ name, clock, seed: 1, spec });
	a.plug(link.a);
	b.plug(link.b);
	return link;
}

/** left — r1 — r2 — right, 1400 bytes in the middle. */
function chain(middleMtu = 1400) {
	const clock = new VirtualClock();
	const node = (name: string, forwards = true) => new IpNode({ name, clock, forwards, icmpErrorsPerS: 10 });
	const [left, r1, r2, right] = [node("left", false), node("r1"), node("r2"), node("right", false)] as const;
	left.addInterface({ name: "eth0", mac: 0x0200_0000_0001, address: "10.0.1.2/24" });
	r1.addInterface({ name: "lan", mac: 0x0200_0000_0011, address: "10.0.1.1/24" });
	r1.addInterface({ name: "wan", mac: 0x0200_0000_0012, address: "10.0.9.1/30", mtuBytes: middleMtu });
	r2.addInterface({ name: "wan", mac: 0x0200_0000_0021, address: "10.0.9.2/30", mtuBytes: middleMtu });
	r2.addInterface({ name: "lan", mac: 0x0200_0000_0022, address: "10.0.2.1/24" });
	right.addInterface({ name: "eth0", mac: 0x0200_0000_0002, address: "10.0.2.2/24" });
	left.addRoute("0.0.0.0/0", "10.0.1.1");
	right.addRoute("0.0.0.0/0", "10.0.2.1");
	r1.addRoute("10.0.2.0/24", "10.0.9.2");
	r2.addRoute("10.0.1.0/24", "10.0.9.1");
	const links = [
		cable(clock, "l", left.port("eth0"), r1.port("lan")),
		cable(clock, "m", r1.port("wan"), r2.port("wan"), { rate: "10mbit", delay: "25ms" }),
		cable(clock, "r", r2.port("lan"), right.port("eth0")),
	] as const;
	const icmp: string[] = [];
	left.onIcmp = (message, packet) => icmp.push(`${formatIpv4(packet.source)} ${message.type}/${message.code} ${message.rest & 0xffff}`);
	return { clock, left, r1, r2, right, links, icmp };
}

test("pings cross two routers; the round trip is twice the delay and what the wire takes", () => {
	const { clock, left, icmp } = chain();
	left.ping(ip("10.0.2.2"), 7, 1);
	clock.advance(1e9);
	expect(icmp).toEqual(["10.0.2.2 0/0 1"]);
	let repliedNs = 0;
	left.onIcmp = () => {
		repliedNs = clock.nowNs;
	};
	const startNs = clock.nowNs;
	left.ping(ip("10.0.2.2"), 7, 2);
	clock.advance(1e9);
	// 98 bytes and 24 of Ethernet at 10 Mbit/s are 97.6 µs; the ideal cables take 1 µs each way.
	expect(repliedNs - startNs).toBe(2 * (25_000_000 + 97_600 + 2000));
});

test("TTL, missing routes, closed ports and dead hosts are reported; errors keep to their rate", () => {
	const { clock, left, icmp, r1 } = chain();
	left.ping(ip("10.0.2.2"), 1, 1, undefined, 1);
	left.ping(ip("10.0.2.2"), 1, 2, undefined, 2);
	left.ping(ip("10.77.0.1"), 1, 3);
	clock.advance(1e9);
	expect(icmp.splice(0).sort()).toEqual(["10.0.1.1 11/0 0", "10.0.1.1 3/0 0", "10.0.9.2 11/0 0"].sort());
	left.sendUdp({ sourcePort: 5, destination: ip("10.0.2.2"), destinationPort: 9, payload: new Uint8Array(4) });
	left.ping(ip("10.0.2.99"), 1, 4);
	clock.advance(5e9);
	expect(icmp.splice(0)).toEqual(["10.0.2.2 3/3 0", "10.0.9.2 3/1 0"]);
	for (let count = 0; count < 100; count++) left.ping(ip("10.77.0.1"), 1, count);
	clock.advance(1e6);
	expect(icmp.length).toBe(5);
	expect(r1.counters.noRoute).toBe(101);
});

test("RFC 1191: what may not be cut is refused with the MTU; what may be cut arrives whole", () => {
	const { clock, left, right, icmp } = chain(1000);
	const payload = Uint8Array.from({ length: 1400 }, (_, index) => index);
	const source = ip("10.0.1.2");
	left.send({ protocol: 99, source, destination: ip("10.0.2.2"), payload, dontFragment: true });
	clock.advance(1e9);
	expect(icmp).toEqual(["10.0.1.1 3/4 1000"]);
	const received: Uint8Array[] = [];
	// Only three fragments would wait for an address.
	left.ping(ip("10.0.2.2"), 1, 1);
	clock.advance(1e9);
	right.onProtocol(99, (packet) => received.push(packet.payload));
	left.send({ protocol: 99, source, destination: ip("10.0.2.2"), payload });
	left.send({ protocol: 99, source, destination: ip("10.0.2.2"), payload: new Uint8Array(5000).fill(3) });
	clock.advance(1e9);
	expect(received).toEqual([payload, new Uint8Array(5000).fill(3)]);
});

test("three packets wait for an address, no more", () => {
	const { clock, left, right } = chain();
	let count = 0;
	right.onUdp(9, () => count++);
	for (let id = 0; id < 10; id++)
		left.sendUdp({ sourcePort: 5, destination: ip("10.0.2.2"), destinationPort: 9, payload: new Uint8Array(id) });
	clock.advance(1e9);
	expect(count).toBe(3);
});

test("routes: the longest prefix wins, and a next hop must be near", () => {
	const { r1 } = chain();
	r1.addRoute("10.0.0.0/8", "10.0.1.2");
	expect(r1.routes.lookup(ip("10.0.2.7"))?.via).toBe(ip("10.0.9.2"));
	expect(r1.routes.lookup(ip("10.9.9.9"))?.via).toBe(ip("10.0.1.2"));
	expect(() => r1.addRoute("10.1.0.0/16", "10.200.0.1")).toThrow("next hop in the subnet");
	expect(() => r1.addRoute("10.1.0.0/99", "10.0.1.2")).toThrow("prefix length");
	expect(() => r1.addInterface({ name: "x", mac: 1, address: "10.0.1.1/24" })).toThrow("no other interface");
	expect(() => r1.addInterface({ name: "x", mac: 1, address: "10.0.1.7" })).toThrow("prefix length");
});

test("VLAN sub-interfaces share a jack and route between VLANs", () => {
	const clock = new VirtualClock();
	const router = new IpNode({ name: "r", clock });
	for (const vlan of [10, 20])
		router.addInterface({ name: `v${vlan}`, mac: 0x0200_0000_0001, address: `10.0.${vlan}.1/24`, port: "trunk", vlan });
	const link = new Link({ name: "t", clock, seed: 1 });
	router.port("trunk").plug(link.b);
	const out: Uint8Array[] = [];
	link.a.onFrame = (frame) => out.push(frame);
	const tag = { tpid: 0x8100, priority: 0, isDropEligible: false, id: 10 };
	const arp = (senderIp: string, id: number, operation: number, targetMac = 0) =>
		buildEthernet({
			destination: 0xffff_ffff_ffff,
			source: 0x0200_0000_0099,
			etherType: ETHERTYPE_ARP,
			vlan: { ...tag, id },
			payload: buildArp({ operation, senderMac: 0x0200_0000_0099, senderIp: ip(senderIp), targetMac, targetIp: ip(`10.0.${id}.1`) }),
		});
	link.a.send(arp("10.0.10.5", 10, 1));
	link.a.send(arp("10.0.20.5", 20, 1));
	clock.advance(1e6);
	expect(out.map((frame) => vlanTag(frame)?.id)).toEqual([10, 20]);
	const packet = buildIpv4({ protocol: 99, source: ip("10.0.10.5"), destination: ip("10.0.20.5"), payload: new Uint8Array(8) });
	link.a.send(
		buildEthernet({ destination: 0x0200_0000_0001, source: 0x0200_0000_0099, etherType: ETHERTYPE_IPV4, vlan: tag, payload: packet }),
	);
	clock.advance(1e6);
	const routed = parseEthernet(out[2]!)!;
	expect([routed.vlan?.id, parseIpv4(routed.payload)?.ttl]).toEqual([20, 63]);
});

test("hostile packets: spoofed, broadcast, martian, truncated; forged ARP does not fill the table", () => {
	const { clock, r1, links } = chain();
	const inject = (payload: Uint8Array, etherType = ETHERTYPE_IPV4, destination = 0x0200_0000_0011) =>
		links[0].a.send(buildEthernet({ destination, source: 0x0200_0000_0666, etherType, payload }));
	const packet = (source: string, destination: string, ttl = 64) =>
		buildIpv4({ protocol: 17, source: ip(source), destination: ip(destination), ttl, payload: new Uint8Array(20) });
	inject(packet("127.0.0.1", "10.0.2.2"));
	inject(packet("224.0.0.1", "10.0.2.2"));
	inject(packet("255.255.255.255", "10.0.2.2", 1));
	inject(packet("10.0.1.1", "10.0.2.2"));
	inject(packet("10.0.1.2", "10.0.2.255"));
	inject(packet("10.0.1.2", "10.0.2.2"), ETHERTYPE_IPV4, 0xffff_ffff_ffff);
	inject(packet("10.0.1.2", "10.0.2.2").subarray(0, 15));
	const badLength = packet("10.0.1.2", "10.0.2.2");
	writeU16(badLength, 2, 9999);
	inject(badLength);
	for (let id = 0; id < 3000; id++)
		inject(
			buildArp({
				operation: 1,
				senderMac: 0x0200_0000_0666,
				senderIp: ip("10.0.1.3") + (id % 200),
				targetMac: 0,
				targetIp: ip("10.0.1.1"),
			}),
			ETHERTYPE_ARP,
		);
	for (let id = 0; id < 300; id++)
		inject(
			buildArp({ operation: 2, senderMac: 0x0200_0000_0666, senderIp: ip("10.99.0.0") + id, targetMac: 0, targetIp: ip("10.0.1.1") }),
			ETHERTYPE_ARP,
		);
	clock.advance(10e9);
	const lan = r1.interfaces[0]!;
	expect(lan.neighbours.entries().length).toBe(200);
	expect(r1.counters.badPackets).toBe(3);
	expect(links[1].up.stats.sentFrames).toBeLessThan(10);
});

test("what a node knows and what waits in it survive saving", () => {
	const { clock, left, right } = chain();
	let count = 0;
	right.onUdp(9, () => count++);
	left.sendUdp({ sourcePort: 5, destination: ip("10.0.2.2"), destinationPort: 9, payload: new Uint8Array(4) });
	const saved = structuredClone(left.save()) as IpNodeState;
	const twin = chain();
	twin.right.onUdp(9, () => count++);
	twin.left.load(saved);
	expect(twin.left.save()).toEqual(saved);
	clock.advance(1e9);
	twin.clock.advance(1e9);
	expect(count).toBe(2);
});
