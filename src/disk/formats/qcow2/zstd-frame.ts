/**
 * How long the Zstandard frame at the start of `bytes` is: clusters are padded to whole sectors, and decompressors take
 * what follows a frame for another one. (RFC 8878 §3.1.1, "Zstandard Frames".) Nonsense gives the whole length.
 */
export function zstdFrameBytes(bytes: Uint8Array): number {
	const descriptor = bytes[4] ?? 0;
	const isSingleSegment = (descriptor & 0x20) !== 0;
	const hasChecksum = (descriptor & 4) !== 0;
	const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
	const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
	let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + sizeBytes;
	for (;;) {
		if (at + 3 > bytes.length) return bytes.length;
		// §3.1.1.2: Last_Block, Block_Type, Block_Size; an RLE block is one byte whatever its size.
		const header = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
		at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
		if ((header & 1) !== 0) return Math.min(at + (hasChecksum ? 4 : 0), bytes.length);
	}
}
