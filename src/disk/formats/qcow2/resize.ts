import { type ByteStore, type Disk, DiskError } from "../../disk.ts";
import { keepDiskOpen, keepOpen } from "../../keep-open.ts";
import { FIELD, l1EntriesFor } from "./header.ts";
import { writeField64, writeL1Table } from "./header-fields.ts";
import { Qcow2Metadata } from "./metadata.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";
import { readSnapshots } from "./snapshots.ts";

export interface Qcow2ResizeOptions {
	/** Without it, a size below the present one is refused: what lies behind the new end is lost. */
	readonly allowShrink?: boolean;
	/** The image's backing disk, if it has one: the room won must not show what that one holds there. */
	readonly backing?: Disk;
}

const MAX_L1_ENTRIES = (32 * 1024 * 1024) / 8;

/**
 * Gives the guest's disk another size. The image must not be open elsewhere; the store and the backing disk stay open.
 * @throws DiskError unsupported for a shrink that was not allowed, or where snapshots of another size would be lost
 */
export async function resizeQcow2(store: ByteStore, sizeBytes: number, options: Qcow2ResizeOptions = {}): Promise<void> {
	const { header } = await Qcow2Metadata.open(store, true);
	if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0)
		throw new DiskError("unsupported", store.name, `a disk of ${sizeBytes} bytes; it takes whole sectors of 512`);
	if (l1EntriesFor(sizeBytes, header.clusterBits) > MAX_L1_ENTRIES)
		throw new DiskError("unsupported", store.name, `a disk of ${sizeBytes} bytes needs larger clusters`);
	const snapshots = await readSnapshots(store, header);
	if (snapshots.some((snapshot) => snapshot.sizeBytes === undefined))
		throw new DiskError("unsupported", store.name, "has internal snapshots that do not say how large the disk was; delete them first");
	const before = header.sizeBytes;
	if (sizeBytes < before) {
		if (options.allowShrink !== true)
			throw new DiskError("unsupported", store.name, `shrinking from ${before} to ${sizeBytes} bytes loses what lies behind`);
		await zeroRange(store, sizeBytes, before, options.backing);
	} else await growL1(store, l1EntriesFor(sizeBytes, header.clusterBits));
	await writeField64(store, FIELD.SIZE, sizeBytes);
	await store.flush();
	const shown = Math.min(sizeBytes, options.backing?.sizeBytes ?? 0);
	if (shown > before) await zeroRange(store, before, shown, options.backing);
}

async function zeroRange(store: ByteStore, from: number, to: number, backing: Disk | undefined): Promise<void> {
	const first = Math.ceil(from / 512) * 512;
	const disk = await Qcow2Disk.open(keepOpen(store), backing === undefined ? {} : { backing: keepDiskOpen(backing) });
	await disk.writeZeroes(first, Math.floor((to - first) / 512) * 512);
	await disk.close();
}

/** A longer L1 table in another place, if the present one is too short. */
async function growL1(store: ByteStore, entries: number): Promise<void> {
	const metadata = await Qcow2Metadata.open(store, false);
	const { header, clusterBytes } = metadata;
	if (entries <= header.l1Entries) return;
	const clusters = Math.ceil((entries * 8) / clusterBytes);
	const first = await metadata.change(() => metadata.refcounts.allocateContiguous(clusters));
	const table = new Uint8Array(clusters * clusterBytes);
	await store.read(header.l1Offset, table.subarray(0, header.l1Entries * 8));
	await store.write(first * clusterBytes, table);
	await metadata.flush();
	await writeL1Table(store, first * clusterBytes, entries);
	await store.flush();
	const oldClusters = Math.ceil((header.l1Entries * 8) / clusterBytes);
	await metadata.change(async () => {
		for (let i = 0; i < oldClusters; i++) await metadata.refcounts.add(header.l1Offset / clusterBytes + i, -1);
	});
	await metadata.close();
}
