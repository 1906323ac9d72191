import type { ByteStore, Disk } from "./disk.ts";
import { lengthOf, type Pieces } from "./pieces.ts";
import { checkRange, checkWritable, isInRange } from "./range.ts";

export interface RawOptions {
	readonly sectorBytes?: 512 | 4096;
	readonly isReadOnly?: boolean;
}

/** What is written in one go where a store has no cheaper way to zeros. */
const ZERO_PIECE = new Uint8Array(1024 * 1024);

/** A disk whose bytes are the store's bytes, one to one. */
export class RawDisk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly isReadOnly: boolean;
	readonly #store: ByteStore;

	private constructor(store: ByteStore, sizeBytes: number, options: RawOptions) {
		this.#store = store;
		this.sizeBytes = sizeBytes;
		this.sectorBytes = options.sectorBytes ?? 512;
		this.isReadOnly = store.isReadOnly || options.isReadOnly === true;
	}

	/** The store's size, rounded up to whole sectors, becomes the disk's; the odd bytes at its end read as zeros. */
	static async open(store: ByteStore, options: RawOptions = {}): Promise<RawDisk> {
		const sectorBytes = options.sectorBytes ?? 512;
		const sizeBytes = Math.ceil((await store.size()) / sectorBytes) * sectorBytes;
		return new RawDisk(store, sizeBytes, options);
	}

	/** Empties the store and makes it `sizeBytes` of zeros. */
	static async create(store: ByteStore, sizeBytes: number, options: RawOptions = {}): Promise<RawDisk> {
		await store.truncate(0);
		await store.truncate(sizeBytes);
		return RawDisk.open(store, options);
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		checkRange(this, this.#store.name, offsetBytes, into.length);
		await this.#store.read(offsetBytes, into);
	}

	async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, from.length);
		await this.#store.write(offsetBytes, from);
	}

	async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
		await storeZeroes(this.#store, offsetBytes, lengthBytes);
	}

	/** Gives the space back where the store can; the range may read as zeros afterwards, or as it did. */
	async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		checkWritable(this.isReadOnly, this.#store.name);
		checkRange(this, this.#store.name, offsetBytes, lengthBytes);
		if (this.#store.writeZeroes !== undefined) await this.#store.writeZeroes(offsetBytes, lengthBytes);
	}

	readNow(offsetBytes: number, into: Pieces): boolean {
		return this.#store.readNow !== undefined && this.#isWithin(offsetBytes, into) && this.#store.readNow(offsetBytes, into);
	}

	writeNow(offsetBytes: number, from: Pieces): boolean {
		if (this.isReadOnly || this.#store.writeNow === undefined) return false;
		return this.#isWithin(offsetBytes, from) && this.#store.writeNow(offsetBytes, from);
	}

	#isWithin(offsetBytes: number, pieces: Pieces): boolean {
		return isInRange(this, offsetBytes, lengthOf(pieces));
	}

	flush(): Promise<void> {
		return this.isReadOnly ? Promise.resolve() : this.#store.flush();
	}

	close(): Promise<void> {
		return this.#store.close();
	}
}

/** Zeros on a store: its own cheap way, or written out. */
export async function storeZeroes(store: ByteStore, offsetBytes: number, lengthBytes: number): Promise<void> {
	if (store.writeZeroes !== undefined) return store.writeZeroes(offsetBytes, lengthBytes);
	for (let done = 0; done < lengthBytes; ) {
		const count = Math.min(ZERO_PIECE.length, lengthBytes - done);
		await store.write(offsetBytes + done, count === ZERO_PIECE.length ? ZERO_PIECE : ZERO_PIECE.subarray(0, count));
		done += count;
	}
}
