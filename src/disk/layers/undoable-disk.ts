import { copyDisk } from "../convert.ts";
import { type Disk, DiskError } from "../disk.ts";
import { keepDiskOpen } from "../keep-open.ts";
import type { Pieces } from "../pieces.ts";
import { Serial } from "../serial.ts";
import { createLayer, type Layer, type LayerBelow, type LayerOptions, layerName, openLayer, sweepLayers } from "./layer.ts";
import type { LayerFolder } from "./layer-folder.ts";
import { decodeRecord, encodeRecord, type LayerRecord } from "./layer-record.ts";
import { SwitchDisk } from "./switch-disk.ts";

export interface UndoableOptions extends LayerOptions {
	/** The base's format as qcow2 names it, for the layers' headers: "raw", "qcow2", "vmdk". */
	readonly baseFormat: string;
}

export interface CommitOptions {
	readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * A disk whose writes go to layers above a base that stays as it was, until they are committed to it or discarded.
 * `mark` ends a step; `undo` and `redo` go between steps. Everything works while the disk is in use; what the guest reads
 * changes under it in `undo`, `redo` and `discard`, so that is for machines that are off, or put back too.
 *
 * Closing keeps the layers. They are qcow2 overlays: other tools read the whole disk through the topmost.
 */
export class UndoableDisk implements Disk {
	readonly #base: Disk;
	readonly #folder: LayerFolder;
	readonly #options: UndoableOptions;
	readonly #switch: SwitchDisk;
	readonly #operations = new Serial();
	#layers: Layer[];
	#record: LayerRecord;

	private constructor(base: Disk, folder: LayerFolder, options: UndoableOptions, layers: Layer[], record: LayerRecord) {
		this.#base = base;
		this.#folder = folder;
		this.#options = options;
		this.#layers = layers;
		this.#record = record;
		this.#switch = new SwitchDisk(this.#top.disk);
	}

	/**
	 * Goes on with the layers in the folder, or begins the first. `base` is written to by `commit` alone; this disk closes
	 * it.
	 * @throws DiskError where layers are missing or damaged
	 */
	static async open(base: Disk, folder: LayerFolder, options: UndoableOptions): Promise<UndoableDisk> {
		const bytes = await folder.readRecord();
		const layers: Layer[] = [];
		try {
			if (bytes === undefined) {
				const record: LayerRecord = { layers: [layerName(1)], redo: [], next: 2 };
				await sweepLayers(folder, []);
				layers.push(await createLayer(folder, options, layerName(1), belowFirst(base, folder, options), base.sizeBytes));
				await folder.writeRecord(encodeRecord(record));
				return new UndoableDisk(base, folder, options, layers, record);
			}
			const record = decodeRecord(bytes, folder.name);
			for (const name of record.layers) layers.push(await openLayer(await folder.open(name), options, name, layers.at(-1)?.disk ?? base));
			await sweepLayers(folder, [...record.layers, ...record.redo]);
			return new UndoableDisk(base, folder, options, layers, record);
		} catch (error) {
			for (const { disk } of layers) await disk.close().catch(() => {});
			throw error;
		}
	}

	get sizeBytes(): number {
		return this.#switch.sizeBytes;
	}

	get sectorBytes(): 512 | 4096 {
		return this.#switch.sectorBytes;
	}

	get isReadOnly(): boolean {
		return false;
	}

	/** Finished steps that `undo` can take back. */
	get undoCount(): number {
		return this.#layers.length - 1 + (this.#top.disk.isEmpty ? 0 : 1);
	}

	/** Steps taken back that `redo` can bring again: none once something else has been written. */
	get redoCount(): number {
		return this.#top.disk.isEmpty ? this.#record.redo.length : 0;
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

	flush(): Promise<void> {
		return this.#switch.flush();
	}

	/** Keeps what there is, for the next time. */
	close(): Promise<void> {
		return this.#operations.run(() =>
			this.#switch.exchange(async (inner) => {
				const disks: Disk[] = [...this.#layers.map(({ disk }) => disk).reverse(), this.#base];
				const failures: unknown[] = [];
				for (const disk of disks) await disk.close().catch((error: unknown) => failures.push(error));
				if (failures.length > 0) throw failures[0];
				return inner;
			}),
		);
	}

	/** Ends a step: what has been written so far can be gone back to. Nothing happens where nothing has been written. */
	mark(): Promise<void> {
		return this.#operations.run(() => this.#switch.exchange((inner) => this.#seal(inner)));
	}

