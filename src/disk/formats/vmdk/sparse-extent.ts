import type { Codecs } from "../../codecs.ts";
import { type ByteStore, DiskError, type DiskErrorKind } from "../../disk.ts";
import { Serial } from "../../serial.ts";
import { type Table, TableCache } from "../../table-cache.ts";

/** "Virtual Disk Format 5.0", section "Hosted Sparse Extents". Numbers are little-endian, places are sectors. */
const MAGIC = 0x564d_444b;
const SECTOR = 512;
const HEADER_BYTES = 512;
const FLAG_REDUNDANT = 1 << 1;
const FLAG_ZEROED = 1 << 2;
const FLAG_COMPRESSED = 1 << 16;
const UNCLEAN_AT = 72;
const GRAIN_ZEROED = 1;
/** The grain directory stands at the file's end, its place in a footer there. */
const GD_AT_END = 0xffff_ffff_ffff_ffffn;
const MARKER_BYTES = 12;
const MAX_GRAIN_SECTORS = 2048;
const MAX_TABLE_ENTRIES = 65536;
const MAX_DIRECTORY_BYTES = 64 * 1024 * 1024;
const TABLE_CACHE_BYTES = 8 * 1024 * 1024;
const CACHED_GRAINS = 16;

export interface SparseHeader {
	readonly flags: number;
	readonly capacitySectors: number;
	readonly grainSectors: number;
	readonly descriptorSector: number;
	readonly descriptorSectors: number;
	readonly entriesPerTable: number;
	readonly redundantDirectorySector: number;
	readonly directorySector: number;
}

/** Where a grain is. */
export type Grain = { readonly kind: "unallocated" } | { readonly kind: "zero" } | { readonly kind: "data"; readonly offset: number };

export function isSparseExtent(bytes: Uint8Array): boolean {
	return bytes.length >= HEADER_BYTES && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === MAGIC;
}

/** One extent of grains that are there or not. */
export class SparseExtent {
	readonly store: ByteStore;
	readonly header: SparseHeader;
	readonly grainBytes: number;
	readonly #directory: Uint32Array;
	readonly #redundant: Uint32Array | undefined;
	readonly #tables: TableCache;
	readonly #codecs: Codecs | undefined;
	readonly #serial = new Serial();
	/** Where the next grain goes: the end of the file. */
	#endBytes: number;
	#isMarkedUnclean = false;
	readonly #grains = new Map<number, Promise<Uint8Array>>();

	private constructor(
		store: ByteStore,
		header: SparseHeader,
		directory: Uint32Array,
		redundant: Uint32Array | undefined,
		fileBytes: number,
		codecs: Codecs | undefined,
	) {
		this.store = store;
		this.header = header;
		this.grainBytes = header.grainSectors * SECTOR;
		this.#directory = directory;
		this.#redundant = redundant;
		this.#tables = new TableCache(store, header.entriesPerTable * 4, TABLE_CACHE_BYTES);
		this.#endBytes = Math.ceil(fileBytes / this.grainBytes) * this.grainBytes;
		this.#codecs = codecs;
	}

	/** @throws DiskError corrupt or unsupported, naming the place */
	static async open(store: ByteStore, codecs?: Codecs, isReadOnly = store.isReadOnly): Promise<SparseExtent> {
		const fileBytes = await store.size();
		const header = await readSparseHeader(store, fileBytes);
		const tables = Math.ceil(header.capacitySectors / (header.grainSectors * header.entriesPerTable));
		if (tables * 4 > MAX_DIRECTORY_BYTES)
			throw new DiskError("corrupt", store.name, `a grain directory of ${tables} entries`, { offsetBytes: 12 });
		const directory = await readDirectory(store, header.directorySector, tables, fileBytes);
		const isRedundant = (header.flags & FLAG_REDUNDANT) !== 0 && header.redundantDirectorySector !== 0;
		const redundant = isRedundant ? await readDirectory(store, header.redundantDirectorySector, tables, fileBytes) : undefined;
		const extent = new SparseExtent(store, header, directory, redundant, fileBytes, codecs);
		if (!isReadOnly && !extent.isCompressed) await extent.#checkOwnership();
		return extent;
	}

