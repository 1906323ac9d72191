import { promisify } from "node:util";
import * as zlib from "node:zlib";
import type { Codecs } from "../../../disk/codecs.ts";

const inflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Uint8Array>(zlib.inflateRaw);
const inflate = promisify<Uint8Array, zlib.ZlibOptions, Uint8Array>(zlib.inflate);
const deflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Uint8Array>(zlib.deflateRaw);
const zstdDecompress = promisify<Uint8Array, zlib.ZstdOptions, Uint8Array>(zlib.zstdDecompress);
const zstdCompress = promisify<Uint8Array, zlib.ZstdOptions, Uint8Array>(zlib.zstdCompress);

/** Compression from Node's own zlib and Zstandard, off the main thread. */
export const nodeCodecs: Codecs = {
	inflateRaw: (bytes, maxBytes) => inflateRaw(bytes, { maxOutputLength: maxBytes }),
	inflate: (bytes, maxBytes) => inflate(bytes, { maxOutputLength: maxBytes }),
	deflateRaw: (bytes) => deflateRaw(bytes, { windowBits: 12 }),
	zstdDecompress: (bytes, maxBytes) => zstdDecompress(bytes, { maxOutputLength: maxBytes }),
	zstdCompress: (bytes) => zstdCompress(bytes, {}),
};
