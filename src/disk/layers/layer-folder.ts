import { type ByteStore, DiskError } from "../disk.ts";
import { MemoryStore } from "../memory-store.ts";

/** Where the layers of an undoable disk are kept, and the one small record that says which of them count. */
export interface LayerFolder {
	/** For messages. */
	readonly name: string;
	/** How the base image is called from within. */
	readonly baseName: string;
	list(): Promise<readonly string[]>;
	create(name: string): Promise<ByteStore>;
	open(name: string): Promise<ByteStore>;
	remove(name: string): Promise<void>;
	readRecord(): Promise<Uint8Array | undefined>;
	/** Safe on the medium when it resolves, and at any moment either the old record or the new one. */
	writeRecord(bytes: Uint8Array): Promise<void>;
}

/** Layers that are gone with the process. */
export class MemoryLayerFolder implements LayerFolder {
	readonly name = "memory";
	readonly baseName: string;
	readonly #stores = new Map<string, MemoryStore>();
	#record: Uint8Array | undefined;

	constructor(baseName = "base") {
		this.baseName = baseName;
	}

	async list(): Promise<readonly string[]> {
		return [...this.#stores.keys()];
	}

	async create(name: string): Promise<ByteStore> {
		if (this.#stores.has(name)) throw new DiskError("io", name, "exists already");
		const store = new MemoryStore(name);
		this.#stores.set(name, store);
		return store;
	}

	async open(name: string): Promise<ByteStore> {
		const store = this.#stores.get(name);
		if (store === undefined) throw new DiskError("not-found", name, "no such layer");
		return store;
	}

	async remove(name: string): Promise<void> {
		this.#stores.delete(name);
	}

	async readRecord(): Promise<Uint8Array | undefined> {
		return this.#record?.slice();
	}

	async writeRecord(bytes: Uint8Array): Promise<void> {
		this.#record = bytes.slice();
	}
}