	/** Takes the last step back; answers whether there was one. */
	undo(): Promise<boolean> {
		return this.#operations.run(async () => {
			if (this.undoCount === 0) return false;
			await this.#switch.exchange(() => {
				if (!this.#top.disk.isEmpty) {
					// What has been written since the last mark is a step, too.
					const undone = this.#top;
					return this.#begin(this.#layers.slice(0, -1), [undone.name], [undone], this.#record.redo);
				}
				const [undone, scratch] = this.#layers.slice(-2) as [Layer, Layer];
				return this.#begin(this.#layers.slice(0, -2), [...this.#record.redo, undone.name], [scratch, undone], [scratch.name]);
			});
			return true;
		});
	}

	/** Brings the step taken back last again; answers whether there was one. */
	redo(): Promise<boolean> {
		return this.#operations.run(async () => {
			if (this.redoCount === 0) return false;
			await this.#switch.exchange(async () => {
				const scratch = this.#top;
				const below = this.#layers.slice(0, -1);
				const name = this.#record.redo.at(-1) as string;
				const again = await openLayer(await this.#folder.open(name), this.#options, name, below.at(-1)?.disk ?? this.#base);
				return this.#begin([...below, again], this.#record.redo.slice(0, -1), [scratch], [scratch.name]);
			});
			return true;
		});
	}

	/** Throws all steps away: the disk is its base again. */
	discardAll(): Promise<void> {
		return this.#operations.run(() =>
			this.#switch.exchange(() =>
				this.#begin([], [], [...this.#layers].reverse(), [...this.#layers.map(({ name }) => name), ...this.#record.redo]),
			),
		);
	}

	/**
	 * Writes all steps into the base; there is nothing to undo afterwards. The disk stays in use meanwhile: only beginning
	 * and end hold requests up. Cut off at any moment, everything is where it was.
	 * @throws DiskError read-only or out-of-range where the base cannot take it
	 */
	commit(options: CommitOptions = {}): Promise<void> {
		return this.#operations.run(async () => {
			const base = this.#base;
			if (base.isReadOnly) throw new DiskError("read-only", this.#folder.baseName, "cannot be committed to");
			if (base.sizeBytes < this.sizeBytes)
				throw new DiskError("out-of-range", this.#folder.baseName, `has ${base.sizeBytes} bytes, the layers above it ${this.sizeBytes}`);
			await this.#switch.exchange((inner) => this.#seal(inner));
			const sealed = this.#layers.slice(0, -1);
			const total = sealed.length * this.sizeBytes;
			for (const [index, { disk }] of sealed.entries())
				await copyDisk(disk, base, {
					isLayerOnly: true,
					onProgress: (doneBytes) => options.onProgress?.(index * this.sizeBytes + doneBytes, total),
				});
			await base.flush();
			const { redo } = this.#record;
			await this.#switch.exchange(async () => {
				const top = this.#top;
				await top.disk.replaceBacking(keepDiskOpen(base), this.#folder.baseName, this.#options.baseFormat);
				await this.#write({ layers: [top.name], redo: [], next: this.#record.next }, [top]);
				for (const { disk } of [...sealed].reverse()) await disk.close();
				return top.disk;
			});
			for (const name of [...sealed.map((layer) => layer.name), ...redo]) await this.#folder.remove(name);
		});
	}

	get #top(): Layer {
		return this.#layers.at(-1) as Layer;
	}

	/** A new layer on top of all; what could be redone no longer can. */
	async #seal(inner: Disk): Promise<Disk> {
		if (this.#top.disk.isEmpty) return inner;
		await this.#top.disk.flush();
		return this.#begin(this.#layers, [], [], this.#record.redo);
	}

	/** Puts a fresh layer on `below`, writes that down, then closes and removes what is out. */
	async #begin(below: readonly Layer[], redo: readonly string[], closing: readonly Layer[], removing: readonly string[]): Promise<Disk> {
		const parent = below.at(-1);
		const name = layerName(this.#record.next);
		const standsOn: LayerBelow =
			parent === undefined
				? belowFirst(this.#base, this.#folder, this.#options)
				: { disk: parent.disk, file: parent.name, format: "qcow2" };
		const layer = await createLayer(this.#folder, this.#options, name, standsOn, standsOn.disk.sizeBytes);
		const layers = [...below, layer];
		await this.#write({ layers: layers.map((each) => each.name), redo, next: this.#record.next + 1 }, layers);
		for (const { disk } of closing) await disk.close();
		for (const gone of removing) await this.#folder.remove(gone);
		return layer.disk;
	}

	async #write(record: LayerRecord, layers: Layer[]): Promise<void> {
		await this.#folder.writeRecord(encodeRecord(record));
		this.#record = record;
		this.#layers = layers;
	}
}

/** What the first layer stands on. */
function belowFirst(base: Disk, folder: LayerFolder, options: UndoableOptions): LayerBelow {
	return { disk: base, file: folder.baseName, format: options.baseFormat };
}
