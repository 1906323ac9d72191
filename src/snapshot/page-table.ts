import { PAGE_BYTES } from "../base/units.ts";
import { BATCH_PAGES } from "./page-hash.ts";
import { type PageStore, ZERO_PAGE } from "./page-store.ts";

/** Ids in a leaf: as many as make a page, because leaves are kept among the pages. */
const LEAF_IDS = PAGE_BYTES / 4;
const LEAF_SHIFT = Math.log2(LEAF_IDS);

/** Which page of a store each page of RAM holds: a list of leaves, which snapshots that have them alike share. */
export interface PageTable {
	/** Store ids of the leaves. */
	readonly leaves: readonly number[];
}

/** Reads, makes and counts the tables of a store. */
export class PageTables {
	readonly store: PageStore;
	/** Tables that use each leaf. */
	readonly #users = new Map<number, number>();
	readonly #cache = new Map<number, Uint32Array>();
	readonly #ids = new Uint32Array(BATCH_PAGES);

	constructor(store: PageStore) {
		this.store = store;
	}

	/** A table of RAM that has never been written. */
	empty(pageCount: number): PageTable {
		return { leaves: new Array<number>(Math.ceil(pageCount / LEAF_IDS)).fill(ZERO_PAGE) };
	}

	/** The id of the page at `page`. */
	get(table: PageTable, page: number): number {
		const leaf = table.leaves[page >>> LEAF_SHIFT] ?? ZERO_PAGE;
		return leaf === ZERO_PAGE ? ZERO_PAGE : (this.#leaf(leaf)[page & (LEAF_IDS - 1)] as number);
	}

	/** A table that differs from `table` in `pages` (ascending), which hold `ids` now. */
	change(table: PageTable, pages: Uint32Array, ids: Uint32Array): PageTable {
		const leaves = [...table.leaves];
		const { batch } = this.store.hasher;
		const words = new Uint32Array(batch.buffer, batch.byteOffset, batch.length / 4);
		let waiting: number[] = [];
		const keep = () => {
			this.store.put(waiting.length, this.#ids);
			for (const [i, index] of waiting.entries()) leaves[index] = this.#ids[i] as number;
			waiting = [];
		};
		for (let i = 0; i < pages.length; ) {
			const index = (pages[i] as number) >>> LEAF_SHIFT;
			const first = waiting.length * LEAF_IDS;
			const before = leaves[index] as number;
			if (before === ZERO_PAGE) words.fill(0, first, first + LEAF_IDS);
			else words.set(this.#leaf(before), first);
			for (; i < pages.length && (pages[i] as number) >>> LEAF_SHIFT === index; i++)
				words[first + ((pages[i] as number) & (LEAF_IDS - 1))] = ids[i] as number;
			waiting.push(index);
			if (waiting.length === BATCH_PAGES) keep();
		}
		keep();
		return { leaves };
	}

	/** Calls back for every page at which the tables differ, with its id in `b`. */
	difference(a: PageTable, b: PageTable, visit: (page: number, idInB: number, idInA: number) => void): void {
		const none = new Uint32Array(LEAF_IDS);
		for (let index = 0; index < Math.max(a.leaves.length, b.leaves.length); index++) {
			const leafA = a.leaves[index] ?? ZERO_PAGE;
			const leafB = b.leaves[index] ?? ZERO_PAGE;
			if (leafA === leafB) continue;
			const idsA = leafA === ZERO_PAGE ? none : this.#leaf(leafA);
			const idsB = leafB === ZERO_PAGE ? none : this.#leaf(leafB);
			for (let i = 0; i < LEAF_IDS; i++) if (idsA[i] !== idsB[i]) visit(index * LEAF_IDS + i, idsB[i] as number, idsA[i] as number);
		}
	}

	/** Calls back for every page that is not zeros. */
	each(table: PageTable, visit: (page: number, id: number) => void): void {
		this.difference({ leaves: [] }, table, visit);
	}

	/** Pages that would be given back if this table alone were dropped, leaves included. */
	ownedPages(table: PageTable): number {
		let owned = 0;
		for (const leaf of new Set(table.leaves)) {
			if (leaf === ZERO_PAGE || this.#users.get(leaf) !== 1) continue;
			owned += 1;
			for (const id of this.#leaf(leaf)) if (this.store.references(id) === 1) owned++;
		}
		return owned;
	}

	retain(table: PageTable): void {
		for (const leaf of table.leaves) {
			if (leaf === ZERO_PAGE) continue;
			const users = this.#users.get(leaf) ?? 0;
			this.#users.set(leaf, users + 1);
			if (users > 0) continue;
			this.store.retain(leaf);
			for (const id of this.#leaf(leaf)) this.store.retain(id);
		}
	}

	release(table: PageTable): void {
		for (const leaf of table.leaves) {
			if (leaf === ZERO_PAGE) continue;
			const users = (this.#users.get(leaf) as number) - 1;
			if (users > 0) {
				this.#users.set(leaf, users);
				continue;
			}
			this.#users.delete(leaf);
			for (const id of this.#leaf(leaf)) this.store.release(id);
			this.store.release(leaf);
			this.#cache.delete(leaf);
		}
	}

	#leaf(id: number): Uint32Array {
		const known = this.#cache.get(id);
		if (known !== undefined) return known;
		const ids = new Uint32Array(LEAF_IDS);
		this.store.read(id, new Uint8Array(ids.buffer));
		this.#cache.set(id, ids);
		return ids;
	}
}
