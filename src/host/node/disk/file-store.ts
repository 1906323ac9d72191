import { constants, readSync, readvSync, writeSync, writevSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { type ByteStore, DiskError } from "../../../disk/disk.ts";
import { cut, lengthOf, type Pieces } from "../../../disk/pieces.ts";
import { type FileLock, lockFile } from "./file-lock.ts";

export interface FileStoreOptions {
	readonly isReadOnly?: boolean;
	/** Makes the file; fails if there is one already. */
	readonly create?: boolean;
	/** Off for a file that several readers share and nobody writes (a backing file, say). On by default for writers. */
	readonly lock?: boolean;
	/**
	 * Reads and writes of at most so many bytes may be made on the calling thread: some 3 µs by way of the page cache, where
	 * the thread pool takes 15 µs of processor time and a round trip. One that has to wait for the medium stops the thread
	 * as long; after such a one the thread pool has the next ones. 0 unless told.
	 */
	readonly blockingBytes?: number;
}

const ZERO_PIECE = new Uint8Array(1024 * 1024);
/** What takes longer on the calling thread has waited for the medium… */
const SLOW_MS = 1.5;
/** …and so many of the next go to the thread pool: twice as many each time in a row, up to the second figure. */
const FEWEST_AWAY = 8;
/** Pieces that one call of the system takes (IOV_MAX of Linux). */
const MAX_PIECES = 1024;
const MOST_AWAY = 1024;

/** A host file as bytes. A flush is `fdatasync`: it returns when the data has reached the medium. */
export class FileStore implements ByteStore {
	readonly name: string;
	readonly isReadOnly: boolean;
	readonly #file: FileHandle;
	readonly #lock: FileLock | undefined;
	readonly #blockingBytes: number;
	/** Requests that are still to go to the thread pool, and how many it will be after the next slow one. */
	#away = 0;
	#nextAway = FEWEST_AWAY;
	/** The end of the file; kept here because zeros past it are cheap. */
	#sizeBytes: number;
	#isClosed = false;

	private constructor(name: string, file: FileHandle, sizeBytes: number, lock: FileLock | undefined, options: FileStoreOptions) {
		this.name = name;
		this.#file = file;
		this.#sizeBytes = sizeBytes;
		this.isReadOnly = options.isReadOnly ?? false;
		this.#blockingBytes = options.blockingBytes ?? 0;
		this.#lock = lock;
	}

	/** @throws DiskError not-found, locked, or io, with a text that says which file and why */
	static async open(path: string, options: FileStoreOptions = {}): Promise<FileStore> {
		const isReadOnly = options.isReadOnly ?? false;
		const mode = isReadOnly ? constants.O_RDONLY : constants.O_RDWR;
		const file = await open(path, mode | (options.create === true ? constants.O_CREAT | constants.O_EXCL : 0), 0o644).catch((cause) => {
			throw openError(path, isReadOnly, cause);
		});
		try {
			const stat = await file.stat();
			if (stat.isDirectory()) throw new DiskError("io", path, "is a directory, not a disk image");
			if (!stat.isFile() && !stat.isBlockDevice()) throw new DiskError("io", path, "is neither a file nor a block device");
			const lock = (options.lock ?? !isReadOnly) ? await lockFile(path) : undefined;
			const sizeBytes = stat.isBlockDevice() ? await deviceSize(file) : stat.size;
			return new FileStore(path, file, sizeBytes, lock, options);
		} catch (error) {
			await file.close();
			throw error;
		}
	}

	size(): Promise<number> {
		return Promise.resolve(this.#sizeBytes);
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		if (this.readNow(offsetBytes, [into])) return;
		let done = 0;
		while (done < into.length) {
			const { bytesRead } = await this.#try("read", offsetBytes, () => this.#file.read(into, done, into.length - done, offsetBytes + done));
			if (bytesRead === 0) break;
			done += bytesRead;
		}
		into.fill(0, done);
	}

	readNow(offsetBytes: number, into: Pieces): boolean {
		const length = lengthOf(into);
		if (!this.#isForThisThread(length)) return false;
		const startMs = performance.now();
		try {
			const fd = this.#file.fd;
			for (let done = 0; done < length; ) {
				const rest = done === 0 ? into : cut(into, done, length - done);
				const [only] = rest;
				const count =
					rest.length === 1 && only !== undefined
						? readSync(fd, only, 0, only.length, offsetBytes + done)
						: readvSync(fd, rest.slice(0, MAX_PIECES), offsetBytes + done);
				if (count === 0) {
					for (const piece of rest) piece.fill(0);
					break;
				}
				done += count;
			}
		} catch {
			return false;
		}
		this.#noteTime(performance.now() - startMs);
		return true;
	}

	#isForThisThread(lengthBytes: number): boolean {
		if (lengthBytes > this.#blockingBytes) return false;
		if (this.#away === 0) return true;
		this.#away--;
		return false;
	}

	#noteTime(tookMs: number): void {
		if (tookMs < SLOW_MS) {
			this.#nextAway = FEWEST_AWAY;
			return;
		}
		this.#away = this.#nextAway;
		this.#nextAway = Math.min(MOST_AWAY, 2 * this.#nextAway);
	}

	async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		this.#checkWritable();
		if (this.writeNow(offsetBytes, [from])) return;
		this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + from.length);
		let done = 0;
		while (done < from.length) {
			const { bytesWritten } = await this.#try("write", offsetBytes, () =>
				this.#file.write(from, done, from.length - done, offsetBytes + done),
			);
			done += bytesWritten;
		}
	}

	writeNow(offsetBytes: number, from: Pieces): boolean {
		const length = lengthOf(from);
		if (this.isReadOnly || !this.#isForThisThread(length)) return false;
		const startMs = performance.now();
		this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + length);
		try {
			const fd = this.#file.fd;
			for (let done = 0; done < length; ) {
				const rest = done === 0 ? from : cut(from, done, length - done);
				const [only] = rest;
				done +=
					rest.length === 1 && only !== undefined
						? writeSync(fd, only, 0, only.length, offsetBytes + done)
						: writevSync(fd, rest.slice(0, MAX_PIECES), offsetBytes + done);
			}
		} catch {
			return false;
		}
		this.#noteTime(performance.now() - startMs);
		return true;
	}

	async truncate(sizeBytes: number): Promise<void> {
		this.#checkWritable();
		await this.#try("resize", undefined, () => this.#file.truncate(sizeBytes));
		this.#sizeBytes = sizeBytes;
	}

	/** Zeros past the end are a hole; before it they are written, since Node has no way to punch holes. */
	async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		const end = offsetBytes + lengthBytes;
		const written = Math.min(end, this.#sizeBytes);
		for (let at = offsetBytes; at < written; at += ZERO_PIECE.length) {
			const count = Math.min(ZERO_PIECE.length, written - at);
			await this.#zeroPiece(at, count);
		}
		// Not by `truncate`: it would cut off what a write at the same time puts past `end`.
		if (end > this.#sizeBytes) await this.write(end - 1, ZERO_PIECE.subarray(0, 1));
	}

	/** A hole stays a hole: what reads as zeros is left alone. */
	async #zeroPiece(offsetBytes: number, count: number): Promise<void> {
		const piece = Buffer.allocUnsafe(count);
		await this.read(offsetBytes, piece);
		if (piece.equals(ZERO_PIECE.subarray(0, count))) return;
		await this.write(offsetBytes, ZERO_PIECE.subarray(0, count));
	}

	async flush(): Promise<void> {
		if (this.isReadOnly) return;
		await this.#try("flush", undefined, () => this.#file.datasync());
	}

	async close(): Promise<void> {
		if (this.#isClosed) return;
		this.#isClosed = true;
		await this.#file.close();
		await this.#lock?.release();
	}

	#checkWritable(): void {
		if (this.isReadOnly) throw new DiskError("read-only", this.name, "opened for reading only");
	}

	async #try<Result>(what: string, offsetBytes: number | undefined, run: () => Promise<Result>): Promise<Result> {
		try {
			return await run();
		} catch (cause) {
			const context = offsetBytes === undefined ? { cause } : { offsetBytes, cause };
			throw new DiskError("io", this.name, `cannot ${what}: ${reason(cause)}`, context);
		}
	}
}

