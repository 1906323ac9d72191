import { assert } from "../base/assert.ts";
import type { Disk } from "../disk/disk.ts";

/** Writes are kept in pieces of this size. */
const PIECE_BYTES = 64 * 1024;

/** A disk whose writes stay in memory and are gone with it: what lies beneath is only read. */
export class OverlayDisk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly isReadOnly = false;
	readonly #base: Disk;
	/** By number of the piece. A piece being fetched from below is there as a promise, so that no write overtakes it. */
	readonly #pieces = new Map<number, Promise<Uint8Array>>();

	constructor(base: Disk) {
		this.#base = base;
		this.sizeBytes = base.sizeBytes;
		this.sectorBytes = base.sectorBytes;
	}

	/** Bytes of memory that changed pieces take. */
	get changedBytes(): number {
		return this.#pieces.size * PIECE_BYTES;
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		this.#check(offsetBytes, into.length);
		await this.#each(offsetBytes, into.length, async (number, at, count, done) => {
			const target = into.subarray(done, done + count);
			const piece = this.#pieces.get(number);
			if (piece === undefined) await this.#base.read(number * PIECE_BYTES + at, target);
			else target.set((await piece).subarray(at, at + count));
		});
	}

	async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		this.#check(offsetBytes, from.length);
		await this.#each(offsetBytes, from.length, async (number, at, count, done) => {
			const piece = await this.#piece(number);
			piece.set(from.subarray(done, done + count), at);
		});
	}

	async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		this.#check(offsetBytes, lengthBytes);
		await this.#each(offsetBytes, lengthBytes, async (number, at, count) => {
			(await this.#piece(number)).fill(0, at, at + count);
		});
	}

	discard(): Promise<void> {
		return Promise.resolve();
	}

	flush(): Promise<void> {
		return Promise.resolve();
	}

	async close(): Promise<void> {
		this.#pieces.clear();
		await this.#base.close();
	}

	#piece(number: number): Promise<Uint8Array> {
		let piece = this.#pieces.get(number);
		if (piece === undefined) {
			piece = this.#fetch(number);
			this.#pieces.set(number, piece);
			// A piece that could not be fetched is fetched anew by whoever asks next.
			piece.catch(() => this.#pieces.delete(number));
		}
		return piece;
	}

	async #fetch(number: number): Promise<Uint8Array> {
		const piece = new Uint8Array(PIECE_BYTES);
		const first = number * PIECE_BYTES;
		await this.#base.read(first, piece.subarray(0, Math.min(PIECE_BYTES, this.sizeBytes - first)));
		return piece;
	}

	async #each(
		offsetBytes: number,
		lengthBytes: number,
		visit: (number: number, at: number, count: number, done: number) => Promise<void>,
	): Promise<void> {
		for (let done = 0; done < lengthBytes; ) {
			const offset = offsetBytes + done;
			const at = offset % PIECE_BYTES;
			const count = Math.min(PIECE_BYTES - at, lengthBytes - done);
			await visit((offset - at) / PIECE_BYTES, at, count, done);
			done += count;
		}
	}

	#check(offsetBytes: number, lengthBytes: number): void {
		assert(
			offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes,
			`disk access at ${offsetBytes}+${lengthBytes} of ${this.sizeBytes}`,
		);
	}
}
