import { GIB, KIB, MIB, NS_PER_MS, NS_PER_S, NS_PER_US } from "../base/units.ts";

const SIZE_UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: KIB, m: MIB, g: GIB };
const TIME_UNITS: Readonly<Record<string, number>> = {
	ns: 1,
	us: NS_PER_US,
	ms: NS_PER_MS,
	s: NS_PER_S,
	m: 60 * NS_PER_S,
	h: 3600 * NS_PER_S,
};

/** "512M", "2G", "64KiB" or a number of bytes (units are powers of 1024), down to whole bytes; `undefined` if it is none of these. */
export function parseSize(text: string | number): number | undefined {
	if (typeof text === "number") return Number.isSafeInteger(text) && text >= 0 ? text : undefined;
	const match = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?\s*$/i.exec(text);
	if (match === null) return undefined;
	const bytes = Math.floor(Number(match[1]) * (SIZE_UNITS[(match[2] as string).toLowerCase()] as number));
	return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** "60s", "1.5m", "200ms" or a number of seconds, in nanoseconds; `undefined` if it is none of these. */
export function parseDuration(text: string | number): number | undefined {
	if (typeof text === "number") return Number.isFinite(text) && text >= 0 ? text * NS_PER_S : undefined;
	const match = /^\s*(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h)?\s*$/.exec(text);
	return match === null ? undefined : Number(match[1]) * (TIME_UNITS[match[2] ?? "s"] as number);
}

/** The shortest exact form: 134217728 is "128M". */
export function formatSize(bytes: number): string {
	for (const [unit, size] of [
		["G", GIB],
		["M", MIB],
		["K", KIB],
	] as const)
		if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
	return `${bytes} bytes`;
}