	/** Before anything is written: every grain has a place of its own, away from the tables. */
	async #checkOwnership(): Promise<void> {
		const { entriesPerTable, grainSectors, directorySector, redundantDirectorySector } = this.header;
		const sectors: number[] = [];
		const places: number[] = [];
		for (let first = 0; first < this.grainCount; first += entriesPerTable) {
			const table = await this.#table(first);
			for (let i = 0; table !== undefined && i < entriesPerTable && first + i < this.grainCount; i++) {
				const sector = table.view.getUint32(4 * i, true);
				if (sector === 0 || (sector === GRAIN_ZEROED && this.hasZeroedGrains)) continue;
				sectors.push(sector);
				places.push(table.offset + 4 * i);
			}
		}
		const directorySectors = Math.ceil((this.#directory.length * 4) / SECTOR);
		const tableSectors = Math.ceil((entriesPerTable * 4) / SECTOR);
		const owned: { readonly first: number; readonly end: number; readonly place: number | undefined }[] = [
			{ first: 0, end: 1, place: undefined },
			{ first: directorySector, end: directorySector + directorySectors, place: undefined },
			...(this.#redundant === undefined
				? []
				: [{ first: redundantDirectorySector, end: redundantDirectorySector + directorySectors, place: undefined }]),
		];
		for (const directory of [this.#directory, this.#redundant ?? []])
			for (const sector of directory) if (sector !== 0) owned.push({ first: sector, end: sector + tableSectors, place: undefined });
		for (const [i, first] of sectors.entries()) owned.push({ first, end: first + grainSectors, place: places[i] as number });
		owned.sort((a, b) => a.first - b.first);
		for (const [i, one] of owned.entries()) {
			const next = owned[i + 1];
			if (next === undefined || one.end <= next.first) continue;
			const offsetBytes = next.place ?? one.place ?? SECTOR * next.first;
			throw new DiskError(
				"corrupt",
				this.store.name,
				`what lies in sectors ${one.first} and ${next.first} overlaps; open the image for reading only`,
				{
					offsetBytes,
				},
			);
		}
	}

	get isCompressed(): boolean {
		return (this.header.flags & FLAG_COMPRESSED) !== 0;
	}

	/** Zeros that hide a parent can be written down. */
	get hasZeroedGrains(): boolean {
		return (this.header.flags & FLAG_ZEROED) !== 0;
	}

	async grain(index: number): Promise<Grain> {
		const table = await this.#table(index);
		if (table === undefined) return { kind: "unallocated" };
		const at = 4 * (index % this.header.entriesPerTable);
		const sector = table.view.getUint32(at, true);
		if (sector === 0) return { kind: "unallocated" };
		if (sector === GRAIN_ZEROED && this.hasZeroedGrains) return { kind: "zero" };
		if (sector * SECTOR >= this.#endBytes)
			throw new DiskError("corrupt", this.store.name, `grain ${index} is said to lie in sector ${sector}, past the end of the file`, {
				offsetBytes: table.offset + at,
			});
		return { kind: "data", offset: sector * SECTOR };
	}

	/** Grains of the extent, there or not. */
	get grainCount(): number {
		return Math.ceil(this.header.capacitySectors / this.header.grainSectors);
	}

	/** What is written down for the grains of one table, the first of which is `first`; entries of 0 are left out. */
	async *tableEntries(first: number): AsyncIterableIterator<{
		readonly index: number;
		readonly sector: number;
		readonly redundantSector: number | undefined;
		readonly entryOffset: number;
	}> {
		const { entriesPerTable } = this.header;
		const table = await this.#table(first);
		const otherSector = this.#redundant?.[Math.floor(first / entriesPerTable)] ?? 0;
		const other = otherSector === 0 ? undefined : await this.#tables.get(otherSector * SECTOR);
		if (table === undefined) return;
		for (let i = 0; i < entriesPerTable && first + i < this.grainCount; i++) {
			const sector = table.view.getUint32(4 * i, true);
			const redundantSector = other?.view.getUint32(4 * i, true);
			if (sector !== 0 || (redundantSector ?? 0) !== 0)
				yield { index: first + i, sector, redundantSector, entryOffset: table.offset + 4 * i };
		}
	}

	async #table(index: number): Promise<Table | undefined> {
		const sector = this.#directory[Math.floor(index / this.header.entriesPerTable)] ?? 0;
		if (sector === 0) return undefined;
		return this.#tables.peek(sector * SECTOR) ?? this.#tables.get(sector * SECTOR);
	}

	/** Reads within one grain. */
	async readGrain(grain: Grain & { kind: "data" }, within: number, into: Uint8Array): Promise<void> {
		if (!this.isCompressed) return this.store.read(grain.offset + within, into);
		const bytes = await this.#decompressed(grain.offset);
		into.set(bytes.subarray(within, within + into.length));
		// A last grain may be stored only as far as the disk goes.
		if (bytes.length < within + into.length) into.fill(0, Math.max(0, bytes.length - within));
	}

	#decompressed(offset: number): Promise<Uint8Array> {
		const found = this.#grains.get(offset);
		if (found !== undefined) return found;
		const made = this.#decompress(offset);
		this.#grains.set(offset, made);
		made.catch(() => this.#grains.delete(offset));
		for (const oldest of this.#grains.keys()) {
			if (this.#grains.size <= CACHED_GRAINS) break;
			this.#grains.delete(oldest);
		}
		return made;
	}

	/** Section "Stream-Optimized Compressed Sparse Extents": a marker with the grain's sector and size, then the data. */
	async #decompress(offset: number): Promise<Uint8Array> {
		const marker = new Uint8Array(MARKER_BYTES);
		await this.store.read(offset, marker);
		const length = new DataView(marker.buffer).getUint32(8, true);
		const fail = (kind: DiskErrorKind, message: string, cause?: unknown): never => {
			throw new DiskError(kind, this.store.name, message, { offsetBytes: offset, cause });
		};
		if (this.#codecs === undefined) return fail("unsupported", "a compressed grain, and no decompressor at hand");
		if (length === 0 || length > 2 * this.grainBytes + 1024) return fail("corrupt", `a compressed grain of ${length} bytes`);
		const bytes = new Uint8Array(length);
		await this.store.read(offset + MARKER_BYTES, bytes);
		return this.#codecs.inflate(bytes, this.grainBytes).catch((cause) => fail("corrupt", "a compressed grain does not decompress", cause));
	}

	/** Room for a new grain behind everything else. */
	takeRoom(): number {
		const offset = this.#endBytes;
		this.#endBytes += this.grainBytes;
		return offset;
	}

	/** Notes where a grain is from now on: 0 for nowhere, 1 for zeros; in both tables, at the next flush. */
	setGrain(index: number, offset: number | "zero"): Promise<void> {
		return this.#serial.run(async () => {
			const entry = Math.floor(index / this.header.entriesPerTable);
			const at = 4 * (index % this.header.entriesPerTable);
			for (const directory of [this.#directory, this.#redundant]) {
				if (directory === undefined) continue;
				const sector = directory[entry] ?? 0;
				if (sector === 0)
					throw new DiskError("unsupported", this.store.name, "writing where a grain table is missing", {
						offsetBytes: this.header.directorySector * SECTOR + 4 * entry,
					});
				const table = await this.#tables.get(sector * SECTOR);
				table.view.setUint32(at, offset === "zero" ? GRAIN_ZEROED : offset / SECTOR, true);
				this.#tables.touch(table, at, at + 4);
			}
		});
	}

	/** Says in the header that the extent is being written to, or has been closed in order. */
	async markUnclean(isUnclean: boolean): Promise<void> {
		if (this.#isMarkedUnclean === isUnclean) return;
		this.#isMarkedUnclean = isUnclean;
		await this.store.write(UNCLEAN_AT, Uint8Array.of(isUnclean ? 1 : 0));
	}

	/** Data first, then what points at it. */
	async flush(): Promise<void> {
		const parts = await this.#serial.run(() => Promise.resolve(this.#tables.takeDirty()));
		try {
			await this.store.flush();
			if (parts.length > 0) {
				await Promise.all(parts.map(({ offset, bytes }) => this.store.write(offset, bytes)));
				await this.store.flush();
			}
			this.#tables.settle(parts, true);
		} catch (error) {
			this.#tables.settle(parts, false);
			throw error;
		}
	}
}

async function readSparseHeader(store: ByteStore, fileBytes: number): Promise<SparseHeader> {
	const first = await parseSparseHeader(store, 0, fileBytes);
	if (first !== "at end") return first;
	// The last two sectors are the footer's copy of the header and an end-of-stream marker.
	const last = await parseSparseHeader(store, fileBytes - 2 * SECTOR, fileBytes);
	if (last === "at end") throw new DiskError("corrupt", store.name, "no grain directory", { offsetBytes: fileBytes - 2 * SECTOR });
	return last;
}

async function parseSparseHeader(store: ByteStore, at: number, fileBytes: number): Promise<SparseHeader | "at end"> {
	const bytes = new Uint8Array(HEADER_BYTES);
	const fail = (kind: DiskErrorKind, field: number, message: string): never => {
		throw new DiskError(kind, store.name, message, { offsetBytes: Math.max(0, at) + field });
	};
	if (at < 0 || at + HEADER_BYTES > fileBytes) fail("corrupt", 0, "a VMDK extent cut off within its header");
	await store.read(at, bytes);
	const view = new DataView(bytes.buffer);
	const u64 = (offset: number) => Number(view.getBigUint64(offset, true));
	if (view.getUint32(0, true) !== MAGIC) fail("corrupt", 0, "not a sparse VMDK extent");
	const version = view.getUint32(4, true);
	if (version < 1 || version > 3) fail("unsupported", 4, `VMDK extent version ${version}`);
	const flags = view.getUint32(8, true);
	if ((flags & FLAG_COMPRESSED) !== 0 && view.getUint16(77, true) !== 1) fail("unsupported", 77, "a compression other than deflate");
	if (view.getBigUint64(56, true) === GD_AT_END) return "at end";
	const header: SparseHeader = {
		flags,
		capacitySectors: u64(12),
		grainSectors: u64(20),
		descriptorSector: u64(28),
		descriptorSectors: u64(36),
		entriesPerTable: view.getUint32(44, true),
		redundantDirectorySector: u64(48),
		directorySector: u64(56),
	};
	const { grainSectors, entriesPerTable } = header;
	const isPowerOfTwo = grainSectors > 0 && grainSectors <= MAX_GRAIN_SECTORS && (grainSectors & (grainSectors - 1)) === 0;
	if (!isPowerOfTwo) fail("corrupt", 20, `grains of ${grainSectors} sectors`);
	if (entriesPerTable === 0 || entriesPerTable > MAX_TABLE_ENTRIES) fail("corrupt", 44, `grain tables of ${entriesPerTable} entries`);
	if (!Number.isSafeInteger(header.capacitySectors * SECTOR)) fail("corrupt", 12, `a capacity of ${header.capacitySectors} sectors`);
	if (header.descriptorSectors > 2048) fail("corrupt", 36, `a descriptor of ${header.descriptorSectors} sectors`);
	return header;
}

async function readDirectory(store: ByteStore, sector: number, entries: number, fileBytes: number): Promise<Uint32Array> {
	const bytes = new Uint8Array(entries * 4);
	if (sector === 0 || sector * SECTOR + bytes.length > fileBytes)
		throw new DiskError("corrupt", store.name, `a grain directory is said to lie in sector ${sector}`, { offsetBytes: 56 });
	await store.read(sector * SECTOR, bytes);
	const view = new DataView(bytes.buffer);
	return Uint32Array.from({ length: entries }, (_, i) => {
		const table = view.getUint32(4 * i, true);
		if (table * SECTOR >= fileBytes)
			throw new DiskError("corrupt", store.name, `grain table ${i} is said to lie in sector ${table}`, {
				offsetBytes: sector * SECTOR + 4 * i,
			});
		return table;
	});
}
