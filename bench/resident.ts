import { readFileSync } from "node:fs";
import { ENGINE_BYTES } from "../src/machine/memory.ts";

/** A mapping of a process as /proc/PID/smaps tells of it (Linux, Documentation/filesystems/proc.rst). */
interface Mapping {
	readonly sizeBytes: number;
	readonly residentBytes: number;
}

/** No mapping around a guest's RAM holds more besides: the engine's own area and ROM with Basenji, video memory with v86. */
const MOST_BESIDE_BYTES = ENGINE_BYTES + 64 * 1024 * 1024;

/**
 * What a process has in memory besides the RAM of its guest: all that is resident, less what is of the mapping that holds the RAM. Of
 * that mapping as much as the engine keeps there for itself is counted as the engine's. undefined: it has ended, or has no such mapping.
 */
export function residentBeyondRam(pid: number, ramBytes: number): number | undefined {
	let text: string;
	try {
		text = readFileSync(`/proc/${pid}/smaps`, "latin1");
	} catch {
		return undefined;
	}
	return beyondRam(mappingsOf(text), ramBytes);
}

export function mappingsOf(smaps: string): Mapping[] {
	const kib = (name: string): number[] =>
		[...smaps.matchAll(new RegExp(`^${name}: +(\\d+) kB$`, "gm"))].map(([, count]) => Number(count) * 1024);
	const resident = kib("Rss");
	return kib("Size").map((sizeBytes, index) => ({ sizeBytes, residentBytes: resident[index] ?? 0 }));
}

export function beyondRam(mappings: readonly Mapping[], ramBytes: number): number | undefined {
	let ram: Mapping | undefined;
	let wholeBytes = 0;
	for (const mapping of mappings) {
		wholeBytes += mapping.residentBytes;
		const besideBytes = mapping.sizeBytes - ramBytes;
		if (besideBytes < 0 || besideBytes > MOST_BESIDE_BYTES) continue;
		if (ram === undefined || mapping.residentBytes > ram.residentBytes) ram = mapping;
	}
	if (ram === undefined) return undefined;
	return wholeBytes - Math.max(0, ram.residentBytes - Math.min(ram.sizeBytes - ramBytes, ENGINE_BYTES));
}
