import { type ByteStore, DiskError } from "../../disk.ts";
import { Serial } from "../../serial.ts";
import { Table, TableCache } from "../../table-cache.ts";
import { clustersOf, entryOffset, isCopied, type Mapping, readMapping, UNALLOCATED, writeMapping, writeOffset } from "./entries.ts";
import { encodeHeader, FIELD, l1EntriesFor, parseHeader, type Qcow2Header } from "./header.ts";
import { writeRefcountTable } from "./header-fields.ts";
import { checkOwnership } from "./ownership.ts";
import { Refcounts, type Run } from "./refcounts.ts";
import { type Qcow2Snapshot, readSnapshots } from "./snapshots.ts";

const L2_CACHE_BYTES = 32 * 1024 * 1024;
/** A header, its extensions and the backing file's name end here at the latest. */
const HEADER_READ_BYTES = 65536;

export interface Qcow2MetadataOptions {
	/** The id or name of an internal snapshot to look at instead of the active disk; for reading only. */
	readonly snapshot?: string;
	/** Writes to an image whose clusters' owners have not been looked over. */
	readonly force?: boolean;
}

/**
 * An image's tables: where each guest cluster lies. Changes gather in memory and reach the store in `flush`, in an order
 * that leaves a whole image behind wherever it is cut off: what is counted and written first, what points at it second,
 * what is given back last. A crash in between leaks clusters, nothing worse.
 */
export class Qcow2Metadata {
	readonly store: ByteStore;
	#header: Qcow2Header;
	readonly clusterBits: number;
	readonly clusterBytes: number;
	readonly refcounts: Refcounts;
	readonly #l1: Table;
	readonly #l2: TableCache;
	readonly #serial = new Serial();
	/** Clusters that nothing in memory points at any more, though the store may: free after the next flush. */
	#retired: number[] = [];
	#fileBytes: number;
	#flushing: Promise<void> | undefined;
	#nextFlush: Promise<void> | undefined;
	/** A failure that leaves memory and store apart: nothing is written after it. */
	#failure: DiskError | undefined;
	readonly #isReadOnly: boolean;

	private constructor(store: ByteStore, header: Qcow2Header, refcounts: Refcounts, l1: Table, fileBytes: number, isReadOnly: boolean) {
		this.store = store;
		this.#header = header;
		this.clusterBits = header.clusterBits;
		this.clusterBytes = 2 ** header.clusterBits;
		this.refcounts = refcounts;
		this.#l1 = l1;
		this.#l2 = new TableCache(store, this.clusterBytes, L2_CACHE_BYTES);
		this.#fileBytes = fileBytes;
		this.#isReadOnly = isReadOnly;
	}

	/** @throws DiskError corrupt, unsupported; not-found for a snapshot that is not there */
	static async open(store: ByteStore, isReadOnly: boolean, options: Qcow2MetadataOptions = {}): Promise<Qcow2Metadata> {
		const own = await readHeader(store);
		const { snapshot } = options;
		const snapshots = isReadOnly && snapshot === undefined ? [] : await readSnapshots(store, own);
		const header = snapshot === undefined ? own : snapshotHeader(own, snapshots, snapshot, store.name);
		const clusterBytes = 2 ** header.clusterBits;
		const fileBytes = await store.size();
		const l1 = new Table(header.l1Offset, new Uint8Array(header.l1Entries * 8));
		await store.read(header.l1Offset, l1.bytes);
		const isChecked = !isReadOnly && options.force !== true;
		const metadata = new Set<number>();
		const claim = (cluster: number, namedAt: number, what: string) => {
			if (isChecked && metadata.has(cluster))
				throw new DiskError("corrupt", store.name, `${what} and something else both lie at ${cluster * clusterBytes}`, {
					offsetBytes: namedAt,
				});
			metadata.add(cluster);
		};
		const claimTable = (offset: number, bytes: number, namedAt: number, what: string) => {
			for (let at = 0; at < bytes; at += clusterBytes) claim((offset + at) / clusterBytes, namedAt, what);
		};
		claimTable(header.l1Offset, l1.bytes.length, FIELD.L1_TABLE_OFFSET, "the L1 table");
		if (header.snapshotCount > 0) claim(header.snapshotsOffset / clusterBytes, FIELD.SNAPSHOTS_OFFSET, "the snapshot table");
		for (const { l1Offset, l1Entries, entryOffset: namedAt } of snapshots)
			claimTable(l1Offset, l1Entries * 8, namedAt, "a snapshot's L1 table");
		for (const [cluster, namedAt] of tablesOf(l1, fileBytes, clusterBytes)) claim(cluster, namedAt, "an L2 table");
		const refcounts = await Refcounts.open(store, header, metadata);
		if (isChecked) await checkOwnership(store, header, l1.view, metadata, refcounts);
		return new Qcow2Metadata(store, header, refcounts, l1, fileBytes, isReadOnly);
	}

