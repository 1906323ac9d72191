const ENTRIES = 256;
/** Bits of the filter, hashed by linear page. */
const FILTER = 4096;

/** Remembers where linear pages are fetched from, and which linear pages may have been fetched at all. */
export class CodePages {
	readonly #key = new Int32Array(ENTRIES);
	readonly #high = new Int32Array(ENTRIES);
	readonly #stamp = new Int32Array(ENTRIES);
	readonly #physPage = new Float64Array(ENTRIES);
	/** A local entry holds `#localStamp`, a global one `#globalStamp`: a flush only moves on to the next stamp. */
	#localStamp = 1;
	#globalStamp = -1;
	readonly #localFilter = new Uint8Array(FILTER);
	readonly #globalFilter = new Uint8Array(FILTER);
	#hasLocal = false;
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
		(isGlobal ? this.#globalFilter : this.#localFilter)[filterIndex(lo, hi)] = 1;
		if (!isGlobal) this.#hasLocal = true;
		if (pageShift > 12) {
			const areas = this.#largeAreas.get(pageShift);
			const area = areaOf(lo, hi, pageShift);
			if (areas === undefined) this.#largeAreas.set(pageShift, new Set([area]));
			else areas.add(area);
		}
	}

	/** False: nothing has been fetched through the page's translation since it was last forgotten. */
	mayHold(lo: number, hi: number, isLarge: boolean): boolean {
		if (isLarge) for (const [shift, areas] of this.#largeAreas) if (areas.has(areaOf(lo, hi, shift))) return true;
		const at = filterIndex(lo, hi);
		return this.#localFilter[at] === 1 || this.#globalFilter[at] === 1;
	}

	flush(keepGlobal: boolean): void {
		this.#localStamp = this.#localStamp === 0x7fff_ffff ? 1 : this.#localStamp + 1;
		if (this.#hasLocal) this.#localFilter.fill(0);
		this.#hasLocal = false;
		if (keepGlobal) return;
		this.#globalStamp = this.#globalStamp === -0x7fff_ffff ? -1 : this.#globalStamp - 1;
		this.#globalFilter.fill(0);
		this.#largeAreas.clear();
	}
}

function areaOf(lo: number, hi: number, shift: number): number {
	return Math.floor((hi * 0x1_0000_0000 + (lo >>> 0)) / 2 ** shift);
}

function filterIndex(lo: number, hi: number): number {
	return ((lo >>> 12) ^ (lo >>> 24) ^ hi) & (FILTER - 1);
}
