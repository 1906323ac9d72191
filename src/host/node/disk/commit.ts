import { chmod, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { copyDisk } from "../../../disk/convert.ts";
import { DiskError } from "../../../disk/disk.ts";
import { createQcow2, optionsLike } from "../../../disk/formats/qcow2/create.ts";
import type { Qcow2Header } from "../../../disk/formats/qcow2/header.ts";
import type { Qcow2Disk } from "../../../disk/formats/qcow2/qcow2-disk.ts";
import type { UndoableDisk } from "../../../disk/layers/undoable-disk.ts";
import type { DiskFormat } from "../../../disk/open.ts";
import { formatOfFile } from "./attach.ts";
import { FileStore } from "./file-store.ts";
import { openImageFile, resolvePath } from "./files.ts";
import { openUndoableFile, undoFolderOf } from "./undo-folder.ts";

export interface LayerToolOptions {
	readonly format?: DiskFormat;
	readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

export interface LayerReport {
	/** "undo": the layers of an undoable disk; "overlay": a qcow2 image and what it stands on. */
	readonly kind: "undo" | "overlay";
	/** The file that has the contents now. */
	readonly into: string;
}

/**
 * Writes a disk's changes into what they are changes of: an undoable disk's layers into its image, an overlay into its
 * backing file, and leaves none behind. The machine must be off.
 * @throws DiskError not-found where there is nothing to commit; locked, read-only, out-of-range
 */
export async function commitDiskFile(path: string, options: LayerToolOptions = {}): Promise<LayerReport> {
	const place = resolvePath("", path);
	if (await hasUndoLayers(place)) {
		await withUndoable(place, options, (disk) => disk.commit(options));
		await rm(undoFolderOf(place), { recursive: true });
		return { kind: "undo", into: place };
	}
	const backing = await backingOf(place, options);
	const header = await overlayHeader(place);
	const { disk: into } = await openImageFile(backing.place, { format: backing.format });
	try {
		const { disk } = await openImageFile(place, { format: "qcow2", isReadOnly: true });
		try {
			if (into.isReadOnly) throw new DiskError("read-only", backing.place, "cannot be committed to: this format is only read");
			if (into.sizeBytes < disk.sizeBytes)
				throw new DiskError("out-of-range", backing.place, `has ${into.sizeBytes} bytes, the overlay ${disk.sizeBytes}: resize it first`);
			await copyDisk(disk, into, { isLayerOnly: true, ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }) });
			await into.flush();
		} finally {
			await disk.close();
		}
	} finally {
		await into.close();
	}
	await emptyOverlay(place, header);
	return { kind: "overlay", into: backing.place };
}

/**
 * Throws a disk's changes away: all layers of an undoable disk, or what an overlay holds. The machine must be off.
 * @throws DiskError not-found where there is nothing to discard; locked
 */
export async function discardDiskFile(path: string, options: LayerToolOptions = {}): Promise<LayerReport> {
	const place = resolvePath("", path);
	if (await hasUndoLayers(place)) {
		await withUndoable(place, options, (disk) => disk.discardAll());
		await rm(undoFolderOf(place), { recursive: true });
		return { kind: "undo", into: place };
	}
	const backing = await backingOf(place, options);
	await emptyOverlay(place, await overlayHeader(place));
	return { kind: "overlay", into: backing.place };
}

export interface StepReport {
	/** Whether there was a step to take. */
	readonly isDone: boolean;
	/** Steps that can still be taken back, and brought again. */
	readonly undoSteps: number;
	readonly redoSteps: number;
}

/** Takes a step of an undoable disk: ends one (`mark`), takes the last back, or brings it again. The machine must be off. */
export async function stepDiskFile(path: string, step: "mark" | "undo" | "redo", options: LayerToolOptions = {}): Promise<StepReport> {
	const place = resolvePath("", path);
	if (!(await hasUndoLayers(place))) throw new DiskError("not-found", path, "has no undo layers: run a machine with mode=undoable first");
	return withUndoable(place, options, async (disk) => {
		const isDone = step === "mark" ? await disk.mark().then(() => true) : await disk[step]();
		return { isDone, undoSteps: disk.undoCount, redoSteps: disk.redoCount };
	});
}

/** Steps that an undoable disk's layers hold. */
export async function undoStepsOf(path: string, options: LayerToolOptions = {}): Promise<number> {
	const place = resolvePath("", path);
	if (!(await hasUndoLayers(place))) return 0;
	return withUndoable(place, options, (disk) => Promise.resolve(disk.undoCount));
}

async function hasUndoLayers(place: string): Promise<boolean> {
	return (await stat(join(undoFolderOf(place), "layers.json")).catch(() => undefined)) !== undefined;
}

async function withUndoable<Result>(
	place: string,
	options: LayerToolOptions,
	work: (disk: UndoableDisk) => Promise<Result>,
): Promise<Result> {
	const disk = await openUndoableFile(place, { format: options.format ?? (await formatOfFile(place)) });
	try {
		return await work(disk);
	} finally {
		await disk.close();
	}
}

async function backingOf(place: string, options: LayerToolOptions): Promise<{ readonly place: string; readonly format: DiskFormat }> {
	const { disk, layers } = await openImageFile(place, { format: options.format ?? (await formatOfFile(place)), isReadOnly: true });
	await disk.close();
	const [top, below] = layers;
	if (below === undefined)
		throw new DiskError("not-found", place, "has no changes: no undo layers beside it, and it stands on no other image");
	if (top?.format !== "qcow2") throw new DiskError("unsupported", place, `its changes are in ${top?.format}: convert it instead`);
	return below;
}

/** Puts an empty overlay of the same kind in its place, in one step. */
async function emptyOverlay(place: string, header: Qcow2Header): Promise<void> {
	const store = await FileStore.open(place);
	const fresh = join(dirname(place), `.${basename(place)}.emptied`);
	try {
		await rm(fresh, { force: true });
		const target = await FileStore.open(fresh, { create: true, lock: false });
		try {
			await createQcow2(target, optionsLike(header));
		} finally {
			await target.close();
		}
		await replaceFile(fresh, place);
	} finally {
		await store.close();
	}
}

async function overlayHeader(place: string): Promise<Qcow2Header> {
	const { disk } = await openImageFile(place, { format: "qcow2", isReadOnly: true });
	const { header } = disk as Qcow2Disk;
	await disk.close();
	if (header.snapshotCount > 0)
		throw new DiskError("unsupported", place, `has ${header.snapshotCount} internal snapshots, which would be lost`);
	return header;
}

/** Puts `fresh` in the place of `place`, with its permissions; a crash leaves one or the other. */
export async function replaceFile(fresh: string, place: string): Promise<void> {
	await chmod(fresh, (await stat(place)).mode);
	await rename(fresh, place);
	const folder = await open(dirname(place));
	await folder.sync().finally(() => folder.close());
}
