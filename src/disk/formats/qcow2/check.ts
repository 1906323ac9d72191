import { type ImageCheckReport, type ImageProblem, MAX_PROBLEMS } from "../../check-report.ts";
import { type ByteStore, DiskError } from "../../disk.ts";
import { ClusterCounts } from "./cluster-counts.ts";
import { clustersOf, entryOffset, hasReservedBits, isCopied, readMapping, writeOffset } from "./entries.ts";
import { EXTENSION, FIELD, INCOMPATIBLE, type Qcow2Header } from "./header.ts";
import { writeIncompatible, writeRefcountTable } from "./header-fields.ts";
import { readHeader } from "./metadata.ts";
import { buildRefcounts } from "./refcount-build.ts";
import { Refcounts } from "./refcounts.ts";
import { type Qcow2Snapshot, readSnapshots } from "./snapshots.ts";

export interface Qcow2CheckReport extends ImageCheckReport {
	readonly dataClusters: number;
	readonly compressedClusters: number;
	/** Clusters that the guest's disk would have if all were in use. */
	readonly totalClusters: number;
	/** Where the last cluster in use ends. */
	readonly endOffsetBytes: number;
}

const MAX_BITMAP_TABLE_BYTES = 32 * 1024 * 1024;

/** Counts who uses each cluster, by walking everything that points at one. */
export class Qcow2Walk {
	readonly store: ByteStore;
	readonly header: Qcow2Header;
	readonly clusterBytes: number;
	readonly counts: ClusterCounts;
	readonly problems: ImageProblem[] = [];
	errorCount = 0;
	leakCount = 0;
	dataClusters = 0;
	compressedClusters = 0;
	/** L2 tables by offset: how many L1 tables (the active one, snapshots') name each. */
	readonly #l2Uses = new Map<number, number>();
	/** Host clusters that belong to more than one guest cluster of the same disk, as far as that can be told. */
	sharedClusters = 0;
	/** L2 tables of the active L1 table, with its entry's place. */
	readonly activeTables: { readonly offset: number; readonly l1At: number }[] = [];
	#activeL1: DataView = new DataView(new ArrayBuffer(0));

	private constructor(store: ByteStore, header: Qcow2Header, fileBytes: number) {
		this.store = store;
		this.header = header;
		this.clusterBytes = 2 ** header.clusterBits;
		this.counts = new ClusterCounts(Math.ceil(fileBytes / this.clusterBytes));
	}

	static async run(store: ByteStore): Promise<Qcow2Walk> {
		const header = await readHeader(store);
		const walk = new Qcow2Walk(store, header, await store.size());
		walk.#use(0, walk.clusterBytes, 1, 0, "the header");
		await walk.#walkL1(header.l1Offset, header.l1Entries, true);
		await walk.#walkSnapshots();
		await walk.#walkBitmaps();
		for (const [offset, uses] of walk.#l2Uses) await walk.#walkL2(offset, uses);
		return walk;
	}

	problem(kind: ImageProblem["kind"], offsetBytes: number, message: string): void {
		if (kind === "error") this.errorCount++;
		else this.leakCount++;
		if (this.problems.length < MAX_PROBLEMS) this.problems.push({ kind, offsetBytes, message });
	}

	/** Counts `length` bytes at `offset` as used; answers whether they lie within the file. */
	#use(offset: number, length: number, uses: number, namedAt: number, what: string): boolean {
		const first = Math.floor(offset / this.clusterBytes);
		const last = Math.floor((offset + Math.max(length, 1) - 1) / this.clusterBytes);
		if (last >= this.counts.length) {
			this.problem("error", namedAt, `${what} is said to lie at ${offset}, past the end of the file`);
			return false;
		}
		for (let cluster = first; cluster <= last; cluster++) this.counts.add(cluster, uses);
		return true;
	}

