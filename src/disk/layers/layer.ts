import type { Codecs } from "../codecs.ts";
import type { ByteStore, Disk } from "../disk.ts";
import { createQcow2 } from "../formats/qcow2/create.ts";
import { Qcow2Disk } from "../formats/qcow2/qcow2-disk.ts";
import { keepDiskOpen } from "../keep-open.ts";
import type { LayerFolder } from "./layer-folder.ts";

/** A qcow2 overlay in a folder of them. */
export interface Layer {
	readonly name: string;
	readonly disk: Qcow2Disk;
}

export interface LayerOptions {
	readonly codecs?: Codecs;
	/** Cluster size of new layers: 2^n bytes. 16 unless told. */
	readonly clusterBits?: number;
}

/** What a new layer stands on: the disk, and how the layer's header names it. */
export interface LayerBelow {
	readonly disk: Disk;
	readonly file: string;
	readonly format: string;
}

/** Number `number` in order of making, as a file's name. */
export function layerName(number: number): string {
	return `${String(number).padStart(6, "0")}.qcow2`;
}

/** An empty layer of `sizeBytes`. Where that fails nothing is left of it. */
export async function createLayer(
	folder: LayerFolder,
	options: LayerOptions,
	name: string,
	below: LayerBelow,
	sizeBytes: number,
): Promise<Layer> {
	const store = await folder.create(name);
	try {
		await createQcow2(store, {
			sizeBytes,
			clusterBits: options.clusterBits ?? 16,
			backingFile: below.file,
			backingFormat: below.format,
		});
		return { name, disk: await openOverlay(store, options, below.disk) };
	} catch (error) {
		await store.close();
		await folder.remove(name);
		throw error;
	}
}

/** The layer in `store`, which is closed where it cannot be opened. The layer does not close what is below it. */
export async function openLayer(store: ByteStore, options: LayerOptions, name: string, below: Disk): Promise<Layer> {
	try {
		return { name, disk: await openOverlay(store, options, below) };
	} catch (error) {
		await store.close();
		throw error;
	}
}

function openOverlay(store: ByteStore, { codecs }: LayerOptions, below: Disk): Promise<Qcow2Disk> {
	return Qcow2Disk.open(store, { backing: keepDiskOpen(below), ...(codecs === undefined ? {} : { codecs }) });
}

/** Removes the layers in a folder that are not among `used`: those of operations that were cut off, say. */
export async function sweepLayers(folder: LayerFolder, used: Iterable<string>): Promise<void> {
	const known = new Set(used);
	for (const name of await folder.list()) if (/^\d{6,}\.qcow2$/.test(name) && !known.has(name)) await folder.remove(name);
}
