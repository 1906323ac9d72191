import { readU16, readU32, writeU16, writeU32 } from "../frames/address.ts";
import { internetChecksum } from "../frames/checksum.ts";
import { MIN_FRAME_BYTES } from "../frames/ethernet.ts";
import { PROTOCOL_TCP } from "../frames/ipv4.ts";
import { TCP_FIN, TCP_HEADER_BYTES, TCP_PSH } from "../frames/tcp.ts";
import { type IpPlace, locateIp, pseudoSumOf } from "./locate.ts";

const TCP_CWR = 0x80;

/** TCP payload behind one set of headers, as a driver hands it to a card that segments. Lengths and checksums in it are not right. */
export interface SuperFrame {
	readonly frame: Uint8Array;
	readonly place: IpPlace;
	/** Up to the payload. */
	readonly headerBytes: number;
	/** Payload of each frame but the last, once it is cut. */
	readonly segmentBytes: number;
}

/** `undefined` when it is no TCP over IP. */
export function superFrame(frame: Uint8Array, segmentBytes: number): SuperFrame | undefined {
	const place = locateIp(frame, false);
	if (place === undefined || place.protocol !== PROTOCOL_TCP || place.isFragment || segmentBytes < 1) return undefined;
	const { transportAt } = place;
	if (transportAt + TCP_HEADER_BYTES > frame.length) return undefined;
	const payloadAt = transportAt + (frame[transportAt + 12]! >>> 4) * 4;
	if (payloadAt < transportAt + TCP_HEADER_BYTES || payloadAt > frame.length) return undefined;
	return { frame, place, headerBytes: payloadAt, segmentBytes };
}

/** Into how many frames it is cut. */
export function segmentCount({ frame, headerBytes, segmentBytes }: SuperFrame): number {
	return Math.max(1, Math.ceil((frame.length - headerBytes) / segmentBytes));
}

/** Bytes of all the frames that it is cut into. */
export function segmentedBytes(whole: SuperFrame): number {
	const { frame, headerBytes, segmentBytes } = whole;
	const before = segmentCount(whole) - 1;
	const lastBytes = frame.length - before * segmentBytes;
	return before * Math.max(MIN_FRAME_BYTES, headerBytes + segmentBytes) + Math.max(MIN_FRAME_BYTES, lastBytes);
}

/**
 * Cuts a super-frame into frames with at most `segmentBytes` of payload each, padded to the shortest that is legal, all
 * their checksums right. The headers in front are repeated with lengths, identification, sequence number and flags set as
 * a host that had cut it itself would have (RFC 9293 §3.8; FIN and PSH at the last, CWR at the first: RFC 3168 §6.1.2).
 */
export function segmentsOf({ frame, place, headerBytes: payloadAt, segmentBytes }: SuperFrame): Uint8Array[] {
	const payloadBytes = frame.length - payloadAt;
	const segments: Uint8Array[] = [];
	let at = 0;
	do {
		const count = Math.min(segmentBytes, payloadBytes - at);
		const end = payloadAt + count;
		const segment = new Uint8Array(Math.max(end, MIN_FRAME_BYTES));
		segment.set(frame.subarray(0, payloadAt));
		segment.set(frame.subarray(payloadAt + at, payloadAt + at + count), payloadAt);
		finishSegment(segment, place, { index: segments.length, at, end, isLast: at + count >= payloadBytes });
		segments.push(segment);
		at += count;
	} while (at < payloadBytes);
	return segments;
}

/** The frames of what a driver left to be cut; `undefined` when it is no TCP over IP. */
export function segmentTcp(frame: Uint8Array, segmentBytes: number): Uint8Array[] | undefined {
	const whole = superFrame(frame, segmentBytes);
	return whole === undefined ? undefined : segmentsOf(whole);
}

function finishSegment(
	segment: Uint8Array,
	place: IpPlace,
	{ index, at, end, isLast }: { readonly index: number; readonly at: number; readonly end: number; readonly isLast: boolean },
): void {
	const { ipAt, transportAt } = place;
	if (place.isIpv6) writeU16(segment, ipAt + 4, end - ipAt - 40);
	else {
		writeU16(segment, ipAt + 2, end - ipAt);
		writeU16(segment, ipAt + 4, readU16(segment, ipAt + 4) + index);
		writeU16(segment, ipAt + 10, 0);
		writeU16(segment, ipAt + 10, internetChecksum(segment, ipAt, transportAt));
	}
	writeU32(segment, transportAt + 4, readU32(segment, transportAt + 4) + at);
	let flags = segment[transportAt + 13]!;
	if (!isLast) flags &= ~(TCP_FIN | TCP_PSH);
	if (index > 0) flags &= ~TCP_CWR;
	segment[transportAt + 13] = flags;
	writeU16(segment, transportAt + 16, 0);
	const sum = pseudoSumOf(segment, place, end - transportAt);
	writeU16(segment, transportAt + 16, internetChecksum(segment, transportAt, end, sum));
}
