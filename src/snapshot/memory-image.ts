import { PAGE_BYTES } from "../base/units.ts";
import type { GuestMemory } from "../machine/memory.ts";
import { PAGE_FLAG } from "../machine/ram-pages.ts";
import { BATCH_PAGES } from "./page-hash.ts";
import { ZERO_PAGE } from "./page-store.ts";
import type { PageTable, PageTables } from "./page-table.ts";

/** Neighbours that come along when a page is brought in, if they lie next to it in the store, too. */
const READ_AHEAD = 16;

/** The pages of one moment, on their way to the store. */
export interface Capture {
	/** Pages that changed since the last one. */
	readonly changedPages: number;
	/** Saves up to `count` pages more; false when there are none left. If it fails, the pages count as written since before. */
	step(count: number): boolean;
	/** Saves what is left. The table has not been retained yet. */
	finish(): PageTable;
}

/**
 * A machine's RAM between its snapshots. `capture` takes no longer than a walk over the page flags: pages are saved afterwards,
 * while the guest goes on, and one that the guest is about to write first is kept aside. `restore` changes nothing but flags:
 * pages come in when somebody touches them.
 */
export class MemoryImage {
	readonly #memory: GuestMemory;
	readonly #tables: PageTables;
	/** What clean pages hold. Retained. */
	#base: PageTable;
	#pending: PendingCapture | undefined;
	/** Pages brought in since the machine was made. */
	broughtIn = 0;

	constructor(memory: GuestMemory, tables: PageTables) {
		this.#memory = memory;
		this.#tables = tables;
		this.#base = tables.empty(memory.pages.count);
		memory.pages.onAbsent = (page) => this.#bringIn(page);
		memory.pages.onHeld = (page) => this.#pending?.keep(page);
	}

	/** The snapshot that memory was last alike to. */
	get base(): PageTable {
		return this.#base;
	}

	/** Between two instructions. */
	capture(): Capture {
		this.#pending?.finish();
		const pending = new PendingCapture(this.#memory, this.#tables, this.#base, this.#memory.pages.seal(), (table) => {
			this.#pending = undefined;
			if (table === undefined) return;
			this.#tables.retain(table);
			this.#tables.release(this.#base);
			this.#base = table;
		});
		this.#pending = pending;
		return pending;
	}

	/**
	 * Makes memory hold `table`. What was decoded from pages that change is forgotten; TLBs must be emptied by whoever loads the
	 * CPUs. Returns how many pages change.
	 */
	restore(table: PageTable): number {
		this.#pending?.finish();
		const { pages } = this.#memory;
		const { flags } = pages;
		let changed = 0;
		const replace = (page: number) => {
			if (flags[page] === PAGE_FLAG.absent) return;
			changed++;
			this.#memory.onDmaWrite(this.#memory.physOf(pages.offsetOf(page)), PAGE_BYTES);
			pages.markAbsent(page);
		};
		for (let page = flags.indexOf(PAGE_FLAG.dirty); page >= 0; page = flags.indexOf(PAGE_FLAG.dirty, page + 1)) replace(page);
		this.#tables.difference(this.#base, table, replace);
		this.#tables.retain(table);
		this.#tables.release(this.#base);
		this.#base = table;
		return changed;
	}

	/** Brings every page in: the store can go away then. */
	bringAllIn(): void {
		const { pages } = this.#memory;
		for (let page = 0; page < pages.count; page++) pages.willRead(page);
	}

	/** Lets the store's pages go that are only kept for this memory. */
	close(): void {
		this.#pending?.finish();
		this.#tables.release(this.#base);
		this.#base = this.#tables.empty(this.#memory.pages.count);
	}

	#bringIn(page: number): void {
		const { bytes, pages } = this.#memory;
		const id = this.#tables.get(this.#base, page);
		const from = pages.offsetOf(page);
		this.broughtIn++;
		if (id === ZERO_PAGE) {
			bytes.fill(0, from, from + PAGE_BYTES);
			return;
		}
		let count = 1;
		while (
			count < READ_AHEAD &&
			page + count < pages.count &&
			pages.flags[page + count] === PAGE_FLAG.absent &&
			this.#tables.get(this.#base, page + count) === id + count
		)
			count++;
		this.#tables.store.readRun(id, bytes.subarray(from, from + count * PAGE_BYTES));
		for (let i = 1; i < count; i++) pages.flags[page + i] = 0;
	}
}

class PendingCapture implements Capture {
	readonly #memory: GuestMemory;
	readonly #tables: PageTables;
	readonly #base: PageTable;
	readonly #pages: Uint32Array;
	readonly #ids: Uint32Array;
	/** Contents of pages that have been written since. */
	readonly #kept = new Map<number, Uint8Array>();
	readonly #onDone: (table: PageTable | undefined) => void;
	#done = 0;
	#table: PageTable | undefined;

	constructor(
		memory: GuestMemory,
		tables: PageTables,
		base: PageTable,
		pages: Uint32Array,
		onDone: (table: PageTable | undefined) => void,
	) {
		this.#memory = memory;
		this.#tables = tables;
		this.#base = base;
		this.#pages = pages;
		this.#ids = new Uint32Array(pages.length);
		this.#onDone = onDone;
	}

	get changedPages(): number {
		return this.#pages.length;
	}

	keep(page: number): void {
		const from = this.#memory.pages.offsetOf(page);
		this.#kept.set(page, this.#memory.bytes.slice(from, from + PAGE_BYTES));
	}

	step(count: number): boolean {
		return this.#orGiveUp(() => this.#save(count));
	}

	finish(): PageTable {
		if (this.#table !== undefined) return this.#table;
		const table = this.#orGiveUp(() => {
			this.#save(this.#pages.length);
			return this.#tables.change(this.#base, this.#pages, this.#ids);
		});
		this.#table = table;
		this.#onDone(table);
		return table;
	}

	#save(count: number): boolean {
		const end = Math.min(this.#pages.length, this.#done + count);
		const { store } = this.#tables;
		const { bytes, pages } = this.#memory;
		while (this.#done < end) {
			const first = this.#done;
			const size = Math.min(BATCH_PAGES, end - first);
			for (let i = 0; i < size; i++) {
				const page = this.#pages[first + i] as number;
				const from = pages.offsetOf(page);
				store.hasher.batch.set(this.#kept.get(page) ?? bytes.subarray(from, from + PAGE_BYTES), i * PAGE_BYTES);
			}
			store.put(size, this.#ids.subarray(first, first + size));
			for (let i = first; i < first + size; i++) {
				const page = this.#pages[i] as number;
				if (!this.#kept.delete(page)) pages.release(page);
			}
			this.#done += size;
		}
		return this.#done < this.#pages.length;
	}

	#orGiveUp<T>(work: () => T): T {
		try {
			return work();
		} catch (error) {
			for (const page of this.#pages) this.#memory.pages.flags[page] = PAGE_FLAG.dirty;
			this.#kept.clear();
			this.#onDone(undefined);
			throw error;
		}
	}
}
