import { type ByteStore, DiskError } from "../../disk.ts";
import { encodeDescriptor, NO_PARENT_CID, type VmdkExtentLine, type VmdkType } from "./descriptor.ts";

export interface VmdkCreateOptions {
	readonly sizeBytes: number;
	readonly type?: Exclude<VmdkType, "streamOptimized">;
	/** The descriptor's own file name without its folder and ending: extents are named after it. */
	readonly baseName: string;
	/** Makes a file beside the descriptor. */
	readonly createExtent: (name: string) => Promise<ByteStore>;
	readonly parent?: { readonly file: string; readonly cid: number };
	/** Anything but 0xfffffffe and 0xffffffff. */
	readonly cid?: number;
}

const SECTOR = 512;
const GRAIN_SECTORS = 128;
const ENTRIES_PER_TABLE = 512;
const TABLE_SECTORS = (ENTRIES_PER_TABLE * 4) / SECTOR;
const DESCRIPTOR_SECTORS = 20;
/** Extents of "two gigabytes" are a little smaller, as VMware makes them. */
const SPLIT_SECTORS = 2047 * 2048;

/** Writes an empty disk: `store` takes the descriptor, or everything where the type is one sparse file. */
export async function createVmdk(store: ByteStore, options: VmdkCreateOptions): Promise<void> {
	const type = options.type ?? "monolithicSparse";
	const sectors = options.sizeBytes / SECTOR;
	if (!Number.isSafeInteger(sectors) || sectors <= 0)
		throw new DiskError("unsupported", store.name, `a disk of ${options.sizeBytes} bytes; it takes whole sectors of 512`);
	const isFlat = type.endsWith("Flat");
	if (isFlat && options.parent !== undefined) throw new DiskError("unsupported", store.name, "a flat disk has no parent");
	const isSplit = type.startsWith("twoGb");
	const extents: VmdkExtentLine[] = [];
	for (let first = 0, number = 1; first < sectors; number++) {
		const count = isSplit ? Math.min(SPLIT_SECTORS, sectors - first) : sectors;
		const suffix = isSplit ? `-${isFlat ? "f" : "s"}${String(number).padStart(3, "0")}` : isFlat ? "-flat" : "";
		extents.push({
			access: "RW",
			sectors: count,
			kind: isFlat ? "FLAT" : "SPARSE",
			file: `${options.baseName}${suffix}.vmdk`,
			offsetSectors: 0,
		});
		first += count;
	}
	const descriptor = encodeDescriptor({
		cid: options.cid ?? 0x1234_5678,
		parentCid: options.parent?.cid ?? NO_PARENT_CID,
		createType: type,
		parentFile: options.parent?.file,
		extents,
	});
	await store.truncate(0);
	if (type === "monolithicSparse") return createSparse(store, sectors, descriptor);
	for (const { file, sectors: count } of extents) {
		const extent = await options.createExtent(file as string);
		try {
			if (isFlat) await extent.truncate(count * SECTOR);
			else await createSparse(extent, count, undefined);
			await extent.flush();
		} finally {
			await extent.close();
		}
	}
	await store.write(0, descriptor);
	await store.flush();
}

/** Header, descriptor, then the redundant grain directory with its tables, then the primary ones. */
async function createSparse(store: ByteStore, sectors: number, descriptor: Uint8Array | undefined): Promise<void> {
	const tables = Math.ceil(sectors / (GRAIN_SECTORS * ENTRIES_PER_TABLE));
	const directorySectors = Math.ceil((tables * 4) / SECTOR);
	const redundantAt = 1 + (descriptor === undefined ? 0 : DESCRIPTOR_SECTORS);
	const primaryAt = redundantAt + directorySectors + tables * TABLE_SECTORS;
	const overhead = Math.ceil((primaryAt + directorySectors + tables * TABLE_SECTORS) / GRAIN_SECTORS) * GRAIN_SECTORS;
	const head = new Uint8Array(SECTOR);
	const view = new DataView(head.buffer);
	view.setUint32(0, 0x564d_444b, true);
	view.setUint32(4, 1, true);
	// Valid line-end detection bytes; a redundant grain directory.
	view.setUint32(8, 3, true);
	view.setBigUint64(12, BigInt(sectors), true);
	view.setBigUint64(20, BigInt(GRAIN_SECTORS), true);
	view.setBigUint64(28, descriptor === undefined ? 0n : 1n, true);
	view.setBigUint64(36, descriptor === undefined ? 0n : BigInt(DESCRIPTOR_SECTORS), true);
	view.setUint32(44, ENTRIES_PER_TABLE, true);
	view.setBigUint64(48, BigInt(redundantAt), true);
	view.setBigUint64(56, BigInt(primaryAt), true);
	view.setBigUint64(64, BigInt(overhead), true);
	head.set([0x0a, 0x20, 0x0d, 0x0a], 73);
	await store.truncate(overhead * SECTOR);
	await store.write(0, head);
	if (descriptor !== undefined) {
		if (descriptor.length > DESCRIPTOR_SECTORS * SECTOR)
			throw new DiskError("unsupported", store.name, "names too long for the descriptor");
		await store.write(SECTOR, descriptor);
	}
	for (const at of [redundantAt, primaryAt]) {
		const directory = new Uint8Array(directorySectors * SECTOR);
		const entries = new DataView(directory.buffer);
		for (let i = 0; i < tables; i++) entries.setUint32(4 * i, at + directorySectors + i * TABLE_SECTORS, true);
		await store.write(at * SECTOR, directory);
	}
	await store.flush();
}
