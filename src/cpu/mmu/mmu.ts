import { PAGE_BYTES } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import type { CpuBoard } from "../../machine/processor.ts";
import type { CodeTracker } from "../context.ts";
import type { CpuState } from "../state/cpu-state.ts";
import { at, MODE, SINGLE_STEP, TLB_BYTES, TLB_KERNEL, WALK } from "../state/layout.ts";
import { ACCESS, CR0, CR4, EFER, VECTOR_AC, VECTOR_GP, VECTOR_PF, VECTOR_SS } from "./access.ts";
import { CodePages } from "./code-pages.ts";
import { DataBreakpoints } from "./data-breakpoints.ts";
import { PAGE } from "./physical.ts";
import { TLB, TlbTables } from "./tlb.ts";
import { PageWalker, WALK_OK } from "./walk.ts";

const ARG0 = at("arg0") >> 2;
const CR0_WORD = at("cr0") >> 2;
const CR2 = at("cr2") >> 2;
const CR4_WORD = at("cr4") >> 2;
const LOW_RAM_END = at("lowRamEnd") >> 2;
const WALK_KIND = at("walkKind") >> 2;
const CPL = at("cpl") >> 2;
const EFER_WORD = at("efer") >> 2;
const MODE_KEY = at("modeKey") >> 2;
const TLB_BASE = at("tlbBase") >> 2;
const FAULT_VECTOR = at("faultVector") >> 2;
const FAULT_ERROR = at("faultErrorCode") >> 2;
const FOUR_GIB = 0x1_0000_0000;

/** Added to the byte count of `slowLoad`, `slowStore`, `slowProbe`: a non-canonical address is #SS, not #GP. */
export const STACK_ACCESS = 0x100;
/** Likewise: where a device would have to be asked, the access is not made (SINGLE_STEP). */
export const FROM_REGION = 0x200;

/** What a store comes to. */
export const STORE = {
	done: 0,
	fault: 1,
	/** Nothing was stored: it hits the code that is running, which must first be left for single steps. */
	single: 2,
} as const;

/** What the access's TLB implies about it, by TLB number. */
const ACCESS_OF_TLB = [ACCESS.read, ACCESS.alignmentFlag, ACCESS.user] as const;

/** One of the (at most two) pages that an access touches. */
class Span {
	phys = 0;
	kind: number = PAGE.device;
	host = 0;
	count = 0;
}

/**
 * A CPU's way to memory behind the TLBs. Linear addresses come as 32-bit halves lo and hi; helpers written in TypeScript use
 * signed numbers (a canonical address fits one exactly: see system/words.ts). Faults are recorded in faultVector, faultErrorCode
 * and CR2, never thrown.
 */
export class Mmu {
	readonly walker: PageWalker;
	readonly tables: TlbTables;
	readonly breakpoints: DataBreakpoints;
	/** High half of what `readPair` read. */
	pairHigh = 0;
	readonly #codePages: CodePages;
	readonly #state: CpuState;
	readonly #i32: Int32Array;
	readonly #memory: GuestMemory;
	readonly #code: CodeTracker;
	readonly #first = new Span();
	readonly #second = new Span();
	readonly #scratch: number;
	readonly #board: CpuBoard;
	/** CR0.AM, EFLAGS.AC and CPL 3: the user TLB stays empty so that every access comes here. */
	#isAlignmentChecked = false;

	constructor(state: CpuState, memory: GuestMemory, board: CpuBoard, code: CodeTracker) {
		this.#state = state;
		this.#i32 = state.i32;
		this.#memory = memory;
		this.#code = code;
		this.walker = new PageWalker(state, memory, board);
		this.tables = new TlbTables(state);
		this.#codePages = new CodePages(state);
		this.breakpoints = new DataBreakpoints(state);
		this.#scratch = state.base + at("scratch");
		this.#i32[LOW_RAM_END] = memory.lowRamBytes;
		this.#board = board;
		this.#chooseWalk();
	}

	// ---- what generated code calls ----

