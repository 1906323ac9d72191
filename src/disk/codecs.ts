/** Compression as disk formats need it; the host layer brings it. Bad input rejects. */
export interface Codecs {
	/** Raw deflate (RFC 1951). Stops at the end of the stream, whatever follows; never yields more than `maxBytes`. */
	inflateRaw(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array>;
	/** Raw deflate with a window of 4 KiB, which is all that some readers of qcow2 have. */
	deflateRaw(bytes: Uint8Array): Promise<Uint8Array>;
	/** zlib (RFC 1950), as in VMDK grains. */
	inflate(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array>;
	/** One Zstandard frame (RFC 8878), exactly. */
	zstdDecompress(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array>;
	zstdCompress(bytes: Uint8Array): Promise<Uint8Array>;
}