	#useTable(offset: number, length: number, namedAt: number, what: string): boolean {
		if (offset % this.clusterBytes === 0) return this.#use(offset, length, 1, namedAt, what);
		this.problem("error", namedAt, `${what} is said to lie at ${offset}, which is within a cluster`);
		return false;
	}

	async #walkL1(offset: number, entries: number, isActive: boolean): Promise<void> {
		if (entries === 0) return;
		const view = new DataView(new ArrayBuffer(entries * 8));
		if (!this.#useTable(offset, entries * 8, FIELD.L1_TABLE_OFFSET, "the L1 table")) return;
		await this.store.read(offset, new Uint8Array(view.buffer));
		if (isActive) this.#activeL1 = view;
		const seen = new Set<number>();
		for (let at = 0; at < entries * 8; at += 8) {
			const l2 = entryOffset(view, at);
			if (l2 === 0) continue;
			if (seen.has(l2)) this.problem("error", offset + at, `the L2 table at ${l2} is named twice`);
			else if (this.#useTable(l2, this.clusterBytes, offset + at, "an L2 table")) {
				this.#l2Uses.set(l2, (this.#l2Uses.get(l2) ?? 0) + 1);
				if (isActive) this.activeTables.push({ offset: l2, l1At: at });
			}
			seen.add(l2);
		}
	}

	async #walkL2(offset: number, uses: number): Promise<void> {
		const view = await this.readTable(offset);
		const { clusterBits } = this.header;
		for (let at = 0; at < this.clusterBytes; at += 8) {
			const mapping = readMapping(view, at, clusterBits);
			if (mapping.kind === "unallocated") continue;
			if (hasReservedBits(view, at)) this.problem("error", offset + at, "an L2 entry with reserved bits set");
			const { first, count } = clustersOf(mapping, clusterBits);
			if (count === 0) continue;
			if (mapping.kind === "compressed") this.compressedClusters++;
			else if (mapping.hostOffset % this.clusterBytes !== 0) {
				this.problem("error", offset + at, `a cluster is said to lie at ${mapping.hostOffset}, which is within one`);
				continue;
			}
			if (mapping.kind !== "compressed" && this.header.snapshotCount === 0 && this.counts.get(first) > 0) this.sharedClusters++;
			if (this.#use(first * this.clusterBytes, count * this.clusterBytes, uses, offset + at, "a cluster")) this.dataClusters++;
		}
	}

	async #walkSnapshots(): Promise<void> {
		let snapshots: readonly Qcow2Snapshot[];
		try {
			snapshots = await readSnapshots(this.store, this.header);
		} catch (error) {
			if (!(error instanceof DiskError)) throw error;
			this.problem("error", error.offsetBytes ?? this.header.snapshotsOffset, error.message);
			return;
		}
		const last = snapshots.at(-1);
		if (last === undefined) return;
		const tableBytes = last.entryOffset + last.entryBytes - this.header.snapshotsOffset;
		this.#useTable(this.header.snapshotsOffset, tableBytes, FIELD.SNAPSHOTS_OFFSET, "the snapshot table");
		for (const { l1Offset, l1Entries } of snapshots) await this.#walkL1(l1Offset, l1Entries, false);
	}

	/** Section "Bitmaps": a directory, tables, clusters of bits. Only valid while its autoclear bit stands. */
	async #walkBitmaps(): Promise<void> {
		const extension = this.header.extensions.find(({ type }) => type === EXTENSION.BITMAPS);
		if (extension === undefined || (this.header.autoclear & 1) === 0 || extension.data.length < 24) return;
		const head = new DataView(extension.data.buffer, extension.data.byteOffset, extension.data.length);
		const directoryBytes = Number(head.getBigUint64(8));
		const directoryOffset = Number(head.getBigUint64(16));
		if (directoryBytes > MAX_BITMAP_TABLE_BYTES) return this.problem("error", 0, `a bitmap directory of ${directoryBytes} bytes`);
		if (!this.#useTable(directoryOffset, directoryBytes, 0, "the bitmap directory")) return;
		const directory = new Uint8Array(directoryBytes);
		await this.store.read(directoryOffset, directory);
		const view = new DataView(directory.buffer);
		for (let at = 0; at + 24 <= directoryBytes; ) {
			await this.#walkBitmapTable(Number(view.getBigUint64(at)), view.getUint32(at + 8), directoryOffset + at);
			at += Math.ceil((24 + view.getUint16(at + 18) + view.getUint32(at + 20)) / 8) * 8;
		}
	}

	async #walkBitmapTable(offset: number, entries: number, namedAt: number): Promise<void> {
		if (entries * 8 > MAX_BITMAP_TABLE_BYTES) return this.problem("error", namedAt, `a bitmap table of ${entries} entries`);
		if (entries === 0 || !this.#useTable(offset, entries * 8, namedAt, "a bitmap table")) return;
		const view = new DataView(new ArrayBuffer(entries * 8));
		await this.store.read(offset, new Uint8Array(view.buffer));
		for (let at = 0; at < entries * 8; at += 8) {
			const cluster = entryOffset(view, at);
			if (cluster !== 0) this.#useTable(cluster, this.clusterBytes, offset + at, "a cluster of a bitmap");
		}
	}

	async readTable(offset: number): Promise<DataView> {
		const bytes = new Uint8Array(this.clusterBytes);
		await this.store.read(offset, bytes);
		return new DataView(bytes.buffer);
	}

	/** The refcount structure's own clusters; not walked by `run`, since a repair writes another one. */
	async walkRefcountStructure(): Promise<void> {
		const { refcountTableOffset: offset, refcountTableClusters } = this.header;
		const length = refcountTableClusters * this.clusterBytes;
		this.#useTable(offset, length, FIELD.REFCOUNT_TABLE_OFFSET, "the refcount table");
		const view = new DataView(new ArrayBuffer(length));
		await this.store.read(offset, new Uint8Array(view.buffer));
		for (let at = 0; at < length; at += 8) {
			const block = entryOffset(view, at);
			if (block !== 0) this.#useTable(block, this.clusterBytes, offset + at, "a refcount block");
		}
	}

	/**
	 * "Copied" means: nobody else uses this, write in place. Compares the active tables' flags with the counts, and puts
	 * them right if told to.
	 */
	async checkCopied(isRepairing: boolean): Promise<void> {
		const isAlone = (offset: number) => this.counts.get(Math.floor(offset / this.clusterBytes)) === 1;
		for (const { offset, l1At } of this.activeTables) {
			const l1 = this.#activeL1;
			if (isCopied(l1, l1At) !== isAlone(offset)) {
				this.problem(
					"error",
					this.header.l1Offset + l1At,
					`the L2 table at ${offset} is wrongly marked as ${isAlone(offset) ? "shared" : "unshared"}`,
				);
				writeOffset(l1, l1At, offset, isAlone(offset));
				if (isRepairing) await this.store.write(this.header.l1Offset + l1At, new Uint8Array(l1.buffer, l1At, 8));
			}
			const view = await this.readTable(offset);
			let isChanged = false;
			for (let at = 0; at < this.clusterBytes; at += 8) {
				const mapping = readMapping(view, at, this.header.clusterBits);
				if ((mapping.kind !== "data" && mapping.kind !== "zero") || mapping.hostOffset === 0) continue;
				const alone = isAlone(mapping.hostOffset);
				if (isCopied(view, at) === alone) continue;
				this.problem("error", offset + at, `the cluster at ${mapping.hostOffset} is wrongly marked as ${alone ? "shared" : "unshared"}`);
				writeOffset(view, at, mapping.hostOffset, alone, mapping.kind === "zero" ? 1 : 0);
				isChanged = true;
			}
			if (isRepairing && isChanged) await this.store.write(offset, new Uint8Array(view.buffer));
		}
	}

	report(): Qcow2CheckReport {
		return {
			problems: this.problems,
			errorCount: this.errorCount,
			leakCount: this.leakCount,
			dataClusters: this.dataClusters,
			compressedClusters: this.compressedClusters,
			totalClusters: Math.ceil(this.header.sizeBytes / this.clusterBytes),
			endOffsetBytes: this.counts.end * this.clusterBytes,
		};
	}
}