	/**
	 * Linear address in arg0. Returns the offset in memory where `bytes` (1–16) can be loaded: the RAM itself, or `scratch` with
	 * what was gathered from devices or two pages. 0: fault.
	 */
	slowLoad(request: number): number {
		const bytes = request & 0xff;
		if (!this.#prepareData(request, ACCESS.read)) return 0;
		const first = this.#first;
		if (this.#second.count === 0 && first.kind !== PAGE.device) return first.host | 0;
		if (this.#isLeftToStep(request)) return 0;
		this.#gather(this.#scratch, bytes);
		return this.#scratch | 0;
	}

	/** Linear address in arg0, data in `scratch`. Returns a STORE status; nothing is written unless all of it can be. */
	slowStore(request: number): number {
		if (!this.#prepareData(request, ACCESS.write) || this.#isLeftToStep(request)) return STORE.fault;
		const status = this.#scatter(this.#scratch);
		if (status === STORE.single) this.#i32[FAULT_VECTOR] = SINGLE_STEP;
		return status;
	}

	#isLeftToStep(request: number): boolean {
		if ((request & FROM_REGION) === 0) return false;
		if (this.#first.kind !== PAGE.device && (this.#second.count === 0 || this.#second.kind !== PAGE.device)) return false;
		this.#i32[FAULT_VECTOR] = SINGLE_STEP;
		return true;
	}

	/**
	 * Linear address in arg0: will a write succeed? Returns the offset of plain RAM, good for reading and writing; -1: it will,
	 * through slowLoad and slowStore; 0: fault.
	 */
	slowProbe(request: number): number {
		if (!this.#prepareData(request, ACCESS.write) || this.#isLeftToStep(request)) return 0;
		const first = this.#first;
		if (this.#second.count !== 0 || first.kind !== PAGE.ram) return -1;
		// A region's store goes straight to the place: what has been decoded from there is thrown away now.
		if ((request & FROM_REGION) !== 0 ? this.#mustStep(first) : this.#code.hasCode(Math.floor(first.phys / PAGE_BYTES))) return -1;
		const lo = this.#i32[ARG0] as number;
		const hi = this.#i32[ARG0 + 1] as number;
		return this.breakpoints.isWatchedPage(lo, hi) ? -1 : first.host | 0;
	}

	// ---- what TypeScript helpers call; lin is a signed number ----

	/** Reads 1, 2 or 4 bytes; -1: fault. By default as the processor itself does (supervisor, no regard to AC). */
	read(lin: number, bytes: number, access: number = ACCESS.read): number {
		const lo = lin | 0;
		const hi = this.#high(lin);
		const view = this.#memory.view;
		if ((lo & 0xfff) + bytes <= PAGE_BYTES) {
			const host = this.tables.lookup(tlbOf(access), lo, hi, false);
			if (host !== 0) {
				if (bytes === 4) return view.getUint32(host, true);
				return bytes === 2 ? view.getUint16(host, true) : view.getUint8(host);
			}
		}
		if (!this.#prepare(lo, hi, bytes, access, VECTOR_GP)) return -1;
		this.#gather(this.#scratch, bytes);
		if (bytes === 4) return view.getUint32(this.#scratch, true);
		return bytes === 2 ? view.getUint16(this.#scratch, true) : view.getUint8(this.#scratch);
	}

	/** Writes 1, 2 or 4 bytes; a STORE status. */
	write(lin: number, bytes: number, value: number, access: number = ACCESS.read): number {
		const lo = lin | 0;
		const hi = this.#high(lin);
		const view = this.#memory.view;
		let host = 0;
		if ((lo & 0xfff) + bytes <= PAGE_BYTES) host = this.tables.lookup(tlbOf(access), lo, hi, true);
		const to = host === 0 ? this.#scratch : host;
		if (host === 0 && !this.#prepare(lo, hi, bytes, access | ACCESS.write, VECTOR_GP)) return STORE.fault;
		if (bytes === 4) view.setUint32(to, value, true);
		else if (bytes === 2) view.setUint16(to, value, true);
		else view.setUint8(to, value);
		return host === 0 ? this.#scatter(this.#scratch) : STORE.done;
	}

	/** Reads 8 bytes: the low half is returned (-1: fault), the high half, signed, is left in `pairHigh`. */
	readPair(lin: number, access: number): number {
		const lo = lin | 0;
		const hi = this.#high(lin);
		let host = (lo & 0xfff) <= PAGE_BYTES - 8 ? this.tables.lookup(tlbOf(access), lo, hi, false) : 0;
		if (host === 0) {
			if (!this.#prepare(lo, hi, 8, access, VECTOR_GP)) return -1;
			this.#gather(this.#scratch, 8);
			host = this.#scratch;
		}
		const view = this.#memory.view;
		this.pairHigh = view.getInt32(host + 4, true);
		return view.getUint32(host, true);
	}

	/** Writes 8 bytes, whole or not at all; a STORE status. */
	writePair(lin: number, low: number, high: number, access: number): number {
		const lo = lin | 0;
		const hi = this.#high(lin);
		const host = (lo & 0xfff) <= PAGE_BYTES - 8 ? this.tables.lookup(tlbOf(access), lo, hi, true) : 0;
		if (host === 0 && !this.#prepare(lo, hi, 8, access | ACCESS.write, VECTOR_GP)) return STORE.fault;
		const to = host === 0 ? this.#scratch : host;
		const view = this.#memory.view;
		view.setInt32(to, low, true);
		view.setInt32(to + 4, high, true);
		return host === 0 ? this.#scatter(this.#scratch) : STORE.done;
	}

	/** Checks that `bytes` (up to a page) can be accessed; false: fault. */
	probe(lin: number, bytes: number, access: number): boolean {
		return this.#prepare(lin | 0, this.#high(lin), bytes, access, VECTOR_GP);
	}

	/** Fills `into` (up to a page); false: fault. */
	readBlock(lin: number, into: Uint8Array, access: number): boolean {
		if (!this.#prepare(lin | 0, this.#high(lin), into.length, access, VECTOR_GP)) return false;
		let done = 0;
		for (const span of [this.#first, this.#second]) {
			if (span.kind === PAGE.device) this.#memory.read(span.phys, into.subarray(done, done + span.count));
			else into.set(this.#memory.bytes.subarray(span.host, span.host + span.count), done);
			done += span.count;
		}
		return true;
	}

	/** Stores `from` (up to a page) whole or not at all; a STORE status. */
	writeBlock(lin: number, from: Uint8Array, access: number): number {
		if (!this.#prepare(lin | 0, this.#high(lin), from.length, access | ACCESS.write, VECTOR_GP)) return STORE.fault;
		if (this.#mustStep(this.#first) || this.#mustStep(this.#second)) return STORE.single;
		let done = 0;
		for (const span of [this.#first, this.#second]) {
			const piece = from.subarray(done, done + span.count);
			if (span.kind === PAGE.ram) this.#memory.bytes.set(piece, span.host);
			else if (span.kind === PAGE.device)
				for (let i = 0; i < piece.length; i++) this.#memory.writePhys(span.phys + i, 1, piece[i] as number);
			done += span.count;
		}
		return STORE.done;
	}

	/** The kind of access that the running code makes: ACCESS bits. */
	dataAccess(): number {
		return ACCESS_OF_TLB[this.#tlbInForce() as 0 | 1 | 2];
	}

	// ---- fetching ----

	/** Physical address that the byte at hi:lo is fetched from at the current CPL; -1: fault. */
	translateCode(lo: number, hi: number): number {
		const phys = this.#fetchPage(lo, hi, true);
		return phys < 0 ? -1 : phys + (lo & 0xfff);
	}

	/** Physical address of the page that is fetched from `pages` pages after hi:lo, without a fault; -1: none. */
	probeCodePage(lo: number, hi: number, pages: number): number {
		const low = ((lo & -PAGE_BYTES) >>> 0) + pages * PAGE_BYTES;
		const high = this.isLongMode ? (hi + Math.floor(low / FOUR_GIB)) | 0 : 0;
		return this.#fetchPage(low | 0, high, false);
	}

	#fetchPage(lo: number, hi: number, mayFault: boolean): number {
		const isUser = this.#i32[CPL] === 3;
		const known = this.#codePages.find(lo, hi, isUser);
		if (known >= 0) return known * PAGE_BYTES;
		if (isNonCanonical(hi) && this.isLongMode) {
			if (mayFault) this.#fault(VECTOR_GP, 0);
			return -1;
		}
		const walker = this.walker;
		const error = walker.walk(lo, hi, ACCESS.fetch | (isUser ? ACCESS.user : 0));
		if (error !== WALK_OK) {
			if (mayFault) this.#pageFault(lo, hi, error);
			return -1;
		}
		this.#codePages.add(lo, hi, isUser, Math.floor(walker.physPage / PAGE_BYTES), walker.isGlobal, walker.pageShift);
		return walker.physPage;
	}

	// ---- forgetting ----

	/** A CR3 write, or a change of the rules (`keepGlobal` false). Also for A20 and for changes of the memory map. */
	flush(keepGlobal: boolean): void {
		this.#chooseWalk();
		this.tables.flush(keepGlobal);
		this.#forgetCode(keepGlobal);
	}

	#forgetCode(keepGlobal: boolean): void {
		this.#codePages.flush(keepGlobal);
		this.#code.flushJumps(keepGlobal);
	}

	/** INVLPG. */
	invalidatePage(lo: number, hi: number): void {
		this.tables.invalidate(lo, hi);
		if (this.#codePages.isSeenGlobal(lo, hi)) this.#forgetCode(false);
		else if (this.#codePages.isSeenLocal(lo, hi)) this.#forgetCode(true);
	}

	/** The physical page (address >> 12) has become code: stores to it must come by. */
	dropWriteTags(physPage: number): void {
		this.tables.dropWriteTags(physPage);
	}

	/** No store may go ahead any more without asking: pages count as unwritten again. */
	dropAllWriteTags(): void {
		this.tables.dropAllWriteTags();
	}

	/** Everything derived is void: the state was loaded or reset. */
	clear(): void {
		this.tables.clear();
		this.#forgetCode(false);
		this.breakpoints.update();
		this.#chooseWalk();
	}

	/**
	 * Which walks core/page-walk.ts may make by itself: none while anything is unusual (the A20 gate closed, data breakpoints,
	 * alignment checks).
	 */
	#chooseWalk(): void {
		const i32 = this.#i32;
		const cr0 = i32[CR0_WORD] as number;
		const cr4 = i32[CR4_WORD] as number;
		const efer = i32[EFER_WORD] as number;
		let kind: number = WALK.none;
		if (!this.#isAlignmentChecked && !this.breakpoints.areEnabled && this.#board.isA20Enabled) {
			if ((cr0 & CR0.PG) === 0) kind = WALK.off;
			else if ((efer & EFER.LMA) !== 0) kind = WALK.fourLevel;
			else if ((cr4 & CR4.PAE) !== 0) kind = WALK.pae;
			else kind = (cr4 & CR4.PSE) !== 0 ? WALK.legacy : WALK.none;
			if (kind > WALK.off) {
				if ((cr4 & CR4.SMAP) !== 0) kind |= WALK.smap;
				if ((cr4 & CR4.PGE) !== 0) kind |= WALK.global;
				if ((cr0 & CR0.WP) === 0) kind |= WALK.noProtect;
				if ((efer & EFER.NXE) === 0) kind |= WALK.noXd;
				if ((cr4 & CR4.SMEP) !== 0) kind |= WALK.smep;
			}
		}
		i32[WALK_KIND] = kind;
	}

	/** The mode changed: `tlbBase` is already the new one. */
	modeChanged(isAlignmentChecked: boolean): void {
		if (isAlignmentChecked && !this.#isAlignmentChecked) this.tables.dropAll(TLB.user);
		this.#isAlignmentChecked = isAlignmentChecked;
		this.#chooseWalk();
		if (this.isLongMode && ((this.#i32[MODE_KEY] as number) & MODE.codeMask) !== MODE.code64) this.tables.dropHigh(this.#tlbInForce());
	}

	/** DR0–DR3 or DR7 changed. */
	breakpointsChanged(): void {
		const before = this.breakpoints.areEnabled;
		this.breakpoints.update();
		this.#chooseWalk();
		if (before || this.breakpoints.areEnabled) this.tables.flush(false);
	}

	get isLongMode(): boolean {
		return ((this.#i32[EFER_WORD] as number) & EFER.LMA) !== 0;
	}

	// ---- inside ----

	#tlbInForce(): number {
		return ((this.#i32[TLB_BASE] as number) - this.#state.base - TLB_KERNEL) / TLB_BYTES;
	}

	#high(lin: number): number {
		return this.isLongMode ? Math.floor(lin / FOUR_GIB) : 0;
	}

	#prepareData(request: number, access: number): boolean {
		const i32 = this.#i32;
		const bytes = request & 0xff;
		const lo = i32[ARG0] as number;
		const hi = i32[ARG0 + 1] as number;
		const all = access | this.dataAccess();
		const vector = (request & STACK_ACCESS) !== 0 ? VECTOR_SS : VECTOR_GP;
		// Flat segments are not checked before: beyond 4 GiB lies their limit. With a base, linear addresses may wrap.
		if (lo >>> 0 > FOUR_GIB - bytes && ((i32[MODE_KEY] as number) & (MODE.flat | MODE.codeMask)) === (MODE.flat | MODE.code32)) {
			this.#fault(vector, 0);
			return false;
		}
		return this.#prepare(lo, hi, bytes, all, vector);
	}

	/** #AC comes behind the checks of the address, before those of its pages. */
	#isMisaligned(lo: number, bytes: number, access: number): boolean {
		return (
			this.#isAlignmentChecked && (access & ACCESS.user) !== 0 && bytes <= 16 && (lo & (bytes - 1)) !== 0 && (bytes & (bytes - 1)) === 0
		);
	}

	/** Translates one or two pages of an access and fills the TLB from them; false: fault. */
	#prepare(lo: number, hi: number, bytes: number, access: number, vector: number): boolean {
		const within = lo & 0xfff;
		const isLong = this.isLongMode;
		if (isLong && isNonCanonical(hi)) {
			this.#fault(vector, 0);
			return false;
		}
		if (this.#isMisaligned(lo, bytes, access)) {
			this.#fault(VECTOR_AC, 0);
			return false;
		}
		if (this.breakpoints.areEnabled) this.breakpoints.match(lo, hi, bytes, (access & ACCESS.write) !== 0);
		if (within + bytes <= PAGE_BYTES) {
			this.#second.count = 0;
			return this.#translate(this.#first, lo, hi, bytes, access);
		}
		const firstBytes = PAGE_BYTES - within;
		const nextLo = (lo + firstBytes) | 0;
		// 32-bit code wraps at 4 GiB, 64-bit code runs on: from the lower half's end into the hole between the halves.
		const nextHi = nextLo === 0 && this.#carriesOver(hi) ? (hi + 1) | 0 : hi;
		// The whole of the address is checked before any page of it is looked for.
		if (isLong && isNonCanonical(nextHi)) {
			this.#fault(vector, 0);
			return false;
		}
		if (!this.#translate(this.#first, lo, hi, firstBytes, access)) return false;
		return this.#translate(this.#second, nextLo, nextHi, bytes - firstBytes, access);
	}

	#carriesOver(hi: number): boolean {
		return this.isLongMode && (hi !== 0 || ((this.#i32[MODE_KEY] as number) & MODE.codeMask) === MODE.code64);
	}

	#translate(span: Span, lo: number, hi: number, count: number, access: number): boolean {
		const walker = this.walker;
		const error = walker.walk(lo, hi, access);
		if (error !== WALK_OK) {
			this.#pageFault(lo, hi, error);
			return false;
		}
		const within = lo & 0xfff;
		const page = walker.physPage;
		span.phys = page + within;
		span.count = count;
		span.kind = walker.pages.find(page);
		if (span.kind === PAGE.device) return true;
		const host = walker.pages.hostOffset;
		span.host = host + within;
		const { pages } = this.#memory;
		const ramPage = pages.indexOf(host);
		if (span.kind === PAGE.ram && (access & ACCESS.write) !== 0) pages.willWrite(ramPage);
		const tlb = tlbOf(access);
		if (tlb === TLB.user && this.#isAlignmentChecked) return true;
		if (this.breakpoints.isWatchedPage(lo, hi)) return true;
		const physPage = Math.floor(page / PAGE_BYTES);
		const isPlain = span.kind === PAGE.ram && walker.mayWrite && walker.isDirty && pages.isDirty(ramPage);
		const canWrite = isPlain && !this.#code.hasCode(physPage);
		this.tables.fill(tlb, lo, hi, host, canWrite, walker.isGlobal, physPage, walker.pageShift);
		return true;
	}

	/** A few bytes: `copyWithin` takes its time to begin. The two do not overlap. */
	#copy(to: number, from: number, count: number): void {
		const view = this.#memory.view;
		let done = 0;
		for (; done + 4 <= count; done += 4) view.setInt32(to + done, view.getInt32(from + done, true), true);
		for (; done < count; done++) view.setUint8(to + done, view.getUint8(from + done));
	}

	#gather(to: number, bytes: number): void {
		this.#gatherSpan(this.#first, to);
		if (this.#second.count !== 0) this.#gatherSpan(this.#second, to + bytes - this.#second.count);
	}

	#gatherSpan(span: Span, to: number): void {
		if (span.kind !== PAGE.device) {
			this.#copy(to, span.host, span.count);
			return;
		}
		const view = this.#memory.view;
		for (let done = 0; done < span.count; ) {
			const step = pieceOf(span.count - done);
			const value = this.#memory.readPhys(span.phys + done, step);
			if (step === 4) view.setUint32(to + done, value, true);
			else if (step === 2) view.setUint16(to + done, value, true);
			else view.setUint8(to + done, value);
			done += step;
		}
	}

	#mustStep(span: Span): boolean {
		if (span.count === 0 || span.kind !== PAGE.ram) return false;
		return this.#code.hasCode(Math.floor(span.phys / PAGE_BYTES)) && this.#code.beforeStore(span.phys, span.count);
	}

	#scatter(from: number): number {
		if (this.#mustStep(this.#first) || this.#mustStep(this.#second)) return STORE.single;
		this.#scatterSpan(this.#first, from);
		if (this.#second.count !== 0) this.#scatterSpan(this.#second, from + this.#first.count);
		return STORE.done;
	}

	#scatterSpan(span: Span, from: number): void {
		if (span.kind === PAGE.ram) {
			this.#copy(span.host, from, span.count);
			return;
		}
		if (span.kind === PAGE.rom) return;
		const view = this.#memory.view;
		for (let done = 0; done < span.count; ) {
			const step = pieceOf(span.count - done);
			const at = from + done;
			this.#memory.writePhys(
				span.phys + done,
				step,
				step === 4 ? view.getUint32(at, true) : step === 2 ? view.getUint16(at, true) : view.getUint8(at),
			);
			done += step;
		}
	}

	#pageFault(lo: number, hi: number, error: number): void {
		this.#i32[CR2] = lo;
		this.#i32[CR2 + 1] = hi;
		this.#fault(VECTOR_PF, error);
	}

	#fault(vector: number, errorCode: number): void {
		this.#i32[FAULT_VECTOR] = vector;
		this.#i32[FAULT_ERROR] = errorCode;
	}
}

/** Bits 63:47 differ (Intel SDM Vol. 1 §3.3.7.1, "Canonical Addressing"). */
export function isNonCanonical(hi: number): boolean {
	return (hi << 16) >> 16 !== hi;
}

function tlbOf(access: number): number {
	if ((access & ACCESS.user) !== 0) return TLB.user;
	return (access & ACCESS.alignmentFlag) !== 0 ? TLB.kernelAc : TLB.kernel;
}

function pieceOf(left: number): 1 | 2 | 4 {
	return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}
