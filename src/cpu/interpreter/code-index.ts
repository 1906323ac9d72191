import { CODE_INDEX, CODE_INDEX_BYTES, ENGINE_BYTES, type GuestMemory } from "../../machine/memory.ts";
import { MODE } from "../state/layout.ts";
import type { Block } from "./block-cache.ts";
import { REC } from "./record.ts";

/** An entry: physical address and mode as one number (`codeKey`), and the block's head record. */
export const CODE_INDEX_ENTRY_BYTES = 16;
export const CODE_INDEX_ENTRY = { key: 0, record: 8 } as const;
/** Entries that a key may stand in, one after another; their first is a hash of it. */
export const CODE_INDEX_WAYS = 4;
export const CODE_INDEX_SETS = CODE_INDEX_BYTES / CODE_INDEX_ENTRY_BYTES / CODE_INDEX_WAYS;
const STEP = CODE_INDEX_ENTRY_BYTES >> 2;
const RECORD = CODE_INDEX_ENTRY.record >> 2;
/** Mode bits of a key stand above all physical addresses. One bit more, so that no key is 0. */
export const CODE_KEY_SHIFT = 56;
export const CODE_KEY_MARK = 64;
/** 2³² divided by the golden ratio. */
export const CODE_INDEX_HASH = 0x9e37_79b1 | 0;
/** Pages besides its own that a region's head record can tell of. */
export const MAX_INDEXED_PAGES = 4;

/**
 * Decoded code by physical address and mode, where generated code can look for it (core/find-code.ts): a cache of what `BlockCache`
 * knows, in the engine's area, for all CPUs. The head record tells the rest: the region to enter, if there is one, and the pages
 * that must be mapped as they were when that was made.
 */
export class CodeIndex {
	readonly #i32: Int32Array;
	#turn = 0;

	constructor(memory: GuestMemory) {
		this.#i32 = new Int32Array(memory.memory.buffer, 0, ENGINE_BYTES >> 2);
	}

	/** Only blocks whose bytes lie on one page, in modes whose offsets are linear addresses, may stand here. */
	enter({ phys, modeKey, record, tailPage }: Block): void {
		if (tailPage >= 0 || (modeKey & (MODE.flat | MODE.step)) !== MODE.flat || (modeKey & MODE.codeMask) === MODE.code16) return;
		const i32 = this.#i32;
		const low = phys | 0;
		const high = Math.floor(phys / 0x1_0000_0000) | ((modeKey | CODE_KEY_MARK) << (CODE_KEY_SHIFT - 32));
		const entry = this.#place(phys, low, high);
		i32[entry] = low;
		i32[entry + 1] = high;
		i32[entry + RECORD] = record;
	}

	/** Where the key stands, else where there is room, else where it is another's turn to go. */
	#place(phys: number, low: number, high: number): number {
		const i32 = this.#i32;
		const first = firstEntry(phys);
		let free = -1;
		for (let entry = first; entry < first + CODE_INDEX_WAYS * STEP; entry += STEP) {
			if (i32[entry] === low && i32[entry + 1] === high) return entry;
			if (i32[entry + 1] === 0) free = entry;
		}
		if (free >= 0) return free;
		this.#turn = (this.#turn + 1) % CODE_INDEX_WAYS;
		return first + this.#turn * STEP;
	}

	/** The block is no more. */
	drop({ phys, record }: Block): void {
		const i32 = this.#i32;
		const first = firstEntry(phys);
		for (let entry = first; entry < first + CODE_INDEX_WAYS * STEP; entry += STEP) {
			if (i32[entry + RECORD] !== record) continue;
			i32.fill(0, entry, entry + STEP);
		}
	}

	/** The block's regions have changed: its head record says which to enter. */
	describe({ record, regions }: Block): void {
		const i32 = this.#i32;
		const first = regions[0];
		const head = record >> 2;
		i32[head + (REC.region >> 2)] = first?.slot ?? 0;
		const pages = first?.otherPages ?? [];
		const isPlain = pages.length <= MAX_INDEXED_PAGES;
		i32[head + (REC.pageCount >> 2)] = isPlain ? pages.length : -1;
		if (!isPlain) return;
		for (const [n, { pageIndex, phys }] of pages.entries()) {
			i32[head + (REC.pages >> 2) + 2 * n] = pageIndex;
			i32[head + (REC.pages >> 2) + 2 * n + 1] = Math.floor(phys / 4096);
		}
	}

	clear(): void {
		this.#i32.fill(0, CODE_INDEX >> 2, (CODE_INDEX + CODE_INDEX_BYTES) >> 2);
	}
}

/** Word number of the first entry of a physical address's set. */
function firstEntry(phys: number): number {
	const set = Math.imul(phys | 0, CODE_INDEX_HASH) >>> (32 - Math.log2(CODE_INDEX_SETS));
	return (CODE_INDEX >> 2) + set * CODE_INDEX_WAYS * STEP;
}
