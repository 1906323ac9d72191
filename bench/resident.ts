import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { ENGINE_BYTES } from "../src/machine/memory.ts";

/** A mapping of a process as /proc/PID/smaps tells of it (Linux, Documentation/filesystems/proc.rst). */
interface Mapping {
	readonly start: number;
	readonly sizeBytes: number;
	readonly residentBytes: number;
}

/** How many bytes of a process are resident from an address on; undefined: that cannot be told. */
type Resident = (start: number, count: number) => number | undefined;

/** No mapping around a guest's RAM holds more besides: the engine's own area and ROM with Basenji, video memory with v86. */
const MOST_BESIDE_BYTES = ENGINE_BYTES + 64 * 1024 * 1024;
const PAGE_BYTES = 4096;
/** Of each page's 64 bits in /proc/PID/pagemap the highest: it is present (Linux, Documentation/admin-guide/mm/pagemap.rst). */
const PAGEMAP_BYTES = 8;
const PRESENT = 0x80;

/**
 * What a process has in memory besides the RAM of its guest: all that is resident, less what is of the mapping that holds the RAM. What
 * the engine keeps for itself at the start of that mapping is counted as the engine's. undefined: it has ended, or has no such mapping.
 */
export function residentBeyondRam(pid: number, ramBytes: number): number | undefined {
	let text: string;
	try {
		text = readFileSync(`/proc/${pid}/smaps`, "latin1");
	} catch {
		return undefined;
	}
	return beyondRam(mappingsOf(text), ramBytes, (start, count) => residentAt(pid, start, count));
}

function residentAt(pid: number, start: number, count: number): number | undefined {
	const pages = Math.floor(count / PAGE_BYTES);
	const words = new Uint8Array(pages * PAGEMAP_BYTES);
	try {
		const file = openSync(`/proc/${pid}/pagemap`, "r");
		try {
			if (readSync(file, words, 0, words.length, (start / PAGE_BYTES) * PAGEMAP_BYTES) !== words.length) return undefined;
		} finally {
			closeSync(file);
		}
	} catch {
		return undefined;
	}
	let present = 0;
	for (let page = 0; page < pages; page++) if (((words[page * PAGEMAP_BYTES + PAGEMAP_BYTES - 1] as number) & PRESENT) !== 0) present++;
	return present * PAGE_BYTES;
}

export function mappingsOf(smaps: string): Mapping[] {
	const kib = (name: string): number[] =>
		[...smaps.matchAll(new RegExp(`^${name}: +(\\d+) kB$`, "gm"))].map(([, count]) => Number(count) * 1024);
	const resident = kib("Rss");
	const starts = [...smaps.matchAll(/^([0-9a-f]+)-[0-9a-f]+ /gm)].map(([, start]) => Number.parseInt(start as string, 16));
	return kib("Size").map((sizeBytes, index) => ({ start: starts[index] ?? 0, sizeBytes, residentBytes: resident[index] ?? 0 }));
}

export function beyondRam(mappings: readonly Mapping[], ramBytes: number, resident: Resident): number | undefined {
	let ram: Mapping | undefined;
	let wholeBytes = 0;
	for (const mapping of mappings) {
		wholeBytes += mapping.residentBytes;
		const besideBytes = mapping.sizeBytes - ramBytes;
		if (besideBytes < 0 || besideBytes > MOST_BESIDE_BYTES) continue;
		if (ram === undefined || mapping.residentBytes > ram.residentBytes) ram = mapping;
	}
	if (ram === undefined) return undefined;
	const own = Math.min(ram.sizeBytes - ramBytes, ENGINE_BYTES);
	// Where that cannot be told, all of the engine's area counts.
	return wholeBytes - Math.max(0, ram.residentBytes - (resident(ram.start, own) ?? own));
}
