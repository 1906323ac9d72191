import { readU16, readU32 } from "../frames/address.ts";
import { pseudoHeaderSum } from "../frames/checksum.ts";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN } from "../frames/ethernet.ts";

const ETHERTYPE_AT = 12;
/** IPv6 extension headers that are stepped over (RFC 8200 §4.1): hop-by-hop options, routing, destination options. */
const SKIPPED_HEADERS = [0, 43, 60];
const FRAGMENT_HEADER = 44;

/** Where the parts of an IP packet lie in its frame: offsets from the frame's first byte. */
export interface IpPlace {
	readonly isIpv6: boolean;
	readonly ipAt: number;
	/** Of what IP carries. */
	readonly transportAt: number;
	/** End of the packet as its own header says; within the frame. */
	readonly end: number;
	readonly protocol: number;
	/** Transport headers and checksums of these are not whole. */
	readonly isFragment: boolean;
}

/**
 * Finds the IP packet in a frame, behind any VLAN tags. `undefined` when there is none, or its lengths are wrong.
 * @param trustsLength false: the packet ends with the frame, whatever its header says (a super-frame's may be wrong)
 */
export function locateIp(frame: Uint8Array, trustsLength = true): IpPlace | undefined {
	let typeAt = ETHERTYPE_AT;
	for (let tags = 0; tags < 2; tags++) {
		const type = typeAt + 2 <= frame.length ? readU16(frame, typeAt) : 0;
		if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_QINQ) break;
		typeAt += 4;
	}
	if (typeAt + 2 > frame.length) return undefined;
	const type = readU16(frame, typeAt);
	const ipAt = typeAt + 2;
	if (type === ETHERTYPE_IPV4) return locateIpv4(frame, ipAt, trustsLength);
	return type === ETHERTYPE_IPV6 ? locateIpv6(frame, ipAt, trustsLength) : undefined;
}

function locateIpv4(frame: Uint8Array, ipAt: number, trustsLength: boolean): IpPlace | undefined {
	if (ipAt + 20 > frame.length || frame[ipAt]! >>> 4 !== 4) return undefined;
	const transportAt = ipAt + (frame[ipAt]! & 15) * 4;
	const end = trustsLength ? ipAt + readU16(frame, ipAt + 2) : frame.length;
	if (transportAt < ipAt + 20 || transportAt > end || end > frame.length) return undefined;
	const isFragment = (readU16(frame, ipAt + 6) & 0x3fff) !== 0;
	return { isIpv6: false, ipAt, transportAt, end, protocol: frame[ipAt + 9]!, isFragment };
}

function locateIpv6(frame: Uint8Array, ipAt: number, trustsLength: boolean): IpPlace | undefined {
	if (ipAt + 40 > frame.length || frame[ipAt]! >>> 4 !== 6) return undefined;
	const end = trustsLength ? ipAt + 40 + readU16(frame, ipAt + 4) : frame.length;
	if (end > frame.length) return undefined;
	let protocol = frame[ipAt + 6]!;
	let transportAt = ipAt + 40;
	while (SKIPPED_HEADERS.includes(protocol)) {
		if (transportAt + 8 > end) return undefined;
		protocol = frame[transportAt]!;
		transportAt += 8 * (frame[transportAt + 1]! + 1);
	}
	if (transportAt > end) return undefined;
	return { isIpv6: true, ipAt, transportAt, end, protocol, isFragment: protocol === FRAGMENT_HEADER };
}

/** The pseudo-header's sum for `lengthBytes` of what the packet carries (RFC 9293 §3.1; RFC 8200 §8.1). */
export function pseudoSumOf(frame: Uint8Array, place: IpPlace, lengthBytes: number): number {
	const { ipAt, protocol } = place;
	if (!place.isIpv6) return pseudoHeaderSum(readU32(frame, ipAt + 12), readU32(frame, ipAt + 16), protocol, lengthBytes);
	let sum = (lengthBytes >>> 16) + (lengthBytes & 0xffff) + protocol;
	for (let at = ipAt + 8; at < ipAt + 40; at += 2) sum += readU16(frame, at);
	return sum;
}
