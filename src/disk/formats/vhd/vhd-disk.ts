import { type ByteStore, type Disk, DiskError, type DiskErrorKind } from "../../disk.ts";
import { checkRange, checkWritable } from "../../range.ts";
import { decodeUtf16be } from "./guid.ts";

/** "Virtual Hard Disk Image Format Specification", Microsoft, 2006. Numbers are big-endian. */
const SECTOR = 512;
const FOOTER_BYTES = 512;
const DYNAMIC_HEADER_BYTES = 1024;
const TYPE_FIXED = 2;
const TYPE_DYNAMIC = 3;
const TYPE_DIFFERENCING = 4;
const UNUSED = 0xffff_ffff;
const MAX_TABLE_ENTRIES = 16 * 1024 * 1024;
const MAX_BLOCK_BYTES = 256 * 1024 * 1024;
/** Virtual PC and older QEMU take the size from the geometry, and everybody else from the footer. */
const GEOMETRY_CREATORS = ["vpc ", "qemu"];
const MAX_GEOMETRY_SECTORS = 65535 * 16 * 255;

export interface VhdInfo {
	readonly type: "fixed" | "dynamic" | "differencing";
	readonly sizeBytes: number;
	/** For differencing disks: the parent's file name. */
	readonly parentFile: string | undefined;
	readonly tableOffset: number;
	readonly tableEntries: number;
	readonly blockBytes: number;
}

/** @throws DiskError corrupt or unsupported, naming the place */
export async function readVhdInfo(store: ByteStore): Promise<VhdInfo> {
	const fileBytes = await store.size();
	const footer = await readFooter(store, fileBytes);
	const view = new DataView(footer.bytes.buffer);
	const fail = (kind: DiskErrorKind, offsetBytes: number, message: string): never => {
		throw new DiskError(kind, store.name, message, { offsetBytes });
	};
	const type = view.getUint32(60);
	if (type !== TYPE_FIXED && type !== TYPE_DYNAMIC && type !== TYPE_DIFFERENCING)
		fail("unsupported", footer.offset + 60, `a VHD of type ${type}`);
	const creator = String.fromCharCode(...footer.bytes.subarray(28, 32));
	const geometrySectors = view.getUint16(56) * (footer.bytes[58] as number) * (footer.bytes[59] as number);
	const isByGeometry = GEOMETRY_CREATORS.includes(creator) && geometrySectors > 0 && geometrySectors < MAX_GEOMETRY_SECTORS;
	const sizeBytes = isByGeometry ? geometrySectors * SECTOR : Number(view.getBigUint64(48));
	if (!Number.isSafeInteger(sizeBytes) || sizeBytes % SECTOR !== 0) fail("corrupt", footer.offset + 48, `a disk of ${sizeBytes} bytes`);
	if (type === TYPE_FIXED) {
		if (sizeBytes > fileBytes - FOOTER_BYTES) fail("corrupt", footer.offset + 48, `a disk of ${sizeBytes} bytes in a file of ${fileBytes}`);
		return { type: "fixed", sizeBytes, parentFile: undefined, tableOffset: 0, tableEntries: 0, blockBytes: 0 };
	}
	const headerAt = Number(view.getBigUint64(16));
	const header = new Uint8Array(DYNAMIC_HEADER_BYTES);
	if (headerAt + header.length > fileBytes) fail("corrupt", footer.offset + 16, `a dynamic header at ${headerAt}`);
	await store.read(headerAt, header);
	if (!hasText(header, "cxsparse")) fail("corrupt", headerAt, "no dynamic disk header");
	const dynamic = new DataView(header.buffer);
	const tableOffset = Number(dynamic.getBigUint64(16));
	const tableEntries = dynamic.getUint32(28);
	const blockBytes = dynamic.getUint32(32);
	const isPowerOfTwo = blockBytes >= SECTOR && blockBytes <= MAX_BLOCK_BYTES && (blockBytes & (blockBytes - 1)) === 0;
	if (!isPowerOfTwo) fail("corrupt", headerAt + 32, `blocks of ${blockBytes} bytes`);
	if (tableEntries > MAX_TABLE_ENTRIES || tableEntries * blockBytes < sizeBytes || tableOffset + 4 * tableEntries > fileBytes)
		fail("corrupt", headerAt + 16, `a block table of ${tableEntries} entries at ${tableOffset}`);
	const parentFile = type === TYPE_DIFFERENCING ? decodeUtf16be(header.subarray(64, 576)) : undefined;
	return { type: type === TYPE_DYNAMIC ? "dynamic" : "differencing", sizeBytes, parentFile, tableOffset, tableEntries, blockBytes };
}

/** The footer, or its copy at the front should the end be missing. */
async function readFooter(store: ByteStore, fileBytes: number): Promise<{ bytes: Uint8Array; offset: number }> {
	const bytes = new Uint8Array(FOOTER_BYTES);
	for (const offset of [fileBytes - FOOTER_BYTES, 0]) {
		if (offset < 0) continue;
		await store.read(offset, bytes);
		if (hasText(bytes, "conectix") && isSumRight(bytes)) return { bytes, offset };
	}
	throw new DiskError("corrupt", store.name, "no valid VHD footer", { offsetBytes: Math.max(0, fileBytes - FOOTER_BYTES) });
}

