import type { CpuState } from "../state/cpu-state.ts";
import { at, JUMP_BYTES, JUMP_CACHE, JUMP_ENTRIES, JUMP_ENTRY, JUMP_ENTRY_BYTES, JUMP_HASH } from "../state/layout.ts";

const STEP = JUMP_ENTRY_BYTES >> 2;
const FIRST = JUMP_CACHE >> 2;
const TAG = JUMP_ENTRY.tag >> 2;
const CALLEE = JUMP_ENTRY.callee >> 2;
const RECORD = JUMP_ENTRY.record >> 2;
const JUMP_TAG = at("jumpTag") >> 2;
const RIP = at("rip") >> 2;

/** Of an entry: its code lies on pages that are not global; on more pages than its first. */
const LOCAL = 1;
const WIDE = 2;

/** What a new entry leads to. */
export interface JumpTarget {
	/** Slot of the function table, and the function's second argument. */
	readonly callee: number;
	readonly record: number;
	/** All its code lies on global pages. */
	readonly isGlobal: boolean;
	/** Its code lies on more pages than its first. */
	readonly isWide: boolean;
}

/**
 * A CPU's jump cache, which generated code reads: from an offset in CS and the mode to the code for it. An entry holds as long as the
 * linear pages of its code are mapped as they are.
 */
export class JumpCache {
	readonly #i32: Int32Array;
	/** By entry. */
	readonly #notes = new Uint8Array(JUMP_ENTRIES);
	/** Entries that were local when they were made, so that a CR3 write costs what has been used. */
	readonly #locals = new Int32Array(JUMP_ENTRIES);
	#localCount = 0;
	#wideCount = 0;

	constructor(state: CpuState) {
		this.#i32 = state.i32;
		this.flush(false);
	}

	/** Enters the code for the present rip in the present mode. */
	enter({ callee, record, isGlobal, isWide }: JumpTarget): void {
		const i32 = this.#i32;
		const rip = i32[RIP] as number;
		const slot = Math.imul(rip, JUMP_HASH) >>> (32 - Math.log2(JUMP_ENTRIES));
		const entry = FIRST + slot * STEP;
		i32[entry + TAG] = rip ^ (i32[JUMP_TAG] as number);
		i32[entry + TAG + 1] = (i32[RIP + 1] as number) ^ (i32[JUMP_TAG + 1] as number);
		i32[entry + CALLEE] = callee;
		i32[entry + RECORD] = record;
		if (!isGlobal && ((this.#notes[slot] as number) & LOCAL) === 0) this.#locals[this.#localCount++] = slot;
		this.#notes[slot] = ((this.#notes[slot] as number) & LOCAL) | (isGlobal ? 0 : LOCAL) | (isWide ? WIDE : 0);
		if (isWide) this.#wideCount++;
	}

	#drop(slot: number): void {
		const entry = FIRST + slot * STEP;
		// A tag that nothing has: no mode's bits are all ones.
		this.#i32[entry + TAG] = -1;
		this.#i32[entry + TAG + 1] = -1;
	}

	/** Empties the cache; `keepGlobal` spares code on global pages. */
	flush(keepGlobal: boolean): void {
		if (keepGlobal) {
			for (let n = 0; n < this.#localCount; n++) {
				const slot = this.#locals[n] as number;
				// It may have become a global entry since: then it is lost for nothing.
				this.#drop(slot);
				this.#notes[slot] = (this.#notes[slot] as number) & ~LOCAL;
			}
		} else {
			this.#i32.fill(-1, FIRST, (JUMP_CACHE + JUMP_BYTES) >> 2);
			this.#notes.fill(0);
			this.#wideCount = 0;
		}
		this.#localCount = 0;
	}

	/** The linear page is mapped anew: entries for code on it go. `lo` as an offset in CS is the same address. */
	dropPage(lo: number): void {
		const i32 = this.#i32;
		const first = lo & -4096;
		for (let rip = first; rip < first + 4096; rip++) {
			const slot = Math.imul(rip, JUMP_HASH) >>> (32 - Math.log2(JUMP_ENTRIES));
			if (((i32[FIRST + slot * STEP + TAG] as number) ^ rip) === 0) this.#drop(slot);
		}
		if (this.#wideCount === 0) return;
		for (let slot = 0; slot < JUMP_ENTRIES; slot++) if (((this.#notes[slot] as number) & WIDE) !== 0) this.#drop(slot);
		this.#wideCount = 0;
	}

	/** Jumps to the blocks with these head records are looked up again. */
	forget(records: ReadonlySet<number>): void {
		const i32 = this.#i32;
		// Nearly all entries are others': a look at a few of their bits says so.
		const mayBe = new Uint8Array(4096);
		for (const record of records) mayBe[(record >>> 6) & 4095] = 1;
		for (let slot = 0, at = FIRST + RECORD; slot < JUMP_ENTRIES; slot++, at += STEP) {
			const record = i32[at] as number;
			if (mayBe[(record >>> 6) & 4095] === 1 && records.has(record)) this.#drop(slot);
		}
	}
}
