import type { GuestMemory } from "../../machine/memory.ts";
import { MAX_REGION_PAGES, REGION_PAGES, REGION_PAGES_ENTRIES, REGION_PAGES_ENTRY } from "./decoded-area.ts";
import { HEAD } from "./record.ts";

/** Translated code as its block knows it. */
export interface BlockRegion {
	readonly slot: number;
	/** Pages besides the block's own that it took code from; it may run where they are mapped as they were then. */
	readonly otherPages: readonly OtherPage[];
}

export interface OtherPage {
	/** Of the linear page, counted from the block's. */
	readonly pageIndex: number;
	readonly phys: number;
}

const STEP = REGION_PAGES_ENTRY.bytes >> 2;
const COUNT = REGION_PAGES_ENTRY.count >> 2;
const PAGES = REGION_PAGES_ENTRY.pages >> 2;
const LAST = REGION_PAGES_ENTRIES - 1;

/** What generated code has to know of regions to enter them (core/find-code.ts). */
export class RegionPages {
	readonly #i32: Int32Array;

	constructor(memory: GuestMemory) {
		this.#i32 = memory.engineWords;
		this.#i32[(REGION_PAGES >> 2) + LAST * STEP + COUNT] = -1;
	}

	/** Says in a block's head which region to enter in its place, if any. */
	describe(block: number, region: BlockRegion | undefined): void {
		const i32 = this.#i32;
		i32[(block + HEAD.region) >> 2] = region?.slot ?? 0;
		if (region === undefined || region.slot >= LAST) return;
		const { slot, otherPages } = region;
		const entry = (REGION_PAGES >> 2) + slot * STEP;
		const isPlain = otherPages.length <= MAX_REGION_PAGES;
		i32[entry + COUNT] = isPlain ? otherPages.length : -1;
		if (!isPlain) return;
		for (const [n, { pageIndex, phys }] of otherPages.entries()) {
			i32[entry + PAGES + 2 * n] = pageIndex;
			i32[entry + PAGES + 2 * n + 1] = Math.floor(phys / 4096);
		}
	}
}