/** A block device's stat says size 0. */
async function deviceSize(file: FileHandle): Promise<number> {
	// Bisection by reading: Node has no ioctl and no lseek.
	const probe = new Uint8Array(1);
	const has = async (at: number) => (await file.read(probe, 0, 1, at)).bytesRead === 1;
	let low = 0;
	let high = 512;
	while (await has(high - 1)) {
		low = high;
		high *= 2;
	}
	while (high - low > 512) {
		const mid = low + Math.floor((high - low) / 1024) * 512;
		if (await has(mid + 511)) low = mid + 512;
		else high = mid;
	}
	return low;
}

function openError(path: string, isReadOnly: boolean, cause: unknown): DiskError {
	switch (code(cause)) {
		case "ENOENT":
			return new DiskError("not-found", path, "no such file", { cause });
		case "EISDIR":
			return new DiskError("io", path, "is a directory, not a disk image", { cause });
		case "EEXIST":
			return new DiskError("io", path, "exists already", { cause });
		case "EACCES":
		case "EPERM":
			return new DiskError("io", path, `no permission to ${isReadOnly ? "read" : "read and write"} it`, { cause });
		case "EROFS":
			return new DiskError("read-only", path, "lies on a read-only file system", { cause });
		default:
			return new DiskError("io", path, `cannot open: ${reason(cause)}`, { cause });
	}
}

function code(error: unknown): string | undefined {
	return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

function reason(error: unknown): string {
	return code(error) ?? (error instanceof Error ? error.message : String(error));
}
