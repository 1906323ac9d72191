import { type Ipv4, readU16, readU32, writeU16, writeU32 } from "./address.ts";
import { internetChecksum, sumWords } from "./checksum.ts";

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const IPV4_HEADER_BYTES = 20;
export const MAX_IPV4_BYTES = 65_535;

/** An IPv4 packet (RFC 791). */
export interface Ipv4Packet {
	/** DSCP (RFC 2474) and ECN (RFC 3168) together. */
	readonly trafficClass: number;
	readonly identification: number;
	readonly dontFragment: boolean;
	readonly moreFragments: boolean;
	/** Where this fragment's payload belongs in the whole one; a multiple of 8. */
	readonly fragmentOffsetBytes: number;
	readonly ttl: number;
	readonly protocol: number;
	readonly source: Ipv4;
	readonly destination: Ipv4;
	readonly options: Uint8Array;
	readonly payload: Uint8Array;
}

/** `undefined` unless version, lengths and header checksum are right. Ethernet's padding is cut off. */
export function parseIpv4(bytes: Uint8Array): Ipv4Packet | undefined {
	if (bytes.length < IPV4_HEADER_BYTES || bytes[0]! >>> 4 !== 4) return undefined;
	const headerBytes = (bytes[0]! & 15) * 4;
	const totalBytes = readU16(bytes, 2);
	if (headerBytes < IPV4_HEADER_BYTES || totalBytes < headerBytes || totalBytes > bytes.length) return undefined;
	if (sumWords(bytes, 0, headerBytes) !== 0xffff) return undefined;
	const fragment = readU16(bytes, 6);
	return {
		trafficClass: bytes[1]!,
		identification: readU16(bytes, 4),
		dontFragment: (fragment & 0x4000) !== 0,
		moreFragments: (fragment & 0x2000) !== 0,
		fragmentOffsetBytes: (fragment & 0x1fff) * 8,
		ttl: bytes[8]!,
		protocol: bytes[9]!,
		source: readU32(bytes, 12),
		destination: readU32(bytes, 16),
		options: bytes.subarray(IPV4_HEADER_BYTES, headerBytes),
		payload: bytes.subarray(headerBytes, totalBytes),
	};
}

export type Ipv4Fields = Pick<Ipv4Packet, "protocol" | "source" | "destination" | "payload"> & Partial<Ipv4Packet>;

/** Header checksum included. `options` must be a multiple of 4 bytes, at most 40. */
export function buildIpv4(fields: Ipv4Fields): Uint8Array {
	const options = fields.options ?? new Uint8Array(0);
	const headerBytes = IPV4_HEADER_BYTES + options.length;
	const bytes = new Uint8Array(headerBytes + fields.payload.length);
	bytes[0] = 0x40 | (headerBytes / 4);
	bytes[1] = fields.trafficClass ?? 0;
	writeU16(bytes, 2, bytes.length);
	writeU16(bytes, 4, fields.identification ?? 0);
	const flags = (fields.dontFragment === true ? 0x4000 : 0) | (fields.moreFragments === true ? 0x2000 : 0);
	writeU16(bytes, 6, flags | ((fields.fragmentOffsetBytes ?? 0) / 8));
	bytes[8] = fields.ttl ?? 64;
	bytes[9] = fields.protocol;
	writeU32(bytes, 12, fields.source);
	writeU32(bytes, 16, fields.destination);
	bytes.set(options, IPV4_HEADER_BYTES);
	writeU16(bytes, 10, internetChecksum(bytes, 0, headerBytes));
	bytes.set(fields.payload, headerBytes);
	return bytes;
}

/** `packet` cut to fit `mtuBytes` (RFC 791 §3.2); the caller has seen that it may be cut. */
export function fragmentIpv4(packet: Ipv4Packet, mtuBytes: number): Ipv4Packet[] {
	const roomBytes = (mtuBytes - IPV4_HEADER_BYTES - packet.options.length) & ~7;
	if (roomBytes <= 0 || IPV4_HEADER_BYTES + packet.options.length + packet.payload.length <= mtuBytes) return [packet];
	const fragments: Ipv4Packet[] = [];
	for (let at = 0; at < packet.payload.length; at += roomBytes) {
		const isLast = at + roomBytes >= packet.payload.length;
		fragments.push({
			...packet,
			moreFragments: !isLast || packet.moreFragments,
			fragmentOffsetBytes: packet.fragmentOffsetBytes + at,
			payload: packet.payload.subarray(at, at + roomBytes),
		});
	}
	return fragments;
}
