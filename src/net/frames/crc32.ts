const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
	let crc = byte;
	for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
	return crc;
});

/** A frame's check sequence (IEEE 802.3-2018 §3.2.9), as a number whose low byte goes first on the wire. */
export function frameCheckSequence(frame: Uint8Array): number {
	let crc = 0xffff_ffff;
	for (let at = 0; at < frame.length; at++) crc = TABLE[(crc ^ frame[at]!) & 0xff]! ^ (crc >>> 8);
	return ~crc >>> 0;
}
