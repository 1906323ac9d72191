const PAGE = 4096;

/** How many users each cluster has, held where there are any: files may be sparse and absurdly long. */
export class ClusterCounts {
	/** Clusters in the file. */
	readonly length: number;
	readonly #pages = new Map<number, Uint32Array>();

	constructor(length: number) {
		this.length = length;
	}

	get(cluster: number): number {
		return this.#pages.get(Math.floor(cluster / PAGE))?.[cluster % PAGE] ?? 0;
	}

	add(cluster: number, count: number): void {
		const index = Math.floor(cluster / PAGE);
		let page = this.#pages.get(index);
		if (page === undefined) this.#pages.set(index, (page = new Uint32Array(PAGE)));
		page[cluster % PAGE] = (page[cluster % PAGE] as number) + count;
	}

	/** Whether any of [first, first+count) has users. */
	hasAny(first: number, count: number): boolean {
		for (let cluster = first; cluster < first + count; ) {
			const page = this.#pages.get(Math.floor(cluster / PAGE));
			if (page !== undefined && (page[cluster % PAGE] as number) > 0) return true;
			cluster += page === undefined ? PAGE - (cluster % PAGE) : 1;
		}
		return false;
	}

	/** Clusters with users, in order, and how many. */
	*entries(): IterableIterator<[cluster: number, count: number]> {
		for (const index of [...this.#pages.keys()].sort((a, b) => a - b)) {
			const page = this.#pages.get(index) as Uint32Array;
			for (let i = 0; i < PAGE; i++) if (page[i] !== 0) yield [index * PAGE + i, page[i] as number];
		}
	}

	/** One behind the last cluster with users. */
	get end(): number {
		let last = -1;
		for (const index of this.#pages.keys()) last = Math.max(last, index);
		const page = this.#pages.get(last);
		return page === undefined ? 0 : last * PAGE + page.findLastIndex((count) => count !== 0) + 1;
	}
}
