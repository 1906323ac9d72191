import type { Disk } from "../../src/disk/disk.ts";
import { MemoryStore } from "../../src/disk/memory-store.ts";
import { RawDisk } from "../../src/disk/raw.ts";

/** A disk in memory with nothing on it. */
export function blankDisk(sizeBytes: number): Promise<Disk> {
	return RawDisk.create(new MemoryStore("blank"), sizeBytes);
}
