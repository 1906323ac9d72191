import { type ByteStore, DiskError } from "../../disk.ts";
import { ClusterCounts } from "./cluster-counts.ts";
import { COMPATIBLE, encodeHeader, INCOMPATIBLE, l1EntriesFor, type Qcow2Header } from "./header.ts";
import { buildRefcounts } from "./refcount-build.ts";

export interface Qcow2CreateOptions {
	readonly sizeBytes: number;
	/** 2 (1.1's "compat=1.1" is 3, the default). */
	readonly version?: 2 | 3;
	/** 9–21; 16 unless told. */
	readonly clusterBits?: number;
	/** Reference counts of 2^n bits, 0–6; 4 unless told. */
	readonly refcountOrder?: number;
	readonly lazyRefcounts?: boolean;
	readonly compression?: "zlib" | "zstd";
	readonly backingFile?: string;
	/** Written down beside the name, so that nobody has to guess: "raw", "qcow2", "vmdk"… */
	readonly backingFormat?: string;
}

/** What makes an empty image of the same kind, on the same backing file. */
export function optionsLike(header: Qcow2Header): Qcow2CreateOptions {
	return {
		sizeBytes: header.sizeBytes,
		version: header.version,
		clusterBits: header.clusterBits,
		refcountOrder: header.refcountOrder,
		lazyRefcounts: (header.compatible & COMPATIBLE.LAZY_REFCOUNTS) !== 0,
		compression: header.compression,
		...(header.backingFile === undefined ? {} : { backingFile: header.backingFile }),
		...(header.backingFormat === undefined ? {} : { backingFormat: header.backingFormat }),
	};
}

const MAX_L1_ENTRIES = (32 * 1024 * 1024) / 8;

/** Writes an empty image over whatever the store holds. @throws DiskError unsupported for options that do not go together */
export async function createQcow2(store: ByteStore, options: Qcow2CreateOptions): Promise<void> {
	const version = options.version ?? 3;
	const clusterBits = options.clusterBits ?? 16;
	const refcountOrder = options.refcountOrder ?? 4;
	const compression = options.compression ?? "zlib";
	const refuse = (message: string): never => {
		throw new DiskError("unsupported", store.name, message);
	};
	if (!Number.isInteger(clusterBits) || clusterBits < 9 || clusterBits > 21)
		refuse(`clusters of 2^${clusterBits} bytes; 9 to 21 are possible`);
	if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > 6) refuse(`reference counts of 2^${refcountOrder} bits`);
	if (!Number.isSafeInteger(options.sizeBytes) || options.sizeBytes < 0 || options.sizeBytes % 512 !== 0)
		refuse(`a disk of ${options.sizeBytes} bytes; it takes whole sectors of 512`);
	if (version === 2 && (options.lazyRefcounts === true || refcountOrder !== 4 || compression !== "zlib"))
		refuse("version 2 has neither lazy reference counts, nor other widths of them, nor zstd");
	const clusterBytes = 2 ** clusterBits;
	const l1Entries = l1EntriesFor(options.sizeBytes, clusterBits);
	if (l1Entries > MAX_L1_ENTRIES) refuse(`a disk of ${options.sizeBytes} bytes needs larger clusters than ${clusterBytes} bytes`);
	const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / clusterBytes));

	const header: Qcow2Header = {
		version,
		clusterBits,
		sizeBytes: options.sizeBytes,
		backingFile: options.backingFile,
		backingFormat: options.backingFormat,
		l1Entries,
		l1Offset: clusterBytes,
		refcountTableOffset: 0,
		refcountTableClusters: 0,
		snapshotCount: 0,
		snapshotsOffset: 0,
		incompatible: compression === "zstd" ? INCOMPATIBLE.COMPRESSION : 0,
		compatible: options.lazyRefcounts === true ? COMPATIBLE.LAZY_REFCOUNTS : 0,
		autoclear: 0,
		refcountOrder,
		compression,
		extensions: [],
	};
	if (encodeHeader(header).length > clusterBytes) refuse("the backing file's name is too long for a header of one cluster");
	await store.truncate(0);
	await store.write(clusterBytes, new Uint8Array(l1Clusters * clusterBytes));
	const counts = new ClusterCounts(1 + l1Clusters);
	for (let cluster = 0; cluster < counts.length; cluster++) counts.add(cluster, 1);
	const built = await buildRefcounts(store, counts, clusterBits, refcountOrder);
	await store.flush();
	// The header last: before it, there is no image.
	const named = { ...header, refcountTableOffset: built.tableOffset, refcountTableClusters: built.tableClusters };
	const first = new Uint8Array(clusterBytes);
	first.set(encodeHeader(named));
	await store.write(0, first);
	await store.flush();
}
