import type { DiskFormat } from "../../../disk/open.ts";

export type { DiskFormat } from "../../../disk/open.ts";
/**
 * What becomes of a guest's writes. `persistent`: they go to the file. `nonpersistent`: into memory, to be gone with the
 * machine. `undoable`: to layers beside the file, to be committed, discarded or kept. `independent`: to the file, and the
 * machine's snapshots leave the disk out.
 */
export type DiskMode = "persistent" | "nonpersistent" | "undoable" | "independent";
export const DISK_MODES: readonly DiskMode[] = ["persistent", "nonpersistent", "undoable", "independent"];
export const DISK_FORMATS: readonly DiskFormat[] = ["raw", "qcow2", "vmdk", "vhd", "vhdx"];

export interface DiskFile {
	readonly path: string;
	/** By the name's ending unless told; a name without a telling one is a raw disk's. */
	readonly format?: DiskFormat;
	readonly mode?: DiskMode;
	readonly isReadOnly?: boolean;
}
