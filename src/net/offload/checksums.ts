import { readU16, writeU16 } from "../frames/address.ts";
import { internetChecksum, sumWords } from "../frames/checksum.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../frames/ipv4.ts";
import { locateIp, pseudoSumOf } from "./locate.ts";

/**
 * Does what a driver has left to its card: the field at `start + offset` holds the pseudo-header's sum, and gets the
 * checksum of everything from `start` on. False, and nothing done, when that lies outside of the frame.
 */
export function completeChecksum(frame: Uint8Array, start: number, offset: number, end = frame.length): boolean {
	if (start + offset + 2 > end || end > frame.length) return false;
	const checksum = internetChecksum(frame, start, end);
	// In UDP zero means "none"; in ones' complement the other zero is as good (RFC 768), and for TCP too.
	writeU16(frame, start + offset, checksum === 0 ? 0xffff : checksum);
	return true;
}

/** Whether the transport checksum of a frame is right; `undefined` when there is none to check. */
export function isTransportChecksumGood(frame: Uint8Array): boolean | undefined {
	const place = locateIp(frame);
	if (place === undefined || place.isFragment) return undefined;
	const { transportAt, end, protocol } = place;
	const lengthBytes = end - transportAt;
	if (protocol === PROTOCOL_UDP) {
		if (lengthBytes < 8 || readU16(frame, transportAt + 6) === 0) return undefined;
	} else if (protocol !== PROTOCOL_TCP || lengthBytes < 20) return undefined;
	return sumWords(frame, transportAt, end, pseudoSumOf(frame, place, lengthBytes)) === 0xffff;
}
