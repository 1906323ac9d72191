import type { ByteStore } from "../disk/disk.ts";
import { MemoryStore } from "../disk/memory-store.ts";
import type { SnapshotLayers } from "./layered-disk.ts";

/** The layers of a fork's disk: those of the snapshot, which it shares and only reads, and its own, which are gone with it. */
export class ForkLayers implements SnapshotLayers {
	readonly name: string;
	readonly baseName: string;
	readonly #shared: SnapshotLayers;
	readonly #own = new Map<string, MemoryStore>();

	constructor(shared: SnapshotLayers) {
		this.#shared = shared;
		this.name = shared.name;
		this.baseName = shared.baseName;
	}

	async list(): Promise<readonly string[]> {
		return [...(await this.#shared.list()), ...this.#own.keys()];
	}

	async create(name: string): Promise<ByteStore> {
		const store = new MemoryStore(name);
		this.#own.set(name, store);
		return store;
	}

	async open(name: string): Promise<ByteStore> {
		return this.#own.get(name) ?? this.#shared.open(name, true);
	}

	async remove(name: string): Promise<void> {
		this.#own.delete(name);
	}

	async readRecord(): Promise<undefined> {}

	async writeRecord(): Promise<void> {}
}
