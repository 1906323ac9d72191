import { PAGE_BYTES } from "../base/units.ts";
import type { Disk } from "../disk/disk.ts";
import { encodeUtf8 } from "../disk/utf8.ts";
import { SnapshotError } from "./error.ts";
import { BATCH_PAGES } from "./page-hash.ts";
import { decodeSnapshot, encodeSnapshot, parseVersioned, type SnapshotRecord } from "./record.ts";
import type { SnapshotTree } from "./tree.ts";

/**
 * One snapshot as one stream, for another machine or a browser: a line of JSON that says what follows, the snapshot's record, then
 * its pages and the blocks of its disks that are not zeros. Each part begins with its length, so a reader needs no seeking.
 *
 *     header    JSON, ended by a line feed: format, version, sizes of disks and files, and whatever the sender wants told (`about`)
 *     files     the bytes of each file that the header names: what the machine boots from when it is reset
 *     record    u32 length, the record as its file has it
 *     pages     { u32 page of RAM, 4096 bytes } …, ended by u32 0xffffffff
 *     disks     for each disk { u32 block of 64 KiB, 65536 bytes } …, ended by u32 0xffffffff
 */
const FORMAT = "basenji-archive";
export const ARCHIVE_VERSION = 1;
const END = 0xffff_ffff;
export const ARCHIVE_BLOCK_BYTES = 64 * 1024;
const MAX_LINE_BYTES = 1024 * 1024;
const MAX_FILE_BYTES = 1024 * 1024 * 1024;

/** What goes along with a snapshot. */
export interface ArchiveContents {
	/** The disks as they were then, `undefined` where one takes no part. */
	readonly disks: readonly (Disk | undefined)[];
	/** By name. */
	readonly files: Readonly<Record<string, Uint8Array>>;
	/** JSON for the header. */
	readonly about: unknown;
}

/** Writes a snapshot. */
export async function* exportSnapshot(tree: SnapshotTree, record: SnapshotRecord, contents: ArchiveContents): AsyncGenerator<Uint8Array> {
	const { disks, files, about } = contents;
	const header = {
		format: FORMAT,
		version: ARCHIVE_VERSION,
		about,
		disks: disks.map((disk) => disk?.sizeBytes ?? null),
		files: Object.entries(files).map(([name, { length }]) => ({ name, sizeBytes: length })),
	};
	yield encodeUtf8(`${JSON.stringify(header)}\n`);
	yield* Object.values(files);
	const { tables } = tree;
	const bytes = encodeSnapshot({ ...record, parent: undefined, leaves: [], disks: record.disks.map((layers) => layers && []) });
	yield word(bytes.length);
	yield bytes;
	const pages: [page: number, id: number][] = [];
	tables.each(record, (page, id) => pages.push([page, id]));
	for (const [page, id] of pages) {
		const entry = new Uint8Array(4 + PAGE_BYTES);
		entry.set(word(page));
		tables.store.read(id, entry.subarray(4));
		yield entry;
	}
	yield word(END);
	for (const disk of disks) {
		for (let block = 0; disk !== undefined && block * ARCHIVE_BLOCK_BYTES < disk.sizeBytes; block++) {
			const entry = new Uint8Array(4 + ARCHIVE_BLOCK_BYTES);
			const from = block * ARCHIVE_BLOCK_BYTES;
			await disk.read(from, entry.subarray(4, 4 + Math.min(ARCHIVE_BLOCK_BYTES, disk.sizeBytes - from)));
			if (entry.every((byte, at) => at < 4 || byte === 0)) continue;
			entry.set(word(block));
			yield entry;
		}
		yield word(END);
	}
}

/** What to do with what an archive holds. */
export interface ImportTarget {
	readonly tree: SnapshotTree;
	/** An empty disk of the size, to be written; called for each disk in turn, with what the header says about the machine. */
	disk(index: number, sizeBytes: number, about: unknown): Promise<Disk>;
}

