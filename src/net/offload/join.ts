import { readU16, readU32, writeU16 } from "../frames/address.ts";
import { internetChecksum } from "../frames/checksum.ts";
import { PROTOCOL_TCP } from "../frames/ipv4.ts";
import { TCP_ACK, TCP_FIN, TCP_HEADER_BYTES, TCP_PSH } from "../frames/tcp.ts";
import { isTransportChecksumGood } from "./checksums.ts";
import { type IpPlace, locateIp, pseudoSumOf } from "./locate.ts";
import { type SuperFrame, segmentCount } from "./segment.ts";

export interface JoinOptions {
	readonly joinsIpv4: boolean;
	readonly joinsIpv6: boolean;
	/** Of the whole, Ethernet header included. */
	readonly maxBytes: number;
}

/** One frame, or several of a TCP stream as if they were one. */
export interface Joined {
	/** How many frames went into it. */
	readonly count: number;
	readonly byteLength: number;
	/** Its bytes, end to end. */
	readonly parts: readonly Uint8Array[];
	/** For several: what a driver has to know to cut it again. The checksum field holds the pseudo-header's sum. */
	readonly tcp?: {
		readonly isIpv6: boolean;
		readonly transportAt: number;
		/** Up to the payload. */
		readonly headerBytes: number;
		/** Payload of each piece but the last. */
		readonly segmentBytes: number;
	};
}

interface Segment {
	readonly frame: Uint8Array;
	readonly place: IpPlace;
	readonly payloadAt: number;
	readonly sequence: number;
	readonly flags: number;
}

/**
 * The frame at `from`, joined with those right behind it that go on where it ends: same headers, next sequence numbers,
 * good checksums, nothing in them that the receiver would have to hear of one by one. Cutting the result again gives the
 * same frames, which is why only the last may be short, or push.
 */
export function joinTcp(frames: readonly (Uint8Array | SuperFrame)[], from: number, options: JoinOptions): Joined {
	const frame = frames[from] as Uint8Array;
	const alone = { count: 1, byteLength: frame.length, parts: [frame] };
	if (from + 1 === frames.length || (!options.joinsIpv4 && !options.joinsIpv6)) return alone;
	const first = joinable(frame, options);
	if (first === undefined || (first.flags & ~TCP_ACK) !== 0) return alone;
	const segmentBytes = first.place.end - first.payloadAt;
	let [last, byteLength] = [first, first.place.end];
	const payloads = [frame.subarray(first.payloadAt, first.place.end)];
	for (let index = from + 1; index < frames.length; index++) {
		const frame = frames[index];
		const next = frame instanceof Uint8Array ? joinable(frame, options) : undefined;
		if (next === undefined || !follows(last, next, first)) break;
		const payloadBytes = next.place.end - next.payloadAt;
		if (payloadBytes > segmentBytes || byteLength + payloadBytes > options.maxBytes) break;
		payloads.push(next.frame.subarray(next.payloadAt, next.place.end));
		byteLength += payloadBytes;
		last = next;
		if (payloadBytes < segmentBytes || (next.flags & ~TCP_ACK) !== 0) break;
	}
	if (last === first) return alone;
	const { isIpv6, transportAt } = first.place;
	return {
		count: payloads.length,
		byteLength,
		parts: [headersOf(first, last, byteLength), ...payloads],
		tcp: { isIpv6, transportAt, headerBytes: first.payloadAt, segmentBytes },
	};
}

/** A super-frame that nobody has cut, as the guest gets it. `undefined` when it is more than one IP packet can be. */
export function uncut(whole: SuperFrame): Joined | undefined {
	const { frame, place, headerBytes, segmentBytes } = whole;
	if (frame.length - (place.isIpv6 ? place.ipAt + 40 : place.ipAt) > 0xffff) return undefined;
	const headers = frame.slice(0, headerBytes);
	describeWhole(headers, place, frame.length);
	const { isIpv6, transportAt } = place;
	return {
		count: segmentCount(whole),
		byteLength: frame.length,
		parts: [headers, frame.subarray(headerBytes)],
		tcp: { isIpv6, transportAt, headerBytes, segmentBytes },
	};
}

