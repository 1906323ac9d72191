import type { PhysAddr } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";

/** Address range types (ACPI 6.5 §15.2, table 15.7). */
export const E820_RAM = 1;
const E820_RESERVED = 2;

export interface E820Entry {
	readonly first: PhysAddr;
	readonly sizeBytes: number;
	readonly type: number;
}

/** The extended BIOS data area: the last kilobyte below 640 KiB. */
export const EBDA_ADDR: PhysAddr = 0x9fc00;
const LEGACY_HOLE: PhysAddr = 0xa0000;
/** Tables and firmware live from here to 1 MiB. */
export const TABLES_ADDR: PhysAddr = 0xe0000;

/** The memory map that firmware reports: RAM less the EBDA, and the firmware's own area below 1 MiB. */
export function e820Map(memory: GuestMemory): readonly E820Entry[] {
	const entries: E820Entry[] = [];
	for (const { first, sizeBytes } of memory.ramRanges) {
		const end = first + sizeBytes;
		const usableEnd = first === 0 && end === LEGACY_HOLE ? EBDA_ADDR : end;
		entries.push({ first, sizeBytes: usableEnd - first, type: E820_RAM });
		if (usableEnd !== end) entries.push({ first: usableEnd, sizeBytes: end - usableEnd, type: E820_RESERVED });
	}
	entries.push({ first: TABLES_ADDR, sizeBytes: 0x100000 - TABLES_ADDR, type: E820_RESERVED });
	return entries.sort((a, b) => a.first - b.first);
}
