import { PAGE_BYTES } from "../base/units.ts";
import { HASH_WORDS } from "./page-hash.ts";

/**
 * Where a store's pages lie: numbered slots of a page each, and beside them their hashes. Reading and writing are synchronous,
 * because a guest's access waits for the page.
 */
export interface PageFile {
	/** For messages. */
	readonly name: string;
	readonly slotCount: number;
	/** Reads as many slots as fit `into`. @throws SnapshotError corrupt, io */
	read(slot: number, into: Uint8Array): void;
	/** Writes whole pages from `slot` on, past the end if need be, and their hashes. @throws SnapshotError io */
	write(slot: number, pages: Uint8Array, hashes: Uint32Array): void;
	/** The hashes of all slots. */
	readHashes(): Uint32Array;
	/** Gives back the slots from `slotCount` on. */
	truncate(slotCount: number): void;
	/** Nobody will read these slots any more; whole parts of the file go back to the host. They may be written again. */
	discard(first: number, count: number): void;
	/** Slots below this are never written again, because other stores share them. */
	readonly frozenSlots: number;
	/** Freezes all there is. */
	freeze(): Promise<void>;
	/** What has been written survives a crash of the host once this resolves. */
	flush(): Promise<void>;
	close(): Promise<void>;
}

const CHUNK_SLOTS = 256;
const CHUNK_BYTES = CHUNK_SLOTS * PAGE_BYTES;

/** Pages that are gone with the process. */
export class MemoryPageFile implements PageFile {
	readonly name = "memory";
	#slotCount = 0;
	readonly #chunks: Uint8Array[] = [];
	#hashes = new Uint32Array(CHUNK_SLOTS * HASH_WORDS);

	get slotCount(): number {
		return this.#slotCount;
	}

	read(slot: number, into: Uint8Array): void {
		this.#pieces(slot, into.length, (chunk, from, done, count) => into.set(chunk.subarray(from, from + count), done));
	}

	write(slot: number, pages: Uint8Array, hashes: Uint32Array): void {
		const end = slot + pages.length / PAGE_BYTES;
		while (this.#chunks.length * CHUNK_SLOTS < end) this.#chunks.push(new Uint8Array(CHUNK_BYTES));
		this.#pieces(slot, pages.length, (chunk, from, done, count) => chunk.set(pages.subarray(done, done + count), from));
		this.#slotCount = Math.max(this.#slotCount, end);
		if (this.#hashes.length < this.#slotCount * HASH_WORDS) {
			const more = new Uint32Array(Math.max(this.#slotCount * HASH_WORDS, this.#hashes.length * 2));
			more.set(this.#hashes);
			this.#hashes = more;
		}
		this.#hashes.set(hashes, slot * HASH_WORDS);
	}

	#pieces(slot: number, lengthBytes: number, visit: (chunk: Uint8Array, from: number, done: number, count: number) => void): void {
		for (let done = 0; done < lengthBytes; ) {
			const at = slot * PAGE_BYTES + done;
			const from = at % CHUNK_BYTES;
			const count = Math.min(CHUNK_BYTES - from, lengthBytes - done);
			visit(this.#chunks[Math.floor(at / CHUNK_BYTES)] as Uint8Array, from, done, count);
			done += count;
		}
	}

	readHashes(): Uint32Array {
		return this.#hashes.subarray(0, this.#slotCount * HASH_WORDS);
	}

	truncate(slotCount: number): void {
		this.#slotCount = Math.min(this.#slotCount, slotCount);
		this.#chunks.length = Math.min(this.#chunks.length, Math.ceil(slotCount / CHUNK_SLOTS));
	}

	discard(): void {}

	get frozenSlots(): number {
		return 0;
	}

	async freeze(): Promise<void> {}

	async flush(): Promise<void> {}

	async close(): Promise<void> {}
}
