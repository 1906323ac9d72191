import { expect, test } from "vitest";
import * as dhcp from "../dhcp/message.ts";
import { buildQuery, type DnsResponse, parseResponse } from "../dns/message.ts";
import { formatIpv4, parseIpv4Address, readU16, writeU16 } from "../frames/address.ts";
import { IpNode } from "../ip/node.ts";
import { SpecError } from "../link/errors.ts";
import { Link } from "../link/link.ts";
import type { LinkSpecText } from "../link/spec.ts";
import { TcpStack } from "../tcp/stack.ts";
import { VirtualClock } from "../time.ts";
import { FakeHost, type FakePeer } from "./fake-host.ts";
import { Nat, type NatDenial, type NatOptions } from "./nat.ts";
import { NatPolicy } from "./policy.ts";

const ip = (text: string) => parseIpv4Address(text) as number;

function rig(options: Partial<NatOptions> = {}, spec: LinkSpecText = {}) {
	const clock = new VirtualClock();
	const host = new FakeHost(clock);
	const nat = new Nat({ name: "isp", clock, host, seed: 1, mac: 0x0200_0000_0001, ...options });
	const denied: NatDenial[] = [];
	nat.onDenied = (denial) => denied.push(denial);
	const guest = new IpNode({ name: "guest", clock, forwards: false });
	guest.addInterface({ name: "eth0", mac: 0x0200_0000_0002, address: "10.0.2.50/24" });
	guest.addRoute("0.0.0.0/0", "10.0.2.1");
	const link = new Link({ name: "l", clock, seed: 1, spec });
	guest.port("eth0").plug(link.a);
	nat.port().plug(link.b);
	// The gateway's address is known from here on, so that nothing waits for ARP.
	guest.ping(ip("10.0.2.1"), 0, 0);
	clock.advance(1e6);
	const icmp: string[] = [];
	guest.onIcmp = (message, packet) => icmp.push(`${formatIpv4(packet.source)} ${message.type}/${message.code}`);
	const tcp = new TcpStack(guest, { seed: 2 });
	const log: string[] = [];
	const open = (address: string, port: number) => {
		let received = 0;
		const connection = tcp.connect(ip(address), port, (self) => ({
			established: () => log.push("established"),
			data: (bytes) => {
				received += bytes.length;
				log.push(`data ${bytes.length}`);
				self().consumed(bytes.length);
			},
			ended: () => log.push("ended"),
			closed: (reason) => log.push(reason),
		}))!;
		return { connection, received: () => received };
	};
	return { clock, host, nat, guest, tcp, link, icmp, log, open, denied };
}

const WEB = "93.184.216.34";

test("TCP goes out by the host's sockets, both ways, and ends on both sides", () => {
	const { clock, host, nat, log, open } = rig({ allow: ["tcp internet:80"] });
	const heard: string[] = [];
	host.tcpServers.set(`${WEB}:80`, (peer) => {
		peer.onData = (bytes) => {
			heard.push(String.fromCharCode(...bytes));
			peer.write(new Uint8Array(5000));
			peer.end();
		};
		peer.onEnd = () => heard.push("end");
	});
	const { connection, received } = open(WEB, 80);
	connection.write(Uint8Array.of(72, 105));
	clock.advance(1e9);
	expect(received()).toBe(5000);
	expect(nat.flowCounts.tcp).toBe(1);
	connection.end();
	clock.advance(1e9);
	expect(heard).toEqual(["Hi", "end"]);
	expect([log[0], log.at(-1)]).toEqual(["established", "done"]);
	clock.advance(61e9);
	expect(nat.flowCounts.tcp).toBe(0);
});

test("a guest that closes first still gets the rest; a reset outside is one inside", () => {
	const { clock, host, nat, log, open } = rig({ allow: ["any any"] });
	let peer: FakePeer | undefined;
	host.tcpServers.set(`${WEB}:80`, (each) => {
		peer = each;
	});
	const first = open(WEB, 80);
	clock.advance(1e9);
	first.connection.end();
	clock.advance(1e9);
	peer!.write(new Uint8Array(100));
	peer!.end();
	clock.advance(1e9);
	expect(log.splice(0)).toEqual(["established", "data 100", "ended"]);
	open(WEB, 80);
	clock.advance(1e9);
	peer!.reset();
	clock.advance(1e9);
	expect(log.splice(0)).toEqual(["established", "reset"]);
	clock.advance(61e9);
	expect(nat.flowCounts.tcp).toBe(0);
});

