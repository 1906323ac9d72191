import fc from "fast-check";
import { expect, test } from "vitest";
import { formatIpv4, formatMac, isGroupMac, isInPrefix, netmask, parseIpv4Address, parseIpv4Prefix, parseMac } from "./address.ts";
import { buildArp, parseArp } from "./arp.ts";
import { internetChecksum, sumWords } from "./checksum.ts";
import { buildEthernet, ETHERTYPE_IPV4, ETHERTYPE_VLAN, parseEthernet, vlanTag, withoutTag, withTag } from "./ethernet.ts";
import { buildIcmp, parseIcmp } from "./icmp.ts";
import { buildIpv4, fragmentIpv4, parseIpv4 } from "./ipv4.ts";
import { buildIpv6, parseIpv6 } from "./ipv6.ts";
import { Ipv4Reassembler } from "./reassembly.ts";
import { buildTcp, parseTcp } from "./tcp.ts";
import { buildUdp, parseUdp } from "./udp.ts";

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const mac = fc.integer({ min: 0, max: 0xffff_ffff_ffff });
const bytes = fc.uint8Array({ maxLength: 200 });

test("addresses are read and written; malformed ones are refused", () => {
	expect(formatMac(parseMac("02:00:5e:10:00:ff")!)).toBe("02:00:5e:10:00:ff");
	expect(parseMac("02-00-5E-10-00-FF")).toBe(0x02005e1000ff);
	for (const text of ["02:00:5e:10:00", "02:00:5e:10:00:fg", "02:00-5e:10:00:ff", ""]) expect(parseMac(text)).toBeUndefined();
	expect(isGroupMac(0xffff_ffff_ffff)).toBe(true);
	expect(isGroupMac(0x0200_0000_0001)).toBe(false);
	expect(formatIpv4(parseIpv4Address("192.168.10.254")!)).toBe("192.168.10.254");
	for (const text of ["1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "a.b.c.d", ""]) expect(parseIpv4Address(text)).toBeUndefined();
	expect(parseIpv4Prefix("10.0.10.1/24")).toEqual({ address: 0x0a000a01, lengthBits: 24 });
	for (const text of ["10.0.10.1/33", "10.0.10.1/", "10.0.10.1/2/3"]) expect(parseIpv4Prefix(text)).toBeUndefined();
	expect(netmask(0)).toBe(0);
	expect(netmask(20)).toBe(0xffff_f000);
	expect(isInPrefix(0x0a000aff, { address: 0x0a000a01, lengthBits: 24 })).toBe(true);
	expect(isInPrefix(0x0a000bff, { address: 0x0a000a01, lengthBits: 24 })).toBe(false);
});

test("RFC 1071 §3: the numerical example", () => {
	const example = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
	expect(sumWords(example)).toBe(0xddf2);
	expect(internetChecksum(example)).toBe(0x220d);
	expect(internetChecksum(Uint8Array.of(0x12))).toBe(0xffff & ~0x1200);
});

test("Ethernet with and without a tag comes back as it was built", () => {
	fc.assert(
		fc.property(
			mac,
			mac,
			bytes,
			fc.integer({ min: 0, max: 7 }),
			fc.integer({ min: 0, max: 4095 }),
			(destination, source, payload, priority, id) => {
				const vlan = { tpid: ETHERTYPE_VLAN, priority, isDropEligible: id % 2 === 1, id };
				const plain = buildEthernet({ destination, source, etherType: ETHERTYPE_IPV4, payload });
				expect(plain.length).toBeGreaterThanOrEqual(60);
				const tagged = withTag(plain, vlan);
				expect(vlanTag(tagged)).toEqual(vlan);
				expect(vlanTag(plain)).toBeUndefined();
				expect(withoutTag(tagged)).toEqual(plain);
				const parsed = parseEthernet(tagged)!;
				expect(parsed).toMatchObject({ destination, source, vlan, etherType: ETHERTYPE_IPV4 });
				expect(parsed.payload.subarray(0, payload.length)).toEqual(payload);
			},
		),
	);
});

test("ARP, IPv4, ICMP, UDP and TCP come back as they were built, and a flipped bit is seen", () => {
	fc.assert(
		fc.property(u32, u32, u16, u16, bytes, fc.nat(), (source, destination, a, b, payload, flip) => {
			const arp = { operation: a, senderMac: source, senderIp: source, targetMac: destination, targetIp: destination };
			expect(parseArp(buildArp(arp))).toEqual(arp);
			const ip = buildIpv4({ source, destination, protocol: 17, payload, identification: a, ttl: b & 255, dontFragment: true });
			expect(parseIpv4(ip)).toMatchObject({ source, destination, payload, identification: a, ttl: b & 255, dontFragment: true });
			const icmp = buildIcmp({ type: 8, code: 0, rest: source, body: payload });
			expect(parseIcmp(icmp)).toEqual({ type: 8, code: 0, rest: source, body: payload });
			const udp = buildUdp({ sourcePort: a, destinationPort: b, payload }, source, destination);
			expect(parseUdp(udp, source, destination)).toEqual({ sourcePort: a, destinationPort: b, payload });
			const segment = {
				sourcePort: a,
				destinationPort: b,
				sequence: source,
				acknowledgment: destination,
				flags: 0x12,
				window: a,
				options: { mssBytes: 1460, windowShift: 7, timestamp: { value: source, echo: destination }, sackPermitted: true },
				payload,
			};
			const selective = { ...segment, options: { timestamp: { value: 1, echo: 2 }, sack: [{ start: source, end: destination }] } };
			expect(parseTcp(buildTcp(selective, source, destination), source, destination)).toEqual(selective);
			const tcp = buildTcp(segment, source, destination);
			expect(parseTcp(tcp, source, destination)).toEqual(segment);
			for (const [packet, parse] of [
				[icmp, parseIcmp],
				[tcp, (each: Uint8Array) => parseTcp(each, source, destination)],
			] as const) {
				const damaged = packet.slice();
				damaged[(flip >> 3) % damaged.length]! ^= 1 << (flip & 7);
				expect(parse(damaged)).toBeUndefined();
			}
		}),
	);
});

test("IPv6 walks extension headers to the transport and stops at fragments and broken chains", () => {
	const source = new Uint8Array(16).fill(1);
	const destination = new Uint8Array(16).fill(2);
	const udp = Uint8Array.of(0, 53, 0, 54, 0, 8, 0, 0);
	const hopByHop = Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0);
	const packet = buildIpv6({
		nextHeader: 0,
		source,
		destination,
		payload: Uint8Array.of(...hopByHop, ...udp),
		trafficClass: 0x02,
		flowLabel: 0xabcde,
	});
	const parsed = parseIpv6(packet)!;
	expect(parsed).toMatchObject({ trafficClass: 2, flowLabel: 0xabcde, nextHeader: 0, hopLimit: 64 });
	expect(parsed.upper).toEqual({ protocol: 17, bytes: udp });
	const laterFragment = Uint8Array.of(17, 0, 0x00, 0x09, 0, 0, 0, 1, ...udp);
	expect(parseIpv6(buildIpv6({ nextHeader: 44, source, destination, payload: laterFragment }))!.upper).toBeUndefined();
	const tooLong = Uint8Array.of(17, 9, 1, 4, 0, 0, 0, 0);
	expect(parseIpv6(buildIpv6({ nextHeader: 0, source, destination, payload: tooLong }))!.upper).toBeUndefined();
	expect(parseIpv6(packet.subarray(0, 50))).toBeUndefined();
});

test("fragments of any size, in any order, make the packet again", () => {
	fc.assert(
		fc.property(fc.uint8Array({ minLength: 1, maxLength: 4000 }), fc.integer({ min: 28, max: 1500 }), fc.nat(), (payload, mtu, shuffle) => {
			const whole = parseIpv4(buildIpv4({ source: 1, destination: 2, protocol: 17, identification: 7, payload }))!;
			const fragments = fragmentIpv4(whole, mtu);
			fc.pre(fragments.length <= 128);
			for (const each of fragments) expect(buildIpv4(each).length).toBeLessThanOrEqual(mtu);
			const reassembler = new Ipv4Reassembler();
			const order = fragments.map((each, index) => ({ each, key: (index * 7919 + shuffle) % 997 })).sort((a, b) => a.key - b.key);
			const results = order.map(({ each }) => reassembler.add(parseIpv4(buildIpv4(each))!, 0));
			expect(results.filter((each) => each !== undefined)).toEqual([results.at(-1)]);
			expect(results.at(-1)!.payload).toEqual(payload);
		}),
	);
});

test("overlapping fragments discard the packet; half packets are forgotten after a while and never pile up", () => {
	const reassembler = new Ipv4Reassembler();
	const fragment = (identification: number, fragmentOffsetBytes: number, moreFragments: boolean, length = 16) =>
		parseIpv4(
			buildIpv4({
				source: 1,
				destination: 2,
				protocol: 17,
				identification,
				fragmentOffsetBytes,
				moreFragments,
				payload: new Uint8Array(length),
			}),
		)!;
	reassembler.add(fragment(1, 0, true), 0);
	expect(reassembler.add(fragment(1, 8, false), 0)).toBeUndefined();
	expect(reassembler.add(fragment(1, 16, false), 0)).toBeUndefined();
	reassembler.add(fragment(2, 0, true), 0);
	expect(reassembler.add(fragment(2, 16, false), 31e9)).toBeUndefined();
	for (let id = 0; id < 1000; id++) reassembler.add(fragment(id, 0, true), 40e9);
	expect(reassembler.add(fragment(999, 16, false), 40e9)).toBeDefined();
	expect(reassembler.add(fragment(0, 16, false), 40e9)).toBeUndefined();
});

test("no bytes whatever make a parser throw", () => {
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x00), (random, first) => {
			for (let cut = 0; cut <= random.length; cut += 7) {
				const packet = random.slice(0, cut);
				parseEthernet(packet);
				if (cut > 0) packet[0] = first;
				parseArp(packet);
				parseIpv4(packet);
				parseIpv6(packet);
				parseIcmp(packet);
				parseUdp(packet, 0, 0);
				parseTcp(packet, 0, 0);
			}
		}),
	);
});
