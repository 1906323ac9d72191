import type { CpuState } from "../state/cpu-state.ts";
import { at } from "../state/layout.ts";

const DR = at("dr") >> 2;
const DEBUG_PENDING = at("debugPending") >> 2;
const FOUR_GIB = 0x1_0000_0000;

/** R/W field of DR7: 0 execute, 1 write, 2 I/O, 3 read or write; LEN: 1, 2, 8, 4 bytes (Intel SDM Vol. 3B §17.2.4). */
const RW_WRITE = 1;
const RW_ANY = 3;
const LENGTHS = [1, 2, 8, 4] as const;

/** DR0–DR3 as far as they watch data: the pages they lie in get no TLB entries, so that every access is seen. */
export class DataBreakpoints {
	areEnabled = false;
	readonly #i32: Int32Array;

	constructor(state: CpuState) {
		this.#i32 = state.i32;
	}

	/** Reads DR7 anew. */
	update(): void {
		this.areEnabled = false;
		for (let n = 0; n < 4; n++) if (this.#isDataBreakpoint(n)) this.areEnabled = true;
	}

	#isDataBreakpoint(n: number): boolean {
		const dr7 = this.#i32[DR + 14] as number;
		const kind = (dr7 >>> (16 + n * 4)) & 3;
		return ((dr7 >>> (n * 2)) & 3) !== 0 && (kind === RW_WRITE || kind === RW_ANY);
	}

	isWatchedPage(lo: number, hi: number): boolean {
		if (!this.areEnabled) return false;
		for (let n = 0; n < 4; n++)
			if (this.#isDataBreakpoint(n) && ((this.#i32[DR + 2 * n] as number) ^ lo) >>> 12 === 0 && this.#i32[DR + 2 * n + 1] === hi)
				return true;
		return false;
	}

	/** Notes in `debugPending` which breakpoints the access meets. */
	match(lo: number, hi: number, bytes: number, isWrite: boolean): void {
		const first = hi * FOUR_GIB + (lo >>> 0);
		const dr7 = this.#i32[DR + 14] as number;
		for (let n = 0; n < 4; n++) {
			if (!this.#isDataBreakpoint(n)) continue;
			if (!isWrite && ((dr7 >>> (16 + n * 4)) & 3) === RW_WRITE) continue;
			const length = LENGTHS[((dr7 >>> (18 + n * 4)) & 3) as 0 | 1 | 2 | 3];
			const address = (this.#i32[DR + 2 * n + 1] as number) * FOUR_GIB + ((this.#i32[DR + 2 * n] as number) >>> 0);
			const start = address - (((address % length) + length) % length);
			if (first < start + length && start < first + bytes) this.#i32[DEBUG_PENDING] = (this.#i32[DEBUG_PENDING] as number) | (1 << n);
		}
	}
}
