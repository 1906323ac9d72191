import { assert } from "../base/assert.ts";
import { PAGE_BYTES } from "../base/units.ts";
import type { PageFile } from "./page-file.ts";
import { BATCH_PAGES, HASH_WORDS, PageHasher } from "./page-hash.ts";

/** A page of zeros is nobody's to keep. */
export const ZERO_PAGE = 0;

export interface PageStoreStats {
	/** Pages that something refers to. */
	readonly usedPages: number;
	/** Slots of the file, used or not. */
	readonly slots: number;
	/** Pages put since the store was opened, and how many of them were here already (zeros not counted). */
	readonly putPages: number;
	readonly foundPages: number;
}

/**
 * Pages by content: what is put twice is kept once, what nobody refers to any more gives its place to the next. References are
 * counted in memory, from what is there when a store is opened, so no crash can spoil them.
 */
export class PageStore {
	readonly hasher = new PageHasher();
	readonly #file: PageFile;
	/** By slot. */
	#refs = new Uint32Array(1024);
	#hashes = new Uint32Array(1024 * HASH_WORDS);
	#slotCount: number;
	/** Slots that nothing refers to and that may be written; the lowest are taken first, so that the file can shrink. */
	#free: number[] = [];
	/** Open addressing by the hash's first word: slot + 1, or 0. Slots that were freed stay, and are found out by their count. */
	#index = new Uint32Array(4096);
	#indexed = 0;
	readonly #isPending = new Set<number>();
	#putPages = 0;
	#foundPages = 0;
	readonly #compared = new Uint8Array(PAGE_BYTES);

	/** Nothing is referred to yet: count with `retain`, then call `sweep`. */
	constructor(file: PageFile) {
		this.#file = file;
		this.#slotCount = file.slotCount;
		this.#reserve(this.#slotCount);
		this.#hashes.set(file.readHashes());
	}

	get stats(): PageStoreStats {
		return {
			usedPages: this.#slotCount - this.#free.length,
			slots: this.#slotCount,
			putPages: this.#putPages,
			foundPages: this.#foundPages,
		};
	}

