/** CRC-32C (Castagnoli), reflected, as in RFC 3720 appendix B.4. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
	let crc = byte;
	for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
	return crc >>> 0;
});

export function crc32c(bytes: Uint8Array): number {
	let crc = 0xffff_ffff;
	for (const byte of bytes) crc = ((TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8)) >>> 0;
	return ~crc >>> 0;
}
