import { type ByteStore, DiskError } from "../../disk.ts";
import { decodeUtf8 } from "../../utf8.ts";
import type { Qcow2Header } from "./header.ts";

/** A snapshot inside an image (section "Snapshots"). */
export interface Qcow2Snapshot {
	readonly id: string;
	readonly name: string;
	/** Seconds since 1970, UTC. */
	readonly dateS: number;
	readonly guestClockNs: number;
	/** Bytes of machine state kept behind the disk's end; 0 for the disk alone. */
	readonly machineStateBytes: number;
	/** The disk's size then, where it is known. */
	readonly sizeBytes: number | undefined;
	readonly l1Offset: number;
	readonly l1Entries: number;
	/** Where its entry stands in the store. */
	readonly entryOffset: number;
	readonly entryBytes: number;
}

const ENTRY_BYTES = 40;
const MAX_EXTRA_BYTES = 1024;
const MAX_L1_ENTRIES = (32 * 1024 * 1024) / 8;

/** @throws DiskError corrupt, naming the entry's place */
export async function readSnapshots(store: ByteStore, header: Qcow2Header): Promise<readonly Qcow2Snapshot[]> {
	const snapshots: Qcow2Snapshot[] = [];
	const fileBytes = await store.size();
	const fixed = new Uint8Array(ENTRY_BYTES);
	const view = new DataView(fixed.buffer);
	const u64 = (at: number) => view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
	let at = header.snapshotsOffset;
	for (let i = 0; i < header.snapshotCount; i++) {
		const fail = (message: string): never => {
			throw new DiskError("corrupt", store.name, `snapshot ${i}: ${message}`, { offsetBytes: at });
		};
		if (at + ENTRY_BYTES > fileBytes) fail("the snapshot table runs past the end of the file");
		await store.read(at, fixed);
		const idBytes = view.getUint16(12);
		const nameBytes = view.getUint16(14);
		const extraBytes = view.getUint32(36);
		if (extraBytes > MAX_EXTRA_BYTES) fail(`${extraBytes} bytes of extra data`);
		const variable = new Uint8Array(extraBytes + idBytes + nameBytes);
		if (at + ENTRY_BYTES + variable.length > fileBytes) fail("the snapshot table runs past the end of the file");
		await store.read(at + ENTRY_BYTES, variable);
		const extra = new DataView(variable.buffer, 0, extraBytes);
		const extra64 = (from: number) => extra.getUint32(from) * 2 ** 32 + extra.getUint32(from + 4);
		const l1Offset = u64(0);
		const l1Entries = view.getUint32(8);
		if (l1Entries > MAX_L1_ENTRIES || l1Offset % 2 ** header.clusterBits !== 0 || l1Offset + 8 * l1Entries > fileBytes)
			fail(`an L1 table of ${l1Entries} entries at ${l1Offset}`);
		const entryBytes = Math.ceil((ENTRY_BYTES + variable.length) / 8) * 8;
		snapshots.push({
			id: decodeUtf8(variable.subarray(extraBytes, extraBytes + idBytes)),
			name: decodeUtf8(variable.subarray(extraBytes + idBytes)),
			dateS: view.getUint32(16),
			guestClockNs: u64(24),
			machineStateBytes: extraBytes >= 8 ? extra64(0) : view.getUint32(32),
			sizeBytes: extraBytes >= 16 ? extra64(8) : undefined,
			l1Offset,
			l1Entries,
			entryOffset: at,
			entryBytes,
		});
		at += entryBytes;
	}
	return snapshots;
}
