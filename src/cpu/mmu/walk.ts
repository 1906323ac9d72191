import type { GuestMemory } from "../../machine/memory.ts";
import type { CpuBoard } from "../../machine/processor.ts";
import type { CpuState } from "../state/cpu-state.ts";
import { at } from "../state/layout.ts";
import { ACCESS, CR0, CR4, EFER, PF, RESERVED_HIGH } from "./access.ts";
import { PAGE, PhysicalPages } from "./physical.ts";

const CR0_WORD = at("cr0") >> 2;
const CR3_WORD = at("cr3") >> 2;
const CR4_WORD = at("cr4") >> 2;
const EFER_WORD = at("efer") >> 2;
const PDPTE_WORD = at("pdpte") >> 2;

// Bits of paging-structure entries (Intel SDM Vol. 3A §4.3–4.5, tables 4-4 to 4-20).
const P = 1;
const RW = 2;
const US = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const G = 0x100;
/** XD, in the high doubleword. */
const XD_HIGH = 0x8000_0000 | 0;
/** PAE reserves bits 62:52 too; 4-level paging leaves them to software. */
const PAE_RESERVED_HIGH = RESERVED_HIGH | 0x7ff0_0000;

const FOUR_GIB = 0x1_0000_0000;
/** The walk found the page; any other result is a page fault's error code. */
export const WALK_OK = -1;
const RETRY = -2;

/**
 * Translates linear to physical addresses by the paging structures in memory, in every paging mode (Intel SDM Vol. 3A,
 * chapter 4, "Paging"), setting accessed and dirty flags with locked updates so that processors in other workers may walk too.
 */
export class PageWalker {
	readonly pages: PhysicalPages;
	/** Results: physical address of the 4 KiB page, rights as the access that was made sees them, and the size of its mapping. */
	physPage = 0;
	/** A write by the same kind of access would pass the protection checks. */
	mayWrite = false;
	isDirty = false;
	isGlobal = false;
	pageShift = 12;

	readonly #i32: Int32Array;
	readonly #words: Int32Array;
	readonly #memory: GuestMemory;
	readonly #board: CpuBoard;
	// The entries used, top first.
	readonly #entryAddr = new Float64Array(4);
	readonly #entryLow = new Int32Array(4);
	#depth = 0;
	#low = 0;
	#high = 0;
	#rights = 0;
	#isNoExecute = false;

	constructor(state: CpuState, memory: GuestMemory, board: CpuBoard) {
		this.#i32 = state.i32;
		this.#words = new Int32Array(memory.memory.buffer);
		this.#memory = memory;
		this.#board = board;
		this.pages = new PhysicalPages(memory);
	}

	/** Translates the page of the linear address hi:lo. WALK_OK with the result fields set, or an error code. */
	walk(lo: number, hi: number, access: number): number {
		const i32 = this.#i32;
		if (((i32[CR0_WORD] as number) & CR0.PG) === 0) {
			this.physPage = this.maskA20((lo & -4096) >>> 0);
			this.mayWrite = true;
			this.isDirty = true;
			this.isGlobal = false;
			this.pageShift = 12;
			return WALK_OK;
		}
		for (;;) {
			const result = this.#walkOnce(lo, hi, access);
			if (result !== RETRY) return result;
		}
	}

	/** Drops address bit 20 while the A20 gate is closed. */
	maskA20(phys: number): number {
		return this.#board.isA20Enabled || (phys & 0x10_0000) === 0 ? phys : phys - 0x10_0000;
	}

	#walkOnce(lo: number, hi: number, access: number): number {
		this.#depth = 0;
		this.#rights = RW | US;
		this.#isNoExecute = false;
		const i32 = this.#i32;
		const cr4 = i32[CR4_WORD] as number;
		let failure: number;
		if (((i32[EFER_WORD] as number) & EFER.LMA) !== 0) failure = this.#walk4Level(lo, hi);
		else if ((cr4 & CR4.PAE) !== 0) failure = this.#walkPae(lo);
		else failure = this.#walk32(lo, cr4);
		if (failure !== WALK_OK) return failure | this.#accessBits(access);
		if (!this.#isAllowed(access, cr4)) return PF.P | this.#accessBits(access);
		return this.#mark((access & ACCESS.write) !== 0, cr4);
	}

