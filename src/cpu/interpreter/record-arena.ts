import type { GuestMemory } from "../../machine/memory.ts";
import { blockBytes } from "./block-store.ts";
import { DECODER, DECODER_FIELD, RECORDS_END, RECORDS_FIRST } from "./decoded-area.ts";
import { HEAD, MAX_BLOCK_BYTES, RECORD_BYTES } from "./record.ts";

/** Parts of the arena that are emptied one at a time. */
const CHUNKS = 16;
const CHUNK_BYTES = Math.floor((RECORDS_END - RECORDS_FIRST) / CHUNKS / RECORD_BYTES) * RECORD_BYTES;
const NEXT = (DECODER + DECODER_FIELD.next) >> 2;
const END = (DECODER + DECODER_FIELD.end) >> 2;
/** Free room that a walk through a chunk meets looks like a block of no instructions; here it has its bytes. */
const GAP_BYTES = HEAD.heat >> 2;

interface Gap {
	readonly first: number;
	readonly end: number;
}

/**
 * Room for decoded records, given out round and round: where it comes by again, the blocks of one sixteenth make way, but for those
 * that are worth keeping. How far the present piece of room has been used stands in memory, since generated code decodes too.
 */
export class RecordArena {
	readonly #i32: Int32Array;
	readonly #bytes: Uint8Array;
	/** Asked of each block in a chunk that is to be emptied: whether it stays. */
	readonly #stays: (block: number) => boolean;
	/** Blocks have made way: nobody may come to them any more. */
	readonly #onEmptied: () => void;
	readonly #isFilled = new Array<boolean>(CHUNKS).fill(false);
	#chunk = 0;
	/** Free room in the chunk, behind the present piece. */
	#gaps: Gap[] = [];

	constructor({ bytes, engineWords }: GuestMemory, stays: (block: number) => boolean, onEmptied: () => void) {
		this.#i32 = engineWords;
		this.#bytes = bytes;
		this.#stays = stays;
		this.#onEmptied = onEmptied;
		this.clear();
	}

	/** Offset of room for the longest block (`take` says how much of it was used). undefined: all of it is worth keeping. */
	reserve(): number | undefined {
		const i32 = this.#i32;
		for (let tried = 0; (i32[NEXT] as number) + MAX_BLOCK_BYTES > (i32[END] as number); ) {
			this.#leaveGap();
			const gap = this.#gaps.pop();
			if (gap !== undefined) this.#begin(gap);
			else if (tried++ <= CHUNKS) this.#nextChunk();
			else return undefined;
		}
		return i32[NEXT] as number;
	}

	/** A block of so many instructions has been written where `reserve` said. */
	take(count: number): void {
		this.#i32[NEXT] = (this.#i32[NEXT] as number) + blockBytes(count);
	}

	#begin({ first, end }: Gap): void {
		this.#i32[NEXT] = first;
		this.#i32[END] = end;
	}

	/** The rest of the present piece stays free. */
	#leaveGap(): void {
		const next = this.#i32[NEXT] as number;
		const end = this.#i32[END] as number;
		if (next === end) return;
		this.#mark({ first: next, end });
		this.#i32[NEXT] = end;
	}

	#nextChunk(): void {
		this.#isFilled[this.#chunk] = true;
		this.#chunk = (this.#chunk + 1) % CHUNKS;
		const first = RECORDS_FIRST + this.#chunk * CHUNK_BYTES;
		const gaps = this.#isFilled[this.#chunk] ? this.#empty(first) : [{ first, end: first + CHUNK_BYTES }];
		this.#gaps = gaps.reverse();
	}

	/** Asks of all blocks in a chunk whether they stay; returns the room between those that do. */
	#empty(first: number): Gap[] {
		const gaps: Gap[] = [];
		const end = first + CHUNK_BYTES;
		let free = first;
		for (let at = first; at < end; ) {
			const count = this.#bytes[at + HEAD.count] as number;
			const bytes = count === 0 ? (this.#i32[(at >> 2) + GAP_BYTES] as number) : blockBytes(count);
			if (count > 0 && this.#stays(at)) {
				if (at > free) gaps.push({ first: free, end: at });
				free = at + bytes;
			}
			at += bytes;
		}
		if (end > free) gaps.push({ first: free, end });
		this.#onEmptied();
		// A piece that is passed over is found as room the next time.
		for (const gap of gaps) this.#mark(gap);
		return gaps;
	}

	#mark({ first, end }: Gap): void {
		this.#i32[(first + HEAD.count) >> 2] = 0;
		this.#i32[(first >> 2) + GAP_BYTES] = end - first;
	}

	/** Nothing in it counts any more. */
	clear(): void {
		this.#isFilled.fill(false);
		this.#chunk = 0;
		this.#gaps = [];
		this.#begin({ first: RECORDS_FIRST, end: RECORDS_FIRST + CHUNK_BYTES });
	}
}
