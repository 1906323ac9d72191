import { DiskError, type DiskErrorKind } from "../../disk.ts";
import { decodeUtf8, encodeUtf8 } from "../../utf8.ts";

/** The qcow2 format as QEMU documents it in "docs/interop/qcow2.rst"; section names below are that document's. */
export const QCOW2_MAGIC = 0x5146_49fb;

/** Header fields' offsets (section "Header"). */
export const FIELD = {
	MAGIC: 0,
	VERSION: 4,
	BACKING_FILE_OFFSET: 8,
	BACKING_FILE_SIZE: 16,
	CLUSTER_BITS: 20,
	SIZE: 24,
	CRYPT_METHOD: 32,
	L1_SIZE: 36,
	L1_TABLE_OFFSET: 40,
	REFCOUNT_TABLE_OFFSET: 48,
	REFCOUNT_TABLE_CLUSTERS: 56,
	NB_SNAPSHOTS: 60,
	SNAPSHOTS_OFFSET: 64,
	INCOMPATIBLE_FEATURES: 72,
	COMPATIBLE_FEATURES: 80,
	AUTOCLEAR_FEATURES: 88,
	REFCOUNT_ORDER: 96,
	HEADER_LENGTH: 100,
	COMPRESSION_TYPE: 104,
} as const;

const V2_HEADER_BYTES = 72;
const V3_HEADER_BYTES = 112;

/** Incompatible features: a reader that does not know one must not open the image. */
export const INCOMPATIBLE = { DIRTY: 1, CORRUPT: 2, DATA_FILE: 4, COMPRESSION: 8, EXTENDED_L2: 16 } as const;
export const COMPATIBLE = { LAZY_REFCOUNTS: 1 } as const;
const KNOWN_INCOMPATIBLE = INCOMPATIBLE.DIRTY | INCOMPATIBLE.CORRUPT | INCOMPATIBLE.COMPRESSION;

/** Section "Header extensions". */
export const EXTENSION = { END: 0, BACKING_FORMAT: 0xe279_2aca, FEATURE_NAMES: 0x6803_f857, BITMAPS: 0x2385_2875 } as const;

const MIN_CLUSTER_BITS = 9;
const MAX_CLUSTER_BITS = 21;
const MAX_L1_BYTES = 32 * 1024 * 1024;
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
const MAX_BACKING_NAME_BYTES = 1023;
const MAX_SNAPSHOTS = 65536;

export interface HeaderExtension {
	readonly type: number;
	readonly data: Uint8Array;
}

export interface Qcow2Header {
	readonly version: 2 | 3;
	readonly clusterBits: number;
	readonly sizeBytes: number;
	readonly backingFile: string | undefined;
	readonly backingFormat: string | undefined;
	readonly l1Entries: number;
	readonly l1Offset: number;
	readonly refcountTableOffset: number;
	readonly refcountTableClusters: number;
	readonly snapshotCount: number;
	readonly snapshotsOffset: number;
	readonly incompatible: number;
	readonly compatible: number;
	readonly autoclear: number;
	readonly refcountOrder: number;
	readonly compression: "zlib" | "zstd";
	readonly extensions: readonly HeaderExtension[];
}

/** Entries that an L1 table needs for a disk of `sizeBytes`. */
export function l1EntriesFor(sizeBytes: number, clusterBits: number): number {
	return Math.ceil(sizeBytes / 2 ** (2 * clusterBits - 3));
}

/**
 * Reads a header and checks everything in it that can be checked by itself.
 * @param bytes the first cluster, or the whole file where it is shorter
 * @throws DiskError corrupt or unsupported, with the offending field's offset
 */
