import type { ByteStore } from "../../disk.ts";
import { writeCount } from "./refcounts.ts";
import { Table } from "./tables.ts";

/** Where a freshly written refcount structure lies. */
export interface BuiltRefcounts {
	readonly tableOffset: number;
	readonly tableClusters: number;
	/** Clusters of the file in use now, the structure's own included. */
	readonly endCluster: number;
}

/**
 * Writes refcount blocks and a refcount table behind the clusters counted in `counts`, for those and for themselves.
 * Nothing points at it yet.
 */
export async function buildRefcounts(store: ByteStore, counts: Uint32Array, clusterBits: number, order: number): Promise<BuiltRefcounts> {
	const clusterBytes = 2 ** clusterBits;
	const perBlock = 2 ** (clusterBits + 3 - order);
	const used = counts.length;
	let blocks = 0;
	let tableClusters = 0;
	for (let isStable = false; !isStable; ) {
		const neededBlocks = Math.ceil((used + blocks + tableClusters) / perBlock);
		const neededTable = Math.ceil((neededBlocks * 8) / clusterBytes);
		isStable = neededBlocks === blocks && neededTable === tableClusters;
		blocks = neededBlocks;
		tableClusters = neededTable;
	}
	const endCluster = used + blocks + tableClusters;
	const table = new Uint8Array(tableClusters * clusterBytes);
	const tableView = new DataView(table.buffer);
	for (let block = 0; block < blocks; block++) {
		const content = new Table(0, new Uint8Array(clusterBytes));
		for (let i = 0; i < perBlock; i++) {
			const cluster = block * perBlock + i;
			const count = cluster < used ? (counts[cluster] as number) : cluster < endCluster ? 1 : 0;
			if (count !== 0) writeCount(content, i, order, count);
		}
		const offset = (used + block) * clusterBytes;
		await store.write(offset, content.bytes);
		tableView.setBigUint64(8 * block, BigInt(offset));
	}
	const tableOffset = (used + blocks) * clusterBytes;
	await store.write(tableOffset, table);
	return { tableOffset, tableClusters, endCluster };
}
