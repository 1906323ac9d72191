const PAGE_BITS = 1 << 16;

/** A set of whole numbers, held where there are any: files may be sparse and absurdly long. */
export class BitSet {
	readonly #pages = new Map<number, Uint32Array>();

	has(index: number): boolean {
		const page = this.#pages.get(Math.floor(index / PAGE_BITS));
		const bit = index % PAGE_BITS;
		return page !== undefined && ((page[bit >> 5] as number) & (1 << (bit & 31))) !== 0;
	}

	add(index: number): void {
		const number = Math.floor(index / PAGE_BITS);
		let page = this.#pages.get(number);
		if (page === undefined) this.#pages.set(number, (page = new Uint32Array(PAGE_BITS / 32)));
		const bit = index % PAGE_BITS;
		page[bit >> 5] = (page[bit >> 5] as number) | (1 << (bit & 31));
	}
}