/** The checksum is the complement of the sum of all other bytes. */
function isSumRight(bytes: Uint8Array): boolean {
	let sum = 0;
	for (const [i, byte] of bytes.entries()) if (i < 64 || i >= 68) sum += byte;
	return ~sum >>> 0 === new DataView(bytes.buffer).getUint32(64);
}

export function hasText(bytes: Uint8Array, text: string): boolean {
	return [...text].every((char, i) => bytes[i] === char.charCodeAt(0));
}

/** A VHD disk, for reading: fixed, dynamic, or differencing over a parent. */
export class VhdDisk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes = 512;
	readonly isReadOnly = true;
	readonly info: VhdInfo;
	readonly #store: ByteStore;
	readonly #parent: Disk | undefined;
	readonly #table: DataView;
	readonly #fileBytes: number;
	/** Sector bitmaps of the blocks looked at last. */
	readonly #bitmaps = new Map<number, Uint8Array>();

	private constructor(store: ByteStore, info: VhdInfo, table: DataView, fileBytes: number, parent: Disk | undefined) {
		this.#store = store;
		this.info = info;
		this.#table = table;
		this.#fileBytes = fileBytes;
		this.#parent = parent;
		this.sizeBytes = info.sizeBytes;
	}

	static async open(store: ByteStore, options: { readonly parent?: Disk } = {}): Promise<VhdDisk> {
		const info = await readVhdInfo(store);
		if (info.type === "differencing" && options.parent === undefined)
			throw new DiskError("not-found", store.name, `stands on ${info.parentFile}, which has not been opened`);
		const table = new DataView(new ArrayBuffer(4 * info.tableEntries));
		await store.read(info.tableOffset, new Uint8Array(table.buffer));
		return new VhdDisk(store, info, table, await store.size(), options.parent);
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		checkRange(this, this.#store.name, offsetBytes, into.length);
		if (this.info.type === "fixed") return this.#store.read(offsetBytes, into);
		const { blockBytes } = this.info;
		for (let at = 0; at < into.length; ) {
			const block = Math.floor((offsetBytes + at) / blockBytes);
			const within = (offsetBytes + at) % blockBytes;
			const count = Math.min(blockBytes - within, into.length - at);
			await this.#readBlock(block, within, into.subarray(at, at + count));
			at += count;
		}
	}

	/** A block is a bitmap, in whole sectors, and its data; a sector whose bit is clear is the parent's, or zeros. */
	async #readBlock(block: number, within: number, into: Uint8Array): Promise<void> {
		const sector = this.#table.getUint32(4 * block);
		const diskOffset = block * this.info.blockBytes + within;
		if (sector === UNUSED) return this.#readParent(diskOffset, into);
		const bitmapBytes = Math.ceil(this.info.blockBytes / SECTOR / 8 / SECTOR) * SECTOR;
		const start = sector * SECTOR + bitmapBytes;
		if (start >= this.#fileBytes)
			throw new DiskError("corrupt", this.#store.name, `block ${block} is said to lie in sector ${sector}, past the end of the file`, {
				offsetBytes: this.info.tableOffset + 4 * block,
			});
		if (this.#parent === undefined) return this.#store.read(start + within, into);
		const bitmap = await this.#bitmap(sector, bitmapBytes);
		const isHere = (index: number) => ((bitmap[index >> 3] as number) & (0x80 >> (index & 7))) !== 0;
		for (let at = 0; at < into.length; ) {
			const here = isHere((within + at) / SECTOR);
			let end = at + SECTOR;
			while (end < into.length && isHere((within + end) / SECTOR) === here) end += SECTOR;
			const part = into.subarray(at, end);
			await (here ? this.#store.read(start + within + at, part) : this.#readParent(diskOffset + at, part));
			at = end;
		}
	}

	async #bitmap(sector: number, length: number): Promise<Uint8Array> {
		const found = this.#bitmaps.get(sector);
		if (found !== undefined) return found;
		const bitmap = new Uint8Array(length);
		await this.#store.read(sector * SECTOR, bitmap);
		if (this.#bitmaps.size > 1024) this.#bitmaps.clear();
		this.#bitmaps.set(sector, bitmap);
		return bitmap;
	}

	async #readParent(offsetBytes: number, into: Uint8Array): Promise<void> {
		const there = this.#parent === undefined ? 0 : Math.max(0, Math.min(into.length, this.#parent.sizeBytes - offsetBytes));
		if (there > 0) await this.#parent?.read(offsetBytes, into.subarray(0, there));
		into.fill(0, there);
	}

	async write(): Promise<void> {
		checkWritable(true, this.#store.name);
	}

	async writeZeroes(): Promise<void> {
		checkWritable(true, this.#store.name);
	}

	async discard(): Promise<void> {
		checkWritable(true, this.#store.name);
	}

	flush(): Promise<void> {
		return Promise.resolve();
	}

	async close(): Promise<void> {
		await this.#store.close();
		await this.#parent?.close();
	}
}
