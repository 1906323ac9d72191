import { type ByteStore, DiskError } from "../../disk.ts";
import { Table } from "../../table-cache.ts";
import type { ClusterCounts } from "./cluster-counts.ts";
import { MAX_REFCOUNT_TABLE_BYTES } from "./header.ts";
import { writeCount } from "./refcounts.ts";

/** Where a freshly written refcount structure lies. */
export interface BuiltRefcounts {
	readonly tableOffset: number;
	readonly tableClusters: number;
}

/**
 * Writes refcount blocks and a refcount table behind the clusters counted in `counts`, for those and for themselves.
 * Nothing points at it yet.
 */
export async function buildRefcounts(store: ByteStore, counts: ClusterCounts, clusterBits: number, order: number): Promise<BuiltRefcounts> {
	const clusterBytes = 2 ** clusterBits;
	const perBlock = 2 ** (clusterBits + 3 - order);
	const used = counts.length;
	const usedBlocks: number[] = [];
	for (let block = 0; block * perBlock < used; block++) if (counts.hasAny(block * perBlock, perBlock)) usedBlocks.push(block);
	// The structure lies behind everything else and is counted by the last of its own blocks.
	let ownBlocks = 0;
	let blocks = 0;
	let tableClusters = 0;
	const firstOwn = Math.floor(used / perBlock);
	for (let isStable = false; !isStable; ) {
		const end = used + blocks + tableClusters;
		const lastOwn = Math.floor(Math.max(end - 1, used) / perBlock);
		const neededOwn = lastOwn - firstOwn + 1;
		const neededBlocks = usedBlocks.filter((block) => block < firstOwn).length + neededOwn;
		const neededTable = Math.ceil(((lastOwn + 1) * 8) / clusterBytes);
		isStable = neededBlocks === blocks && neededTable === tableClusters;
		ownBlocks = neededOwn;
		blocks = neededBlocks;
		tableClusters = neededTable;
	}
	if (tableClusters * clusterBytes > Math.max(MAX_REFCOUNT_TABLE_BYTES, clusterBytes))
		throw new DiskError("unsupported", store.name, `a file of ${used * clusterBytes} bytes is too long for clusters of ${clusterBytes}`);
	const endCluster = used + blocks + tableClusters;
	const table = new Uint8Array(tableClusters * clusterBytes);
	const tableView = new DataView(table.buffer);
	const all = [...usedBlocks.filter((block) => block < firstOwn), ...Array.from({ length: ownBlocks }, (_, i) => firstOwn + i)];
	for (const [i, block] of all.entries()) {
		const content = new Table(0, new Uint8Array(clusterBytes));
		for (let at = 0; at < perBlock; at++) {
			const cluster = block * perBlock + at;
			const count = cluster < used ? counts.get(cluster) : cluster < endCluster ? 1 : 0;
			if (count !== 0) writeCount(content, at, order, count);
		}
		const offset = (used + i) * clusterBytes;
		await store.write(offset, content.bytes);
		tableView.setBigUint64(8 * block, BigInt(offset));
	}
	const tableOffset = (used + blocks) * clusterBytes;
	await store.write(tableOffset, table);
	return { tableOffset, tableClusters };
}