/** Reads an archive into a tree; the snapshot keeps its name and id. @throws SnapshotError corrupt, unsupported, name */
export async function importSnapshot(
	chunks: AsyncIterable<Uint8Array>,
	target: ImportTarget,
	where: string,
): Promise<{ readonly record: SnapshotRecord; readonly about: unknown; readonly files: ReadonlyMap<string, Uint8Array> }> {
	const source = new ByteReader(chunks, where);
	const header = parseVersioned(await source.line(), where, FORMAT, ARCHIVE_VERSION);
	const files = await readFiles(source, header.files ?? [], where);
	const length = await source.word();
	if (length > 256 * 1024 * 1024) throw new SnapshotError("corrupt", where, `has a record of ${length} bytes`);
	const bare = decodeSnapshot(await source.take(length), where);
	const { tables } = target.tree;
	const { store } = tables;
	const pageCount = bare.machine.memoryBytes / PAGE_BYTES;
	const pages: number[] = [];
	const ids: number[] = [];
	const batchIds = new Uint32Array(BATCH_PAGES);
	let filled = 0;
	const keep = () => {
		store.put(filled, batchIds);
		ids.push(...batchIds.subarray(0, filled));
		filled = 0;
	};
	for (let page = await source.word(); page !== END; page = await source.word()) {
		if (page >= pageCount || page <= (pages.at(-1) ?? -1)) throw new SnapshotError("corrupt", where, `page ${page} is out of place`);
		store.hasher.batch.set(await source.take(PAGE_BYTES), filled * PAGE_BYTES);
		pages.push(page);
		if (++filled === BATCH_PAGES) keep();
	}
	keep();
	const sizes = header.disks;
	if (!Array.isArray(sizes)) throw new SnapshotError("corrupt", where, "does not say which disks it has");
	for (const [index, sizeBytes] of sizes.entries()) {
		const disk = typeof sizeBytes === "number" ? await target.disk(index, sizeBytes, header.about) : undefined;
		try {
			for (let block = await source.word(); block !== END; block = await source.word()) {
				const bytes = await source.take(ARCHIVE_BLOCK_BYTES);
				const from = block * ARCHIVE_BLOCK_BYTES;
				if (disk === undefined || from >= disk.sizeBytes)
					throw new SnapshotError("corrupt", where, `block ${block} lies behind its disk's end`);
				await disk.write(from, bytes.subarray(0, Math.min(bytes.length, disk.sizeBytes - from)));
			}
			await disk?.flush();
		} finally {
			await disk?.close();
		}
	}
	const table = tables.change(tables.empty(pageCount), Uint32Array.from(pages), Uint32Array.from(ids));
	const record: SnapshotRecord = { ...bare, name: target.tree.freeName(bare.name), leaves: table.leaves, parent: target.tree.here?.id };
	await target.tree.add(record);
	return { record, about: header.about, files };
}

async function readFiles(source: ByteReader, list: unknown, where: string): Promise<ReadonlyMap<string, Uint8Array>> {
	const files = new Map<string, Uint8Array>();
	if (!Array.isArray(list)) throw new SnapshotError("corrupt", where, '"files" makes no sense');
	for (const { name, sizeBytes } of list as readonly { readonly name?: unknown; readonly sizeBytes?: unknown }[]) {
		const isSane = typeof sizeBytes === "number" && Number.isInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= MAX_FILE_BYTES;
		if (typeof name !== "string" || !/^\w+$/.test(name) || !isSane) throw new SnapshotError("corrupt", where, '"files" makes no sense');
		files.set(name, new Uint8Array(await source.take(sizeBytes)));
	}
	return files;
}

function word(value: number): Uint8Array {
	const bytes = new Uint8Array(4);
	new DataView(bytes.buffer).setUint32(0, value, true);
	return bytes;
}

class ByteReader {
	readonly #chunks: AsyncIterator<Uint8Array>;
	readonly #where: string;
	#chunk: Uint8Array = new Uint8Array(0);

	constructor(chunks: AsyncIterable<Uint8Array>, where: string) {
		this.#chunks = chunks[Symbol.asyncIterator]();
		this.#where = where;
	}

	async take(count: number): Promise<Uint8Array> {
		if (this.#chunk.length >= count) {
			const taken = this.#chunk.subarray(0, count);
			this.#chunk = this.#chunk.subarray(count);
			return taken;
		}
		const bytes = new Uint8Array(count);
		for (let done = 0; done < count; ) {
			if (this.#chunk.length === 0) await this.#more();
			const piece = this.#chunk.subarray(0, count - done);
			bytes.set(piece, done);
			done += piece.length;
			this.#chunk = this.#chunk.subarray(piece.length);
		}
		return bytes;
	}

	async word(): Promise<number> {
		const bytes = await this.take(4);
		return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
	}

	async line(): Promise<Uint8Array> {
		const bytes: number[] = [];
		for (;;) {
			if (this.#chunk.length === 0) await this.#more();
			const byte = this.#chunk[0] as number;
			this.#chunk = this.#chunk.subarray(1);
			if (byte === 10) return Uint8Array.from(bytes);
			bytes.push(byte);
			if (bytes.length > MAX_LINE_BYTES) throw new SnapshotError("corrupt", this.#where, "is no archive");
		}
	}

	async #more(): Promise<void> {
		const next = await this.#chunks.next();
		if (next.done === true) throw new SnapshotError("corrupt", this.#where, "ends too early");
		this.#chunk = next.value;
	}
}
