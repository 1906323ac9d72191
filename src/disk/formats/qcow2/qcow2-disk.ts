import type { Codecs } from "../../codecs.ts";
import { type ByteStore, type Disk, DiskError } from "../../disk.ts";
import type { Pieces } from "../../pieces.ts";
import { checkRange, checkWritable } from "../../range.ts";
import { type RangeClaim, RangeLocks } from "../../range-locks.ts";
import { Qcow2AtOnce } from "./at-once.ts";
import { repair } from "./check.ts";
import { ClusterPacker } from "./compress.ts";
import { type Mapping, UNALLOCATED, ZERO } from "./entries.ts";
import { FIELD, INCOMPATIBLE, type Qcow2Header } from "./header.ts";
import { writeAutoclear } from "./header-fields.ts";
import { Qcow2Metadata, readHeader } from "./metadata.ts";
import { type Extent, Qcow2Reader } from "./reader.ts";

export interface Qcow2Options {
	readonly isReadOnly?: boolean;
	/** Where unallocated clusters are read from; the caller opens it, this disk closes it. An image that names one needs it. */
	readonly backing?: Disk;
	/** Needed by images with compressed clusters. */
	readonly codecs?: Codecs;
	/** Opens an image marked corrupt for writing all the same. */
	readonly force?: boolean;
	/** The id or name of an internal snapshot: its contents instead of the active disk's, for reading only. */
	readonly snapshot?: string;
}

