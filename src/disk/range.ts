import { type Disk, DiskError } from "./disk.ts";

/** Refuses what lies outside of a disk or between its sectors. */
export function checkRange(disk: Pick<Disk, "sizeBytes" | "sectorBytes">, name: string, offsetBytes: number, lengthBytes: number): void {
	if (isInRange(disk, offsetBytes, lengthBytes)) return;
	const isAligned = offsetBytes % disk.sectorBytes === 0 && lengthBytes % disk.sectorBytes === 0;
	const why = isAligned ? `past the end of a disk of ${disk.sizeBytes} bytes` : `not in sectors of ${disk.sectorBytes} bytes`;
	throw new DiskError("out-of-range", name, `${lengthBytes} bytes from ${offsetBytes} are ${why}`, { offsetBytes });
}

export function isInRange(disk: Pick<Disk, "sizeBytes" | "sectorBytes">, offsetBytes: number, lengthBytes: number): boolean {
	const isAligned = offsetBytes % disk.sectorBytes === 0 && lengthBytes % disk.sectorBytes === 0;
	return isAligned && offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= disk.sizeBytes;
}

export function checkWritable(isReadOnly: boolean, name: string): void {
	if (isReadOnly) throw new DiskError("read-only", name, "the disk is read-only");
}
