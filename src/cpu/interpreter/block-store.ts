import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { BLOCK_COUNT_PAGES, BLOCK_COUNTS, CHAIN_COUNT, CHAIN_SHIFT, CHAINS } from "./decoded-area.ts";
import { HEAD, RECORD_BYTES } from "./record.ts";

const IS_STALE = HEAD.isStale >> 2;
const HEAT = HEAD.heat >> 2;
const PHYS = HEAD.phys >> 2;
const CHAIN = HEAD.chain >> 2;
const TAIL = HEAD.tail >> 2;
const FIRST_CHAIN = CHAINS >> 2;
const FOUR_GIB = 0x1_0000_0000;
/** No block has more bytes of code: 32 instructions of 15. */
const MAX_CODE_BYTES = 512;

/**
 * All decoded blocks, as generated code sees them: each is its head record, in a chain with the others that begin in the same 64 bytes of
 * memory. A block is named by its head's offset, which is never 0.
 */
export class BlockStore {
	readonly #i32: Int32Array;
	readonly #bytes: Uint8Array;
	readonly #counts: Uint16Array;
	/** Of pages above 4 GiB. */
	readonly #highCounts = new Map<number, number>();
	/** Blocks that end on a page, by its number, and begin on another. */
	readonly #tails = new Map<number, Set<number>>();

	constructor({ memory, bytes, engineWords }: GuestMemory) {
		this.#i32 = engineWords;
		this.#bytes = bytes;
		this.#counts = new Uint16Array(memory.buffer, BLOCK_COUNTS, BLOCK_COUNT_PAGES);
	}

	physOf(block: number): number {
		const head = (block >> 2) + PHYS;
		return (this.#i32[head + 1] as number) * FOUR_GIB + ((this.#i32[head] as number) >>> 0);
	}

	modeKeyOf(block: number): number {
		return this.#bytes[block + HEAD.modeKey] as number;
	}

	/** Instructions. */
	countOf(block: number): number {
		return this.#bytes[block + HEAD.count] as number;
	}

	/** Bytes of code. */
	lengthOf(block: number): number {
		return (this.#i32[(block + HEAD.count) >> 2] as number) >>> 16;
	}

	heatOf(block: number): number {
		return this.#i32[(block >> 2) + HEAT] as number;
	}

	setHeat(block: number, runs: number): void {
		this.#i32[(block >> 2) + HEAT] = runs;
	}

	/** Physical number of the page where its only instruction ends, if it begins on another; else -1. */
	tailPageOf(block: number): number {
		return ((this.#i32[(block >> 2) + TAIL] as number) >>> 0) - 1;
	}

	/** Fills in the head. @param tailPage as `tailPageOf` says it */
	describe(block: number, phys: number, modeKey: number, count: number, lengthBytes: number, heat: number, tailPage: number): void {
		const i32 = this.#i32;
		const head = block >> 2;
		i32[(block + HEAD.count) >> 2] = count | (modeKey << 8) | (lengthBytes << 16);
		i32[head + IS_STALE] = 0;
		i32[head + HEAT] = heat;
		i32[(block + HEAD.region) >> 2] = 0;
		i32[head + PHYS] = phys | 0;
		i32[head + PHYS + 1] = Math.floor(phys / FOUR_GIB);
		i32[head + TAIL] = tailPage + 1;
	}

	isStale(block: number): boolean {
		return this.#i32[(block >> 2) + IS_STALE] !== 0;
	}

	/** Whoever comes to the block another way than through `lookup` is to know. */
	markStale(block: number): void {
		this.#i32[(block >> 2) + IS_STALE] = 1;
	}

	/** The block of the code at `phys` in a mode; 0: there is none. */
	lookup(phys: number, modeKey: number): number {
		const i32 = this.#i32;
		const low = phys | 0;
		const high = Math.floor(phys / FOUR_GIB);
		let block = i32[chainOf(low)] as number;
		while (block !== 0) {
			const head = block >> 2;
			if (i32[head + PHYS] === low && i32[head + PHYS + 1] === high && this.#bytes[block + HEAD.modeKey] === modeKey) return block;
			block = i32[head + CHAIN] as number;
		}
		return 0;
	}

	/** From now on the block can be looked up. */
	add(block: number): void {
		const i32 = this.#i32;
		const chain = chainOf(i32[(block >> 2) + PHYS] as number);
		i32[(block >> 2) + CHAIN] = i32[chain] as number;
		i32[chain] = block;
		this.#count(Math.floor(this.physOf(block) / PAGE_BYTES), 1);
		const tail = this.tailPageOf(block);
		if (tail < 0) return;
		this.#count(tail, 1);
		const tails = this.#tails.get(tail);
		if (tails === undefined) this.#tails.set(tail, new Set([block]));
		else tails.add(block);
	}

	/** Takes out a block that was added. */
	remove(block: number): void {
		const i32 = this.#i32;
		let link = chainOf(i32[(block >> 2) + PHYS] as number);
		while (i32[link] !== block) link = ((i32[link] as number) >> 2) + CHAIN;
		i32[link] = i32[(block >> 2) + CHAIN] as number;
		this.#count(Math.floor(this.physOf(block) / PAGE_BYTES), -1);
		const tail = this.tailPageOf(block);
		if (tail < 0) return;
		this.#count(tail, -1);
		const tails = this.#tails.get(tail);
		tails?.delete(block);
		if (tails?.size === 0) this.#tails.delete(tail);
	}

	#count(page: number, change: 1 | -1): void {
		if (page < BLOCK_COUNT_PAGES) {
			this.#counts[page] = (this.#counts[page] as number) + change;
			return;
		}
		const count = (this.#highCounts.get(page) ?? 0) + change;
		if (count > 0) this.#highCounts.set(page, count);
		else this.#highCounts.delete(page);
	}

	/** There is a block with code on the page. @param page physical number */
	isOnPage(page: number): boolean {
		return page < BLOCK_COUNT_PAGES ? this.#counts[page] !== 0 : this.#highCounts.has(page);
	}

	/** Blocks with code in [`first`, `end`), which lies within a physical page. */
	within(first: number, end: number): number[] {
		const found: number[] = [];
		const page = Math.floor(first / PAGE_BYTES);
		if (!this.isOnPage(page)) return found;
		const i32 = this.#i32;
		const from = Math.max(first - MAX_CODE_BYTES, page * PAGE_BYTES);
		for (let at = from - (from % (1 << CHAIN_SHIFT)); at < end; at += 1 << CHAIN_SHIFT)
			for (let block = i32[chainOf(at | 0)] as number; block !== 0; block = i32[(block >> 2) + CHAIN] as number) {
				const phys = this.physOf(block);
				if (phys < end && first < phys + this.lengthOf(block)) found.push(block);
			}
		for (const block of this.#tails.get(page) ?? []) {
			const lengthHere = this.lengthOf(block) - (PAGE_BYTES - (this.physOf(block) % PAGE_BYTES));
			if (first < page * PAGE_BYTES + lengthHere) found.push(block);
		}
		return found;
	}

	/** Forgets all blocks. */
	clear(): void {
		this.#i32.fill(0, FIRST_CHAIN, FIRST_CHAIN + CHAIN_COUNT);
		this.#counts.fill(0);
		this.#highCounts.clear();
		this.#tails.clear();
	}
}

/** Bytes of a block with so many instructions, in the records' area. */
export const blockBytes = (count: number): number => (count + 2) * RECORD_BYTES;

/** Word number of the chain for a physical address, by its low half. */
const chainOf = (low: number): number => FIRST_CHAIN + ((low >>> CHAIN_SHIFT) & (CHAIN_COUNT - 1));
