import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { MAX_REGION_PAGES } from "../interpreter/decoded-area.ts";
import type { Mmu } from "../mmu/mmu.ts";
import type { CodeExtent } from "./region-graph.ts";

/** Pages that a region may take its code from; an instruction that crosses into one more adds that. */
const MAX_PAGES = MAX_REGION_PAGES;
const MAX_INSN_BYTES = 15;

interface Page {
	/** Physical address; -1: not to be had. */
	readonly phys: number;
	readonly hostOffset: number;
}

const NO_PAGE: Page = { phys: -1, hostOffset: 0 };

/**
 * The code around a region's entry as it is mapped now, by offset from the entry: where each page lies physically, and which bytes of
 * it have been used.
 */
export class CodeWindow {
	readonly #memory: GuestMemory;
	readonly #mmu: Mmu;
	readonly #entryPhys: number;
	readonly #within: number;
	readonly #lo: number;
	readonly #hi: number;
	readonly #isRoaming: boolean;
	readonly #pages = new Map<number, Page>();
	readonly #extents = new Map<number, CodeExtent>();
	/** Two pages' bytes for an instruction that stands on both. */
	readonly #joint = new Uint8Array(2 * MAX_INSN_BYTES);

	/** @param isRoaming pages other than the entry's may be looked at */
	constructor(memory: GuestMemory, mmu: Mmu, entryPhys: number, lo: number, hi: number, isRoaming: boolean) {
		this.#memory = memory;
		this.#mmu = mmu;
		this.#entryPhys = entryPhys;
		this.#within = entryPhys % PAGE_BYTES;
		this.#lo = lo;
		this.#hi = hi;
		this.#isRoaming = isRoaming;
	}

	get extents(): readonly CodeExtent[] {
		return [...this.#extents.values()];
	}

	/** Nothing of it has been used. */
	forgetUse(): void {
		this.#extents.clear();
	}

	#page(index: number): Page {
		const known = this.#pages.get(index);
		if (known !== undefined) return known;
		const page = this.#find(index);
		this.#pages.set(index, page);
		return page;
	}

	#find(index: number): Page {
		if (index !== 0 && !this.#isRoaming) return NO_PAGE;
		const phys = index === 0 ? this.#entryPhys - this.#within : this.#mmu.probeCodePage(this.#lo, this.#hi, index);
		if (phys < 0) return NO_PAGE;
		const found = this.#memory.pageAt(phys);
		return found.kind === "ram" || found.kind === "rom" ? { phys, hostOffset: found.hostOffset } : NO_PAGE;
	}

	/** Physical address of the byte at an offset from the entry; -1: not to be had. */
	physAt(delta: number): number {
		const at = this.#within + delta;
		const { phys } = this.#page(Math.floor(at / PAGE_BYTES));
		return phys < 0 ? -1 : phys + (at & (PAGE_BYTES - 1));
	}

	/** The bytes from an offset on, enough for one instruction if they are there. */
	bytesAt(delta: number): { readonly bytes: Uint8Array; readonly offset: number; readonly count: number } | undefined {
		const at = this.#within + delta;
		const index = Math.floor(at / PAGE_BYTES);
		const page = this.#page(index);
		if (page.phys < 0 || (!this.#extents.has(index) && this.#extents.size >= MAX_PAGES)) return undefined;
		const within = at & (PAGE_BYTES - 1);
		const left = PAGE_BYTES - within;
		const { bytes } = this.#memory;
		if (left >= MAX_INSN_BYTES) return { bytes, offset: page.hostOffset + within, count: left };
		const next = this.#page(index + 1);
		if (next.phys < 0) return { bytes, offset: page.hostOffset + within, count: left };
		this.#joint.set(bytes.subarray(page.hostOffset + within, page.hostOffset + PAGE_BYTES));
		this.#joint.set(bytes.subarray(next.hostOffset, next.hostOffset + MAX_INSN_BYTES), left);
		return { bytes: this.#joint, offset: 0, count: left + MAX_INSN_BYTES };
	}

	/** What is at an offset; it is to be had. */
	uint8At(delta: number): number {
		const at = this.#within + delta;
		return this.#memory.bytes[this.#page(Math.floor(at / PAGE_BYTES)).hostOffset + (at & (PAGE_BYTES - 1))] as number;
	}

	int32At(delta: number): number {
		let value = 0;
		for (let n = 3; n >= 0; n--) value = (value << 8) | this.uint8At(delta + n);
		return value;
	}

	read(delta: number, into: Uint8Array): void {
		for (let n = 0; n < into.length; n++) into[n] = this.uint8At(delta + n);
	}

	/** The bytes at an offset are there, and count as used. */
	hasAny(delta: number, count: number): boolean {
		if (this.physAt(delta) < 0 || this.physAt(delta + count - 1) < 0) return false;
		this.use(delta, count);
		return true;
	}

	/** Whether these bytes (`count` of `bytes` from `first` on) are at an offset; if so they count as used. */
	has(delta: number, bytes: Uint8Array, first: number, count: number): boolean {
		for (let n = 0; n < count; ) {
			const at = this.#within + delta + n;
			const page = this.#page(Math.floor(at / PAGE_BYTES));
			if (page.phys < 0) return false;
			const within = at & (PAGE_BYTES - 1);
			const end = Math.min(count, n + PAGE_BYTES - within);
			const host = page.hostOffset + within - n;
			const memory = this.#memory.bytes;
			for (; n < end; n++) if (memory[host + n] !== bytes[first + n]) return false;
		}
		this.use(delta, count);
		return true;
	}

	/** The bytes at an offset have been taken into the region. */
	use(delta: number, count: number): void {
		const first = this.#within + delta;
		for (let at = first; at < first + count; at = (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES) {
			const pageIndex = Math.floor(at / PAGE_BYTES);
			const firstByte = at & (PAGE_BYTES - 1);
			const endByte = Math.min(firstByte + first + count - at, PAGE_BYTES);
			const known = this.#extents.get(pageIndex);
			if (known === undefined) this.#extents.set(pageIndex, { pageIndex, phys: this.#page(pageIndex).phys, firstByte, endByte });
			else {
				known.firstByte = Math.min(known.firstByte, firstByte);
				known.endByte = Math.max(known.endByte, endByte);
			}
		}
	}
}
