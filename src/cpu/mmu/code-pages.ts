import type { CpuState } from "../state/cpu-state.ts";
import {
	at,
	CODE_HUGE_AREAS,
	CODE_LARGE_AREAS,
	CODE_SEEN_ENTRIES,
	CODE_SEEN_GLOBAL,
	CODE_SEEN_LOCAL,
	CODE_TLB,
	CODE_TLB_ENTRIES,
	CODE_TLB_ENTRY,
	CODE_TLB_ENTRY_BYTES,
} from "../state/layout.ts";
import { LargeAreas } from "./large-areas.ts";

const FIRST = CODE_TLB >> 2;
const STEP = CODE_TLB_ENTRY_BYTES >> 2;
const TAG = CODE_TLB_ENTRY.tag >> 2;
const PHYS_PAGE = CODE_TLB_ENTRY.physPage >> 2;
const STAMP = CODE_TLB_ENTRY.stamp >> 2;
const LOCAL_STAMP = at("codeLocalStamp") >> 2;
const GLOBAL_STAMP = at("codeGlobalStamp") >> 2;
const HAS_LOCAL = at("hasLocalKernelCode") >> 2;
const SEEN_LOCAL = CODE_SEEN_LOCAL >> 2;
const SEEN_GLOBAL = CODE_SEEN_GLOBAL >> 2;
/** Stamps of pages that are not global count up from 1, the others' down from −1. */
const LAST_STAMP = 0x7fff_ffff;

/**
 * The code TLB, which core/find-code.ts reads and fills too: where linear pages are fetched from, and which may have been fetched at
 * all.
 */
export class CodePages {
	readonly #i32: Int32Array;
	readonly #largePages: LargeAreas;

	constructor(state: CpuState) {
		this.#i32 = state.i32;
		this.#largePages = new LargeAreas(state, CODE_LARGE_AREAS, CODE_HUGE_AREAS);
		this.#i32[LOCAL_STAMP] = 1;
		this.#i32[GLOBAL_STAMP] = -1;
	}

	/** Number of the physical page that hi:lo is fetched from, or -1: walk. */
	find(lo: number, hi: number, isUser: boolean): number {
		const i32 = this.#i32;
		const entry = entryOf(lo);
		const stamp = i32[entry + STAMP];
		if (stamp !== i32[LOCAL_STAMP] && stamp !== i32[GLOBAL_STAMP]) return -1;
		if (i32[entry + TAG] !== ((lo & -4096) | (isUser ? 1 : 0)) || i32[entry + TAG + 1] !== hi) return -1;
		return (i32[entry + PHYS_PAGE] as number) >>> 0;
	}

	/** @param physPage physical address >> 12 */
	add(lo: number, hi: number, isUser: boolean, physPage: number, isGlobal: boolean, pageShift: number): void {
		const i32 = this.#i32;
		const entry = entryOf(lo);
		const stamp = i32[isGlobal ? GLOBAL_STAMP : LOCAL_STAMP] as number;
		i32[entry + TAG] = (lo & -4096) | (isUser ? 1 : 0);
		i32[entry + TAG + 1] = hi;
		i32[entry + PHYS_PAGE] = physPage;
		i32[entry + STAMP] = stamp;
		if (!isGlobal && !isUser) i32[HAS_LOCAL] = 1;
		if (pageShift === 12) i32[(isGlobal ? SEEN_GLOBAL : SEEN_LOCAL) + seenSlot(lo, hi)] = stamp;
		else this.#largePages.note(lo, hi, pageShift);
	}

	/** Code may have been fetched from the page as one that is not global. */
	isSeenLocal(lo: number, hi: number): boolean {
		return this.#i32[SEEN_LOCAL + seenSlot(lo, hi)] === this.#i32[LOCAL_STAMP];
	}

	/** Code may have been fetched from the page as a global one, or through a large page around it. */
	isSeenGlobal(lo: number, hi: number): boolean {
		if (this.#i32[SEEN_GLOBAL + seenSlot(lo, hi)] === this.#i32[GLOBAL_STAMP]) return true;
		return this.#largePages.mayHold(lo, hi);
	}

	flush(keepGlobal: boolean): void {
		const i32 = this.#i32;
		const local = i32[LOCAL_STAMP] as number;
		const global = i32[GLOBAL_STAMP] as number;
		if (local === LAST_STAMP || global === -LAST_STAMP) {
			this.#wipe();
			return;
		}
		i32[LOCAL_STAMP] = local + 1;
		if (keepGlobal) return;
		i32[GLOBAL_STAMP] = global - 1;
		this.#largePages.clear();
	}

	/** Begins anew with the first stamps. */
	#wipe(): void {
		const i32 = this.#i32;
		i32.fill(0, FIRST, (CODE_LARGE_AREAS + 2048) >> 2);
		i32[LOCAL_STAMP] = 1;
		i32[GLOBAL_STAMP] = -1;
	}
}

const entryOf = (lo: number): number => FIRST + ((lo >>> 12) & (CODE_TLB_ENTRIES - 1)) * STEP;

const seenSlot = (lo: number, hi: number): number => ((lo >>> 12) ^ hi) & (CODE_SEEN_ENTRIES - 1);
