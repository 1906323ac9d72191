import { type ByteStore, DiskError } from "../../disk.ts";
import { crc32c } from "./crc32c.ts";
import { decodeUtf16le, guidText } from "./guid.ts";
import { hasText } from "./vhd-disk.ts";
import { VhdxLog } from "./vhdx-log.ts";

/** "[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format". Numbers are little-endian. */
const KIB64 = 64 * 1024;
const HEADER_BYTES = 4096;
const MAX_REGIONS = 2047;
const MAX_ITEMS = 2047;
const MAX_ITEM_BYTES = 1024 * 1024;
const MAX_REGION_BYTES = 1024 * 1024 * 1024;

const REGION_BAT = "2DC27766-F623-4200-9D64-115E9BFD4A08";
const REGION_METADATA = "8B7CA206-4790-4B9A-B8FE-575F050F886E";
const ITEM_FILE_PARAMETERS = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B";
const ITEM_DISK_SIZE = "2FA54224-CD1B-4876-B211-5DBED83BF4B8";
const ITEM_LOGICAL_SECTOR = "8141BF1D-A96F-4709-BA47-F233A8FAAB5F";
const ITEM_PARENT_LOCATOR = "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C";
const NO_LOG = "00000000-0000-0000-0000-000000000000";

export interface VhdxInfo {
	readonly sizeBytes: number;
	readonly blockBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly hasParent: boolean;
	readonly parentFile: string | undefined;
	readonly batOffset: number;
	readonly batBytes: number;
	/** Changes that the last writer had logged and not yet put in place: to be read over the file. */
	readonly log: VhdxLog;
}

interface Region {
	readonly offset: number;
	readonly length: number;
}

/** @throws DiskError corrupt or unsupported, naming the place */
export async function readVhdxInfo(store: ByteStore): Promise<VhdxInfo> {
	const head = new Uint8Array(8);
	await store.read(0, head);
	if (!hasText(head, "vhdxfile")) throw new DiskError("corrupt", store.name, "not a VHDX file", { offsetBytes: 0 });
	const header = await readHeader(store);
	const view = new DataView(header.buffer);
	const logGuid = guidText(header.subarray(48, 64));
	const logBytes = view.getUint32(68, true);
	const logOffset = Number(view.getBigUint64(72, true));
	const log = logGuid === NO_LOG ? await VhdxLog.none(store) : await VhdxLog.read(store, header.slice(48, 64), logOffset, logBytes);
	const regions = await readRegions(log, store.name);
	const bat = regions.get(REGION_BAT);
	const metadata = regions.get(REGION_METADATA);
	if (bat === undefined || metadata === undefined)
		throw new DiskError("corrupt", store.name, "the region table names no block table or no metadata", { offsetBytes: 3 * KIB64 });
	return { ...(await readItems(log, store.name, metadata)), batOffset: bat.offset, batBytes: bat.length, log };
}

/** §2.2.2: of two headers the valid one with the higher sequence number counts. */
async function readHeader(store: ByteStore): Promise<Uint8Array> {
	let best: Uint8Array | undefined;
	let bestSequence = -1n;
	for (const offset of [KIB64, 2 * KIB64]) {
		const bytes = new Uint8Array(HEADER_BYTES);
		await store.read(offset, bytes);
		if (!hasText(bytes, "head") || !isSumRight(bytes)) continue;
		const sequence = new DataView(bytes.buffer).getBigUint64(8, true);
		if (sequence > bestSequence) [best, bestSequence] = [bytes, sequence];
	}
	if (best === undefined) throw new DiskError("corrupt", store.name, "neither header is valid", { offsetBytes: KIB64 });
	const version = new DataView(best.buffer).getUint16(66, true);
	if (version !== 1) throw new DiskError("unsupported", store.name, `VHDX version ${version}`, { offsetBytes: KIB64 + 66 });
	return best;
}

/** Checksums are CRC-32C over the structure with the checksum's own bytes zero. */
function isSumRight(bytes: Uint8Array): boolean {
	const copy = bytes.slice();
	copy.fill(0, 4, 8);
	return crc32c(copy) === new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
}