test("what fails outside fails alike inside", () => {
	const { clock, host, icmp, log, open } = rig({ allow: ["any any"] });
	open(WEB, 81);
	clock.advance(1e9);
	expect(log.splice(0)).toEqual(["refused"]);
	host.failures.set(`${WEB}:82`, "unreachable");
	open(WEB, 82);
	clock.advance(1e9);
	expect(icmp.splice(0)).toEqual(["10.0.2.1 3/1"]);
	const silent = rig({ allow: ["any any"] });
	silent.host.failures.set(`${WEB}:83`, "timed-out");
	silent.open(WEB, 83);
	silent.clock.advance(1e9);
	expect([silent.icmp, silent.log]).toEqual([[], []]);
});

test("denied by default: nothing at all gets out, the guest hears so, and it is written down", () => {
	const { clock, host, guest, icmp, open, denied, nat } = rig();
	open(WEB, 80);
	open("10.0.2.254", 8080);
	guest.sendUdp({ sourcePort: 1, destination: ip("8.8.8.8"), destinationPort: 53, payload: new Uint8Array(4) });
	guest.ping(ip("1.1.1.1"), 1, 1);
	guest.send({ protocol: 47, source: ip("10.0.2.50"), destination: ip("1.1.1.1"), payload: new Uint8Array(8) });
	clock.advance(0.5e9);
	expect(host.log).toEqual([]);
	expect(icmp.filter((each) => each === "10.0.2.1 3/13").length).toBeGreaterThanOrEqual(3);
	expect(denied.map(({ protocol, to }) => `${protocol} ${to}`)).toEqual(
		expect.arrayContaining([`tcp ${WEB}:80`, "tcp 10.0.2.254:8080", "udp 8.8.8.8:53"]),
	);
	expect(nat.stats.denied).toBe(denied.length);
});

test("the host's loopback is reached by its alias only, where a rule says so", () => {
	const { clock, host, log, open } = rig({ allow: ["tcp host:8080", "any any"] });
	host.tcpServers.set("127.0.0.1:8080", (peer) => peer.write(new Uint8Array(3)));
	open("10.0.2.254", 8080);
	clock.advance(1e9);
	expect(log.splice(0)).toEqual(["established", "data 3"]);
	open("10.0.2.254", 8081);
	open("127.0.0.1", 8080);
	clock.advance(1e9);
	expect(host.log).toEqual(["tcp 127.0.0.1:8080"]);
});

test("policy rules", () => {
	const policy = new NatPolicy({
		allow: ["tcp internet", "udp 10.1.0.0/16:53,5000-5010", "icmp any", "tcp *.example.org:443"],
		deny: ["tcp 1.2.3.0/24:25"],
	});
	const allowed = (protocol: "tcp" | "udp" | "icmp", address: string, port = 0) => policy.isAllowed(protocol, ip(address), port, false);
	expect([
		allowed("tcp", "8.8.8.8", 1),
		allowed("tcp", "10.1.0.1", 1),
		allowed("tcp", "169.254.169.254", 80),
		allowed("tcp", "192.168.1.1", 80),
	]).toEqual([true, false, false, false]);
	expect([allowed("tcp", "1.2.3.4", 25), allowed("tcp", "1.2.3.4", 26)]).toEqual([false, true]);
	expect([
		allowed("udp", "10.1.2.3", 53),
		allowed("udp", "10.1.2.3", 5005),
		allowed("udp", "10.1.2.3", 54),
		allowed("udp", "10.2.2.3", 53),
	]).toEqual([true, true, false, false]);
	expect([allowed("icmp", "10.9.9.9"), allowed("icmp", "224.0.0.1"), policy.isAllowed("icmp", ip("10.0.2.254"), 0, true)]).toEqual([
		true,
		false,
		false,
	]);
	expect(allowed("tcp", "10.5.5.5", 443)).toBe(false);
	policy.learn("www.example.org", ip("10.5.5.5"));
	expect([allowed("tcp", "10.5.5.5", 443), allowed("tcp", "10.5.5.5", 80)]).toEqual([true, false]);
	expect(new NatPolicy().isNameAllowed("x.org")).toBe(false);
	expect(new NatPolicy({ allow: ["tcp *.example.org"] }).isNameAllowed("www.example.org")).toBe(true);
	expect(new NatPolicy({ allow: ["tcp *.example.org"] }).isNameAllowed("x.org")).toBe(false);
	for (const rule of ["internet", "tcp", "ftp any", "tcp any:0", "tcp any:70000", "tcp 10.0.0.0/99", "udp any:5-1"])
		expect(() => new NatPolicy({ allow: [rule] })).toThrow(SpecError);
});

