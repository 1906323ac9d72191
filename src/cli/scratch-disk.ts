import { MIB } from "../base/units.ts";
import type { Disk } from "../disk/disk.ts";
import { OverlayDisk } from "../vm/overlay-disk.ts";

const SCRATCH_BYTES = 16 * MIB;
/** What the guest's self-check looks for before it writes to a disk. */
const MARK = "basenji scratch disk\n";

/** A disk in memory that says of itself that it may be written to. */
export function scratchDisk(): Disk {
	const nothing = (): Promise<void> => Promise.resolve();
	const blank: Disk = {
		sizeBytes: SCRATCH_BYTES,
		sectorBytes: 512,
		isReadOnly: true,
		read: async (offsetBytes, into) => {
			into.fill(0);
			if (offsetBytes === 0) into.set(new TextEncoder().encode(MARK).subarray(0, into.length));
		},
		write: nothing,
		writeZeroes: nothing,
		discard: nothing,
		flush: nothing,
		close: nothing,
	};
	return new OverlayDisk(blank);
}