/** Looks an image over without changing anything. @throws DiskError if not even its header makes sense */
export async function checkQcow2(store: ByteStore): Promise<Qcow2CheckReport> {
	const walk = await Qcow2Walk.run(store);
	await walk.walkRefcountStructure();
	const { clusterBytes } = walk;
	try {
		const refcounts = await Refcounts.open(store, walk.header, new Set());
		const differ = (cluster: number, expected: number, counted: number) =>
			walk.problem(counted < expected ? "error" : "leak", cluster * clusterBytes, `${expected} users, and a reference count of ${counted}`);
		for await (const [cluster, counted] of refcounts.counted()) {
			const expected = walk.counts.get(cluster);
			if (counted !== expected) differ(cluster, expected, counted);
		}
		for (const [cluster, expected] of walk.counts.entries()) if ((await refcounts.get(cluster)) === 0) differ(cluster, expected, 0);
	} catch (error) {
		if (!(error instanceof DiskError)) throw error;
		walk.problem("error", error.offsetBytes ?? 0, error.message);
	}
	await walk.checkCopied(false);
	return walk.report();
}

/**
 * Counts all references afresh, writes them down beside the old counts, and changes over; clears the "dirty" and
 * "corrupt" marks if nothing is left that counting cannot cure. Answers what remains wrong.
 * @throws DiskError corrupt, having written nothing, where counts are all that is to be put right and more is wrong
 */
export async function repair(store: ByteStore, options: { readonly isForCountsOnly?: boolean } = {}): Promise<Qcow2CheckReport> {
	const walk = await Qcow2Walk.run(store);
	const { header, counts } = walk;
	const remaining = walk.report();
	if (options.isForCountsOnly === true && remaining.errorCount + walk.sharedClusters > 0) {
		const [first] = remaining.problems;
		const what = first?.message ?? `${walk.sharedClusters} clusters belong to several guest clusters`;
		throw new DiskError("corrupt", store.name, `was not closed by its last writer, and is damaged: ${what}; repair it`, {
			offsetBytes: first?.offsetBytes ?? header.l1Offset,
		});
	}
	await walk.checkCopied(true);
	const built = await buildRefcounts(store, counts, header.clusterBits, header.refcountOrder);
	await store.flush();
	await writeRefcountTable(store, built.tableOffset, built.tableClusters);
	await store.flush();
	if (header.version >= 3 && remaining.errorCount === 0) {
		await writeIncompatible(store, header.incompatible & ~(INCOMPATIBLE.DIRTY | INCOMPATIBLE.CORRUPT));
		await store.flush();
	}
	return remaining;
}