test("UDP: one socket per guest port, answers from whom it was sent to, closed after 30 or 120 s", () => {
	const { clock, host, guest, nat } = rig({ allow: ["udp any"] });
	const answers: string[] = [];
	guest.onUdp(777, ({ source, sourcePort, payload }) => answers.push(`${formatIpv4(source)}:${sourcePort} ${payload.length}`));
	host.udpServers.set("9.9.9.9:53", (bytes, reply) => reply(bytes));
	host.udpServers.set("9.9.9.8:53", () => {});
	const send = (to: string, port: number) =>
		guest.sendUdp({ sourcePort: 777, destination: ip(to), destinationPort: port, payload: new Uint8Array(9) });
	send("9.9.9.9", 53);
	send("9.9.9.8", 53);
	clock.advance(1e9);
	expect([answers.splice(0), host.openUdpSockets]).toEqual([["9.9.9.9:53 9"], 1]);
	host.sendUdp({ address: "6.6.6.6", port: 66 }, { address: "127.0.0.1", port: 40_000 }, new Uint8Array(1));
	host.sendUdp({ address: "9.9.9.8", port: 53 }, { address: "127.0.0.1", port: 40_000 }, new Uint8Array(2));
	clock.advance(1e9);
	expect(answers.splice(0)).toEqual(["9.9.9.8:53 2"]);
	clock.advance(119e9);
	expect(nat.flowCounts.udp).toBe(1);
	clock.advance(2e9);
	expect([nat.flowCounts.udp, host.openUdpSockets]).toEqual([0, 0]);
	send("9.9.9.8", 53);
	clock.advance(31e9);
	expect(nat.flowCounts.udp).toBe(0);
	const large = new Uint8Array(4000).fill(5);
	guest.sendUdp({ sourcePort: 777, destination: ip("9.9.9.9"), destinationPort: 53, payload: large });
	clock.advance(1e9);
	expect(answers).toEqual(["9.9.9.9:53 4000"]);
});

test("UDP refused outside is ICMP inside; a symmetric NAT has a socket per destination", () => {
	const { clock, guest, icmp, nat } = rig({ allow: ["udp any"], isSymmetric: true });
	for (const port of [1, 2, 3])
		guest.sendUdp({ sourcePort: 777, destination: ip("9.9.9.9"), destinationPort: port, payload: new Uint8Array(9) });
	clock.advance(1e9);
	expect(icmp).toEqual(Array(3).fill("10.0.2.1 3/3"));
	expect(nat.flowCounts.udp).toBe(3);
});

test("pings go out and what comes back comes in", () => {
	const { clock, host, guest, icmp } = rig({ allow: ["icmp any"] });
	host.pings.set("1.1.1.1", "reply").set("1.1.1.2", "unreachable").set("1.1.1.3", "ttl-expired");
	for (const last of [1, 2, 3, 4]) guest.ping(ip(`1.1.1.${last}`), 1, last);
	guest.ping(ip("10.0.2.1"), 1, 5);
	clock.advance(1e9);
	expect(icmp.sort()).toEqual(["1.1.1.1 0/0", "10.0.2.1 0/0", "10.0.2.1 11/0", "10.0.2.1 3/1"]);
});

test("names: by UDP, by TCP when long, under the policy, and what they stand for may then be reached", () => {
	const { clock, host, guest, tcp, denied, open, log } = rig({ allow: ["tcp www.example.org:80"], domain: "lab" });
	host.names.set("www.example.org A", { kind: "records", records: [{ type: "A", address: Uint8Array.of(93, 184, 216, 34), ttlS: 5 }] });
	host.tcpServers.set(`${WEB}:80`, () => {});
	const answers: DnsResponse[] = [];
	guest.onUdp(999, ({ payload }) => answers.push(parseResponse(payload)!));
	const ask = (name: string) =>
		guest.sendUdp({
			sourcePort: 999,
			destination: ip("10.0.2.1"),
			destinationPort: 53,
			payload: buildQuery(1, { name, type: 1, class: 1 }),
		});
	open(WEB, 80);
	clock.advance(0.1e9);
	expect(log).toEqual([]);
	for (const name of ["www.example.org", "gateway.lab", "host", "evil.org"]) ask(name);
	clock.advance(1e9);
	expect(answers.map((each) => each.records[0]?.data.join(".") ?? each.rcode)).toEqual(
		expect.arrayContaining(["93.184.216.34", "10.0.2.1", "10.0.2.254", 3]),
	);
	expect(denied.some((each) => each.protocol === "dns" && each.to === "evil.org")).toBe(true);
	open(WEB, 80);
	clock.advance(1e9);
	expect(log).toContain("established");
	let overTcp = new Uint8Array(0);
	const connection = tcp.connect(ip("10.0.2.1"), 53, () => ({
		data: (bytes) => {
			overTcp = bytes.slice();
		},
	}))!;
	const query = buildQuery(7, { name: "gateway.lab", type: 1, class: 1 });
	const framed = new Uint8Array(2 + query.length);
	writeU16(framed, 0, query.length);
	framed.set(query, 2);
	connection.write(framed);
	clock.advance(1e9);
	expect(readU16(overTcp, 0)).toBe(overTcp.length - 2);
	expect(parseResponse(overTcp.subarray(2))).toMatchObject({ id: 7, rcode: 0 });
});