export function parseHeader(bytes: Uint8Array, name: string, fileBytes: number): Qcow2Header {
	const fail = (kind: DiskErrorKind, offsetBytes: number, message: string): never => {
		throw new DiskError(kind, name, message, { offsetBytes });
	};
	if (bytes.length < V2_HEADER_BYTES) fail("corrupt", 0, `a qcow2 header of ${bytes.length} bytes`);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const u64 = (at: number) => view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
	if (view.getUint32(FIELD.MAGIC) !== QCOW2_MAGIC) fail("corrupt", FIELD.MAGIC, "not a qcow2 image");
	const version = view.getUint32(FIELD.VERSION);
	if (version !== 2 && version !== 3) return fail("unsupported", FIELD.VERSION, `qcow2 version ${version}`);
	const clusterBits = view.getUint32(FIELD.CLUSTER_BITS);
	if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS)
		fail("corrupt", FIELD.CLUSTER_BITS, `clusters of 2^${clusterBits} bytes`);
	if (view.getUint32(FIELD.CRYPT_METHOD) !== 0) fail("unsupported", FIELD.CRYPT_METHOD, "an encrypted image");
	const isV3 = version === 3;
	const headerBytes = isV3 && bytes.length >= 104 ? view.getUint32(FIELD.HEADER_LENGTH) : V2_HEADER_BYTES;
	if (isV3 && (headerBytes < 104 || headerBytes > bytes.length || headerBytes % 8 !== 0))
		fail("corrupt", FIELD.HEADER_LENGTH, `a header of ${headerBytes} bytes`);
	const incompatible = isV3 ? view.getUint32(FIELD.INCOMPATIBLE_FEATURES + 4) : 0;
	const unknown = isV3 ? view.getUint32(FIELD.INCOMPATIBLE_FEATURES) : 0;
	if (unknown !== 0 || (incompatible & ~KNOWN_INCOMPATIBLE) !== 0)
		fail("unsupported", FIELD.INCOMPATIBLE_FEATURES, featureText(incompatible));
	const compressionType = headerBytes > FIELD.COMPRESSION_TYPE ? (bytes[FIELD.COMPRESSION_TYPE] as number) : 0;
	if (compressionType > 1) fail("unsupported", FIELD.COMPRESSION_TYPE, `compression type ${compressionType}`);
	if ((compressionType !== 0) !== ((incompatible & INCOMPATIBLE.COMPRESSION) !== 0))
		fail("corrupt", FIELD.COMPRESSION_TYPE, "the compression type and its feature bit disagree");
	const refcountOrder = isV3 ? view.getUint32(FIELD.REFCOUNT_ORDER) : 4;
	if (refcountOrder > 6) fail("corrupt", FIELD.REFCOUNT_ORDER, `reference counts of 2^${refcountOrder} bits`);

	const header: Qcow2Header = {
		version,
		clusterBits,
		sizeBytes: u64(FIELD.SIZE),
		...backing(bytes, view, fail),
		l1Entries: view.getUint32(FIELD.L1_SIZE),
		l1Offset: u64(FIELD.L1_TABLE_OFFSET),
		refcountTableOffset: u64(FIELD.REFCOUNT_TABLE_OFFSET),
		refcountTableClusters: view.getUint32(FIELD.REFCOUNT_TABLE_CLUSTERS),
		snapshotCount: view.getUint32(FIELD.NB_SNAPSHOTS),
		snapshotsOffset: u64(FIELD.SNAPSHOTS_OFFSET),
		incompatible,
		compatible: isV3 ? view.getUint32(FIELD.COMPATIBLE_FEATURES + 4) : 0,
		autoclear: isV3 ? view.getUint32(FIELD.AUTOCLEAR_FEATURES + 4) : 0,
		refcountOrder,
		compression: compressionType === 1 ? "zstd" : "zlib",
		extensions: extensionsOf(bytes, view, headerBytes, fail),
	};
	checkTables(header, fileBytes, fail);
	const format = header.extensions.find(({ type }) => type === EXTENSION.BACKING_FORMAT);
	return format === undefined ? header : { ...header, backingFormat: decodeUtf8(format.data) };
}

type Fail = (kind: DiskErrorKind, offsetBytes: number, message: string) => never;

