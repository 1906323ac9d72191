const ENTRIES = 256;

/** Remembers where linear pages are fetched from, and which linear pages may have been fetched at all. */
export class CodePages {
	readonly #key = new Int32Array(ENTRIES);
	readonly #high = new Int32Array(ENTRIES);
	readonly #stamp = new Int32Array(ENTRIES);
	readonly #physPage = new Float64Array(ENTRIES);
	/** A local entry holds `#localStamp`, a global one `#globalStamp`: a flush only moves on to the next stamp. */
	#localStamp = 1;
	#globalStamp = -1;
	/** Every page fetched from since the last flush, by number. */
	readonly #localPages = new Set<number>();
	readonly #globalPages = new Set<number>();
	/** Areas of large pages that were fetched from, by log2 of their size: few, and INVLPG seldom means one. */
	readonly #largeAreas = new Map<number, Set<number>>();
	/** Of the last `find` or `add`. */
	isGlobal = false;

	/** Physical address of the page that hi:lo is fetched from, or -1: walk. */
	find(lo: number, hi: number, isUser: boolean): number {
		const at = (lo >>> 12) & (ENTRIES - 1);
		const stamp = this.#stamp[at] as number;
		if (stamp !== this.#localStamp && stamp !== this.#globalStamp) return -1;
		if (this.#key[at] !== ((lo & -4096) | (isUser ? 1 : 0)) || this.#high[at] !== hi) return -1;
		this.isGlobal = stamp < 0;
		return this.#physPage[at] as number;
	}

	add(lo: number, hi: number, isUser: boolean, physPage: number, isGlobal: boolean, pageShift: number): void {
		const at = (lo >>> 12) & (ENTRIES - 1);
		this.#key[at] = (lo & -4096) | (isUser ? 1 : 0);
		this.#high[at] = hi;
		this.#stamp[at] = isGlobal ? this.#globalStamp : this.#localStamp;
		this.#physPage[at] = physPage;
		this.isGlobal = isGlobal;
		(isGlobal ? this.#globalPages : this.#localPages).add(pageOf(lo, hi));
		if (pageShift > 12) {
			const areas = this.#largeAreas.get(pageShift);
			const area = areaOf(lo, hi, pageShift);
			if (areas === undefined) this.#largeAreas.set(pageShift, new Set([area]));
			else areas.add(area);
		}
	}

	/** Code has been fetched through a large page that the address lies in, since that was last forgotten. */
	isInLargePage(lo: number, hi: number): boolean {
		for (const [shift, areas] of this.#largeAreas) if (areas.has(areaOf(lo, hi, shift))) return true;
		return false;
	}

	/** Forgets a page. False: nothing had been fetched from it. */
	drop(lo: number, hi: number): boolean {
		const page = pageOf(lo, hi);
		const wasLocal = this.#localPages.delete(page);
		const wasGlobal = this.#globalPages.delete(page);
		const at = (lo >>> 12) & (ENTRIES - 1);
		if (((this.#key[at] as number) & -4096) === (lo & -4096) && this.#high[at] === hi) this.#stamp[at] = 0;
		return wasLocal || wasGlobal;
	}

	flush(keepGlobal: boolean): void {
		this.#localStamp = this.#localStamp === 0x7fff_ffff ? 1 : this.#localStamp + 1;
		if (this.#localPages.size > 0) this.#localPages.clear();
		if (keepGlobal) return;
		this.#globalStamp = this.#globalStamp === -0x7fff_ffff ? -1 : this.#globalStamp - 1;
		this.#globalPages.clear();
		this.#largeAreas.clear();
	}
}

function areaOf(lo: number, hi: number, shift: number): number {
	return Math.floor((hi * 0x1_0000_0000 + (lo >>> 0)) / 2 ** shift);
}

function pageOf(lo: number, hi: number): number {
	return hi * 0x10_0000 + (lo >>> 12);
}
