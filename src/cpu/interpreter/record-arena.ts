import type { Block } from "./block-cache.ts";
import { RECORD_BYTES } from "./record.ts";

/** Parts of the arena that are emptied one at a time. */
const CHUNKS = 16;

interface Gap {
	readonly first: number;
	readonly end: number;
}

/**
 * Room for decoded records, given out round and round: where it comes by again, the blocks of one sixteenth make way, but for those
 * that are worth keeping.
 */
export class RecordArena {
	readonly #first: number;
	readonly #chunkBytes: number;
	/** Empties a chunk of these blocks; returns those that stay. */
	readonly #evict: (blocks: readonly Block[]) => readonly Block[];
	readonly #chunks: Block[][] = Array.from({ length: CHUNKS }, () => []);
	#chunk = 0;
	/** Free room in the chunk, behind `#next`. */
	#gaps: Gap[] = [];
	#next: number;
	#end: number;

	constructor(first: number, end: number, evict: (blocks: readonly Block[]) => readonly Block[]) {
		this.#first = first;
		this.#chunkBytes = Math.floor((end - first) / CHUNKS / RECORD_BYTES) * RECORD_BYTES;
		this.#evict = evict;
		this.#next = first;
		this.#end = first + this.#chunkBytes;
	}

	/** Offset of room for `records` records, the last of which need not be used (`take`). undefined: all of it is worth keeping. */
	reserve(records: number): number | undefined {
		for (let tried = 0; this.#next + records * RECORD_BYTES > this.#end; ) {
			const gap = this.#gaps.pop();
			if (gap !== undefined) {
				this.#next = gap.first;
				this.#end = gap.end;
			} else if (tried++ <= CHUNKS) this.#nextChunk();
			else return undefined;
		}
		return this.#next;
	}

	/** The block has been written where `reserve` said; the room behind `end` is free. */
	take(block: Block, end: number): void {
		(this.#chunks[this.#chunk] as Block[]).push(block);
		this.#next = end;
	}

	#nextChunk(): void {
		this.#chunk = (this.#chunk + 1) % CHUNKS;
		const kept = this.#evict(this.#chunks[this.#chunk] as Block[]);
		this.#chunks[this.#chunk] = [...kept];
		const first = this.#first + this.#chunk * this.#chunkBytes;
		const gaps: Gap[] = [];
		let at = first;
		for (const { record, count } of [...kept].sort((a, b) => a.record - b.record)) {
			if (record > at) gaps.push({ first: at, end: record });
			at = record + (count + 2) * RECORD_BYTES;
		}
		gaps.push({ first: at, end: first + this.#chunkBytes });
		this.#gaps = gaps.reverse();
		this.#next = this.#end;
	}

	/** Nothing in it counts any more. */
	clear(): void {
		for (const blocks of this.#chunks) blocks.length = 0;
		this.#chunk = 0;
		this.#gaps = [];
		this.#next = this.#first;
		this.#end = this.#first + this.#chunkBytes;
	}
}
