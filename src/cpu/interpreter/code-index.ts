import { CODE_INDEX, CODE_INDEX_BYTES, type GuestMemory } from "../../machine/memory.ts";
import { GOLDEN_RATIO, isLinearMode, MODE } from "../state/layout.ts";
import type { BlockStore } from "./block-store.ts";

/** An entry: physical address and mode as one number, and the block's head record. */
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

/**
 * Decoded code by physical address and mode, where generated code looks first (core/find-code.ts): a cache of what `BlockStore`
 * has, in the engine's area, for all CPUs.
 */
export class CodeIndex {
	readonly #i32: Int32Array;
	readonly #blocks: BlockStore;
	#turn = 0;

	constructor(memory: GuestMemory, blocks: BlockStore) {
		this.#i32 = memory.engineWords;
		this.#blocks = blocks;
	}

	/** Only blocks whose bytes lie on one page, in modes whose offsets are linear addresses, may stand here. */
	enter(block: number): void {
		const modeKey = this.#blocks.modeKeyOf(block);
		if (this.#blocks.tailPageOf(block) >= 0 || !isLinearMode(modeKey) || (modeKey & MODE.step) !== 0) return;
		const i32 = this.#i32;
		const phys = this.#blocks.physOf(block);
		const low = phys | 0;
		const high = Math.floor(phys / 0x1_0000_0000) | ((modeKey | CODE_KEY_MARK) << (CODE_KEY_SHIFT - 32));
		const entry = this.#place(phys, low, high);
		i32[entry] = low;
		i32[entry + 1] = high;
		i32[entry + RECORD] = block;
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
	drop(block: number): void {
		const i32 = this.#i32;
		const first = firstEntry(this.#blocks.physOf(block));
		for (let entry = first; entry < first + CODE_INDEX_WAYS * STEP; entry += STEP)
			if (i32[entry + RECORD] === block) {
				i32[entry] = 0;
				i32[entry + 1] = 0;
				i32[entry + RECORD] = 0;
			}
	}

	clear(): void {
		this.#i32.fill(0, CODE_INDEX >> 2, (CODE_INDEX + CODE_INDEX_BYTES) >> 2);
	}
}

/** Word number of the first entry of a physical address's set. */
function firstEntry(phys: number): number {
	const set = Math.imul(phys | 0, GOLDEN_RATIO) >>> (32 - Math.log2(CODE_INDEX_SETS));
	return (CODE_INDEX >> 2) + set * CODE_INDEX_WAYS * STEP;
}