function featureText(incompatible: number): string {
	if ((incompatible & INCOMPATIBLE.EXTENDED_L2) !== 0) return "extended L2 entries (subclusters)";
	if ((incompatible & INCOMPATIBLE.DATA_FILE) !== 0) return "an external data file";
	return `incompatible feature bits 0x${incompatible.toString(16)}`;
}

function backing(bytes: Uint8Array, view: DataView, fail: Fail): { backingFile: string | undefined; backingFormat: undefined } {
	const offset = view.getUint32(FIELD.BACKING_FILE_OFFSET) * 2 ** 32 + view.getUint32(FIELD.BACKING_FILE_OFFSET + 4);
	const size = view.getUint32(FIELD.BACKING_FILE_SIZE);
	if (offset === 0 || size === 0) return { backingFile: undefined, backingFormat: undefined };
	if (size > MAX_BACKING_NAME_BYTES || offset + size > bytes.length)
		fail("corrupt", FIELD.BACKING_FILE_OFFSET, `a backing file name of ${size} bytes at ${offset}`);
	return { backingFile: decodeUtf8(bytes.subarray(offset, offset + size)), backingFormat: undefined };
}

function extensionsOf(bytes: Uint8Array, view: DataView, headerBytes: number, fail: Fail): readonly HeaderExtension[] {
	const nameAt = view.getUint32(FIELD.BACKING_FILE_OFFSET + 4);
	const end = nameAt > headerBytes ? Math.min(nameAt, bytes.length) : bytes.length;
	const extensions: HeaderExtension[] = [];
	for (let at = headerBytes; at + 8 <= end; ) {
		const type = view.getUint32(at);
		const length = view.getUint32(at + 4);
		if (type === EXTENSION.END) break;
		if (at + 8 + length > end) fail("corrupt", at, `a header extension of ${length} bytes`);
		extensions.push({ type, data: bytes.slice(at + 8, at + 8 + length) });
		at += 8 + Math.ceil(length / 8) * 8;
	}
	return extensions;
}

function checkTables(header: Qcow2Header, fileBytes: number, fail: Fail): void {
	const clusterBytes = 2 ** header.clusterBits;
	const within = (offset: number, length: number) => offset % clusterBytes === 0 && offset >= clusterBytes && offset + length <= fileBytes;
	if (header.sizeBytes > Number.MAX_SAFE_INTEGER) fail("corrupt", FIELD.SIZE, `a disk of ${header.sizeBytes} bytes`);
	const l1Bytes = header.l1Entries * 8;
	if (l1Bytes > MAX_L1_BYTES) fail("corrupt", FIELD.L1_SIZE, `an L1 table of ${header.l1Entries} entries`);
	if (header.l1Entries < l1EntriesFor(header.sizeBytes, header.clusterBits))
		fail("corrupt", FIELD.L1_SIZE, `${header.l1Entries} L1 entries are too few for a disk of ${header.sizeBytes} bytes`);
	if (l1Bytes > 0 && !within(header.l1Offset, l1Bytes))
		fail("corrupt", FIELD.L1_TABLE_OFFSET, `an L1 table at ${header.l1Offset} in a file of ${fileBytes} bytes`);
	const refcountBytes = header.refcountTableClusters * clusterBytes;
	if (refcountBytes === 0 || refcountBytes > Math.max(MAX_REFCOUNT_TABLE_BYTES, clusterBytes))
		fail("corrupt", FIELD.REFCOUNT_TABLE_CLUSTERS, `a refcount table of ${header.refcountTableClusters} clusters`);
	if (!within(header.refcountTableOffset, refcountBytes))
		fail("corrupt", FIELD.REFCOUNT_TABLE_OFFSET, `a refcount table at ${header.refcountTableOffset} in a file of ${fileBytes} bytes`);
	if (header.snapshotCount > MAX_SNAPSHOTS) fail("corrupt", FIELD.NB_SNAPSHOTS, `${header.snapshotCount} snapshots`);
	if (header.snapshotCount > 0 && !within(header.snapshotsOffset, 0))
		fail("corrupt", FIELD.SNAPSHOTS_OFFSET, `a snapshot table at ${header.snapshotsOffset} in a file of ${fileBytes} bytes`);
}

