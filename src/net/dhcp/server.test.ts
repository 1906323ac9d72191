import { expect, test } from "vitest";
import { formatIpv4, parseIpv4Address, readU32 } from "../frames/address.ts";
import { buildEthernet, ETHERTYPE_IPV4, parseEthernet } from "../frames/ethernet.ts";
import { buildIpv4, parseIpv4 } from "../frames/ipv4.ts";
import { buildUdp, parseUdp } from "../frames/udp.ts";
import { IpNode } from "../ip/node.ts";
import { Link } from "../link/link.ts";
import { VirtualClock } from "../time.ts";
import * as dhcp from "./message.ts";
import { type DhcpOptions, DhcpServer, type DhcpState, serveDhcp } from "./server.ts";

const ip = (text: string) => parseIpv4Address(text) as number;
const SERVER = ip("10.0.0.1");

function rig(options: Partial<DhcpOptions> = {}) {
	const clock = new VirtualClock();
	const node = new IpNode({ name: "gw", clock });
	const lan = node.addInterface({ name: "lan", mac: 0x0200_0000_0001, address: "10.0.0.1/24" });
	const server = new DhcpServer(node, lan, { seed: 7, dns: [SERVER], domain: "lab", search: ["lab", "example.org"], ...options });
	serveDhcp(node, new Map([[lan, server]]));
	const link = new Link({ name: "l", clock, seed: 1 });
	node.port("lan").plug(link.b);
	let replies: { message: dhcp.DhcpMessage; to: number; toMac: number }[] = [];
	link.a.onFrame = (bytes) => {
		const frame = parseEthernet(bytes)!;
		const packet = parseIpv4(frame.payload);
		const udp = packet === undefined ? undefined : parseUdp(packet.payload, packet.source, packet.destination);
		const message = udp === undefined ? undefined : dhcp.parseDhcp(udp.payload);
		if (message !== undefined && packet !== undefined) replies.push({ message, to: packet.destination, toMac: frame.destination });
	};
	const raw = (payload: Uint8Array) => {
		const udp = buildUdp({ sourcePort: 68, destinationPort: 67, payload }, 0, 0xffff_ffff);
		const packet = buildIpv4({ protocol: 17, source: 0, destination: 0xffff_ffff, payload: udp });
		link.a.send(buildEthernet({ destination: 0xffff_ffff_ffff, source: 2, etherType: ETHERTYPE_IPV4, payload: packet }));
		clock.advance(1e6);
		const got = replies;
		replies = [];
		return got[0];
	};
	const ask = (mac: number, type: number, more: Partial<dhcp.DhcpMessage> & { extra?: [number, Uint8Array][] } = {}) =>
		raw(
			dhcp.buildDhcp({
				op: 1,
				transaction: 42,
				isBroadcast: false,
				clientAddress: 0,
				yourAddress: 0,
				serverAddress: 0,
				relayAddress: 0,
				clientMac: mac,
				...more,
				options: new Map([[dhcp.OPTION_MESSAGE_TYPE, Uint8Array.of(type)], ...(more.extra ?? [])]),
			}),
		);
	const join = (mac: number) => {
		const address = ask(mac, dhcp.DHCP_DISCOVER)!.message.yourAddress;
		const extra: [number, Uint8Array][] = [
			[dhcp.OPTION_REQUESTED_ADDRESS, dhcp.addressOption(address)],
			[dhcp.OPTION_SERVER, dhcp.addressOption(SERVER)],
		];
		return ask(mac, dhcp.DHCP_REQUEST, { extra })!.message;
	};
	return { clock, server, ask, raw, join };
}

const typeOf = (reply: { message: dhcp.DhcpMessage } | undefined) => reply?.message.options.get(dhcp.OPTION_MESSAGE_TYPE)?.[0];

test("RFC 2131 §3.1: discover, offer, request, acknowledge, with what a client wants to know", () => {
	const { ask, join, server } = rig();
	const offer = ask(0xaa, dhcp.DHCP_DISCOVER)!;
	expect([typeOf(offer), offer.to, offer.toMac]).toEqual([dhcp.DHCP_OFFER, offer.message.yourAddress, 0xaa]);
	const ack = join(0xaa);
	expect(ack.yourAddress).toBe(offer.message.yourAddress);
	const options = ack.options;
	expect(
		[dhcp.OPTION_MASK, dhcp.OPTION_ROUTER, dhcp.OPTION_DNS, dhcp.OPTION_SERVER].map((code) => formatIpv4(readU32(options.get(code)!, 0))),
	).toEqual(["255.255.255.0", "10.0.0.1", "10.0.0.1", "10.0.0.1"]);
	expect([...options.get(dhcp.OPTION_MTU)!]).toEqual([5, 220]);
	expect(readU32(options.get(dhcp.OPTION_LEASE)!, 0)).toBe(86_400);
	expect(String.fromCharCode(...options.get(dhcp.OPTION_DOMAIN)!)).toBe("lab");
	expect(String.fromCharCode(...options.get(dhcp.OPTION_SEARCH)!)).toBe("\x03lab\0\x07example\x03org\0");
	expect(server.leases()).toMatchObject([{ mac: 0xaa, address: ack.yourAddress, isOffer: false }]);
	const flagged = ask(0xbb, dhcp.DHCP_DISCOVER, { isBroadcast: true })!;
	expect([flagged.to, flagged.toMac]).toEqual([0xffff_ffff, 0xffff_ffff_ffff]);
});