/** §2.2.3, "Region Table": two copies. */
async function readRegions(log: VhdxLog, name: string): Promise<Map<string, Region>> {
	for (const offset of [3 * KIB64, 4 * KIB64]) {
		const bytes = new Uint8Array(KIB64);
		await log.read(offset, bytes);
		if (!hasText(bytes, "regi") || !isSumRight(bytes)) continue;
		const view = new DataView(bytes.buffer);
		const count = view.getUint32(8, true);
		if (count > MAX_REGIONS) continue;
		const regions = new Map<string, Region>();
		for (let i = 0; i < count; i++) {
			const at = 16 + 32 * i;
			const region = { offset: Number(view.getBigUint64(at + 16, true)), length: view.getUint32(at + 24, true) };
			const guid = guidText(bytes.subarray(at, at + 16));
			const isKnown = guid === REGION_BAT || guid === REGION_METADATA;
			if (!isKnown && (view.getUint32(at + 28, true) & 1) !== 0)
				throw new DiskError("unsupported", name, `a required region ${guid}`, { offsetBytes: offset + at });
			if (isKnown && (region.length > MAX_REGION_BYTES || region.offset + region.length > log.fileBytes))
				throw new DiskError("corrupt", name, `a region of ${region.length} bytes at ${region.offset}`, { offsetBytes: offset + at });
			regions.set(guid, region);
		}
		return regions;
	}
	throw new DiskError("corrupt", name, "neither region table is valid", { offsetBytes: 3 * KIB64 });
}

/** §2.6, "Metadata Region". */
async function readItems(log: VhdxLog, name: string, region: Region): Promise<Omit<VhdxInfo, "batOffset" | "batBytes" | "log">> {
	const table = new Uint8Array(KIB64);
	await log.read(region.offset, table);
	const view = new DataView(table.buffer);
	const fail = (kind: "corrupt" | "unsupported", at: number, message: string): never => {
		throw new DiskError(kind, name, message, { offsetBytes: region.offset + at });
	};
	if (!hasText(table, "metadata")) fail("corrupt", 0, "no metadata table");
	const count = view.getUint16(10, true);
	if (count > MAX_ITEMS) fail("corrupt", 10, `${count} metadata items`);
	const items = new Map<string, Uint8Array>();
	for (let i = 0; i < count; i++) {
		const at = 32 + 32 * i;
		const guid = guidText(table.subarray(at, at + 16));
		const offset = view.getUint32(at + 16, true);
		const length = view.getUint32(at + 20, true);
		if (length > MAX_ITEM_BYTES || offset + length > region.length) fail("corrupt", at, `a metadata item of ${length} bytes at ${offset}`);
		const item = new Uint8Array(length);
		await log.read(region.offset + offset, item);
		items.set(guid, item);
	}
	const number = (guid: string, bytes: 4 | 8): number => {
		const item = items.get(guid);
		if (item === undefined || item.length < bytes) return fail("corrupt", 32, `no metadata item ${guid}`);
		const itemView = new DataView(item.buffer);
		return bytes === 8 ? Number(itemView.getBigUint64(0, true)) : itemView.getUint32(0, true);
	};
	const sizeBytes = number(ITEM_DISK_SIZE, 8);
	const sectorBytes = number(ITEM_LOGICAL_SECTOR, 4);
	const blockBytes = number(ITEM_FILE_PARAMETERS, 4);
	const flags = new DataView((items.get(ITEM_FILE_PARAMETERS) as Uint8Array).buffer).getUint32(4, true);
	if (sectorBytes !== 512 && sectorBytes !== 4096) return fail("corrupt", 32, `sectors of ${sectorBytes} bytes`);
	const isPowerOfTwo = (blockBytes & (blockBytes - 1)) === 0;
	if (!isPowerOfTwo || blockBytes < 1024 * 1024 || blockBytes > 256 * 1024 * 1024) fail("corrupt", 32, `blocks of ${blockBytes} bytes`);
	if (!Number.isSafeInteger(sizeBytes) || sizeBytes % sectorBytes !== 0) fail("corrupt", 32, `a disk of ${sizeBytes} bytes`);
	const hasParent = (flags & 2) !== 0;
	const locator = items.get(ITEM_PARENT_LOCATOR);
	return { sizeBytes, blockBytes, sectorBytes, hasParent, parentFile: hasParent && locator !== undefined ? parentOf(locator) : undefined };
}

/** §2.6.2.6, "Parent Locator": keys and values in UTF-16. */
function parentOf(locator: Uint8Array): string | undefined {
	const view = new DataView(locator.buffer);
	const values = new Map<string, string>();
	const count = locator.length >= 20 ? view.getUint16(18, true) : 0;
	for (let i = 0; i < count && 32 + 12 * i <= locator.length; i++) {
		const at = 20 + 12 * i;
		const text = (offset: number, length: number) => decodeUtf16le(locator.subarray(offset, offset + length));
		values.set(
			text(view.getUint32(at, true), view.getUint16(at + 8, true)),
			text(view.getUint32(at + 4, true), view.getUint16(at + 10, true)),
		);
	}
	return values.get("relative_path") ?? values.get("absolute_win32_path") ?? values.get("volume_path");
}
