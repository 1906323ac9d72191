import { type ByteStore, type Disk, DiskError } from "../disk/disk.ts";
import { Qcow2Disk } from "../disk/formats/qcow2/qcow2-disk.ts";
import { keepDiskOpen } from "../disk/keep-open.ts";
import { createLayer, type Layer, type LayerBelow, type LayerOptions, layerName, openLayer, sweepLayers } from "../disk/layers/layer.ts";
import type { LayerFolder } from "../disk/layers/layer-folder.ts";
import { decodeRecord, encodeRecord } from "../disk/layers/layer-record.ts";
import { SwitchDisk } from "../disk/layers/switch-disk.ts";
import type { Pieces } from "../disk/pieces.ts";
import { Serial } from "../disk/serial.ts";
import type { Extent } from "./diff.ts";
import { ForkLayers } from "./fork-layers.ts";

export interface LayeredDiskOptions extends LayerOptions {
	/** The base's format as qcow2 names it, for the layers' headers. "raw" unless told. */
	readonly baseFormat?: string;
	/** The base is never written, not even before the first snapshot. */
	readonly isBaseFrozen?: boolean;
	/**
	 * Begin from these layers instead of those the folder's record names, and leave the record alone: this disk is one of
	 * several on them (a fork), and what is written to it is gone when it is closed.
	 */
	readonly layers?: readonly string[];
}

/** Where layers lie. Those that have been sealed are opened for reading only, so that several disks may stand on them. */
export interface SnapshotLayers extends LayerFolder {
	open(name: string, isReadOnly?: boolean): Promise<ByteStore>;
}

let made = 0;

/**
 * A disk that snapshots can put back: a base, and qcow2 layers above it of which the last is written to. Before there is any
 * layer, writes go to the base. A `seal` costs no more than an exchange of pointers, because the layer that it puts on top was
 * made beforehand.
 */
export class LayeredDisk implements Disk {
	readonly #base: Disk;
	readonly #folder: SnapshotLayers;
	readonly #options: LayeredDiskOptions;
	readonly #switch: SwitchDisk;
	readonly #operations = new Serial();
	readonly #isFork: boolean;
	#layers: Layer[];
	/** An empty layer for the next seal, standing on the present top. */
	#spare: Layer | undefined;
	#next: number;
	/** Sealed layers whose writes may not have reached the medium. */
	readonly #unflushed = new Set<Disk>();
	#isRecordStale = false;

	private constructor(base: Disk, folder: SnapshotLayers, options: LayeredDiskOptions, layers: Layer[], next: number) {
		this.#base = base;
		this.#folder = folder;
		this.#options = options;
		this.#layers = layers;
		this.#next = next;
		this.#isFork = options.layers !== undefined;
		this.#switch = new SwitchDisk(layers.at(-1)?.disk ?? base);
	}

	/** This disk closes `base`. @throws DiskError where layers are missing or damaged */
	static async open(base: Disk, folder: SnapshotLayers, options: LayeredDiskOptions = {}): Promise<LayeredDisk> {
		const bytes = options.layers === undefined ? await folder.readRecord() : undefined;
		const names = options.layers ?? (bytes === undefined ? [] : decodeRecord(bytes, folder.name).layers);
		const taken = (await folder.list()).map((name) => Number(/^(\d+)\.qcow2$/.exec(name)?.[1] ?? 0));
		const layers: Layer[] = [];
		try {
			for (const [index, name] of names.entries()) {
				const isSealed = options.layers !== undefined || index < names.length - 1;
				layers.push(await openExisting(folder, options, name, layers.at(-1)?.disk ?? base, isSealed));
			}
		} catch (error) {
			for (const { disk } of layers) await disk.close().catch(() => {});
			throw error;
		}
		const disk = new LayeredDisk(base, folder, options, layers, Math.max(0, ...taken) + 1);
		if (disk.#isFork || (options.isBaseFrozen === true && layers.length === 0)) await disk.#putOnTop();
		return disk;
	}

	get sizeBytes(): number {
		return this.#switch.sizeBytes;
	}

	get sectorBytes(): 512 | 4096 {
		return this.#switch.sectorBytes;
	}

	get isReadOnly(): boolean {
		return this.#switch.isReadOnly;
	}

	/** What it consists of now, from the base upwards, the one that is written to included. */
	get layers(): readonly string[] {
		return this.#layers.map(({ name }) => name);
	}

	/**
	 * Another disk that begins with the contents that `layers` held, sharing them and the base with this one, which must stay
	 * open as long. What is written to it is gone when it is closed.
	 */
	async fork(layers: readonly string[]): Promise<LayeredDisk> {
		// It reads the layers by itself: what this disk still has in memory must be in them.
		await this.settle();
		return LayeredDisk.open(keepDiskOpen(this.#base), new ForkLayers(this.#folder), { ...this.#options, layers });
	}

	read(offsetBytes: number, into: Uint8Array): Promise<void> {
		return this.#switch.read(offsetBytes, into);
	}

	write(offsetBytes: number, from: Uint8Array): Promise<void> {
		return this.#switch.write(offsetBytes, from);
	}

	writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#switch.writeZeroes(offsetBytes, lengthBytes);
	}

	discard(offsetBytes: number, lengthBytes: number): Promise<void> {
		return this.#switch.discard(offsetBytes, lengthBytes);
	}

	readNow(offsetBytes: number, into: Pieces): boolean {
		return this.#switch.readNow(offsetBytes, into);
	}

	writeNow(offsetBytes: number, from: Pieces): boolean {
		return this.#switch.writeNow(offsetBytes, from);
	}

	async flush(): Promise<void> {
		// What the guest wrote before a seal is as much its data as what it wrote since.
		await this.settle();
		await this.#switch.flush();
	}

	/** Makes the layer that the next `seal` will put on top. To be called while the guest still runs. */
	prepare(): Promise<void> {
		return this.#operations.run(async () => {
			this.#spare ??= await this.#makeLayer();
		});
	}