	get header(): Qcow2Header {
		return this.#header;
	}

	/** Whether the image maps anything at all. */
	get isEmpty(): boolean {
		return this.#l1.bytes.every((byte) => byte === 0);
	}

	/** Writes down another backing file; for the caller to see to it that the disk reads the same. */
	async rename(backingFile: string, backingFormat: string): Promise<void> {
		await this.flush();
		const header: Qcow2Header = {
			...this.#header,
			backingFile,
			backingFormat,
			refcountTableOffset: this.refcounts.tableOffset,
			refcountTableClusters: this.refcounts.tableClusters,
		};
		const bytes = encodeHeader(header);
		if (bytes.length > this.clusterBytes)
			throw new DiskError("unsupported", this.store.name, "the backing file's name is too long for a header of one cluster");
		await this.store.write(0, bytes);
		await this.store.flush();
		this.#header = header;
	}

	/** Entries in an L2 table. */
	get perTable(): number {
		return this.clusterBytes / 8;
	}

	/** Where the store ends, writes in flight included: what lies behind reads as zeros. */
	get fileBytes(): number {
		return this.#fileBytes;
	}

	noteWritten(endBytes: number): void {
		this.#fileBytes = Math.max(this.#fileBytes, endBytes);
	}

	/** The table that maps `cluster` if it is in memory; undefined also means that a lookup has to wait for the store. */
	peekTable(cluster: number): Table | undefined {
		const offset = entryOffset(this.#l1.view, 8 * Math.floor(cluster / this.perTable));
		return offset === 0 ? undefined : this.#l2.peek(offset);
	}

	/** The table that maps `cluster`, or nothing where no cluster of it has ever been mapped. */
	async table(cluster: number): Promise<Table | undefined> {
		const at = 8 * Math.floor(cluster / this.perTable);
		const offset = entryOffset(this.#l1.view, at);
		if (offset === 0) return undefined;
		this.#checkTable(offset, at);
		return this.#l2.get(offset);
	}

	#checkTable(offset: number, l1At: number): void {
		if (
			offset >= this.clusterBytes &&
			offset % this.clusterBytes === 0 &&
			(offset < this.#fileBytes || this.#l2.peek(offset) !== undefined)
		)
			return;
		throw new DiskError("corrupt", this.store.name, `an L2 table is said to lie at ${offset}`, { offsetBytes: this.#l1.offset + l1At });
	}

	/** Whether `peekTable` tells all: the table is in memory, or there is none. */
	isAtHand(cluster: number): boolean {
		const offset = entryOffset(this.#l1.view, 8 * Math.floor(cluster / this.perTable));
		return offset === 0 || this.#l2.peek(offset) !== undefined;
	}

	/** What `table` (of `cluster`) says about it, checked. */
	mapping(table: Table | undefined, cluster: number): Mapping {
		if (table === undefined) return UNALLOCATED;
		const at = 8 * (cluster % this.perTable);
		const mapping = readMapping(table.view, at, this.clusterBits);
		if (mapping.kind === "unallocated" || mapping.hostOffset === 0) return mapping;
		const isAligned = mapping.kind === "compressed" || mapping.hostOffset % this.clusterBytes === 0;
		if (isAligned && mapping.hostOffset >= this.clusterBytes && mapping.hostOffset < this.#fileBytes) return mapping;
		// A zero cluster's place is not read, and may lie behind the end where it was set aside.
		if (isAligned && mapping.kind === "zero") return mapping;
		throw new DiskError("corrupt", this.store.name, `guest cluster ${cluster} is said to lie at ${mapping.hostOffset}`, {
			offsetBytes: table.offset + at,
		});
	}

	/** Runs a change of the tables, one at a time. */
	change<Result>(work: () => Promise<Result>): Promise<Result> {
		return this.#serial.run(async () => {
			this.checkAlive();
			return work();
		});
	}

	checkAlive(): void {
		if (this.#failure !== undefined) throw this.#failure;
		if (this.#isReadOnly) throw new DiskError("read-only", this.store.name, "the image is open for reading only");
	}

	/** Whether the tables may be changed right now, without waiting for a turn. */
	get isFree(): boolean {
		return this.#serial.isIdle && this.#failure === undefined && !this.#isReadOnly && !this.isCrowded;
	}

	/** Up to `want` clusters of room side by side (inside `change`). */
	allocate(want: number): Promise<Run> {
		return this.refcounts.allocate(want);
	}

	/** Clusters taken by `allocate` that found no use (inside `change`). */
	async giveBack(run: Run): Promise<void> {
		for (let i = 0; i < run.count; i++) await this.refcounts.add(run.first + i, -1);
	}

	/** Points a guest cluster elsewhere (inside `change`); what it occupied is freed in time. */
	async map(cluster: number, mapping: Mapping): Promise<void> {
		this.#mapIn(await this.#tableForWriting(cluster), cluster, mapping);
	}

	/** Whether `mapNow` has a table of this image's alone to write to. */
	canMapNow(cluster: number): boolean {
		return this.peekTable(cluster) !== undefined && isCopied(this.#l1.view, 8 * Math.floor(cluster / this.perTable));
	}

	/** As `map`, where `isFree` and `canMapNow` say that it can be done. */
	mapNow(cluster: number, mapping: Mapping): void {
		this.#mapIn(this.peekTable(cluster) as Table, cluster, mapping);
	}

	#mapIn(table: Table, cluster: number, mapping: Mapping): void {
		const at = 8 * (cluster % this.perTable);
		const before = readMapping(table.view, at, this.clusterBits);
		writeMapping(table.view, at, mapping, this.clusterBits);
		this.#l2.touch(table, at, at + 8);
		const { first, count } = clustersOf(before, this.clusterBits);
		for (let i = 0; i < count; i++) this.#retired.push(first + i);
	}

	/** The table itself if it is this image's alone, else a copy of it, or a new one. */
	async #tableForWriting(cluster: number): Promise<Table> {
		const index = Math.floor(cluster / this.perTable);
		const at = 8 * index;
		const old = await this.table(cluster);
		if (old !== undefined && isCopied(this.#l1.view, at)) return old;
		const { first } = await this.refcounts.allocate(1);
		this.refcounts.noteMetadata(first, true);
		const table = this.#l2.add(first * this.clusterBytes, old === undefined ? new Uint8Array(this.clusterBytes) : old.bytes.slice());
		writeOffset(this.#l1.view, at, table.offset, true);
		this.#l1.touch(at, at + 8);
		if (old !== undefined) this.#retired.push(old.offset / this.clusterBytes);
		return table;
	}

	/** Too much waits in memory for the next flush. */
	get isCrowded(): boolean {
		return this.#l2.isCrowded || this.refcounts.isCrowded;
	}

	/** Everything that `change` did before this call is safe on the medium when it resolves. */
	flush(): Promise<void> {
		if (this.#flushing === undefined) {
			this.#flushing = this.#flushOnce().finally(() => {
				this.#flushing = undefined;
			});
			return this.#flushing;
		}
		// One that began already may miss our changes; all that come meanwhile share the next.
		this.#nextFlush ??= this.#flushing
			.catch(() => {})
			.then(() => {
				this.#nextFlush = undefined;
				return this.flush();
			});
		return this.#nextFlush;
	}

	async #flushOnce(): Promise<void> {
		if (this.#failure !== undefined) throw this.#failure;
		const taken = await this.#serial.run(() => Promise.resolve(this.#take()));
		try {
			const { counts, tables, l1, retired } = taken;
			await this.#writeAll(counts.blocks.filter(({ table }) => table.isNew));
			if (counts.table.parts.length > 0) {
				// The refcount table may name a block only once the block is there; the header the table likewise.
				await this.store.flush();
				await this.#writeAll(counts.table.parts);
				if (counts.table.isMoved) {
					await this.store.flush();
					await writeRefcountTable(this.store, counts.table.offset, counts.table.clusters);
				}
			}
			await this.#writeAll(counts.blocks.filter(({ table }) => !table.isNew));
			await this.#writeAll(tables.filter(({ table }) => table.isNew));
			await this.store.flush();
			const old = tables.filter(({ table }) => !table.isNew);
			if (old.length > 0 || l1.length > 0) {
				await this.#writeAll(old);
				await this.#writeAll(l1);
				await this.store.flush();
			}
			this.#l2.settle(tables, true);
			this.refcounts.settle(counts, true);
			if (retired.length > 0) await this.#serial.run(() => this.#release(retired));
		} catch (error) {
			this.#l2.settle(taken.tables, false);
			this.refcounts.settle(taken.counts, false);
			for (const { offset, bytes } of taken.l1) this.#l1.touch(offset - this.#l1.offset, offset - this.#l1.offset + bytes.length);
			this.#retired.push(...taken.retired);
			if (error instanceof DiskError && error.kind === "corrupt") this.#failure = error;
			throw error;
		}
	}

	/** The changes as of one moment. */
	#take() {
		const counts = this.refcounts.takeChanges();
		const tables = this.#l2.takeDirty();
		const l1 = this.#l1.isDirty
			? [{ offset: this.#l1.offset + this.#l1.dirtyFrom, bytes: this.#l1.bytes.slice(this.#l1.dirtyFrom, this.#l1.dirtyTo) }]
			: [];
		this.#l1.dirtyFrom = Number.POSITIVE_INFINITY;
		this.#l1.dirtyTo = 0;
		const retired = [...this.#retired, ...this.refcounts.retired];
		this.#retired = [];
		this.refcounts.retired = [];
		return { counts, tables, l1, retired };
	}

	async #writeAll(parts: readonly { readonly offset: number; readonly bytes: Uint8Array }[]): Promise<void> {
		await Promise.all(parts.map(({ offset, bytes }) => this.store.write(offset, bytes)));
		for (const { offset, bytes } of parts) this.noteWritten(offset + bytes.length);
	}

	/** No entry on the medium points at these any more: their counts go down, and who reaches 0 is free. */
	async #release(clusters: readonly number[]): Promise<void> {
		for (const cluster of clusters) {
			if ((await this.refcounts.add(cluster, -1)) > 0) continue;
			this.refcounts.noteMetadata(cluster, false);
			this.#l2.drop(cluster * this.clusterBytes);
		}
	}

	/** Everything in memory goes out, the counts of freed clusters included. */
	async close(): Promise<void> {
		await this.flush();
		if (this.refcounts.dirtyCount > 0) await this.flush();
	}
}

/** Clusters with L2 tables, each once, and the first entry that names it. */
function tablesOf(l1: Table, fileBytes: number, clusterBytes: number): ReadonlyMap<number, number> {
	const tables = new Map<number, number>();
	for (let at = 0; at < l1.bytes.length; at += 8) {
		const offset = entryOffset(l1.view, at);
		const cluster = Math.floor(offset / clusterBytes);
		if (offset !== 0 && offset < fileBytes && !tables.has(cluster)) tables.set(cluster, l1.offset + at);
	}
	return tables;
}

/** The header that the image would have if the snapshot were its active disk. */
function snapshotHeader(header: Qcow2Header, snapshots: readonly Qcow2Snapshot[], wanted: string, name: string): Qcow2Header {
	const snapshot = snapshots.find(({ id }) => id === wanted) ?? snapshots.find((each) => each.name === wanted);
	if (snapshot === undefined) {
		const known = snapshots.map((each) => each.name).join(", ");
		throw new DiskError("not-found", name, `has no internal snapshot ${wanted}; ${known === "" ? "it has none" : `there are ${known}`}`);
	}
	const sizeBytes = snapshot.sizeBytes ?? header.sizeBytes;
	if (snapshot.l1Entries < l1EntriesFor(sizeBytes, header.clusterBits))
		throw new DiskError("corrupt", name, `snapshot ${snapshot.name}: ${snapshot.l1Entries} L1 entries for a disk of ${sizeBytes} bytes`, {
			offsetBytes: snapshot.entryOffset,
		});
	return { ...header, sizeBytes, l1Offset: snapshot.l1Offset, l1Entries: snapshot.l1Entries };
}

export async function readHeader(store: ByteStore): Promise<Qcow2Header> {
	const fileBytes = await store.size();
	const bytes = new Uint8Array(Math.min(HEADER_READ_BYTES, fileBytes));
	await store.read(0, bytes);
	return parseHeader(bytes, store.name, fileBytes);
}
