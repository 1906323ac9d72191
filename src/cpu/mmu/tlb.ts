import type { CpuState } from "../state/cpu-state.ts";
import {
	at,
	TLB_BYTES,
	TLB_ENTRIES,
	TLB_ENTRY,
	TLB_ENTRY_BYTES,
	TLB_GLOBAL,
	TLB_HAS_HIGH,
	TLB_HUGE_AREAS,
	TLB_KERNEL,
	TLB_LARGE_AREAS,
	TLB_LOCAL,
	TLB_NOTE,
} from "../state/layout.ts";
import { LargeAreas } from "./large-areas.ts";

/** The three TLBs, in their order in memory. */
export const TLB = { kernel: 0, kernelAc: 1, user: 2, count: 3 } as const;

const FIRST_WORD = TLB_KERNEL >> 2;
const TLB_WORDS = TLB_BYTES >> 2;
const ENTRY_SHIFT = Math.log2(TLB_ENTRY_BYTES >> 2);
const READ_TAG = TLB_ENTRY.readTag >> 2;
const WRITE_TAG = TLB_ENTRY.writeTag >> 2;
const ADDEND = TLB_ENTRY.addend >> 2;
const IS_GLOBAL = TLB_ENTRY.isGlobal >> 2;
const PHYS_PAGE = TLB_ENTRY.physPage >> 2;
const NOTES = TLB_ENTRY.notes >> 2;
const { shiftMask: SHIFT_MASK, inLocal: IN_LOCAL, inGlobal: IN_GLOBAL } = TLB_NOTE;

/** Where a journal's entries stand, and the word that counts them. */
interface Journal {
	readonly first: number;
	readonly count: number;
}

const LOCAL: Journal = { first: TLB_LOCAL >> 2, count: at("localCount") >> 2 };
const GLOBAL: Journal = { first: TLB_GLOBAL >> 2, count: at("globalCount") >> 2 };

/** The TLBs that generated code reads and fills too (layout.ts, core/page-walk.ts): filling and the various ways to forget. */
export class TlbTables {
	readonly #i32: Int32Array;
	/** Which areas may have entries made from a large page: INVLPG drops all of those. */
	readonly #largePages: LargeAreas;
	/** By TLB: holds entries above 4 GiB, which 32-bit code (comparing low halves only) must not meet. */
	readonly #hasHigh: Uint8Array;

	constructor(state: CpuState) {
		this.#i32 = state.i32;
		this.#largePages = new LargeAreas(state, TLB_LARGE_AREAS, TLB_HUGE_AREAS);
		this.#hasHigh = state.bytes.subarray(TLB_HAS_HIGH, TLB_HAS_HIGH + TLB.count);
		this.clear();
	}

	/** Forgets everything whatever the journals say: for a state just loaded. */
	clear(): void {
		const end = FIRST_WORD + TLB.count * TLB_WORDS;
		this.#i32.fill(-1, FIRST_WORD, end);
		for (let word = FIRST_WORD; word < end; word += 1 << ENTRY_SHIFT) this.#i32[word + NOTES] = 0;
		this.#i32[LOCAL.count] = 0;
		this.#i32[GLOBAL.count] = 0;
		this.#largePages.clear();
		this.#hasHigh.fill(0);
	}