/** Names for QEMU's messages, as it writes them itself (section "Feature name table"). */
const FEATURE_NAMES: readonly (readonly [type: 0 | 1 | 2, bit: number, name: string])[] = [
	[0, 0, "dirty bit"],
	[0, 1, "corrupt bit"],
	[0, 3, "compression type"],
	[1, 0, "lazy refcounts"],
];

/** The whole header, extensions and backing name included; fits a cluster of 512 bytes but for very long names. */
export function encodeHeader(header: Qcow2Header): Uint8Array {
	const extensions = header.extensions.filter(({ type }) => type !== EXTENSION.BACKING_FORMAT && type !== EXTENSION.FEATURE_NAMES);
	if (header.backingFile !== undefined && header.backingFormat !== undefined)
		extensions.unshift({ type: EXTENSION.BACKING_FORMAT, data: encodeUtf8(header.backingFormat) });
	if (header.version === 3) extensions.push({ type: EXTENSION.FEATURE_NAMES, data: featureNameTable() });
	const fixedBytes = header.version === 3 ? V3_HEADER_BYTES : V2_HEADER_BYTES;
	const extensionBytes = extensions.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, 8);
	const name = encodeUtf8(header.backingFile ?? "");
	const bytes = new Uint8Array(fixedBytes + extensionBytes + name.length);
	const view = new DataView(bytes.buffer);
	const set64 = (at: number, value: number) => view.setBigUint64(at, BigInt(value));
	view.setUint32(FIELD.MAGIC, QCOW2_MAGIC);
	view.setUint32(FIELD.VERSION, header.version);
	if (name.length > 0) {
		set64(FIELD.BACKING_FILE_OFFSET, fixedBytes + extensionBytes);
		view.setUint32(FIELD.BACKING_FILE_SIZE, name.length);
		bytes.set(name, fixedBytes + extensionBytes);
	}
	view.setUint32(FIELD.CLUSTER_BITS, header.clusterBits);
	set64(FIELD.SIZE, header.sizeBytes);
	view.setUint32(FIELD.L1_SIZE, header.l1Entries);
	set64(FIELD.L1_TABLE_OFFSET, header.l1Offset);
	set64(FIELD.REFCOUNT_TABLE_OFFSET, header.refcountTableOffset);
	view.setUint32(FIELD.REFCOUNT_TABLE_CLUSTERS, header.refcountTableClusters);
	view.setUint32(FIELD.NB_SNAPSHOTS, header.snapshotCount);
	set64(FIELD.SNAPSHOTS_OFFSET, header.snapshotsOffset);
	if (header.version === 3) {
		set64(FIELD.INCOMPATIBLE_FEATURES, header.incompatible);
		set64(FIELD.COMPATIBLE_FEATURES, header.compatible);
		set64(FIELD.AUTOCLEAR_FEATURES, header.autoclear);
		view.setUint32(FIELD.REFCOUNT_ORDER, header.refcountOrder);
		view.setUint32(FIELD.HEADER_LENGTH, V3_HEADER_BYTES);
		bytes[FIELD.COMPRESSION_TYPE] = header.compression === "zstd" ? 1 : 0;
	}
	let at = fixedBytes;
	for (const { type, data } of extensions) {
		view.setUint32(at, type);
		view.setUint32(at + 4, data.length);
		bytes.set(data, at + 8);
		at += 8 + Math.ceil(data.length / 8) * 8;
	}
	return bytes;
}

function featureNameTable(): Uint8Array {
	const table = new Uint8Array(48 * FEATURE_NAMES.length);
	for (const [i, [type, bit, name]] of FEATURE_NAMES.entries()) table.set([type, bit, ...encodeUtf8(name)], 48 * i);
	return table;
}
