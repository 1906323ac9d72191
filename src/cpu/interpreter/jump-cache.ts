import type { CpuState } from "../state/cpu-state.ts";
import {
	at,
	GOLDEN_RATIO,
	JUMP_BYTES,
	JUMP_CACHE,
	JUMP_ENTRIES,
	JUMP_ENTRY,
	JUMP_ENTRY_BYTES,
	JUMP_GENERATION,
	MODE,
} from "../state/layout.ts";

const STEP = JUMP_ENTRY_BYTES >> 2;
const FIRST = JUMP_CACHE >> 2;
const ENTRY_RIP = JUMP_ENTRY.rip >> 2;
const ENTRY_TAG = JUMP_ENTRY.tag >> 2;
const CODE = JUMP_ENTRY.code >> 2;
const JUMP_TAG = at("jumpTag") >> 2;
const GENERATION = at("jumpGeneration") >> 2;
const HAS_LOCAL = at("hasLocalKernelCode") >> 2;
const RIP = at("rip") >> 2;

/**
 * A CPU's jump cache, which generated code reads and fills (core/find-code.ts): from an offset in CS and the mode to the code for it.
 * Its entries hold as long as linear pages mean what they meant and code is what it was; then the whole of it goes. What is needed
 * again comes back from the code index in some ten nanoseconds an entry.
 */
export class JumpCache {
	readonly #i32: Int32Array;

	constructor(state: CpuState) {
		this.#i32 = state.i32;
		this.#wipe();
	}

	/**
	 * Enters the code for the present rip in the present mode.
	 * @param code slot of a region, or head record of a block to be interpreted
	 */
	enter(code: number): void {
		const i32 = this.#i32;
		const rip = i32[RIP] as number;
		const entry = entryOf(rip);
		i32[entry + ENTRY_RIP] = rip;
		i32[entry + ENTRY_RIP + 1] = i32[RIP + 1] as number;
		i32[entry + ENTRY_TAG] = i32[JUMP_TAG] as number;
		i32[entry + CODE] = code;
	}

	/** Empties the cache, by having its entries be of a former generation. `keepKernel` spares supervisor code, which is global mostly. */
	flush(keepKernel = false): void {
		const i32 = this.#i32;
		const user = ((i32[GENERATION + 1] as number) + JUMP_GENERATION) | 0;
		const isKept = keepKernel && i32[HAS_LOCAL] === 0;
		const kernel = ((i32[GENERATION] as number) + (isKept ? 0 : JUMP_GENERATION)) | 0;
		if (user === 0 || (kernel === 0 && !isKept)) this.#wipe();
		i32[HAS_LOCAL] = 0;
		i32[GENERATION] = kernel;
		i32[GENERATION + 1] = user;
		const tag = i32[JUMP_TAG] as number;
		i32[JUMP_TAG] = (tag & (JUMP_GENERATION - 1)) | ((tag & MODE.user) !== 0 ? user : kernel);
	}

	/** The code at this linear address is to be looked up again. */
	drop(lo: number): void {
		const entry = entryOf(lo);
		if (this.#i32[entry + ENTRY_RIP] === lo) this.#i32[entry + ENTRY_TAG] = -1;
	}

	/** No tag has all bits set: segments end before. */
	#wipe(): void {
		this.#i32.fill(-1, FIRST, (JUMP_CACHE + JUMP_BYTES) >> 2);
	}
}

/** Word number of the only place where an offset in CS may stand, by its low half. */
const entryOf = (rip: number): number => FIRST + (Math.imul(rip, GOLDEN_RATIO) >>> (32 - Math.log2(JUMP_ENTRIES))) * STEP;
