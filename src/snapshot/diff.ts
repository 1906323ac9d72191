import { PAGE_BYTES } from "../base/units.ts";
import type { Disk } from "../disk/disk.ts";
import type { SnapshotRecord } from "./record.ts";
import type { SnapshotTree } from "./tree.ts";

/** A run of bytes that differ. */
export interface Extent {
	readonly offsetBytes: number;
	readonly lengthBytes: number;
}

export interface SnapshotDifference {
	/** Runs of pages of RAM, by their place in it. */
	readonly memory: readonly Extent[];
	/** For each disk that both have, its runs of blocks; undefined: it takes no part in snapshots. */
	readonly disks: readonly (readonly Extent[] | undefined)[];
}

/** Disks are compared in blocks of this size. */
export const BLOCK_BYTES = 4096;
const PIECE_BYTES = 1024 * 1024;

/** Where RAM differs between two snapshots of a tree. Costs no more than their tables. */
export function memoryDifference(tree: SnapshotTree, a: SnapshotRecord, b: SnapshotRecord): readonly Extent[] {
	const extents = new ExtentList();
	tree.tables.difference(a, b, (page) => extents.add(page * PAGE_BYTES, PAGE_BYTES));
	return extents.all;
}

/** Where two disks of one size differ, block by block; only `within` is looked at. */
export async function diskDifference(a: Disk, b: Disk, within: readonly Extent[]): Promise<readonly Extent[]> {
	const extents = new ExtentList();
	const [left, right] = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)];
	const sizeBytes = Math.min(a.sizeBytes, b.sizeBytes);
	for (const { offsetBytes, lengthBytes } of within) {
		const end = Math.min(sizeBytes, offsetBytes + lengthBytes);
		for (let from = offsetBytes - (offsetBytes % BLOCK_BYTES); from < end; from += PIECE_BYTES) {
			const length = Math.min(PIECE_BYTES, end - from);
			await Promise.all([a.read(from, left.subarray(0, length)), b.read(from, right.subarray(0, length))]);
			for (let at = 0; at < length; at += BLOCK_BYTES) {
				const count = Math.min(BLOCK_BYTES, length - at);
				if (!areEqual(left, right, at, count)) extents.add(from + at, count);
			}
		}
	}
	return extents.all;
}

function areEqual(a: Uint8Array, b: Uint8Array, from: number, count: number): boolean {
	for (let i = from; i < from + count; i++) if (a[i] !== b[i]) return false;
	return true;
}

/** Joins what lies side by side. */
class ExtentList {
	readonly all: Extent[] = [];

	add(offsetBytes: number, lengthBytes: number): void {
		const last = this.all.at(-1);
		if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes)
			this.all[this.all.length - 1] = { offsetBytes: last.offsetBytes, lengthBytes: last.lengthBytes + lengthBytes };
		else this.all.push({ offsetBytes, lengthBytes });
	}
}
