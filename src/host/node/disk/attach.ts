import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { type Disk, DiskError } from "../../../disk/disk.ts";
import { type DiskFormat, probeFormat } from "../../../disk/open.ts";
import { OverlayDisk } from "../../../vm/overlay-disk.ts";
import type { DiskFile } from "./disk-file.ts";
import { FileStore } from "./file-store.ts";
import { openImageFile } from "./files.ts";
import { openUndoableFile } from "./undo-folder.ts";

export type { DiskFile, DiskFormat, DiskMode } from "./disk-file.ts";

/** What the page cache holds is had at once: the thread pool's round trip costs several times as much. */
const BLOCKING_BYTES = 2 * 1024 * 1024;
const ENDINGS: Readonly<Record<string, DiskFormat>> = {
	".qcow2": "qcow2",
	".qcow": "qcow2",
	".vmdk": "vmdk",
	".vhd": "vhd",
	".vpc": "vhd",
	".vhdx": "vhdx",
};

/**
 * Opens a disk for a machine. An `undoable` one is an `UndoableDisk`: whoever holds it commits, undoes and redoes while the
 * machine runs.
 * @throws DiskError naming the file at fault
 */
export async function openDisk(file: DiskFile): Promise<Disk> {
	const { path, mode = "persistent" } = file;
	const isScratch = mode === "nonpersistent";
	const format = file.format ?? (await formatOfFile(path));
	const options = { format, isReadOnly: isScratch || file.isReadOnly === true, blockingBytes: BLOCKING_BYTES };
	if (format === "raw" && (await stat(path).catch(() => undefined))?.size === 0) await refuseEmpty(path);
	if (mode === "undoable") return openUndoableFile(path, options);
	const { disk } = await openImageFile(path, options);
	return isScratch ? new OverlayDisk(disk) : disk;
}

/** A block device's size is not in its stat: only a plain file is empty for that. */
async function refuseEmpty(path: string): Promise<void> {
	if ((await stat(path)).isFile()) throw new DiskError("corrupt", path, "is empty: a disk has at least one sector");
}

/**
 * The format as the file's name tells it. What is in a raw disk is the guest's to write: a header found there decides
 * nothing, but it is asked about.
 * @throws DiskError unsupported where the name tells nothing and the contents look like an image
 */
export async function formatOfFile(path: string): Promise<DiskFormat> {
	const told = ENDINGS[extname(path).toLowerCase()];
	if (told !== undefined) return told;
	const store = await FileStore.open(path, { isReadOnly: true });
	try {
		const seen = await probeFormat(store);
		if (seen === "raw") return "raw";
		throw new DiskError("unsupported", path, `looks like ${seen}: say format=${seen}, or format=raw if its guest wrote that there`);
	} finally {
		await store.close();
	}
}
