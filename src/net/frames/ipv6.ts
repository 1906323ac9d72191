import { readU16, writeU16, writeU32 } from "./address.ts";

export const IPV6_HEADER_BYTES = 40;

/** An IPv6 packet (RFC 8200): the fixed header, and what the chain of extension headers leads to. */
export interface Ipv6Packet {
	readonly trafficClass: number;
	readonly flowLabel: number;
	/** Of the fixed header. */
	readonly nextHeader: number;
	readonly hopLimit: number;
	/** 16 bytes, a view. */
	readonly source: Uint8Array;
	readonly destination: Uint8Array;
	/** Everything after the fixed header, padding cut off. */
	readonly payload: Uint8Array;
	/** The transport's protocol number and its bytes; `undefined` behind a later fragment or a broken chain. */
	readonly upper: { readonly protocol: number; readonly bytes: Uint8Array } | undefined;
}

/** `undefined` unless version and lengths are right. */
export function parseIpv6(bytes: Uint8Array): Ipv6Packet | undefined {
	if (bytes.length < IPV6_HEADER_BYTES || bytes[0]! >>> 4 !== 6) return undefined;
	const payloadBytes = readU16(bytes, 4);
	if (IPV6_HEADER_BYTES + payloadBytes > bytes.length) return undefined;
	const payload = bytes.subarray(IPV6_HEADER_BYTES, IPV6_HEADER_BYTES + payloadBytes);
	return {
		trafficClass: ((bytes[0]! & 15) << 4) | (bytes[1]! >>> 4),
		flowLabel: ((bytes[1]! & 15) << 16) | readU16(bytes, 2),
		nextHeader: bytes[6]!,
		hopLimit: bytes[7]!,
		source: bytes.subarray(8, 24),
		destination: bytes.subarray(24, 40),
		payload,
		upper: upperLayer(bytes[6]!, payload),
	};
}

/** Walks hop-by-hop, routing, fragment and destination headers (RFC 8200 §4.1); 8 of them are more than anyone sends. */
function upperLayer(nextHeader: number, payload: Uint8Array): { protocol: number; bytes: Uint8Array } | undefined {
	let protocol = nextHeader;
	let at = 0;
	for (let count = 0; count < 8; count++) {
		const isFragment = protocol === 44;
		if (!isFragment && protocol !== 0 && protocol !== 43 && protocol !== 60) return { protocol, bytes: payload.subarray(at) };
		if (at + 8 > payload.length) return undefined;
		if (isFragment && readU16(payload, at + 2) >>> 3 !== 0) return undefined;
		protocol = payload[at]!;
		at += isFragment ? 8 : (payload[at + 1]! + 1) * 8;
		if (at > payload.length) return undefined;
	}
	return undefined;
}

export function buildIpv6(fields: {
	trafficClass?: number;
	flowLabel?: number;
	nextHeader: number;
	hopLimit?: number;
	source: Uint8Array;
	destination: Uint8Array;
	payload: Uint8Array;
}): Uint8Array {
	const bytes = new Uint8Array(IPV6_HEADER_BYTES + fields.payload.length);
	writeU32(bytes, 0, 0x6000_0000 | ((fields.trafficClass ?? 0) << 20) | (fields.flowLabel ?? 0));
	writeU16(bytes, 4, fields.payload.length);
	bytes[6] = fields.nextHeader;
	bytes[7] = fields.hopLimit ?? 64;
	bytes.set(fields.source, 8);
	bytes.set(fields.destination, 24);
	bytes.set(fields.payload, IPV6_HEADER_BYTES);
	return bytes;
}
