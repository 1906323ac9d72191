import { type ByteStore, DiskError } from "../../disk.ts";
import { type DirtyPart, type Table, TableCache } from "../../table-cache.ts";
import { FIELD, type Qcow2Header } from "./header.ts";

const BLOCK_CACHE_BYTES = 16 * 1024 * 1024;

/** Consecutive clusters of the store. */
export interface Run {
	readonly first: number;
	readonly count: number;
}

/** What a flush has to write, each group safe on the medium before the next begins. */
export interface RefcountChanges {
	readonly blocks: readonly DirtyPart[];
	/** The whole table where it has moved; else its changed entries, one by one. */
	readonly table: {
		readonly isMoved: boolean;
		readonly offset: number;
		readonly clusters: number;
		readonly parts: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
	};
}

/**
 * How often each cluster of the store is in use (section "Refcount table" and "Refcount blocks"), and so which are free.
 * All of it is called from one place at a time. Changes stay in memory until a flush takes them.
 */
export class Refcounts {
	readonly #store: ByteStore;
	readonly #clusterBits: number;
	readonly #order: number;
	readonly #perBlockBits: number;
	readonly #cache: TableCache;
	/** Offsets of the refcount blocks, 0 where there is none. */
	#blocks: Float64Array;
	#tableOffset: number;
	#isMoved = false;
	readonly #dirtyEntries = new Set<number>();
	/** No free cluster lies below. */
	#hint = 0;
	/** Clusters that hold the image together; finding one of them "free" means that the counts are wrong. */
	readonly #metadata: Set<number>;

