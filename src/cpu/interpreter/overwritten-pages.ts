/** Stores to a page that still has code, before it counts as one that has been put to another use. */
const FIRST_STORES = 64;

interface Stores {
	left: number;
	/** The next time. */
	next: number;
}

/**
 * Which pages with code a guest makes something else of. Each store there has to come by, until the last block is gone; byte by byte, that is
 * four thousand times. Where code does live beside data it comes back, so the next time it takes twice as many stores.
 */
export class OverwrittenPages {
	readonly #stores = new Map<number, Stores>();

	/** A store to a page (by its physical number) that has code. Returns whether all of that is to be forgotten. */
	isOverwritten(page: number): boolean {
		const stores = this.#stores.get(page);
		if (stores === undefined) {
			this.#stores.set(page, { left: FIRST_STORES - 1, next: 2 * FIRST_STORES });
			return false;
		}
		stores.left--;
		if (stores.left > 0) return false;
		stores.left = stores.next;
		stores.next *= 2;
		return true;
	}

	clear(): void {
		this.#stores.clear();
	}
}