/** A TCP segment with data that is fit to be joined. */
function joinable(frame: Uint8Array, options: JoinOptions): Segment | undefined {
	const place = locateIp(frame);
	if (place === undefined || place.protocol !== PROTOCOL_TCP || place.isFragment) return undefined;
	const { isIpv6, ipAt, transportAt, end } = place;
	// Options or extension headers speak of one packet.
	if (isIpv6 ? !options.joinsIpv6 || transportAt !== ipAt + 40 : !options.joinsIpv4 || transportAt !== ipAt + 20) return undefined;
	if (end < transportAt + TCP_HEADER_BYTES) return undefined;
	const payloadAt = transportAt + (frame[transportAt + 12]! >>> 4) * 4;
	if (payloadAt < transportAt + TCP_HEADER_BYTES || payloadAt >= end) return undefined;
	const flags = frame[transportAt + 13]!;
	if ((flags & TCP_ACK) === 0 || (flags & ~(TCP_ACK | TCP_PSH | TCP_FIN)) !== 0) return undefined;
	if (isTransportChecksumGood(frame) !== true) return undefined;
	return { frame, place, payloadAt, sequence: readU32(frame, transportAt + 4), flags };
}

/** Whether `next` goes on where `last` ends, with headers that differ from the `first`'s only in what a cut would change. */
function follows(last: Segment, next: Segment, first: Segment): boolean {
	const { frame: a, place } = first;
	const { frame: b } = next;
	if (next.place.transportAt !== place.transportAt || next.payloadAt !== first.payloadAt) return false;
	if (next.sequence !== (last.sequence + (last.place.end - last.payloadAt)) >>> 0) return false;
	const { ipAt, transportAt } = place;
	for (let at = 0; at < first.payloadAt; at++) {
		if (a[at] === b[at]) continue;
		const inIp = at - ipAt;
		const inTcp = at - transportAt;
		const isLength = place.isIpv6 ? inIp === 4 || inIp === 5 : inIp === 2 || inIp === 3;
		const isIdentification = !place.isIpv6 && (inIp === 4 || inIp === 5);
		const isIpChecksum = !place.isIpv6 && (inIp === 10 || inIp === 11);
		const isSequence = inTcp >= 4 && inTcp < 8;
		const isFlagsOrChecksum = inTcp === 13 || inTcp === 16 || inTcp === 17;
		if (!isLength && !isIdentification && !isIpChecksum && !isSequence && !isFlagsOrChecksum) return false;
	}
	return place.isIpv6 || readU16(b, ipAt + 4) === ((readU16(last.frame, ipAt + 4) + 1) & 0xffff);
}

function headersOf(first: Segment, last: Segment, byteLength: number): Uint8Array {
	const headers = first.frame.slice(0, first.payloadAt);
	headers[first.place.transportAt + 13] = first.flags | last.flags;
	describeWhole(headers, first.place, byteLength);
	return headers;
}

/** Lengths and checksums of a whole with `byteLength` bytes: the TCP checksum's field holds the pseudo-header's sum. */
function describeWhole(headers: Uint8Array, place: IpPlace, byteLength: number): void {
	const { isIpv6, ipAt, transportAt } = place;
	if (isIpv6) writeU16(headers, ipAt + 4, byteLength - ipAt - 40);
	else {
		writeU16(headers, ipAt + 2, byteLength - ipAt);
		writeU16(headers, ipAt + 10, 0);
		writeU16(headers, ipAt + 10, internetChecksum(headers, ipAt, transportAt));
	}
	const sum = pseudoSumOf(headers, place, byteLength - transportAt);
	writeU16(headers, transportAt + 16, foldOnce(sum));
}

function foldOnce(sum: number): number {
	let folded = sum;
	while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x1_0000);
	return folded;
}