	private constructor(store: ByteStore, header: Qcow2Header, table: Uint8Array, metadata: Set<number>) {
		this.#store = store;
		this.#clusterBits = header.clusterBits;
		this.#order = header.refcountOrder;
		this.#perBlockBits = header.clusterBits + 3 - header.refcountOrder;
		this.#cache = new TableCache(store, 2 ** header.clusterBits, BLOCK_CACHE_BYTES);
		this.#tableOffset = header.refcountTableOffset;
		this.#metadata = metadata;
		const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
		this.#blocks = new Float64Array(table.length / 8);
		for (const index of this.#blocks.keys()) this.#blocks[index] = view.getUint32(8 * index) * 2 ** 32 + view.getUint32(8 * index + 4);
	}

	/** @param metadata clusters in use for tables, to which the refcount structure adds its own */
	static async open(store: ByteStore, header: Qcow2Header, metadata: Set<number>): Promise<Refcounts> {
		const clusterBytes = 2 ** header.clusterBits;
		const table = new Uint8Array(header.refcountTableClusters * clusterBytes);
		await store.read(header.refcountTableOffset, table);
		const refcounts = new Refcounts(store, header, table, metadata);
		const fileBytes = await store.size();
		for (const [index, offset] of refcounts.#blocks.entries()) {
			if (offset === 0) continue;
			if (offset % clusterBytes !== 0 || offset >= fileBytes)
				throw new DiskError("corrupt", store.name, `refcount block ${index} is said to lie at ${offset}`, {
					offsetBytes: header.refcountTableOffset + 8 * index,
				});
			// Also what keeps a search through the blocks within the size of the file.
			if (metadata.has(offset / clusterBytes))
				throw new DiskError("corrupt", store.name, `refcount block ${index} and something else both lie at ${offset}`, {
					offsetBytes: header.refcountTableOffset + 8 * index,
				});
			metadata.add(offset / clusterBytes);
		}
		for (let i = 0; i < header.refcountTableClusters; i++) {
			const cluster = header.refcountTableOffset / clusterBytes + i;
			if (metadata.has(cluster))
				throw new DiskError("corrupt", store.name, `the refcount table and something else both lie at ${cluster * clusterBytes}`, {
					offsetBytes: FIELD.REFCOUNT_TABLE_OFFSET,
				});
			metadata.add(cluster);
		}
		return refcounts;
	}

	get tableOffset(): number {
		return this.#tableOffset;
	}

	get tableClusters(): number {
		return Math.ceil((this.#blocks.length * 8) / 2 ** this.#clusterBits);
	}

	/** Changed blocks that wait for a flush. */
	get dirtyCount(): number {
		return this.#cache.dirtyCount;
	}

	get isCrowded(): boolean {
		return this.#cache.isCrowded;
	}

	/** Greatest count that an entry holds. */
	get maxCount(): number {
		return this.#order === 6 ? Number.MAX_SAFE_INTEGER : 2 ** (2 ** this.#order) - 1;
	}

	async get(cluster: number): Promise<number> {
		const offset = this.#blocks[Math.floor(cluster / 2 ** this.#perBlockBits)] ?? 0;
		if (offset === 0) return 0;
		const block = await this.#cache.get(offset);
		return readCount(block, cluster % 2 ** this.#perBlockBits, this.#order);
	}

	/** The same, if it is in memory. */
	peek(cluster: number): number | undefined {
		const offset = this.#blocks[Math.floor(cluster / 2 ** this.#perBlockBits)] ?? 0;
		const block = offset === 0 ? undefined : this.#cache.peek(offset);
		return block === undefined ? undefined : readCount(block, cluster % 2 ** this.#perBlockBits, this.#order);
	}

	/** Clusters with a count, block by block, and the count. */
	async *counted(): AsyncIterableIterator<[cluster: number, count: number]> {
		const perBlock = 2 ** this.#perBlockBits;
		for (const [index, offset] of this.#blocks.entries()) {
			if (offset === 0) continue;
			const block = await this.#cache.get(offset);
			for (let at = 0; at < perBlock; at++) {
				const count = readCount(block, at, this.#order);
				if (count !== 0) yield [index * perBlock + at, count];
			}
		}
	}

	/** Adds to a count that is there already (or gives a cluster beyond all blocks its first). */
	async add(cluster: number, delta: number): Promise<number> {
		const count = (await this.get(cluster)) + delta;
		if (count < 0 || count > this.maxCount)
			throw new DiskError("corrupt", this.#store.name, `the reference count of cluster ${cluster} would become ${count}`, {
				offsetBytes: cluster * 2 ** this.#clusterBits,
			});
		const block = await this.#blockFor(cluster);
		const at = cluster % 2 ** this.#perBlockBits;
		this.#set(block, at, count);
		if (count === 0) this.#hint = Math.min(this.#hint, cluster);
		return count;
	}

	/** Takes up to `want` free clusters that lie side by side, each with a count of 1. */
	async allocate(want: number): Promise<Run> {
		for (let cluster = this.#hint; ; cluster = this.#nextBlockStart(cluster)) {
			const run = this.#takeFrom(await this.#blockFor(cluster), cluster, want);
			if (run !== undefined) return run;
		}
	}

	/** The same, if everything it takes is in memory. */
	allocateNow(want: number): Run | undefined {
		for (let cluster = this.#hint; ; cluster = this.#nextBlockStart(cluster)) {
			const block = this.#blockNow(cluster);
			if (block === undefined) return undefined;
			const run = this.#takeFrom(block, cluster, want);
			if (run !== undefined) return run;
		}
	}

	#nextBlockStart(cluster: number): number {
		const perBlock = 2 ** this.#perBlockBits;
		return cluster - (cluster % perBlock) + perBlock;
	}

	/** The first free run from `cluster` on to the end of its block. */
	#takeFrom(block: Table, cluster: number, want: number): Run | undefined {
		const perBlock = 2 ** this.#perBlockBits;
		const base = cluster - (cluster % perBlock);
		const first = findFree(block, cluster - base, perBlock, this.#order);
		if (first === perBlock) return undefined;
		let count = 0;
		while (count < want && first + count < perBlock && readCount(block, first + count, this.#order) === 0) {
			this.#refuseMetadata(base + first + count);
			this.#set(block, first + count, 1);
			count++;
		}
		this.#hint = base + first + count;
		return { first: base + first, count };
	}

	/** Gives clusters back that `allocateNow` has just taken. */
	giveBackNow(run: Run): void {
		const block = this.#blockNow(run.first);
		if (block === undefined) return;
		for (let i = 0; i < run.count; i++) this.#set(block, (run.first + i) % 2 ** this.#perBlockBits, 0);
		this.#hint = Math.min(this.#hint, run.first);
	}

	/** Takes exactly `count` clusters side by side; answers the first. */
	async allocateContiguous(count: number): Promise<number> {
		const start = this.#hint;
		let first = start;
		for (let cluster = start; cluster < first + count; cluster++) {
			const block = await this.#blockFor(cluster);
			if (readCount(block, cluster % 2 ** this.#perBlockBits, this.#order) !== 0) first = cluster + 1;
		}
		for (let cluster = first; cluster < first + count; cluster++) {
			this.#refuseMetadata(cluster);
			await this.add(cluster, 1);
		}
		if (first === start) this.#hint = first + count;
		return first;
	}

	/** A cluster now holds tables (or no longer does). */
	noteMetadata(cluster: number, isMetadata: boolean): void {
		if (isMetadata) this.#metadata.add(cluster);
		else this.#metadata.delete(cluster);
	}

	takeChanges(): RefcountChanges {
		const blocks = this.#cache.takeDirty();
		const parts: { offset: number; bytes: Uint8Array }[] = [];
		if (this.#isMoved) parts.push({ offset: this.#tableOffset, bytes: this.#encodeTable() });
		else
			for (const index of this.#dirtyEntries) {
				const bytes = new Uint8Array(8);
				new DataView(bytes.buffer).setBigUint64(0, BigInt(this.#blocks[index] as number));
				parts.push({ offset: this.#tableOffset + 8 * index, bytes });
			}
		const table = { isMoved: this.#isMoved, offset: this.#tableOffset, clusters: this.tableClusters, parts };
		this.#isMoved = false;
		this.#dirtyEntries.clear();
		return { blocks, table };
	}

	/** What was taken has been written, or has not and counts as changed again. */
	settle(changes: RefcountChanges, isWritten: boolean): void {
		this.#cache.settle(changes.blocks, isWritten);
		if (isWritten) return;
		if (changes.table.isMoved || this.#tableOffset !== changes.table.offset) this.#isMoved = true;
		else for (const { offset } of changes.table.parts) this.#dirtyEntries.add((offset - this.#tableOffset) / 8);
	}

	#encodeTable(): Uint8Array {
		const bytes = new Uint8Array(this.tableClusters * 2 ** this.#clusterBits);
		const view = new DataView(bytes.buffer);
		for (const [index, offset] of this.#blocks.entries()) view.setBigUint64(8 * index, BigInt(offset));
		return bytes;
	}

	#set(block: Table, at: number, count: number): void {
		const [from, to] = writeCount(block, at, this.#order, count);
		this.#cache.touch(block, from, to);
	}

	#refuseMetadata(cluster: number): void {
		if (cluster !== 0 && !this.#metadata.has(cluster)) return;
		throw new DiskError("corrupt", this.#store.name, "a cluster with tables in it is counted as free", {
			offsetBytes: cluster * 2 ** this.#clusterBits,
		});
	}

	/** The block that counts `cluster`, made if there is none yet. */
	async #blockFor(cluster: number): Promise<Table> {
		const index = Math.floor(cluster / 2 ** this.#perBlockBits);
		if (index >= this.#blocks.length) await this.#growTable(index + 1);
		const offset = this.#blocks[index] as number;
		return offset !== 0 ? this.#cache.get(offset) : this.#newBlock(index);
	}

	#blockNow(cluster: number): Table | undefined {
		const index = Math.floor(cluster / 2 ** this.#perBlockBits);
		const offset = this.#blocks[index];
		return offset === undefined ? undefined : offset !== 0 ? this.#cache.peek(offset) : this.#newBlock(index);
	}

	#newBlock(index: number): Table {
		// None of its clusters is in use, so its first one may hold the block itself, which then counts itself.
		const home = index * 2 ** this.#perBlockBits;
		const block = this.#cache.add(home * 2 ** this.#clusterBits, new Uint8Array(2 ** this.#clusterBits));
		this.#set(block, 0, 1);
		this.#blocks[index] = block.offset;
		this.#dirtyEntries.add(index);
		this.#metadata.add(home);
		return block;
	}

	/** A longer table, elsewhere; the old one's clusters are free once the header names the new one. */
	async #growTable(minBlocks: number): Promise<void> {
		const clusterBytes = 2 ** this.#clusterBits;
		const oldFirst = this.#tableOffset / clusterBytes;
		const oldClusters = this.tableClusters;
		const newClusters = Math.max(Math.ceil((minBlocks * 8) / clusterBytes), Math.ceil(oldClusters * 1.5) + 1);
		const grown = new Float64Array((newClusters * clusterBytes) / 8);
		grown.set(this.#blocks);
		this.#blocks = grown;
		const first = await this.allocateContiguous(newClusters);
		this.#tableOffset = first * clusterBytes;
		this.#isMoved = true;
		for (let i = 0; i < newClusters; i++) this.#metadata.add(first + i);
		for (let i = 0; i < oldClusters; i++) {
			this.#metadata.delete(oldFirst + i);
			this.retired.push(oldFirst + i);
		}
	}

	/** Clusters of former refcount tables, to be freed after the next flush. */
	retired: number[] = [];
}

/** Reference counts narrower than a byte begin at its least significant bit; wider ones are big-endian. */
function readCount(block: Table, index: number, order: number): number {
	switch (order) {
		case 3:
			return block.bytes[index] as number;
		case 4:
			return block.view.getUint16(2 * index);
		case 5:
			return block.view.getUint32(4 * index);
		case 6:
			return block.view.getUint32(8 * index) * 2 ** 32 + block.view.getUint32(8 * index + 4);
		default: {
			const width = 1 << order;
			const bit = index * width;
			return ((block.bytes[bit >> 3] as number) >> (bit & 7)) & ((1 << width) - 1);
		}
	}
}

/** Answers which bytes changed. */
export function writeCount(block: Table, index: number, order: number, count: number): [from: number, to: number] {
	switch (order) {
		case 3:
			block.bytes[index] = count;
			return [index, index + 1];
		case 4:
			block.view.setUint16(2 * index, count);
			return [2 * index, 2 * index + 2];
		case 5:
			block.view.setUint32(4 * index, count);
			return [4 * index, 4 * index + 4];
		case 6:
			block.view.setBigUint64(8 * index, BigInt(count));
			return [8 * index, 8 * index + 8];
		default: {
			const width = 1 << order;
			const bit = index * width;
			const mask = ((1 << width) - 1) << (bit & 7);
			block.bytes[bit >> 3] = ((block.bytes[bit >> 3] as number) & ~mask) | (count << (bit & 7));
			return [bit >> 3, (bit >> 3) + 1];
		}
	}
}

function findFree(block: Table, from: number, end: number, order: number): number {
	for (let index = from; index < end; index++) if (readCount(block, index, order) === 0) return index;
	return end;
}
