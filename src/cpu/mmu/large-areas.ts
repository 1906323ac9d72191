import type { CpuState } from "../state/cpu-state.ts";

const LARGE_AREAS = 1024;
const HUGE_AREAS = 64;

/**
 * Areas of 2 MiB and 1 GiB (hashed, a byte each in the CPU's block) that something came from through a large page. core/page-walk.ts
 * notes them too.
 */
export class LargeAreas {
	readonly #large: Uint8Array;
	readonly #huge: Uint8Array;

	/** @param largeAt, hugeAt offsets in the CPU's block */
	constructor({ bytes }: CpuState, largeAt: number, hugeAt: number) {
		this.#large = bytes.subarray(largeAt, largeAt + LARGE_AREAS);
		this.#huge = bytes.subarray(hugeAt, hugeAt + HUGE_AREAS);
	}

	/** @param pageShift of the large page at hi:lo; pages of 4 MiB take two areas of 2 */
	note(lo: number, hi: number, pageShift: number): void {
		if (pageShift === 30) {
			this.#huge[hugeArea(lo, hi)] = 1;
			return;
		}
		this.#large[largeArea(lo, hi)] = 1;
		if (pageShift > 21) this.#large[largeArea(lo ^ 0x20_0000, hi)] = 1;
	}

	/** A large page around hi:lo may have been noted. */
	mayHold(lo: number, hi: number): boolean {
		return this.#large[largeArea(lo, hi)] === 1 || this.#huge[hugeArea(lo, hi)] === 1;
	}

	clear(): void {
		this.#large.fill(0);
		this.#huge.fill(0);
	}
}

const largeArea = (lo: number, hi: number): number => ((lo >>> 21) ^ hi) & (LARGE_AREAS - 1);

const hugeArea = (lo: number, hi: number): number => ((lo >>> 30) | (hi << 2)) & (HUGE_AREAS - 1);