	#entry(tlb: number, lo: number): number {
		return FIRST_WORD + tlb * TLB_WORDS + (((lo >>> 12) & (TLB_ENTRIES - 1)) << ENTRY_SHIFT);
	}

	/** @param hostOffset of the page's first byte; @param physPage physical address >> 12. */
	fill(
		tlb: number,
		lo: number,
		hi: number,
		hostOffset: number,
		canWrite: boolean,
		isGlobal: boolean,
		physPage: number,
		pageShift: number,
	): void {
		const i32 = this.#i32;
		const entry = this.#entry(tlb, lo);
		const page = lo & -4096;
		i32[entry + READ_TAG] = page;
		i32[entry + READ_TAG + 1] = hi;
		i32[entry + WRITE_TAG] = canWrite ? page : -1;
		i32[entry + WRITE_TAG + 1] = canWrite ? hi : -1;
		i32[entry + ADDEND] = hostOffset - page;
		i32[entry + IS_GLOBAL] = isGlobal ? 1 : 0;
		i32[entry + PHYS_PAGE] = physPage;
		let notes = ((i32[entry + NOTES] as number) & ~SHIFT_MASK) | pageShift;
		if (isGlobal && (notes & IN_GLOBAL) === 0) {
			this.#enter(GLOBAL, entry);
			notes |= IN_GLOBAL;
		} else if (!isGlobal && (notes & IN_LOCAL) === 0) {
			this.#enter(LOCAL, entry);
			notes |= IN_LOCAL;
		}
		i32[entry + NOTES] = notes;
		if (hi !== 0) this.#hasHigh[tlb] = 1;
		if (pageShift > 12) this.#largePages.note(lo, hi, pageShift);
	}

	#enter(journal: Journal, entry: number): void {
		const count = this.#i32[journal.count] as number;
		this.#i32[journal.first + count] = entry;
		this.#i32[journal.count] = count + 1;
	}

	/** Offset in the memory of the byte at hi:lo, or 0 when the TLB has no tag of that kind. */
	lookup(tlb: number, lo: number, hi: number, isWrite: boolean): number {
		const i32 = this.#i32;
		const entry = this.#entry(tlb, lo);
		const tag = entry + (isWrite ? WRITE_TAG : READ_TAG);
		if (i32[tag] !== (lo & -4096) || i32[tag + 1] !== hi) return 0;
		return ((i32[entry + ADDEND] as number) + lo) >>> 0;
	}

	flush(keepGlobal: boolean): void {
		this.#empty(LOCAL, IN_LOCAL, keepGlobal);
		if (keepGlobal) return;
		this.#empty(GLOBAL, IN_GLOBAL, false);
		this.#largePages.clear();
		this.#hasHigh.fill(0);
	}

	#empty(journal: Journal, membership: number, keepGlobal: boolean): void {
		const i32 = this.#i32;
		const end = journal.first + (i32[journal.count] as number);
		for (let at = journal.first; at < end; at++) {
			const entry = i32[at] as number;
			i32[entry + NOTES] = (i32[entry + NOTES] as number) & ~membership;
			// An entry may have been refilled with a page of the other kind since; the other journal has it then.
			if (!keepGlobal || i32[entry + IS_GLOBAL] === 0) this.#drop(entry);
		}
		i32[journal.count] = 0;
	}

	#drop(entry: number): void {
		const i32 = this.#i32;
		i32[entry + READ_TAG] = -1;
		i32[entry + READ_TAG + 1] = -1;
		i32[entry + WRITE_TAG] = -1;
		i32[entry + WRITE_TAG + 1] = -1;
		i32[entry + PHYS_PAGE] = -1;
	}

	/** INVLPG: the page's translation goes, global or not, and a large page goes whole. */
	invalidate(lo: number, hi: number): void {
		const i32 = this.#i32;
		for (let tlb = 0; tlb < TLB.count; tlb++) {
			const entry = this.#entry(tlb, lo);
			if (i32[entry + READ_TAG] === (lo & -4096) && i32[entry + READ_TAG + 1] === hi) this.#drop(entry);
		}
		if (this.#largePages.mayHold(lo, hi)) {
			this.#dropLarge(LOCAL, lo, hi);
			this.#dropLarge(GLOBAL, lo, hi);
		}
	}

	#dropLarge(journal: Journal, lo: number, hi: number): void {
		const i32 = this.#i32;
		const end = journal.first + (i32[journal.count] as number);
		for (let at = journal.first; at < end; at++) {
			const entry = i32[at] as number;
			const shift = (i32[entry + NOTES] as number) & SHIFT_MASK;
			if (shift === 12 || i32[entry + READ_TAG + 1] !== hi) continue;
			if ((i32[entry + READ_TAG] as number) >>> shift === lo >>> shift) this.#drop(entry);
		}
	}

	/** Plain stores to the page stop: it has code now. */
	dropWriteTags(physPage: number): void {
		this.#dropWrites(LOCAL, physPage);
		this.#dropWrites(GLOBAL, physPage);
	}

	/** Plain stores stop everywhere. */
	dropAllWriteTags(): void {
		const end = FIRST_WORD + TLB.count * TLB_WORDS;
		for (let entry = FIRST_WORD; entry < end; entry += 1 << ENTRY_SHIFT) {
			this.#i32[entry + WRITE_TAG] = -1;
			this.#i32[entry + WRITE_TAG + 1] = -1;
		}
	}

	#dropWrites(journal: Journal, physPage: number): void {
		const i32 = this.#i32;
		const end = journal.first + (i32[journal.count] as number);
		for (let at = journal.first; at < end; at++) {
			const entry = i32[at] as number;
			if (i32[entry + PHYS_PAGE] !== physPage) continue;
			i32[entry + WRITE_TAG] = -1;
			i32[entry + WRITE_TAG + 1] = -1;
		}
	}

	/** Before 32-bit code runs on `tlb` under IA-32e paging: entries above 4 GiB would match by their low half. */
	dropHigh(tlb: number): void {
		if (this.#hasHigh[tlb] === 0) return;
		this.#hasHigh[tlb] = 0;
		this.dropAll(tlb);
	}

	/** Empties one TLB. */
	dropAll(tlb: number): void {
		const first = this.#entry(tlb, 0);
		for (let entry = first; entry < first + TLB_WORDS; entry += 1 << ENTRY_SHIFT) this.#drop(entry);
	}
}