	#walk32(lo: number, cr4: number): number {
		if (!this.#read32(((this.#i32[CR3_WORD] as number) & -4096) + ((lo >>> 22) << 2))) return 0;
		const entry = this.#low;
		if ((entry & PS) !== 0 && (cr4 & CR4.PSE) !== 0) {
			if ((entry & 0x20_0000) !== 0) return PF.P | PF.RSVD;
			// PSE-36: bits 20:13 are address bits 39:32 (§4.3, table 4-4).
			const high = (entry >>> 13) & 0xff;
			this.#found(22, ((entry & 0xffc0_0000) >>> 0) + (lo & 0x3f_f000) + high * FOUR_GIB);
			return WALK_OK;
		}
		if (!this.#read32((entry & -4096) + ((lo >>> 10) & 0xffc))) return 0;
		this.#found(12, (this.#low & -4096) >>> 0);
		return WALK_OK;
	}

	#walkPae(lo: number): number {
		const word = PDPTE_WORD + ((lo >>> 30) << 1);
		const pointer = this.#i32[word] as number;
		if ((pointer & P) === 0) return 0;
		const table = ((pointer & -4096) >>> 0) + ((this.#i32[word + 1] as number) & 0xff) * FOUR_GIB;
		return this.#walkDirectory(lo, table, PAE_RESERVED_HIGH);
	}

	#walk4Level(lo: number, hi: number): number {
		const i32 = this.#i32;
		let table = ((i32[CR3_WORD] as number) & -4096) >>> 0;
		table += ((i32[CR3_WORD + 1] as number) & 0xff) * FOUR_GIB;
		if (!this.#read64(table + (((hi >>> 7) & 0x1ff) << 3))) return 0;
		if (this.#isReserved(RESERVED_HIGH) || (this.#low & PS) !== 0) return PF.P | PF.RSVD;
		if (!this.#read64(this.#address() + ((((lo >>> 30) | (hi << 2)) & 0x1ff) << 3))) return 0;
		if (this.#isReserved(RESERVED_HIGH)) return PF.P | PF.RSVD;
		if ((this.#low & PS) !== 0) {
			if ((this.#low & 0x3fff_e000) !== 0) return PF.P | PF.RSVD;
			this.#found(30, ((this.#low & 0xc000_0000) >>> 0) + (this.#high & 0xff) * FOUR_GIB + (lo & 0x3fff_f000));
			return WALK_OK;
		}
		return this.#walkDirectory(lo, this.#address(), RESERVED_HIGH);
	}

	/** The last two levels, which PAE and 4-level paging share. */
	#walkDirectory(lo: number, directory: number, reservedHigh: number): number {
		if (!this.#read64(directory + (((lo >>> 21) & 0x1ff) << 3))) return 0;
		if (this.#isReserved(reservedHigh)) return PF.P | PF.RSVD;
		if ((this.#low & PS) !== 0) {
			if ((this.#low & 0x1f_e000) !== 0) return PF.P | PF.RSVD;
			this.#found(21, ((this.#low & 0xffe0_0000) >>> 0) + (this.#high & 0xff) * FOUR_GIB + (lo & 0x1f_f000));
			return WALK_OK;
		}
		if (!this.#read64(this.#address() + (((lo >>> 12) & 0x1ff) << 3))) return 0;
		if (this.#isReserved(reservedHigh)) return PF.P | PF.RSVD;
		this.#found(12, this.#address());
		return WALK_OK;
	}

	#found(pageShift: number, physPage: number): void {
		this.pageShift = pageShift;
		this.physPage = this.maskA20(physPage);
	}

	#address(): number {
		return ((this.#low & -4096) >>> 0) + (this.#high & 0xff) * FOUR_GIB;
	}

	#isReserved(reservedHigh: number): boolean {
		if ((this.#high & reservedHigh) !== 0) return true;
		return this.#high < 0 && ((this.#i32[EFER_WORD] as number) & EFER.NXE) === 0;
	}

	/** Reads a 4-byte entry; false: not present. */
	#read32(addr: number): boolean {
		const phys = this.maskA20(addr >>> 0);
		const low = this.#word(phys);
		this.#low = low;
		if ((low & P) === 0) return false;
		this.#take(phys, low);
		return true;
	}

	/** Reads an 8-byte entry whole although other processors may be changing it: the low half must stand still. */
	#read64(addr: number): boolean {
		const phys = this.maskA20(addr);
		let low = this.#word(phys);
		for (;;) {
			this.#high = this.#word(phys + 4);
			const again = this.#word(phys);
			if (again === low) break;
			low = again;
		}
		this.#low = low;
		if ((low & P) === 0) return false;
		this.#take(phys, low);
		if ((this.#high & XD_HIGH) !== 0) this.#isNoExecute = true;
		return true;
	}

	#take(phys: number, low: number): void {
		this.#entryAddr[this.#depth] = phys;
		this.#entryLow[this.#depth++] = low;
		this.#rights &= low;
	}

	#word(phys: number): number {
		const within = phys & 0xfff;
		if (this.pages.find(phys - within) === PAGE.device) return this.#memory.readPhys(phys, 4) | 0;
		return Atomics.load(this.#words, (this.pages.hostOffset + within) >>> 2);
	}

	/** §4.6.1, "Determination of Access Rights". */
	#isAllowed(access: number, cr4: number): boolean {
		const isUserPage = (this.#rights & US) !== 0;
		const isWritable = (this.#rights & RW) !== 0;
		if ((access & ACCESS.fetch) !== 0 && this.#isNoExecute) return false;
		if ((access & ACCESS.user) !== 0) {
			this.mayWrite = isWritable;
			return isUserPage && (isWritable || (access & ACCESS.write) === 0);
		}
		this.mayWrite = isWritable || ((this.#i32[CR0_WORD] as number) & CR0.WP) === 0;
		if (isUserPage) {
			if ((access & ACCESS.fetch) !== 0) return (cr4 & CR4.SMEP) === 0;
			if ((cr4 & CR4.SMAP) !== 0 && (access & ACCESS.alignmentFlag) === 0) return false;
		}
		return this.mayWrite || (access & ACCESS.write) === 0;
	}

	/** W, U and I of an error code. I/D is reported only where fetches can differ from reads (§4.7). */
	#accessBits(access: number): number {
		const bits = access & (PF.W | PF.U);
		if ((access & ACCESS.fetch) === 0) return bits;
		const cr4 = this.#i32[CR4_WORD] as number;
		const efer = this.#i32[EFER_WORD] as number;
		const isReported = (cr4 & CR4.SMEP) !== 0 || ((cr4 & CR4.PAE) !== 0 && (efer & EFER.NXE) !== 0);
		return isReported ? bits | PF.I : bits;
	}

	/** Sets accessed and dirty flags (§4.8); RETRY when an entry changed meanwhile. */
	#mark(isWrite: boolean, cr4: number): number {
		const leaf = this.#depth - 1;
		for (let level = 0; level <= leaf; level++) {
			const low = this.#entryLow[level] as number;
			const wanted = level === leaf && isWrite ? A | D : A;
			if ((low & wanted) === wanted) continue;
			const phys = this.#entryAddr[level] as number;
			const within = phys & 0xfff;
			if (this.pages.find(phys - within) !== PAGE.ram) continue;
			this.#memory.pages.willWriteRange(this.pages.hostOffset, 1);
			const index = (this.pages.hostOffset + within) >>> 2;
			if (Atomics.compareExchange(this.#words, index, low, low | wanted) !== low) return RETRY;
		}
		const low = this.#entryLow[leaf] as number;
		this.isDirty = isWrite || (low & D) !== 0;
		this.isGlobal = (low & G) !== 0 && (cr4 & CR4.PGE) !== 0;
		return WALK_OK;
	}
}
