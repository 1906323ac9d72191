import { BitSet } from "../../bit-set.ts";
import { type ByteStore, DiskError } from "../../disk.ts";
import { clustersOf, entryOffset, hasReservedBits, isCopied, readMapping } from "./entries.ts";
import type { Qcow2Header } from "./header.ts";
import type { Refcounts } from "./refcounts.ts";

/** L2 tables read at a time. */
const AT_A_TIME = 16;

/**
 * Looks over who owns what in the active disk, before anything is written: a cluster that two places claim, that holds
 * tables too, or that counts as free would be overwritten by a write that means well.
 * @throws DiskError corrupt, at the entry that makes the claim
 */
export async function checkOwnership(
	store: ByteStore,
	header: Qcow2Header,
	l1: DataView,
	tables: ReadonlySet<number>,
	refcounts: Refcounts,
): Promise<void> {
	const walk = new OwnershipWalk(store, header, tables, refcounts, await store.size());
	for (let at = 0; at < l1.byteLength; ) {
		const batch: number[] = [];
		for (; at < l1.byteLength && batch.length < AT_A_TIME; at += 8) if (entryOffset(l1, at) !== 0) batch.push(at);
		await walk.look(l1, batch);
	}
}

class OwnershipWalk {
	readonly #store: ByteStore;
	readonly #header: Qcow2Header;
	readonly #tables: ReadonlySet<number>;
	readonly #refcounts: Refcounts;
	readonly #fileBytes: number;
	readonly #clusterBytes: number;
	readonly #seenTables = new Set<number>();
	/** Clusters that somebody has claimed, and those that somebody has claimed for himself alone. */
	readonly #claimed = new BitSet();
	readonly #claimedAlone = new BitSet();
	readonly #claimedCompressed = new BitSet();

	constructor(store: ByteStore, header: Qcow2Header, tables: ReadonlySet<number>, refcounts: Refcounts, fileBytes: number) {
		this.#store = store;
		this.#header = header;
		this.#tables = tables;
		this.#refcounts = refcounts;
		this.#fileBytes = fileBytes;
		this.#clusterBytes = 2 ** header.clusterBits;
	}

	/** @param entries places in the L1 table */
	async look(l1: DataView, entries: readonly number[]): Promise<void> {
		const loaded = await Promise.all(entries.map((at) => this.#load(entryOffset(l1, at), this.#header.l1Offset + at)));
		for (const [index, view] of loaded.entries()) {
			const at = entries[index] as number;
			const offset = entryOffset(l1, at);
			const isAlone = isCopied(l1, at);
			await this.#count(offset / this.#clusterBytes, isAlone, this.#header.l1Offset + at);
			await this.#lookAt(view, offset);
		}
	}

	async #load(offset: number, namedAt: number): Promise<DataView> {
		const { name } = this.#store;
		if (offset % this.#clusterBytes !== 0 || offset < this.#clusterBytes || offset >= this.#fileBytes)
			throw new DiskError("corrupt", name, `an L2 table is said to lie at ${offset}`, { offsetBytes: namedAt });
		if (this.#seenTables.has(offset))
			throw new DiskError("corrupt", name, `the L2 table at ${offset} is named twice`, { offsetBytes: namedAt });
		this.#seenTables.add(offset);
		const bytes = new Uint8Array(this.#clusterBytes);
		await this.#store.read(offset, bytes);
		return new DataView(bytes.buffer);
	}

	async #lookAt(view: DataView, tableOffset: number): Promise<void> {
		const { clusterBits } = this.#header;
		for (let at = 0; at < view.byteLength; at += 8) {
			// Most entries of most tables are empty.
			if (view.getUint32(at) === 0 && view.getUint32(at + 4) <= 1) continue;
			if (hasReservedBits(view, at))
				throw new DiskError(
					"corrupt",
					this.#store.name,
					"an L2 entry with reserved bits set; repair the image, or open it for reading only",
					{
						offsetBytes: tableOffset + at,
					},
				);
			const mapping = readMapping(view, at, clusterBits);
			if (mapping.kind === "data" || mapping.kind === "zero") this.#checkPlace(mapping, tableOffset + at);
			const { first, count } = clustersOf(mapping, clusterBits);
			for (let cluster = first; cluster < first + count; cluster++) {
				const namedAt = tableOffset + at;
				if (mapping.kind === "compressed") await this.#claimShared(cluster, namedAt);
				else await this.#claim(cluster, isCopied(view, at), namedAt);
			}
		}
	}

	/** A zero cluster's place is not read, and may lie behind the end where it was set aside. */
	#checkPlace({ kind, hostOffset }: { readonly kind: string; readonly hostOffset: number }, namedAt: number): void {
		if (hostOffset % this.#clusterBytes === 0 && (kind === "zero" || hostOffset < this.#fileBytes)) return;
		throw new DiskError("corrupt", this.#store.name, `a guest cluster is said to lie at ${hostOffset}; open the image for reading only`, {
			offsetBytes: namedAt,
		});
	}

	async #claim(cluster: number, isAlone: boolean, namedAt: number): Promise<void> {
		this.#refuseTables(cluster, namedAt);
		const isTaken = this.#claimed.has(cluster);
		if (this.#claimedCompressed.has(cluster) || (isTaken && (isAlone || this.#claimedAlone.has(cluster))))
			this.#refuse(cluster, namedAt, "belongs to another guest cluster, too");
		this.#claimed.add(cluster);
		if (isAlone) this.#claimedAlone.add(cluster);
		const count = await this.#count(cluster, isAlone, namedAt);
		if (isTaken && count < 2) this.#refuse(cluster, namedAt, "belongs to several guest clusters and is counted once");
	}

	/** Whoever gives compressed data up takes one from the count of each cluster that it says it reaches into. */
	async #claimShared(cluster: number, namedAt: number): Promise<void> {
		this.#refuseTables(cluster, namedAt);
		if (this.#claimed.has(cluster)) this.#refuse(cluster, namedAt, "belongs to another guest cluster, too");
		this.#claimedCompressed.add(cluster);
		await this.#count(cluster, false, namedAt);
	}

	#refuseTables(cluster: number, namedAt: number): void {
		if (cluster === 0 || this.#tables.has(cluster)) this.#refuse(cluster, namedAt, "holds tables of the image");
	}

	async #count(cluster: number, isAlone: boolean, namedAt: number): Promise<number> {
		const count = this.#refcounts.peek(cluster) ?? (await this.#refcounts.get(cluster));
		if (count === 0) this.#refuse(cluster, namedAt, "is in use and counted as free");
		if (isAlone && count !== 1) this.#refuse(cluster, namedAt, `is marked as used once and counted ${count} times`);
		return count;
	}

	#refuse(cluster: number, namedAt: number, why: string): never {
		throw new DiskError(
			"corrupt",
			this.#store.name,
			`the cluster at ${cluster * this.#clusterBytes} ${why}; repair the image, or open it for reading only`,
			{
				offsetBytes: namedAt,
			},
		);
	}
}