	/** After all that refers to pages has been counted: the rest is free. */
	sweep(): void {
		this.#free = [];
		for (let slot = this.#slotCount - 1; slot >= 0; slot--) if (this.#refs[slot] === 0) this.#free.push(slot);
		this.trim();
	}

	retain(id: number): void {
		if (id === ZERO_PAGE) return;
		this.#refs[id - 1] = (this.#refs[id - 1] as number) + 1;
		this.#isPending.delete(id - 1);
	}

	release(id: number): void {
		if (id === ZERO_PAGE) return;
		const left = (this.#refs[id - 1] as number) - 1;
		assert(left >= 0, "a page is released once for each time it was retained");
		this.#refs[id - 1] = left;
		if (left === 0 && id > this.#file.frozenSlots) this.#free.push(id - 1);
	}

	/** How many references there are: 1 means that whoever holds it is alone. 0 for another store's pages. */
	references(id: number): number {
		return id === ZERO_PAGE ? 0 : (this.#refs[id - 1] as number);
	}

	/** Whether the id can be one of this store's. */
	has(id: number): boolean {
		return id <= this.#slotCount;
	}

	/** @throws SnapshotError corrupt, io */
	read(id: number, into: Uint8Array): void {
		if (id === ZERO_PAGE) into.fill(0);
		else this.readRun(id, into);
	}

	/** Reads pages of consecutive ids, none of them zero. */
	readRun(id: number, into: Uint8Array): void {
		this.#file.read(id - 1, into);
	}

	/** What is in the file now is never written again: others may share it. */
	async freeze(): Promise<void> {
		await this.#file.freeze();
		this.#free = this.#free.filter((slot) => slot >= this.#file.frozenSlots);
	}

	/**
	 * Keeps the first `count` pages of `hasher.batch`; their ids go to `ids`. They stay, though nobody has retained them yet,
	 * until `retain` or the store is opened anew.
	 */
	put(count: number, ids: Uint32Array): void {
		assert(count <= BATCH_PAGES, "a batch is no longer than the hasher's");
		const taken: number[] = [];
		try {
			this.#put(count, ids, taken);
		} catch (error) {
			// They hold nothing, or half of it.
			for (const slot of taken) {
				this.#isPending.delete(slot);
				this.#free.push(slot);
			}
			throw error;
		}
	}

	#put(count: number, ids: Uint32Array, taken: number[]): void {
		const { hasher } = this;
		let runFirst = -1;
		let runSlot = -1;
		const endRun = (end: number) => {
			if (runFirst < 0) return;
			this.#file.write(
				runSlot,
				hasher.batch.subarray(runFirst * PAGE_BYTES, end * PAGE_BYTES),
				hasher.words.subarray(runFirst * HASH_WORDS, end * HASH_WORDS),
			);
			runFirst = -1;
		};
		for (let i = 0; i < count; i++) {
			if (!hasher.hash(i)) {
				ids[i] = ZERO_PAGE;
				endRun(i);
				continue;
			}
			this.#putPages++;
			// What stands in an unwritten run cannot be compared with yet, so a hit there ends it.
			let known = this.#lookUp(i);
			if (known >= 0 && runFirst >= 0 && known >= runSlot) {
				endRun(i);
				known = this.#lookUp(i);
			}
			if (known >= 0 && this.#isSame(known, i)) {
				this.#foundPages++;
				ids[i] = known + 1;
				endRun(i);
				continue;
			}
			const slot = this.#takeSlot();
			taken.push(slot);
			this.#hashes.set(hasher.words.subarray(i * HASH_WORDS, (i + 1) * HASH_WORDS), slot * HASH_WORDS);
			this.#addToIndex(slot);
			ids[i] = slot + 1;
			if (runFirst >= 0 && slot !== runSlot + (i - runFirst)) endRun(i);
			if (runFirst < 0) {
				runFirst = i;
				runSlot = slot;
			}
		}
		endRun(count);
	}

	flush(): Promise<void> {
		return this.#file.flush();
	}

	close(): Promise<void> {
		return this.#file.close();
	}

	#isAlive(slot: number): boolean {
		return (this.#refs[slot] as number) > 0 || this.#isPending.has(slot);
	}

	#lookUp(index: number): number {
		const { words } = this.hasher;
		const first = index * HASH_WORDS;
		const mask = this.#index.length - 1;
		for (let at = (words[first] as number) & mask; ; at = (at + 1) & mask) {
			const entry = this.#index[at] as number;
			if (entry === 0) return -1;
			const slot = entry - 1;
			let word = 0;
			while (word < HASH_WORDS && this.#hashes[slot * HASH_WORDS + word] === words[first + word]) word++;
			if (word === HASH_WORDS && this.#isAlive(slot)) return slot;
		}
	}

	#isSame(slot: number, index: number): boolean {
		this.#file.read(slot, this.#compared);
		const from = index * PAGE_BYTES;
		const { batch } = this.hasher;
		for (let i = 0; i < PAGE_BYTES; i++) if (this.#compared[i] !== batch[from + i]) return false;
		return true;
	}

	#takeSlot(): number {
		const slot = this.#free.pop() ?? Math.max(this.#slotCount, this.#file.frozenSlots);
		if (slot >= this.#slotCount) {
			this.#slotCount = slot + 1;
			this.#reserve(this.#slotCount);
		}
		this.#isPending.add(slot);
		return slot;
	}

	#reserve(slots: number): void {
		if (this.#refs.length >= slots) return;
		const size = Math.max(slots, this.#refs.length * 2);
		const refs = new Uint32Array(size);
		refs.set(this.#refs);
		this.#refs = refs;
		const hashes = new Uint32Array(size * HASH_WORDS);
		hashes.set(this.#hashes);
		this.#hashes = hashes;
	}

	#addToIndex(slot: number): void {
		if (this.#indexed * 2 >= this.#index.length) this.#reindex();
		const mask = this.#index.length - 1;
		let at = (this.#hashes[slot * HASH_WORDS] as number) & mask;
		while (this.#index[at] !== 0) at = (at + 1) & mask;
		this.#index[at] = slot + 1;
		this.#indexed++;
	}

	/** Builds the index anew, with room, and without what has been freed. */
	#reindex(): void {
		let size = 4096;
		while (size < (this.#slotCount - this.#free.length) * 4) size *= 2;
		this.#index = new Uint32Array(size);
		this.#indexed = 0;
		for (let slot = 0; slot < this.#slotCount; slot++) if (this.#isAlive(slot)) this.#addToIndex(slot);
	}

	/** After many releases: what lies free goes back to the host, as far as it can. */
	trim(): void {
		let end = this.#slotCount;
		while (end > 0 && !this.#isAlive(end - 1)) end--;
		if (end < this.#slotCount) this.#file.truncate(end);
		this.#slotCount = end;
		for (let slot = 0; slot < end; slot++) {
			const first = slot;
			while (slot < end && !this.#isAlive(slot)) slot++;
			if (slot > first) this.#file.discard(first, slot - first);
		}
		this.#free = this.#free.filter((slot) => slot < end && slot >= this.#file.frozenSlots).sort((a, b) => b - a);
		this.#reindex();
	}
}