/** A qcow2 image, versions 2 and 3, read and written in place. */
export class Qcow2Disk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes = 512;
	readonly isReadOnly: boolean;
	readonly #store: ByteStore;
	readonly #metadata: Qcow2Metadata;
	readonly #reader: Qcow2Reader;
	/** In guest clusters. Exclusive for whoever changes where one lies. */
	readonly #locks = new RangeLocks();
	readonly #atOnce: Qcow2AtOnce;
	readonly #clusterBytes: number;
	readonly #packer: ClusterPacker | undefined;

	private constructor(store: ByteStore, metadata: Qcow2Metadata, options: Qcow2Options, isReadOnly: boolean) {
		this.#store = store;
		this.#metadata = metadata;
		this.#reader = new Qcow2Reader(metadata, options.backing, options.codecs);
		this.#clusterBytes = metadata.clusterBytes;
		this.#packer = options.codecs === undefined ? undefined : new ClusterPacker(metadata, options.codecs);
		this.sizeBytes = Math.ceil(metadata.header.sizeBytes / this.sectorBytes) * this.sectorBytes;
		this.isReadOnly = isReadOnly;
		this.#atOnce = new Qcow2AtOnce(this, metadata, this.#reader, this.#locks);
	}

	/**
	 * @throws DiskError corrupt or unsupported, naming the place; read-only for an image marked corrupt, unless opened
	 * for reading or forced
	 */
	static async open(store: ByteStore, options: Qcow2Options = {}): Promise<Qcow2Disk> {
		const isReadOnly = store.isReadOnly || options.isReadOnly === true || options.snapshot !== undefined;
		const { backingFile, incompatible } = await readHeader(store);
		if (backingFile !== undefined && options.backing === undefined)
			throw new DiskError("not-found", store.name, `stands on ${backingFile}, which has not been opened`);
		if (!isReadOnly) {
			if ((incompatible & INCOMPATIBLE.CORRUPT) !== 0 && options.force !== true)
				throw new DiskError("corrupt", store.name, "is marked as damaged: repair it, or open it for reading only", {
					offsetBytes: FIELD.INCOMPATIBLE_FEATURES,
				});
			// Its last writer kept reference counts in memory and was cut off: they are counted afresh.
			if ((incompatible & INCOMPATIBLE.DIRTY) !== 0) await repair(store, { isForCountsOnly: options.force !== true });
		}
		const metadata = await Qcow2Metadata.open(store, isReadOnly, {
			force: options.force ?? false,
			...(options.snapshot === undefined ? {} : { snapshot: options.snapshot }),
		});
		if (!isReadOnly) {
			if (metadata.header.autoclear !== 0) await writeAutoclear(store, 0);
		}
		return new Qcow2Disk(store, metadata, options, isReadOnly);
	}

	get header(): Qcow2Header {
		return this.#metadata.header;
	}

	get backing(): Disk | undefined {
		return this.#reader.backing;
	}

	/** Whether nothing has been written to this layer yet. */
	get isEmpty(): boolean {
		return this.#metadata.isEmpty;
	}

	/**
	 * Puts another disk below, which must read the same wherever this layer holds nothing, and writes its name down. The
	 * former one is the caller's to close.
	 */
	async replaceBacking(backing: Disk, file: string, format: string): Promise<void> {
		const claim = await this.#locks.acquire(0, Number.POSITIVE_INFINITY, true);
		try {
			await this.#metadata.rename(file, format);
			this.#reader.backing = backing;
		} finally {
			this.#locks.release(claim);
		}
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		checkRange(this, this.#store.name, offsetBytes, into.length);
		if (into.length === 0) return;
		await this.#locked(offsetBytes, into.length, false, () => this.#reader.read(offsetBytes, into));
	}

	readNow(offsetBytes: number, into: Pieces): boolean {
		return this.#atOnce.read(offsetBytes, into);
	}

	writeNow(offsetBytes: number, from: Pieces): boolean {
		return this.#atOnce.write(offsetBytes, from);
	}

	/** Where the bytes of a range come from, for tools: "unallocated" means from the backing disk, or zeros. */
	async map(
		offsetBytes: number,
		lengthBytes: number,
	): Promise<readonly { readonly kind: Mapping["kind"]; readonly lengthBytes: number }[]> {
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
		if (lengthBytes === 0) return [];
		const extents = await this.#locked(offsetBytes, lengthBytes, false, () => this.#reader.extents(offsetBytes, lengthBytes));
		return extents.map(({ mapping, lengthBytes: length }) => ({ kind: mapping.kind, lengthBytes: length }));
	}

	async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, from.length);
		if (from.length === 0) return;
		const isDone = await this.#locked(offsetBytes, from.length, false, () => this.#writeInPlace(offsetBytes, from));
		if (!isDone) await this.#locked(offsetBytes, from.length, true, () => this.#writeAllocating(offsetBytes, from));
		await this.#relieve();
	}

	/**
	 * As `write`, compressing each whole cluster that gets smaller by it; for images that are being made.
	 * @param offsetBytes a multiple of the cluster size
	 */
	async writeCompressed(offsetBytes: number, from: Uint8Array): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, from.length);
		const packer = this.#packer;
		for (let at = 0; at < from.length; at += this.#clusterBytes) {
			const part = from.subarray(at, at + this.#clusterBytes);
			const cluster = (offsetBytes + at) / this.#clusterBytes;
			const isPacked =
				packer !== undefined &&
				part.length === this.#clusterBytes &&
				Number.isInteger(cluster) &&
				(await this.#locked(offsetBytes + at, part.length, true, () => packer.write(cluster, part)));
			if (!isPacked) await this.write(offsetBytes + at, part);
		}
		this.#reader.forgetDecompressed();
		await this.#relieve();
	}

	async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
		await this.#clear(offsetBytes, lengthBytes, true, (at, count) => this.#zeroPart(at, count));
	}

	/** Whole clusters are given back; parts of clusters stay as they are. */
	async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
		await this.#clear(offsetBytes, lengthBytes, false, () => Promise.resolve());
	}

	async flush(): Promise<void> {
		if (!this.isReadOnly) await this.#metadata.flush();
	}

	async close(): Promise<void> {
		try {
			if (!this.isReadOnly) await this.#metadata.close();
		} finally {
			await this.#store.close();
			await this.#reader.backing?.close();
		}
	}

	/** Runs `work` while nobody moves the clusters of the range (or, exclusively, reads or writes them either). */
	async #locked<Result>(offsetBytes: number, lengthBytes: number, isExclusive: boolean, work: () => Promise<Result>): Promise<Result> {
		// Nobody moves anything in an image that is only read, as most layers of a chain are.
		if (this.isReadOnly) return work();
		const first = Math.floor(offsetBytes / this.#clusterBytes);
		const last = Math.floor((offsetBytes + lengthBytes - 1) / this.#clusterBytes);
		const claim: RangeClaim = await this.#locks.acquire(first, last, isExclusive);
		try {
			return await work();
		} finally {
			this.#locks.release(claim);
		}
	}

	/** Writes if all of it lies in clusters that are this image's alone; answers whether it did. */
	async #writeInPlace(offsetBytes: number, from: Uint8Array): Promise<boolean> {
		const extents = await this.#reader.extents(offsetBytes, from.length);
		if (!extents.every(({ mapping }) => mapping.kind === "data" && mapping.isCopied)) return false;
		this.#metadata.checkAlive();
		await this.#writeExtents(from, extents);
		return true;
	}

	async #writeExtents(from: Uint8Array, extents: readonly Extent[]): Promise<void> {
		const write = ({ hostOffset, at, lengthBytes }: Extent) =>
			this.#store.write(hostOffset, lengthBytes === from.length ? from : from.subarray(at, at + lengthBytes));
		if (extents.length === 1) await write(extents[0] as Extent);
		else await Promise.all(extents.map(write));
	}

	async #writeAllocating(offsetBytes: number, from: Uint8Array): Promise<void> {
		const clusterBytes = this.#clusterBytes;
		let at = 0;
		while (at < from.length) {
			// A run: neighbours that are all in place, or all in need of a new cluster.
			const cluster = Math.floor((offsetBytes + at) / clusterBytes);
			const isInPlace = await this.#isInPlace(cluster);
			let end = Math.min(from.length, (cluster + 1) * clusterBytes - offsetBytes);
			while (end < from.length && (await this.#isInPlace(Math.floor((offsetBytes + end) / clusterBytes))) === isInPlace)
				end = Math.min(from.length, end + clusterBytes);
			const part = from.subarray(at, end);
			if (isInPlace) await this.#writeExtents(part, await this.#reader.extents(offsetBytes + at, part.length));
			else await this.#writeNew(offsetBytes + at, part);
			at = end;
		}
	}

	async #isInPlace(cluster: number): Promise<boolean> {
		const table = this.#metadata.peekTable(cluster) ?? (await this.#metadata.table(cluster));
		const mapping = this.#metadata.mapping(table, cluster);
		return mapping.kind === "data" && mapping.isCopied;
	}

	/** Puts a run of clusters into new places: their data first, then the word of it. */
	async #writeNew(offsetBytes: number, from: Uint8Array): Promise<void> {
		const clusterBytes = this.#clusterBytes;
		const metadata = this.#metadata;
		for (let at = 0; at < from.length; ) {
			const cluster = Math.floor((offsetBytes + at) / clusterBytes);
			const within = (offsetBytes + at) % clusterBytes;
			const wanted = Math.ceil((within + from.length - at) / clusterBytes);
			const run = await metadata.change(() => metadata.allocate(wanted));
			const part = from.subarray(at, Math.min(from.length, at + run.count * clusterBytes - within));
			try {
				await this.#fill(cluster, run.first * clusterBytes, within, part);
			} catch (error) {
				await metadata.change(() => metadata.giveBack(run));
				throw error;
			}
			await metadata.change(async () => {
				for (let i = 0; i < run.count; i++)
					await this.#map(cluster + i, { kind: "data", hostOffset: (run.first + i) * clusterBytes, isCopied: true });
			});
			at += part.length;
		}
	}

	/** Writes `part` at `within` bytes into new clusters from `hostOffset` on, and around it what the guest had there. */
	async #fill(cluster: number, hostOffset: number, within: number, part: Uint8Array): Promise<void> {
		const clusterBytes = this.#clusterBytes;
		const wholeBytes = Math.ceil((within + part.length) / clusterBytes) * clusterBytes;
		const tailAt = within + part.length;
		const [head, tail] = await Promise.all([
			this.#surroundings(cluster * clusterBytes, within),
			this.#surroundings(cluster * clusterBytes + tailAt, wholeBytes - tailAt),
		]);
		// Behind the store's end zeros need no writing.
		const isFresh = hostOffset >= this.#metadata.fileBytes;
		const isHeadNeeded = head.length > 0 && !(isFresh && isZero(head));
		const isTailNeeded = tail.length > 0 && !(isFresh && isZero(tail));
		this.#metadata.noteWritten(hostOffset + (isTailNeeded ? wholeBytes : tailAt));
		if (!isHeadNeeded && !isTailNeeded) return this.#store.write(hostOffset + within, part);
		const from = isHeadNeeded ? 0 : within;
		const whole = new Uint8Array((isTailNeeded ? wholeBytes : tailAt) - from);
		if (isHeadNeeded) whole.set(head);
		whole.set(part, within - from);
		if (isTailNeeded) whole.set(tail, tailAt - from);
		await this.#store.write(hostOffset + from, whole);
	}

	/** Guest bytes around a write; the disk may end within its last cluster. */
	async #surroundings(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
		const bytes = new Uint8Array(lengthBytes);
		const there = Math.min(lengthBytes, Math.max(0, this.sizeBytes - offsetBytes));
		if (there > 0) await this.#reader.read(offsetBytes, bytes.subarray(0, there));
		return bytes;
	}

	async #map(cluster: number, mapping: Mapping): Promise<void> {
		await this.#metadata.map(cluster, mapping);
		this.#reader.forgetDecompressed();
	}

	/** Whole clusters lose their place; what hangs over at both ends goes to `part`. */
	async #clear(
		offsetBytes: number,
		lengthBytes: number,
		mustZero: boolean,
		part: (offsetBytes: number, lengthBytes: number) => Promise<void>,
	): Promise<void> {
		if (lengthBytes === 0) return;
		const clusterBytes = this.#clusterBytes;
		const end = offsetBytes + lengthBytes;
		const first = Math.ceil(offsetBytes / clusterBytes);
		// The disk's last cluster is whole when its last sector is.
		const last = end === this.sizeBytes ? Math.ceil(end / clusterBytes) : Math.floor(end / clusterBytes);
		if (first >= last) return part(offsetBytes, lengthBytes);
		if (first * clusterBytes > offsetBytes) await part(offsetBytes, first * clusterBytes - offsetBytes);
		const wholeEnd = Math.min(end, last * clusterBytes);
		await this.#locked(first * clusterBytes, wholeEnd - first * clusterBytes, true, () => this.#clearClusters(first, last, mustZero));
		if (wholeEnd < end) await part(wholeEnd, end - wholeEnd);
		await this.#relieve();
	}

	async #clearClusters(first: number, last: number, mustZero: boolean): Promise<void> {
		const metadata = this.#metadata;
		for (let cluster = first; cluster < last; ) {
			const table = metadata.peekTable(cluster) ?? (await metadata.table(cluster));
			const tableEnd = Math.min(last, (Math.floor(cluster / metadata.perTable) + 1) * metadata.perTable);
			if (table === undefined && this.#reader.isBeyondBacking(cluster * this.#clusterBytes)) {
				cluster = tableEnd;
				continue;
			}
			const from = cluster;
			await metadata.change(async () => {
				for (let i = from; i < tableEnd; i++) {
					const before = metadata.mapping(metadata.peekTable(i) ?? (await metadata.table(i)), i);
					const after = this.#cleared(i, before);
					if (after !== before) await this.#map(i, after);
				}
			});
			cluster = tableEnd;
		}
		if (mustZero && metadata.header.version === 2 && this.#reader.backing !== undefined) await this.#zeroVersion2(first, last);
	}

	/** What a cluster of zeros is written down as. */
	#cleared(cluster: number, before: Mapping): Mapping {
		if (before.kind === "zero" && before.hostOffset === 0) return before;
		const isBeyond = this.#reader.isBeyondBacking(cluster * this.#clusterBytes);
		if (isBeyond) return before.kind === "unallocated" ? before : UNALLOCATED;
		return this.#metadata.header.version >= 3 ? ZERO : before;
	}

	/** Version 2 has no word for a cluster of zeros that hides what stands below: they are written out. */
	async #zeroVersion2(first: number, last: number): Promise<void> {
		for (let cluster = first; cluster < last && !this.#reader.isBeyondBacking(cluster * this.#clusterBytes); cluster++) {
			const offsetBytes = cluster * this.#clusterBytes;
			await this.#writeAllocating(offsetBytes, new Uint8Array(Math.min(this.#clusterBytes, this.sizeBytes - offsetBytes)));
		}
	}

	async #zeroPart(offsetBytes: number, lengthBytes: number): Promise<void> {
		const kinds = await this.map(offsetBytes, lengthBytes);
		const isZeroAlready = ({ kind }: { kind: Mapping["kind"] }) =>
			kind === "zero" || (kind === "unallocated" && this.#reader.isBeyondBacking(offsetBytes));
		if (!kinds.every(isZeroAlready)) await this.write(offsetBytes, new Uint8Array(lengthBytes));
	}

	/** Keeps what waits in memory bounded. */
	async #relieve(): Promise<void> {
		if (this.#metadata.isCrowded) await this.#metadata.flush();
	}
}

function isZero(bytes: Uint8Array): boolean {
	for (const byte of bytes) if (byte !== 0) return false;
	return true;
}