	/**
	 * Fixes what the disk holds now, while no request is under way; answers the layers that hold it. They reach the medium
	 * with `settle`.
	 */
	seal(): Promise<readonly string[]> {
		return this.#operations.run(async () => {
			const top = this.#layers.at(-1);
			if (top?.disk.isEmpty === true) return this.layers.slice(0, -1);
			const sealed = this.layers;
			const layer = this.#spare ?? (await this.#makeLayer());
			this.#spare = undefined;
			await this.#switch.exchange(async (inner) => {
				this.#unflushed.add(inner);
				this.#layers.push(layer);
				return layer.disk;
			});
			this.#isRecordStale = true;
			return sealed;
		});
	}

	/** Resolves when all that has been sealed is safe on the medium, and the record says which layers count. */
	settle(): Promise<void> {
		return this.#operations.run(async () => {
			for (const disk of [...this.#unflushed]) {
				await disk.flush();
				this.#unflushed.delete(disk);
			}
			await this.#writeRecord();
		});
	}

	/**
	 * Becomes what it was when these layers were sealed, with a fresh one on top. The former top is closed and left in the
	 * folder, for `sweep`.
	 * @throws DiskError not-found, corrupt
	 */
	restore(layers: readonly string[]): Promise<void> {
		return this.#operations.run(async () => {
			for (const disk of [...this.#unflushed]) await disk.flush();
			this.#unflushed.clear();
			const isThere = this.#layers.length === layers.length + 1 && layers.every((name, index) => this.#layers[index]?.name === name);
			if (isThere && this.#layers.at(-1)?.disk.isEmpty === true) return;
			const closing: Disk[] = [];
			const forgotten: string[] = [];
			await this.#switch.exchange(async () => {
				let kept = 0;
				while (kept < layers.length && this.#layers[kept]?.name === layers[kept]) kept++;
				const next = this.#layers.slice(0, kept);
				const opened: Layer[] = [];
				try {
					for (const name of layers.slice(kept)) {
						const below = opened.at(-1)?.disk ?? next.at(-1)?.disk ?? this.#base;
						opened.push(await openExisting(this.#folder, this.#options, name, below, true));
					}
					next.push(...opened);
					next.push(await this.#makeLayer(next));
				} catch (error) {
					for (const { disk } of opened) await disk.close().catch(() => {});
					throw error;
				}
				const out = [...(this.#spare === undefined ? [] : [this.#spare]), ...this.#layers.slice(kept)];
				closing.push(...out.map(({ disk }) => disk));
				if (this.#isFork) forgotten.push(...out.map(({ name }) => name));
				this.#spare = undefined;
				this.#layers = next;
				return (next.at(-1) as Layer).disk;
			});
			for (const disk of closing.reverse()) await disk.close();
			// A fork's layers are nobody else's.
			for (const name of forgotten) await this.#folder.remove(name);
			this.#isRecordStale = true;
			await this.#writeRecord();
		});
	}

	/** Removes layer files that neither this disk nor any of `used` consists of. */
	sweep(used: Iterable<string>): Promise<void> {
		return this.#operations.run(async () => {
			if (this.#isFork) return;
			await sweepLayers(this.#folder, [...used, ...this.layers, ...(this.#spare === undefined ? [] : [this.#spare.name])]);
		});
	}

	close(): Promise<void> {
		return this.#operations.run(async () => {
			await this.#switch.exchange(async (inner) => {
				const failures: unknown[] = [];
				const attempt = (work: Promise<void>) => work.catch((error: unknown) => void failures.push(error));
				for (const disk of this.#unflushed) await attempt(disk.flush());
				if (this.#spare !== undefined) {
					await attempt(this.#spare.disk.close());
					await attempt(this.#folder.remove(this.#spare.name));
				}
				const top = this.#layers.at(-1);
				for (const { disk } of [...this.#layers].reverse()) await attempt(disk.close());
				await attempt(this.#base.close());
				if (this.#isFork && top !== undefined) await attempt(this.#folder.remove(top.name));
				else await attempt(this.#writeRecord());
				if (failures.length > 0) throw failures[0];
				return inner;
			});
		});
	}

	async #putOnTop(): Promise<void> {
		const layer = await this.#makeLayer();
		await this.#switch.exchange(async () => {
			this.#layers.push(layer);
			return layer.disk;
		});
		this.#isRecordStale = true;
		await this.#writeRecord();
	}

	async #writeRecord(): Promise<void> {
		if (!this.#isRecordStale || this.#isFork) return;
		await this.#folder.writeRecord(encodeRecord({ layers: this.layers, redo: [], next: this.#next }));
		this.#isRecordStale = false;
	}

	async #makeLayer(below: readonly Layer[] = this.#layers): Promise<Layer> {
		const parent = below.at(-1);
		const name = layerName(this.#next++);
		const { baseFormat = "raw" } = this.#options;
		const standsOn: LayerBelow =
			parent === undefined
				? { disk: this.#base, file: this.#folder.baseName, format: baseFormat }
				: { disk: parent.disk, file: parent.name, format: "qcow2" };
		// Several forks may make layers in one folder, each counting for itself.
		return createLayer(this.#folder, this.#options, this.#isFork ? `fork-${made++}-${name}` : name, standsOn, this.sizeBytes);
	}
}

/**
 * Where a disk may differ between two chains of layers: what the layers hold that are not in both. Costs a look at their tables.
 * @throws DiskError where a layer is missing or damaged
 */
export async function mayDiffer(folder: SnapshotLayers, a: readonly string[], b: readonly string[]): Promise<readonly Extent[]> {
	let common = 0;
	while (common < a.length && a[common] === b[common]) common++;
	const extents: Extent[] = [];
	for (const name of [...a.slice(common), ...b.slice(common)]) {
		const store = await folder.open(name, true);
		const layer = await Qcow2Disk.open(store, { isReadOnly: true, backing: NOTHING }).catch(async (error: unknown) => {
			await store.close();
			throw error;
		});
		try {
			let offsetBytes = 0;
			for (const { kind, lengthBytes } of await layer.map(0, layer.sizeBytes)) {
				if (kind !== "unallocated") extents.push({ offsetBytes, lengthBytes });
				offsetBytes += lengthBytes;
			}
		} finally {
			await layer.close();
		}
	}
	return joined(extents);
}

/** What a layer stands on when nobody asks for what it does not hold. */
const NOTHING: Disk = {
	sizeBytes: 0,
	sectorBytes: 512,
	isReadOnly: true,
	read: async (_offset, into) => {
		into.fill(0);
	},
	write: async () => {},
	writeZeroes: async () => {},
	discard: async () => {},
	flush: async () => {},
	close: async () => {},
};

function joined(extents: readonly Extent[]): readonly Extent[] {
	const result: { offsetBytes: number; lengthBytes: number }[] = [];
	for (const { offsetBytes, lengthBytes } of [...extents].sort((a, b) => a.offsetBytes - b.offsetBytes)) {
		const last = result.at(-1);
		if (last !== undefined && offsetBytes <= last.offsetBytes + last.lengthBytes)
			last.lengthBytes = Math.max(last.lengthBytes, offsetBytes + lengthBytes - last.offsetBytes);
		else result.push({ offsetBytes, lengthBytes });
	}
	return result;
}

async function openExisting(
	folder: SnapshotLayers,
	options: LayeredDiskOptions,
	name: string,
	below: Disk,
	isSealed: boolean,
): Promise<Layer> {
	const store = await folder.open(name, isSealed);
	try {
		return await openLayer(store, options, name, below);
	} catch (error) {
		if (error instanceof DiskError) throw error;
		throw new DiskError("corrupt", name, "cannot be opened", { cause: error });
	}
}
