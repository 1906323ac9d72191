import type { Ipv4 } from "./address.ts";

/** The ones' complement sum of big-endian 16-bit words, not yet inverted (RFC 1071). An odd last byte is a high one. */
export function sumWords(bytes: Uint8Array, start = 0, end = bytes.length, initial = 0): number {
	let sum = initial;
	let at = start;
	for (; at + 1 < end; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
	if (at < end) sum += bytes[at]! << 8;
	// Sums stay exact in a double far beyond any packet; fold only once.
	while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
	return sum;
}

export function internetChecksum(bytes: Uint8Array, start = 0, end = bytes.length, initial = 0): number {
	return ~sumWords(bytes, start, end, initial) & 0xffff;
}

/** The pseudo-header of UDP and TCP over IPv4 (RFC 768; RFC 9293 §3.1). */
export function pseudoHeaderSum(source: Ipv4, destination: Ipv4, protocol: number, lengthBytes: number): number {
	return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + lengthBytes;
}
