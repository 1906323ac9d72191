import { PAGE_BYTES } from "../../base/units.ts";
import { ENGINE_BYTES, type GuestMemory, LOW_RAM_LIMIT } from "../../machine/memory.ts";
import type { RamPages } from "../../machine/ram-pages.ts";

/** What a physical page is to a plain load or store. */
export const PAGE = { device: 0, rom: 1, ram: 2 } as const;

const FOUR_GIB = 0x1_0000_0000;
const HOLE_FIRST = 0xa0000;
const HOLE_END = 0x100000;

/** Finds the bytes behind physical pages: by arithmetic for RAM, which never moves, else by asking the map. */
export class PhysicalPages {
	/** Set by `find`: offset of the page in the memory, when it is RAM or ROM. */
	hostOffset = 0;
	readonly #memory: GuestMemory;
	readonly #lowRamBytes: number;
	readonly #highRamEnd: number;
	readonly #pages: RamPages;

	constructor(memory: GuestMemory) {
		this.#memory = memory;
		this.#pages = memory.pages;
		this.#lowRamBytes = memory.lowRamBytes;
		this.#highRamEnd = memory.ramBytes > LOW_RAM_LIMIT ? FOUR_GIB + memory.ramBytes - LOW_RAM_LIMIT : 0;
	}

	/**
	 * @param page physical address of the page (bits 11:0 zero). Returns a PAGE kind and sets `hostOffset`; the page's bytes are
	 * there to be read.
	 */
	find(page: number): number {
		if (page < HOLE_FIRST ? page < this.#lowRamBytes : page >= HOLE_END && page < this.#lowRamBytes) {
			this.hostOffset = ENGINE_BYTES + page;
			this.#pages.willRead(page / PAGE_BYTES);
			return PAGE.ram;
		}
		if (page >= FOUR_GIB && page < this.#highRamEnd) {
			this.hostOffset = ENGINE_BYTES + LOW_RAM_LIMIT + (page - FOUR_GIB);
			this.#pages.willRead((LOW_RAM_LIMIT + page - FOUR_GIB) / PAGE_BYTES);
			return PAGE.ram;
		}
		const found = this.#memory.pageAt(page);
		if (found.kind !== "ram" && found.kind !== "rom") return PAGE.device;
		this.hostOffset = found.hostOffset;
		return found.kind === "ram" ? PAGE.ram : PAGE.rom;
	}
}