test("port forwards lead from the host to a guest, TCP and UDP", () => {
	const { clock, host, nat, guest, tcp } = rig();
	tcp.listen(22, (connection) => ({ data: (bytes) => connection().write(bytes), ended: () => connection().end() }));
	guest.onUdp(53, ({ source, sourcePort, payload }) =>
		guest.sendUdp({ sourcePort: 53, destination: source, destinationPort: sourcePort, payload }),
	);
	nat.forward({ protocol: "tcp", at: { port: 2222 }, to: { address: "10.0.2.50", port: 22 } });
	nat.forward({ protocol: "udp", at: { port: 5353 }, to: { address: "10.0.2.50", port: 53 } });
	const echoed: number[] = [];
	let hasEnded = false;
	const peer = host.dial({ address: "127.0.0.1", port: 2222 })!;
	peer.onData = (bytes) => echoed.push(bytes.length);
	peer.onEnd = () => {
		hasEnded = true;
	};
	peer.write(new Uint8Array(300));
	clock.advance(1e9);
	peer.end();
	clock.advance(1e9);
	expect([echoed, hasEnded]).toEqual([[300], true]);
	expect(() => nat.forward({ protocol: "tcp", at: { port: 2222 }, to: { address: "10.0.2.50", port: 22 } })).toThrow("not forwarded yet");
	host.sendUdp({ address: "5.5.5.5", port: 500 }, { address: "127.0.0.1", port: 5353 }, new Uint8Array(12));
	host.udpServers.set("5.5.5.5:500", (bytes) => echoed.push(bytes.length));
	clock.advance(1e9);
	expect(echoed).toEqual([300, 12]);
	nat.close();
	expect(host.dial({ address: "127.0.0.1", port: 2222 })).toBeUndefined();
});

test("a slow guest stops the server outside; a slow server stops the guest", () => {
	const { clock, host, open, nat } = rig({ allow: ["tcp any"] }, { rate: "1mbit", queue: "20 packets" });
	let peer: FakePeer | undefined;
	host.tcpServers.set(`${WEB}:80`, (each) => {
		peer = each;
	});
	const { received } = open(WEB, 80);
	clock.advance(1e9);
	let written = 0;
	for (let round = 0; round < 300; round++) {
		if (peer!.isWanted) {
			peer!.write(new Uint8Array(65_536));
			written += 65_536;
		}
		clock.advance(10e6);
	}
	expect(written).toBeLessThan(2_000_000);
	clock.advance(60e9);
	expect(received()).toBe(written);
	expect(peer!.isWanted).toBe(true);
	nat.close();
});

test("DHCP announces the gateway and hands out neither it nor the host's alias; a restored NAT resets old connections", () => {
	const { clock, nat, link, host, log, open } = rig({ allow: ["any any"] });
	expect(nat.dhcp).toBeDefined();
	const taken = new Set<number>();
	const message = (mac: number) =>
		dhcp.buildDhcp({
			op: 1,
			transaction: 1,
			isBroadcast: false,
			clientAddress: 0,
			yourAddress: 0,
			serverAddress: 0,
			relayAddress: 0,
			clientMac: mac,
			options: new Map([[dhcp.OPTION_MESSAGE_TYPE, Uint8Array.of(dhcp.DHCP_DISCOVER)]]),
		});
	for (let mac = 1; mac < 300; mac++)
		nat.dhcp!.receive({
			source: 0,
			sourcePort: 68,
			destination: 0xffff_ffff,
			destinationPort: 67,
			payload: message(mac),
			sourceMac: mac,
			from: nat.lan,
		});
	for (const lease of nat.dhcp!.leases()) taken.add(lease.address);
	expect(taken.size).toBe(252);
	expect(taken.has(ip("10.0.2.1")) || taken.has(ip("10.0.2.254"))).toBe(false);
	host.tcpServers.set(`${WEB}:80`, () => {});
	const { connection } = open(WEB, 80);
	clock.advance(1e9);
	const saved = nat.save();
	const restored = new Nat({ name: "isp", clock, host, seed: 1, mac: 0x0200_0000_0001, allow: ["any any"] });
	restored.load(structuredClone(saved) as typeof saved);
	restored.port().plug(link.b);
	connection.write(new Uint8Array(1));
	clock.advance(1e9);
	expect(log).toEqual(["established", "reset"]);
});
