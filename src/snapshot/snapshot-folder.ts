import { MemoryLayerFolder } from "../disk/layers/layer-folder.ts";
import type { SnapshotLayers } from "./layered-disk.ts";
import { MemoryPageFile, type PageFile } from "./page-file.ts";

/** Where a machine's snapshots are kept: small records by name, pages of memory, layers of disks. */
export interface SnapshotFolder {
	/** For messages. */
	readonly name: string;
	readonly pages: PageFile;
	/** Names of the records. */
	list(): Promise<readonly string[]>;
	read(name: string): Promise<Uint8Array | undefined>;
	/** Safe on the medium when it resolves, and at any moment either the old record or the new one. */
	write(name: string, bytes: Uint8Array): Promise<void>;
	remove(name: string): Promise<void>;
	/** The layers of disk `index`; `baseName` is how its base image is called. */
	layers(index: number, baseName?: string): SnapshotLayers;
	close(): Promise<void>;
}

/** Snapshots that are gone with the process. */
export class MemorySnapshotFolder implements SnapshotFolder {
	readonly name: string;
	readonly pages = new MemoryPageFile();
	readonly #records = new Map<string, Uint8Array>();
	readonly #layers = new Map<number, SnapshotLayers>();

	constructor(name = "memory") {
		this.name = name;
	}

	async list(): Promise<readonly string[]> {
		return [...this.#records.keys()];
	}

	async read(name: string): Promise<Uint8Array | undefined> {
		return this.#records.get(name);
	}

	async write(name: string, bytes: Uint8Array): Promise<void> {
		this.#records.set(name, bytes.slice());
	}

	async remove(name: string): Promise<void> {
		this.#records.delete(name);
	}

	layers(index: number, baseName = "base"): SnapshotLayers {
		const known = this.#layers.get(index);
		if (known !== undefined) return known;
		const made = new MemoryLayerFolder(baseName);
		this.#layers.set(index, made);
		return made;
	}

	async close(): Promise<void> {}
}
