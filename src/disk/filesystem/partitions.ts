import type { Disk } from "../disk.ts";

/** Where a file system may be. */
export interface Partition {
	/** 1 and up, as Linux counts; 0: the whole disk. */
	readonly number: number;
	readonly startBytes: number;
}

const SECTOR_BYTES = 512;
const MBR_ENTRIES = 446;
const EXTENDED = [0x05, 0x0f, 0x85];
const GPT_PROTECTIVE = 0xee;
const MAX_LOGICAL = 64;
const MAX_GPT_ENTRIES = 128;

/** The whole disk, and the partitions of its table (MBR with logical ones, or GPT; UEFI 2.10 §5) if it has one. */
export async function partitionsOf(disk: Disk): Promise<readonly Partition[]> {
	const found: Partition[] = [{ number: 0, startBytes: 0 }];
	const table = await readTable(disk, 0);
	if (table?.some(({ type }) => type === GPT_PROTECTIVE) === true) return [...found, ...(await gptPartitions(disk))];
	for (const [index, { type, startSectors }] of (table ?? []).entries()) {
		if (type === 0 || startSectors === 0) continue;
		if (!EXTENDED.includes(type)) found.push({ number: index + 1, startBytes: startSectors * SECTOR_BYTES });
		else found.push(...(await logicalPartitions(disk, startSectors)));
	}
	return found;
}

async function readTable(disk: Disk, sector: number) {
	const bytes = await readAt(disk, sector * SECTOR_BYTES, SECTOR_BYTES);
	if (bytes.getUint16(510, true) !== 0xaa55) return undefined;
	return [0, 1, 2, 3].map((index) => {
		const at = MBR_ENTRIES + 16 * index;
		return { type: bytes.getUint8(at + 4), startSectors: bytes.getUint32(at + 8, true) };
	});
}

/** A chain of tables with one partition each, whose places count from the extended partition's. */
async function logicalPartitions(disk: Disk, extended: number): Promise<Partition[]> {
	const found: Partition[] = [];
	for (let at = extended; found.length < MAX_LOGICAL; ) {
		const [own, next] = (await readTable(disk, at)) ?? [];
		if (own === undefined || own.type === 0) break;
		found.push({ number: 5 + found.length, startBytes: (at + own.startSectors) * SECTOR_BYTES });
		if (next === undefined || next.type === 0 || next.startSectors === 0) break;
		at = extended + next.startSectors;
	}
	return found;
}

async function gptPartitions(disk: Disk): Promise<Partition[]> {
	const header = await readAt(disk, SECTOR_BYTES, SECTOR_BYTES);
	if (header.getBigUint64(0, true) !== 0x5452_4150_2049_4645n) return [];
	const entryBytes = header.getUint32(84, true);
	const count = Math.min(header.getUint32(80, true), MAX_GPT_ENTRIES);
	if (entryBytes < 128 || entryBytes > 4096) return [];
	const length = Math.ceil((count * entryBytes) / SECTOR_BYTES) * SECTOR_BYTES;
	const entries = await readAt(disk, Number(header.getBigUint64(72, true)) * SECTOR_BYTES, length);
	const found: Partition[] = [];
	for (let index = 0; index < count; index++) {
		const at = index * entryBytes;
		const isUsed = entries.getBigUint64(at, true) !== 0n || entries.getBigUint64(at + 8, true) !== 0n;
		if (isUsed) found.push({ number: index + 1, startBytes: Number(entries.getBigUint64(at + 32, true)) * SECTOR_BYTES });
	}
	return found;
}

/** What lies behind the disk's end reads as zeros. */
async function readAt(disk: Disk, offsetBytes: number, lengthBytes: number): Promise<DataView> {
	const bytes = new Uint8Array(lengthBytes);
	if (Number.isSafeInteger(offsetBytes) && offsetBytes + lengthBytes <= disk.sizeBytes) await disk.read(offsetBytes, bytes);
	return new DataView(bytes.buffer);
}
