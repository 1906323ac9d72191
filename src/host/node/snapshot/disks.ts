import { type Disk, DiskError } from "../../../disk/disk.ts";
import { MemoryLayerFolder } from "../../../disk/layers/layer-folder.ts";
import { ForkLayers } from "../../../snapshot/fork-layers.ts";
import { LayeredDisk } from "../../../snapshot/layered-disk.ts";
import type { SnapshotFolder } from "../../../snapshot/snapshot-folder.ts";
import { type DiskFile, formatOfFile, openDisk } from "../disk/attach.ts";
import { nodeCodecs } from "../disk/codecs.ts";
import { resolvePath } from "../disk/files.ts";

/** How qcow2 headers call the formats. */
const QCOW2_NAMES: Readonly<Record<string, string>> = { raw: "raw", qcow2: "qcow2", vmdk: "vmdk", vhd: "vpc", vhdx: "vhdx" };

/**
 * Opens disk `index` of a machine so that snapshots can put it back: its writes go to layers in `folder` once there is a
 * snapshot (with `nonpersistent`: from the beginning). An independent disk stays as it is. With `forkOf` it begins with what
 * those layers held, and what is written to it is gone when it is closed.
 * @throws DiskError naming the file at fault
 */
export async function openLayered(file: DiskFile, index: number, folder: SnapshotFolder, forkOf?: readonly string[]): Promise<Disk> {
	if (file.mode === "independent" || file.isReadOnly === true) return openDisk(file);
	const isScratch = file.mode === "nonpersistent" || forkOf !== undefined;
	const base = isScratch ? await openDisk({ ...file, mode: "persistent", isReadOnly: true }) : await openDisk(file);
	try {
		const format = file.mode === "undoable" ? "qcow2" : (file.format ?? (await formatOfFile(file.path)));
		const layers = folder.layers(index, resolvePath("", file.path));
		return await LayeredDisk.open(base, forkOf === undefined ? layers : new ForkLayers(layers), {
			...(forkOf === undefined ? {} : { layers: forkOf }),
			baseFormat: QCOW2_NAMES[format] ?? "raw",
			codecs: nodeCodecs,
			isBaseFrozen: isScratch,
		});
	} catch (error) {
		await base.close();
		throw error;
	}
}

/** The same for a disk that somebody else opened; without a folder its layers stay in memory. */
export async function layerOver(disk: Disk, index: number, folder: SnapshotFolder | undefined): Promise<Disk> {
	if (disk.isReadOnly || disk instanceof LayeredDisk) return disk;
	if (disk.sizeBytes % 512 !== 0) throw new DiskError("unsupported", `disk ${index}`, "has no whole sectors");
	return LayeredDisk.open(disk, folder?.layers(index) ?? new MemoryLayerFolder(), { codecs: nodeCodecs });
}

/** What disk `index` held in a snapshot, for reading; the folder's machine may be running meanwhile. */
export function openSnapshotDisk(file: DiskFile, index: number, folder: SnapshotFolder, layers: readonly string[]): Promise<Disk> {
	return openLayered({ ...file, mode: "nonpersistent", isReadOnly: false }, index, folder, layers);
}
