import type { Ipv4 } from "./address.ts";

/** From here on it pays to read the machine's own (little-endian) words. */
const MIN_FAST_BYTES = 64;

/** The ones' complement sum of big-endian 16-bit words, not yet inverted (RFC 1071). An odd last byte is a high one. */
export function sumWords(bytes: Uint8Array, start = 0, end = bytes.length, initial = 0): number {
	let sum = initial;
	let at = start;
	if (((bytes.byteOffset + at) & 1) === 0 && end - at >= MIN_FAST_BYTES) {
		// Adding words with their bytes swapped gives the sum with its bytes swapped (RFC 1071 §2 (B)).
		const words = new Uint16Array(bytes.buffer, bytes.byteOffset + at, (end - at) >> 1);
		let swapped = 0;
		for (let index = 0; index < words.length; index++) swapped += words[index]!;
		while (swapped > 0xffff) swapped = (swapped & 0xffff) + Math.floor(swapped / 0x1_0000);
		sum += ((swapped & 0xff) << 8) | (swapped >>> 8);
		at += 2 * words.length;
	}
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
