import {
	closeSync,
	existsSync,
	fdatasync,
	ftruncateSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	readSync,
	rmSync,
	writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { PAGE_BYTES } from "../../../base/units.ts";
import { SnapshotError } from "../../../snapshot/error.ts";
import type { PageFile } from "../../../snapshot/page-file.ts";
import { HASH_WORDS } from "../../../snapshot/page-hash.ts";
import { replaceFile } from "../replace-file.ts";

/** Pages in one file. Files are what clones share and what is given back, so they are small. */
const SEGMENT_SLOTS = 4096;
const SEGMENT_BYTES = SEGMENT_SLOTS * PAGE_BYTES;
const HASH_BYTES = HASH_WORDS * 4;
const HASHES = "hashes";
const FROZEN = "frozen.json";
/** What a guest had in memory is nobody else's to read. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

const datasync = promisify(fdatasync);

/** Pages in files of a folder: `0000.pages` and so on, 16 MiB each, and `hashes`, 16 bytes a page. */
export class PageFolder implements PageFile {
	readonly name: string;
	readonly #isReadOnly: boolean;
	readonly #segments = new Map<number, number>();
	readonly #unflushed = new Set<number>();
	readonly #hashes: number;
	#slotCount: number;
	#frozenSlots: number;

	private constructor(name: string, isReadOnly: boolean, hashes: number, slotCount: number, frozenSlots: number) {
		this.name = name;
		this.#isReadOnly = isReadOnly;
		this.#hashes = hashes;
		this.#slotCount = slotCount;
		this.#frozenSlots = frozenSlots;
	}

	/** Makes the folder if there is none, unless for reading only. @throws SnapshotError io, corrupt */
	static open(folder: string, isReadOnly = false): PageFolder {
		try {
			if (!isReadOnly) mkdirSync(folder, { recursive: true, mode: FOLDER_MODE });
			const path = join(folder, HASHES);
			const hashes = openSync(path, isReadOnly ? "r" : existsSync(path) ? "r+" : "w+", FILE_MODE);
			const slots = Math.floor(readFileSync(path).length / HASH_BYTES);
			const frozen = join(folder, FROZEN);
			const frozenSlots = existsSync(frozen) ? (JSON.parse(readFileSync(frozen, "utf8")) as { slots: number }).slots : 0;
			return new PageFolder(folder, isReadOnly, hashes, slots, frozenSlots);
		} catch (cause) {
			throw failure(folder, "cannot be opened", cause);
		}
	}

	get slotCount(): number {
		return this.#slotCount;
	}

	get frozenSlots(): number {
		return this.#frozenSlots;
	}

	read(slot: number, into: Uint8Array): void {
		this.#pieces(slot, into.length, (file, path, position, done, count) => {
			for (let at = 0; at < count; ) {
				const got = attempt(path, "cannot be read", () => readSync(file, into, done + at, count - at, position + at));
				if (got === 0) throw new SnapshotError("corrupt", path, `ends before offset ${position + count}`);
				at += got;
			}
		});
	}

	write(slot: number, pages: Uint8Array, hashes: Uint32Array): void {
		this.#pieces(slot, pages.length, (file, path, position, done, count) => {
			this.#unflushed.add(file);
			for (let at = 0; at < count; )
				at += attempt(path, "cannot be written", () => writeSync(file, pages, done + at, count - at, position + at));
		});
		const bytes = new Uint8Array(hashes.buffer, hashes.byteOffset, hashes.byteLength);
		attempt(join(this.name, HASHES), "cannot be written", () => writeSync(this.#hashes, bytes, 0, bytes.length, slot * HASH_BYTES));
		this.#slotCount = Math.max(this.#slotCount, slot + pages.length / PAGE_BYTES);
	}

	readHashes(): Uint32Array {
		const bytes = readFileSync(join(this.name, HASHES));
		const hashes = new Uint32Array(this.#slotCount * HASH_WORDS);
		new Uint8Array(hashes.buffer).set(bytes.subarray(0, hashes.byteLength));
		return hashes;
	}

	truncate(slotCount: number): void {
		if (this.#isReadOnly || slotCount >= this.#slotCount) return;
		const firstGone = Math.max(Math.ceil(slotCount / SEGMENT_SLOTS), 0);
		for (let segment = firstGone; segment * SEGMENT_SLOTS < this.#slotCount; segment++) this.#remove(segment);
		const within = slotCount % SEGMENT_SLOTS;
		// A file that clones share keeps its length.
		if (within > 0 && slotCount >= this.#frozenSlots) {
			const segment = Math.floor(slotCount / SEGMENT_SLOTS);
			const file = this.#segment(segment);
			attempt(this.#path(segment), "cannot be cut", () => ftruncateSync(file, within * PAGE_BYTES));
		}
		attempt(join(this.name, HASHES), "cannot be cut", () => ftruncateSync(this.#hashes, slotCount * HASH_BYTES));
		this.#slotCount = slotCount;
	}

	discard(first: number, count: number): void {
		if (this.#isReadOnly) return;
		const end = first + count;
		for (let segment = Math.ceil(first / SEGMENT_SLOTS); (segment + 1) * SEGMENT_SLOTS <= end; segment++) this.#remove(segment);
	}

	async freeze(): Promise<void> {
		const slots = Math.ceil(this.#slotCount / SEGMENT_SLOTS) * SEGMENT_SLOTS;
		if (slots <= this.#frozenSlots) return;
		const path = join(this.name, FROZEN);
		try {
			await replaceFile(path, `${JSON.stringify({ slots })}\n`, FILE_MODE);
		} catch (cause) {
			throw failure(path, "cannot be written", cause);
		}
		this.#frozenSlots = slots;
	}

	async flush(): Promise<void> {
		try {
			for (const file of [...this.#unflushed]) {
				this.#unflushed.delete(file);
				await datasync(file);
			}
			if (!this.#isReadOnly) await datasync(this.#hashes);
		} catch (cause) {
			throw failure(this.name, "cannot be flushed", cause);
		}
	}

	async close(): Promise<void> {
		for (const file of this.#segments.values()) closeSync(file);
		this.#segments.clear();
		closeSync(this.#hashes);
	}

	/** Files that hold pages now. */
	segmentFiles(): readonly string[] {
		return readdirSync(this.name).filter((name) => name.endsWith(".pages"));
	}

	#pieces(
		slot: number,
		lengthBytes: number,
		visit: (file: number, path: string, position: number, done: number, count: number) => void,
	): void {
		for (let done = 0; done < lengthBytes; ) {
			const at = slot * PAGE_BYTES + done;
			const segment = Math.floor(at / SEGMENT_BYTES);
			const position = at % SEGMENT_BYTES;
			const count = Math.min(SEGMENT_BYTES - position, lengthBytes - done);
			visit(this.#segment(segment), this.#path(segment), position, done, count);
			done += count;
		}
	}

	#path(segment: number): string {
		return join(this.name, `${String(segment).padStart(4, "0")}.pages`);
	}

	#segment(segment: number): number {
		const known = this.#segments.get(segment);
		if (known !== undefined) return known;
		const path = this.#path(segment);
		const isFrozen = (segment + 1) * SEGMENT_SLOTS <= this.#frozenSlots;
		const flags = this.#isReadOnly || isFrozen ? "r" : existsSync(path) ? "r+" : "w+";
		const file = attempt(path, "cannot be opened", () => openSync(path, flags, FILE_MODE));
		this.#segments.set(segment, file);
		return file;
	}

	#remove(segment: number): void {
		const file = this.#segments.get(segment);
		if (file !== undefined) {
			closeSync(file);
			this.#unflushed.delete(file);
			this.#segments.delete(segment);
		}
		attempt(this.#path(segment), "cannot be removed", () => rmSync(this.#path(segment), { force: true }));
	}
}

function attempt<Result>(path: string, what: string, work: () => Result): Result {
	try {
		return work();
	} catch (cause) {
		throw failure(path, what, cause);
	}
}

function failure(path: string, what: string, cause: unknown): SnapshotError {
	if (cause instanceof SnapshotError) return cause;
	const { code, message } = cause as NodeJS.ErrnoException;
	if (cause instanceof SyntaxError) return new SnapshotError("corrupt", path, message, { cause });
	if (code === "ENOENT") return new SnapshotError("not-found", path, "no such file", { cause });
	return new SnapshotError("io", path, `${what}: ${code ?? message}`, { cause });
}
