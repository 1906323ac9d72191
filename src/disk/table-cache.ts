import type { ByteStore } from "./disk.ts";

/** A cluster of big-endian 64-bit entries, or of reference counts, as held in memory. */
export class Table {
	readonly offset: number;
	readonly bytes: Uint8Array;
	readonly view: DataView;
	/** Changed and not yet written: [dirtyFrom, dirtyTo) in bytes. */
	dirtyFrom = Number.POSITIVE_INFINITY;
	dirtyTo = 0;
	/** Nothing on the disk points here yet. */
	isNew = false;
	/** On its way to the disk: not to be forgotten. */
	isWriting = false;

	constructor(offset: number, bytes: Uint8Array) {
		this.offset = offset;
		this.bytes = bytes;
		this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	}

	get isDirty(): boolean {
		return this.dirtyTo > 0;
	}

	touch(from: number, to: number): void {
		this.dirtyFrom = Math.min(this.dirtyFrom, from);
		this.dirtyTo = Math.max(this.dirtyTo, to);
	}
}

/** The changed part of a table as it was at one moment. */
export interface DirtyPart {
	readonly table: Table;
	readonly offset: number;
	readonly bytes: Uint8Array;
}

/** Tables by their offset in the store: clean ones come and go, changed ones stay until they are written. */
export class TableCache {
	readonly #store: ByteStore;
	readonly #tableBytes: number;
	readonly #capacity: number;
	/** Oldest use first. */
	readonly #tables = new Map<number, Table>();
	readonly #loading = new Map<number, Promise<Table>>();
	readonly #dirty = new Set<Table>();

	constructor(store: ByteStore, tableBytes: number, capacityBytes: number) {
		this.#store = store;
		this.#tableBytes = tableBytes;
		this.#capacity = Math.max(16, Math.floor(capacityBytes / tableBytes));
	}

	get dirtyCount(): number {
		return this.#dirty.size;
	}

	get isCrowded(): boolean {
		return this.#dirty.size > this.#capacity / 2;
	}

	/** The table, if it is at hand. */
	peek(offset: number): Table | undefined {
		return this.#tables.get(offset);
	}

	get(offset: number): Promise<Table> {
		const found = this.#tables.get(offset);
		if (found !== undefined) {
			this.#tables.delete(offset);
			this.#tables.set(offset, found);
			return Promise.resolve(found);
		}
		let loading = this.#loading.get(offset);
		if (loading === undefined) {
			loading = this.#load(offset).finally(() => this.#loading.delete(offset));
			this.#loading.set(offset, loading);
		}
		return loading;
	}

	async #load(offset: number): Promise<Table> {
		const bytes = new Uint8Array(this.#tableBytes);
		await this.#store.read(offset, bytes);
		const table = new Table(offset, bytes);
		this.#insert(table);
		return table;
	}

	/** A table that begins to exist; all of it counts as changed. */
	add(offset: number, bytes: Uint8Array): Table {
		const table = new Table(offset, bytes);
		table.isNew = true;
		this.drop(offset);
		this.#insert(table);
		this.touch(table, 0, bytes.length);
		return table;
	}

	touch(table: Table, from: number, to: number): void {
		table.touch(from, to);
		this.#dirty.add(table);
		this.#tables.set(table.offset, table);
	}

	/** The table no longer exists; whatever was changed in it is void. */
	drop(offset: number): void {
		const table = this.#tables.get(offset);
		if (table === undefined) return;
		this.#tables.delete(offset);
		this.#dirty.delete(table);
	}

	/** What has changed, copied; from here on the tables count as clean, but stay in memory until `settle`. */
	takeDirty(): DirtyPart[] {
		const parts: DirtyPart[] = [];
		for (const table of this.#dirty) {
			parts.push({ table, offset: table.offset + table.dirtyFrom, bytes: table.bytes.slice(table.dirtyFrom, table.dirtyTo) });
			table.dirtyFrom = Number.POSITIVE_INFINITY;
			table.dirtyTo = 0;
			table.isWriting = true;
		}
		this.#dirty.clear();
		return parts;
	}

	/** The parts have reached the store, or failed to. */
	settle(parts: readonly DirtyPart[], isWritten: boolean): void {
		for (const { table, offset, bytes } of parts) {
			table.isWriting = false;
			if (isWritten) table.isNew = false;
			else if (this.#tables.get(table.offset) === table) this.touch(table, offset - table.offset, offset - table.offset + bytes.length);
		}
	}

	#insert(table: Table): void {
		this.#tables.set(table.offset, table);
		if (this.#tables.size <= this.#capacity) return;
		for (const [offset, old] of this.#tables) {
			if (old === table || old.isDirty || old.isWriting) continue;
			this.#tables.delete(offset);
			if (this.#tables.size <= this.#capacity) return;
		}
	}
}
