import { PAGE_BYTES } from "../base/units.ts";
import { sweepLayers } from "../disk/layers/layer.ts";
import { encodeUtf8 } from "../disk/utf8.ts";
import { SnapshotError } from "./error.ts";
import { PageStore } from "./page-store.ts";
import { type PageTable, PageTables } from "./page-table.ts";
import { decodeSnapshot, encodeSnapshot, parseVersioned, type SnapshotRecord } from "./record.ts";
import type { SnapshotFolder } from "./snapshot-folder.ts";

const TREE_FORMAT = "basenji-snapshots";
const TREE_VERSION = 1;
const TREE_FILE = "tree.json";
const SUFFIX = ".snapshot.json";

/** A snapshot as lists show it. */
export interface SnapshotInfo {
	readonly id: string;
	readonly name: string;
	readonly note: string;
	readonly parent: string | undefined;
	readonly createdMs: number;
	readonly guestNs: number;
	readonly isAutomatic: boolean;
	/** The machine was put back here, or went on from here, last. */
	readonly isHere: boolean;
	/** Pages of memory that it alone needs, in bytes: what removing it gives back (disks not counted). */
	readonly ownedBytes: number;
	readonly changedBytes: number;
	readonly screen: string;
}

/**
 * A machine's snapshots: a tree, because one may go back and take another turn. Each stands for itself; what they have alike is
 * kept once and counted, so removing one takes nothing but its own record and what nobody else needs.
 */
export class SnapshotTree {
	readonly folder: SnapshotFolder;
	readonly tables: PageTables;
	readonly #records: Map<string, SnapshotRecord>;
	/** A second machine's view of the tree: where that one is, is not written down. */
	readonly #isBranch: boolean;
	#here: string | undefined;

	private constructor(folder: SnapshotFolder, tables: PageTables, records = new Map<string, SnapshotRecord>(), isBranch = false) {
		this.folder = folder;
		this.tables = tables;
		this.#records = records;
		this.#isBranch = isBranch;
	}