test("a MAC gets the same address whoever else has come before", () => {
	const first = rig();
	const alone = first.join(0xcc).yourAddress;
	const second = rig();
	for (let mac = 1; mac < 20; mac++) second.join(mac);
	expect(second.join(0xcc).yourAddress).toBe(alone);
	expect(rig({ seed: 8 }).join(0xcc).yourAddress).not.toBe(alone);
});

test("RFC 2131 §4.3.2: reboot and renewal are confirmed or refused; release and decline are heard", () => {
	const { ask, join, server, clock } = rig({ leaseS: 100 });
	const { yourAddress } = join(0xaa);
	const wants = (address: number) => ({ extra: [[dhcp.OPTION_REQUESTED_ADDRESS, dhcp.addressOption(address)]] as [number, Uint8Array][] });
	expect(typeOf(ask(0xaa, dhcp.DHCP_REQUEST, wants(yourAddress)))).toBe(dhcp.DHCP_ACK);
	expect(typeOf(ask(0xaa, dhcp.DHCP_REQUEST, wants(yourAddress + 1)))).toBe(dhcp.DHCP_NAK);
	const renewed = ask(0xaa, dhcp.DHCP_REQUEST, { clientAddress: yourAddress })!;
	expect([typeOf(renewed), renewed.to]).toEqual([dhcp.DHCP_ACK, yourAddress]);
	expect(typeOf(ask(0xdd, dhcp.DHCP_REQUEST, wants(ip("192.168.1.5"))))).toBe(dhcp.DHCP_NAK);
	expect(typeOf(ask(0xdd, dhcp.DHCP_REQUEST, wants(yourAddress)))).toBe(dhcp.DHCP_NAK);
	ask(0xaa, dhcp.DHCP_DECLINE, wants(yourAddress));
	expect(join(0xaa).yourAddress).not.toBe(yourAddress);
	const other = server.leases()[0]!.address;
	ask(0xaa, dhcp.DHCP_RELEASE, { clientAddress: other });
	expect(server.leases()).toEqual([]);
	join(0xee);
	clock.advance(101e9);
	const lease = server.leases()[0]!.address;
	expect(typeOf(ask(0xff, dhcp.DHCP_REQUEST, wants(lease)))).toBe(dhcp.DHCP_ACK);
	expect(typeOf(ask(0x99, dhcp.DHCP_INFORM, { clientAddress: ip("10.0.0.200") }))).toBe(dhcp.DHCP_ACK);
});

test("a full pool stays silent, reservations hold, offers run out, another server's choice frees ours", () => {
	const { ask, join, clock, server } = rig({
		first: ip("10.0.0.10"),
		last: ip("10.0.0.12"),
		reservations: new Map([[0x77, ip("10.0.0.11")]]),
	});
	expect(join(0x77).yourAddress).toBe(ip("10.0.0.11"));
	const others = [join(1).yourAddress, join(2).yourAddress];
	expect(others.sort()).toEqual([ip("10.0.0.10"), ip("10.0.0.12")]);
	expect(ask(3, dhcp.DHCP_DISCOVER)).toBeUndefined();
	ask(1, dhcp.DHCP_RELEASE, { clientAddress: server.leases().find((lease) => lease.mac === 1)!.address });
	expect(ask(3, dhcp.DHCP_DISCOVER)).toBeDefined();
	expect(ask(4, dhcp.DHCP_DISCOVER)).toBeUndefined();
	clock.advance(61e9);
	expect(ask(4, dhcp.DHCP_DISCOVER)).toBeDefined();
	ask(4, dhcp.DHCP_REQUEST, { extra: [[dhcp.OPTION_SERVER, dhcp.addressOption(ip("10.0.0.99"))]] });
	expect(server.leases().some((lease) => lease.mac === 4)).toBe(false);
});

test("leases survive saving; nonsense is not answered", () => {
	const { join, server, raw } = rig();
	join(0xaa);
	const state = structuredClone(server.save()) as DhcpState;
	const other = rig();
	other.server.load(state);
	expect(other.server.leases()).toEqual(server.leases());
	expect(other.join(0xaa).yourAddress).toBe(server.leases()[0]!.address);
	for (const length of [0, 100, 239, 240, 241, 400]) expect(raw(new Uint8Array(length).fill(length))).toBeUndefined();
	const runaway = new Uint8Array(300);
	runaway.set([1, 1, 6]);
	runaway.set([0x63, 0x82, 0x53, 0x63, 53, 200], 236);
	expect(raw(runaway)).toBeUndefined();
});
