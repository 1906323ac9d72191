import type { CpuState } from "../state/cpu-state.ts";
import { TLB_BYTES, TLB_ENTRIES, TLB_ENTRY, TLB_ENTRY_BYTES, TLB_KERNEL } from "../state/layout.ts";

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
/** The entry's last word, ours alone: size of the mapping (log2) and which journals list the entry. */
const NOTES = 7;
const SHIFT_MASK = 0x3f;
const IN_LOCAL = 0x40;
const IN_GLOBAL = 0x80;

/** Entries filled since the last flush, so that a flush costs what has been used and not what could have been. */
class Journal {
	readonly words = new Int32Array(TLB.count * TLB_ENTRIES);
	count = 0;
}

/** The TLBs that generated code reads (layout.ts tells how): filling and the various ways to forget. */
export class TlbTables {
	readonly #i32: Int32Array;
	readonly #local = new Journal();
	readonly #global = new Journal();
	/** Which 2 MiB and 1 GiB areas (hashed) may have entries made from a large page: INVLPG drops all of those. */
	readonly #largeAreas = new Uint8Array(1024);
	readonly #hugeAreas = new Uint8Array(64);
	/** By TLB: holds entries above 4 GiB, which 32-bit code (comparing low halves only) must not meet. */
	readonly #hasHigh = new Uint8Array(TLB.count);

	constructor(state: CpuState) {
		this.#i32 = state.i32;
		this.clear();
	}

	/** Forgets everything whatever the journals say: for a state just loaded. */
	clear(): void {
		const end = FIRST_WORD + TLB.count * TLB_WORDS;
		this.#i32.fill(-1, FIRST_WORD, end);
		for (let word = FIRST_WORD; word < end; word += 1 << ENTRY_SHIFT) this.#i32[word + NOTES] = 0;
		this.#local.count = 0;
		this.#global.count = 0;
		this.#largeAreas.fill(0);
		this.#hugeAreas.fill(0);
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
			this.#global.words[this.#global.count++] = entry;
			notes |= IN_GLOBAL;
		} else if (!isGlobal && (notes & IN_LOCAL) === 0) {
			this.#local.words[this.#local.count++] = entry;
			notes |= IN_LOCAL;
		}
		i32[entry + NOTES] = notes;
		if (hi !== 0) this.#hasHigh[tlb] = 1;
		if (pageShift > 12) this.#noteLarge(lo, hi, pageShift);
	}

	#noteLarge(lo: number, hi: number, pageShift: number): void {
		if (pageShift === 30) this.#hugeAreas[hugeArea(lo, hi)] = 1;
		else if (pageShift === 21) this.#largeAreas[largeArea(lo, hi)] = 1;
		else {
			this.#largeAreas[largeArea(lo & ~0x20_0000, hi)] = 1;
			this.#largeAreas[largeArea(lo | 0x20_0000, hi)] = 1;
		}
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
		this.#empty(this.#local, IN_LOCAL, keepGlobal);
		if (keepGlobal) return;
		this.#empty(this.#global, IN_GLOBAL, false);
		this.#largeAreas.fill(0);
		this.#hugeAreas.fill(0);
		this.#hasHigh.fill(0);
	}

	#empty(journal: Journal, membership: number, keepGlobal: boolean): void {
		const i32 = this.#i32;
		for (let at = 0; at < journal.count; at++) {
			const entry = journal.words[at] as number;
			i32[entry + NOTES] = (i32[entry + NOTES] as number) & ~membership;
			// An entry may have been refilled with a page of the other kind since; the other journal has it then.
			if (!keepGlobal || i32[entry + IS_GLOBAL] === 0) this.#drop(entry);
		}
		journal.count = 0;
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
		if (this.#largeAreas[largeArea(lo, hi)] === 1 || this.#hugeAreas[hugeArea(lo, hi)] === 1) {
			this.#dropLarge(this.#local, lo, hi);
			this.#dropLarge(this.#global, lo, hi);
		}
	}

	#dropLarge(journal: Journal, lo: number, hi: number): void {
		const i32 = this.#i32;
		for (let at = 0; at < journal.count; at++) {
			const entry = journal.words[at] as number;
			const shift = (i32[entry + NOTES] as number) & SHIFT_MASK;
			if (shift === 12 || i32[entry + READ_TAG + 1] !== hi) continue;
			if ((i32[entry + READ_TAG] as number) >>> shift === lo >>> shift) this.#drop(entry);
		}
	}

	/** Plain stores to the page stop: it has code now. */
	dropWriteTags(physPage: number): void {
		this.#dropWrites(this.#local, physPage);
		this.#dropWrites(this.#global, physPage);
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
		for (let at = 0; at < journal.count; at++) {
			const entry = journal.words[at] as number;
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

function largeArea(lo: number, hi: number): number {
	return ((lo >>> 21) ^ hi) & 1023;
}

function hugeArea(lo: number, hi: number): number {
	return ((lo >>> 30) | (hi << 2)) & 63;
}
