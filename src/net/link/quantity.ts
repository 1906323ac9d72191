import { SpecError } from "./errors.ts";

/** `10mbit`, `56 kbit/s`, `1.5 MB/s`. */
export type Rate = string;
/** `40ms`, `1.5s`, `250us`. */
export type Time = string;
/** `1%`, `200ppm`. */
export type Ratio = string;
/** `64KB`, `64KiB`, `1514B`. */
export type Size = string;

interface Kind {
	readonly expected: string;
	/** Unit, as written (case counts), to the quantity's own base unit. */
	readonly units: ReadonlyMap<string, number>;
	/** What else people write, and what to write instead. */
	readonly hints?: Readonly<Record<string, string>>;
}

function prefixed(bases: readonly (readonly [string, number])[]): [string, number][] {
	const prefixes = [
		["", 1],
		["k", 1e3],
		["m", 1e6],
		["g", 1e9],
		["t", 1e12],
	] as const;
	return bases.flatMap(([base, factor]) => prefixes.map(([prefix, by]): [string, number] => [prefix + base, by * factor]));
}

/** KB is 1000 bytes and KiB 1024 (IEC 80000-13). */
const BYTE_UNITS: [string, number][] = [
	["B", 1],
	["KB", 1e3],
	["kB", 1e3],
	["MB", 1e6],
	["GB", 1e9],
	["KiB", 2 ** 10],
	["MiB", 2 ** 20],
	["GiB", 2 ** 30],
];

const RATE: Kind = {
	expected: "a rate with its unit, such as 56kbit, 10mbit, 1gbit or 1.25MB/s",
	units: new Map([
		...prefixed([
			["bit", 1],
			["bit/s", 1],
		]),
		...["Kbit", "Mbit", "Gbit", "Kbit/s", "Mbit/s", "Gbit/s"].map((unit): [string, number] => [
			unit,
			{ K: 1e3, M: 1e6, G: 1e9 }[unit[0] as "K" | "M" | "G"],
		]),
		...BYTE_UNITS.map(([unit, factor]): [string, number] => [`${unit}/s`, factor * 8]),
	]),
	hints: {
		mbps: "mbit or MB/s",
		kbps: "kbit or KB/s",
		gbps: "gbit or GB/s",
		Mbps: "mbit or MB/s",
		Gbps: "gbit or GB/s",
		bps: "bit or B/s",
	},
};

const TIME: Kind = {
	expected: "a time with its unit, such as 250us, 40ms, 1.5s or 2min",
	units: new Map([
		["ns", 1],
		["us", 1e3],
		["µs", 1e3],
		["μs", 1e3],
		["ms", 1e6],
		["s", 1e9],
		["min", 60e9],
		["h", 3600e9],
	]),
	hints: { m: "min or ms" },
};

const SIZE: Kind = {
	expected: "a size with its unit, such as 1514B, 64KB (64000 bytes) or 64KiB (65536 bytes)",
	units: new Map(BYTE_UNITS),
	hints: { k: "KB or KiB", K: "KB or KiB", M: "MB or MiB", b: "B", kb: "KB or KiB", mb: "MB or MiB" },
};

const RATIO: Kind = {
	expected: "a share with its unit, such as 1%, 0.3% or 200ppm",
	units: new Map([
		["%", 0.01],
		["‰", 0.001],
		["ppm", 1e-6],
	]),
};

function parse(kind: Kind, value: unknown, path: readonly string[]): number {
	if (typeof value === "number") throw new SpecError("missing-unit", path, value, kind.expected);
	const match = typeof value === "string" ? /^\s*(\d+(?:\.\d+)?|\.\d+)\s*(\S*)\s*$/.exec(value) : null;
	if (match === null) throw new SpecError("bad-value", path, value, kind.expected);
	const [, digits, unit] = match as unknown as [string, string, string];
	const factor = kind.units.get(unit);
	if (factor === undefined) {
		const hint = kind.hints?.[unit];
		const error = unit === "" ? "missing-unit" : "bad-value";
		throw new SpecError(error, path, value, hint === undefined ? kind.expected : `${hint} instead of ${unit} (${kind.expected})`);
	}
	// Dividing by a whole number is rounded once; multiplying by 0.01 would be rounded twice.
	return factor < 1 ? Number(digits) / Math.round(1 / factor) : Number(digits) * factor;
}

/** Whole bits per second, at least 1. */
export function parseRate(value: unknown, path: readonly string[] = []): number {
	const rate = Math.round(parse(RATE, value, path));
	if (rate < 1 || rate > 1e12) throw new SpecError("out-of-range", path, value, "1bit to 1000gbit");
	return rate;
}

/** Whole nanoseconds. */
export function parseTime(value: unknown, path: readonly string[] = []): number {
	return Math.round(parse(TIME, value, path));
}

/** Whole bytes. */
export function parseSize(value: unknown, path: readonly string[] = []): number {
	return Math.round(parse(SIZE, value, path));
}

/** 0…1. */
export function parseRatio(value: unknown, path: readonly string[] = []): number {
	const ratio = parse(RATIO, value, path);
	if (ratio > 1) throw new SpecError("out-of-range", path, value, "0% to 100%");
	return ratio;
}

/** A plain whole number, such as a VLAN or a count. */
export function parseCount(value: unknown, min: number, max: number, path: readonly string[] = []): number {
	if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
		throw new SpecError(typeof value === "number" ? "out-of-range" : "bad-value", path, value, `a whole number from ${min} to ${max}`);
	return value;
}

const RATE_STEPS = [
	["gbit", 1e9],
	["mbit", 1e6],
	["kbit", 1e3],
] as const;

/** `10mbit`: the shortest form that reads back as the same number. */
export function formatRate(bitsPerS: number): string {
	for (const [unit, factor] of RATE_STEPS)
		if (bitsPerS >= factor && Number.isInteger((bitsPerS / factor) * 1000)) return `${bitsPerS / factor}${unit}`;
	return `${bitsPerS}bit`;
}

const TIME_STEPS = [
	["s", 1e9],
	["ms", 1e6],
	["us", 1e3],
] as const;

export function formatTime(ns: number): string {
	for (const [unit, factor] of TIME_STEPS) if (ns >= factor && Number.isInteger((ns / factor) * 1000)) return `${ns / factor}${unit}`;
	return `${ns}ns`;
}