	/** The same snapshots as a fork sees them: it is somewhere else in the tree. */
	branch(): SnapshotTree {
		return new SnapshotTree(this.folder, this.tables, this.#records, true);
	}

	/** @throws SnapshotError corrupt or unsupported, naming the file */
	static async open(folder: SnapshotFolder): Promise<SnapshotTree> {
		const store = new PageStore(folder.pages);
		const tree = new SnapshotTree(folder, new PageTables(store));
		for (const name of await folder.list()) {
			if (!name.endsWith(SUFFIX)) continue;
			const where = `${folder.name}/${name}`;
			const bytes = await folder.read(name);
			if (bytes === undefined) continue;
			const record = decodeSnapshot(bytes, where);
			if (record.leaves.some((leaf) => !store.has(leaf)))
				throw new SnapshotError("corrupt", where, `names pages that ${folder.pages.name} does not have`);
			tree.#records.set(record.id, record);
		}
		for (const record of tree.#records.values()) tree.tables.retain(record);
		store.sweep();
		const bytes = await folder.read(TREE_FILE);
		if (bytes !== undefined) {
			const { here } = parseVersioned(bytes, `${folder.name}/${TREE_FILE}`, TREE_FORMAT, TREE_VERSION);
			if (typeof here === "string" && tree.#records.has(here)) tree.#here = here;
		}
		return tree;
	}

	/** From the oldest to the newest. */
	get records(): readonly SnapshotRecord[] {
		return [...this.#records.values()].sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
	}

	/** Where the machine is: it goes on from this snapshot. */
	get here(): SnapshotRecord | undefined {
		return this.#here === undefined ? undefined : this.#records.get(this.#here);
	}

	/** For lists. */
	infos(): readonly SnapshotInfo[] {
		return this.records.map((record) => this.info(record));
	}

	info(record: SnapshotRecord): SnapshotInfo {
		const { id, name, note, parent, createdMs, guestNs, isAutomatic, screen } = record;
		return {
			id,
			name,
			note,
			parent,
			createdMs,
			guestNs,
			isAutomatic,
			isHere: id === this.#here,
			ownedBytes: this.tables.ownedPages(record) * PAGE_BYTES,
			changedBytes: record.changedPages * PAGE_BYTES,
			screen,
		};
	}

	/** By name, id, or the beginning of an id. @throws SnapshotError not-found */
	find(reference: string): SnapshotRecord {
		const all = this.records;
		const found = all.findLast(({ name }) => name === reference) ?? this.#records.get(reference) ?? this.#byPrefix(reference);
		if (found !== undefined) return found;
		const names = all.map(({ name }) => name);
		const known = names.length === 0 ? "there is none yet" : `there are ${names.slice(-20).join(", ")}`;
		throw new SnapshotError("not-found", this.folder.name, `no snapshot "${reference}"; ${known}`);
	}

	#byPrefix(reference: string): SnapshotRecord | undefined {
		if (reference.length < 3) return undefined;
		const fits = this.records.filter(({ id }) => id.startsWith(reference));
		return fits.length === 1 ? fits[0] : undefined;
	}

	children(id: string): readonly SnapshotRecord[] {
		return this.records.filter(({ parent }) => parent === id);
	}

	/** A name that is free: the wanted one, or one made of a word and a number. @throws SnapshotError name */
	freeName(wanted: string | undefined, word = "snapshot"): string {
		const taken = new Set(this.records.map(({ name }) => name));
		if (wanted === undefined) {
			let number = taken.size + 1;
			while (taken.has(`${word}-${number}`)) number++;
			return `${word}-${number}`;
		}
		if (!/^[\w][\w.-]{0,99}$/.test(wanted))
			throw new SnapshotError("name", wanted, "a snapshot's name has letters, digits, dots, hyphens and underscores");
		if (taken.has(wanted)) throw new SnapshotError("name", wanted, "there is a snapshot of that name");
		return wanted;
	}

	/** Adds a snapshot whose pages and layers are in the folder already, and goes there. */
	async add(record: SnapshotRecord, isHere = true): Promise<void> {
		// Pages first: a record must never name what is not there.
		this.tables.retain(record);
		try {
			await this.tables.store.flush();
			await this.folder.write(record.id + SUFFIX, encodeSnapshot(record));
		} catch (error) {
			this.tables.release(record);
			throw error;
		}
		this.#records.set(record.id, record);
		if (isHere) await this.setHere(record.id);
	}

	/** Holds a snapshot in memory alone, for a moment: `remove` lets it go. */
	addForNow(record: SnapshotRecord): void {
		this.tables.retain(record);
		this.#records.set(record.id, record);
	}

	async setHere(id: string | undefined): Promise<void> {
		this.#here = id;
		if (this.#isBranch) return;
		const json = { format: TREE_FORMAT, version: TREE_VERSION, here: id ?? null };
		await this.folder.write(TREE_FILE, encodeUtf8(`${JSON.stringify(json)}\n`));
	}

	/** Changes what a snapshot is called or what is said of it. */
	async describe(id: string, changes: { readonly name?: string; readonly note?: string; readonly isAutomatic?: boolean }): Promise<void> {
		const record = this.find(id);
		const name = changes.name === undefined || changes.name === record.name ? record.name : this.freeName(changes.name);
		await this.#rewrite({ ...record, ...changes, name });
	}

	/**
	 * Removes a snapshot, or with `withChildren` all that follow from it. Children become their grandparent's. Pages go at once;
	 * layers of disks that are in use by nobody go with `sweepLayers`.
	 */
	async remove(id: string, withChildren = false): Promise<readonly string[]> {
		const record = this.find(id);
		const removed: string[] = [];
		for (const child of this.children(record.id)) {
			if (withChildren) removed.push(...(await this.remove(child.id, true)));
			else await this.#rewrite({ ...child, parent: record.parent });
		}
		if (this.#here === record.id) await this.setHere(record.parent);
		await this.folder.remove(record.id + SUFFIX);
		this.#records.delete(record.id);
		this.tables.release(record);
		this.tables.store.trim();
		return [...removed, record.id];
	}

	async #rewrite(record: SnapshotRecord): Promise<void> {
		await this.folder.write(record.id + SUFFIX, encodeSnapshot(record));
		this.#records.set(record.id, record);
	}

	/** Layers of disk `index` that some snapshot needs. */
	layersInUse(index: number): ReadonlySet<string> {
		return new Set(this.records.flatMap(({ disks }) => disks[index] ?? []));
	}

	/** Removes layers of disks that no snapshot needs, for a machine that is off; `current` are those its disks consist of. */
	async sweepLayers(current: readonly (readonly string[])[]): Promise<void> {
		for (const [index, layers] of current.entries()) await sweepLayers(this.folder.layers(index), [...this.layersInUse(index), ...layers]);
	}

	tableOf(record: SnapshotRecord): PageTable {
		return record;
	}

	async close(): Promise<void> {
		await this.tables.store.close();
		await this.folder.close();
	}
}
