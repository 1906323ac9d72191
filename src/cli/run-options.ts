import { InvalidArgumentError } from "commander";
import { DISK_FORMATS, DISK_MODES, type DiskFormat, type DiskMode } from "../host/node/disk/disk-file.ts";
import { parseDuration } from "../vm/quantity.ts";
import { UsageError } from "./failure.ts";
import type { NetOptions } from "./net-options.ts";

/** Where a serial port's other end is. */
export type SerialTarget =
	| { readonly kind: "stdio" }
	| { readonly kind: "none" }
	| { readonly kind: "file"; readonly path: string }
	| { readonly kind: "tcp"; readonly port: number };

export interface DiskOption {
	readonly path: string;
	readonly format?: DiskFormat;
	readonly mode?: DiskMode;
	readonly bus?: "virtio" | "ide";
	/** What becomes of an undoable disk's changes when the machine has ended. */
	readonly end?: DiskEnd;
}

export type DiskEnd = "keep" | "commit" | "discard";

/** `run`'s options as they come out of the parser. */
export interface RunOptions extends NetOptions {
	readonly kernel?: string;
	readonly initrd?: string;
	readonly append?: string;
	readonly disk: readonly DiskOption[];
	readonly bios?: string;
	readonly memory?: string;
	readonly cpus?: number;
	readonly engine: "auto" | "translate" | "interpret" | "kvm";
	readonly translateAfter?: number;
	readonly serial: readonly SerialTarget[];
	readonly hvc?: SerialTarget;
	readonly debugExit: boolean;
	readonly reboot: boolean;
	readonly until?: string;
	/** Nanoseconds. */
	readonly timeout?: number;
	readonly stats?: string;
	readonly profile?: string;
	readonly symbols?: string;
}

const DISK_KEYS: Readonly<Record<string, readonly string[]>> = {
	format: DISK_FORMATS,
	mode: DISK_MODES,
	bus: ["virtio", "ide"],
	end: ["keep", "commit", "discard"],
};

/** `FILE[,format=…][,mode=…][,bus=…][,end=…]`; a comma that belongs to the name is written twice. */
export function parseDisk(text: string): DiskOption {
	const [path = "", ...settings] = text
		.replaceAll(",,", "\0")
		.split(",")
		.map((part) => part.replaceAll("\0", ","));
	if (path === "") throw new InvalidArgumentError("a file is wanted before the first comma.");
	const option: Record<string, string> = {};
	for (const setting of settings) {
		const [key = "", value = ""] = setting.split("=", 2);
		const known = DISK_KEYS[key];
		if (known === undefined) throw new InvalidArgumentError(`unknown key "${key}"; known are ${Object.keys(DISK_KEYS).join(", ")}.`);
		if (!known.includes(value)) throw new InvalidArgumentError(`${key} is one of ${known.join(", ")}, not "${value}".`);
		option[key] = value;
	}
	if (option.end !== undefined && option.mode !== "undoable")
		throw new UsageError(`--disk ${path}: end=${option.end} is for mode=undoable`);
	if (option.bus === "ide") throw new UsageError(`--disk ${path}: bus ide is not there yet; use virtio`);
	return { path, ...option } as DiskOption;
}

export function parseSerial(text: string): SerialTarget {
	if (text === "stdio" || text === "none") return { kind: text };
	const file = /^file=(.+)$/.exec(text)?.[1];
	if (file !== undefined) return { kind: "file", path: file };
	const port = Number(/^tcp=:(\d+)$/.exec(text)?.[1]);
	if (port <= 65535) return { kind: "tcp", port };
	throw new InvalidArgumentError("it is one of stdio, none, file=FILE, tcp=:PORT.");
}

/** A parser of times above 0, in nanoseconds, which names `example` when it meets something else. */
export function timeLike(example: string): (text: string) => number {
	return (text) => {
		const durationNs = parseDuration(text);
		if (durationNs === undefined || durationNs === 0) throw new InvalidArgumentError(`a time such as ${example} is wanted.`);
		return durationNs;
	};
}

export const parseTimeout = timeLike("60s");

export function parseWhole(text: string): number {
	if (!/^\d+$/.test(text)) throw new InvalidArgumentError("a whole number is wanted.");
	return Number(text);
}

/** For options of which the only value so far is the one that means "none of it". */
export function onlyNone(option: string, what: string): (text: string) => "none" {
	return (text) => {
		if (text !== "none") throw new UsageError(`${option} ${text}: ${what} not there yet; use ${option} none`);
		return text;
	};
}

export function notYet(option: string, what: string): (text: string) => never {
	return () => {
		throw new UsageError(`${option}: ${what} not there yet`);
	};
}

export function collect<T>(parse: (text: string) => T): (text: string, before: readonly T[] | undefined) => readonly T[] {
	return (text, before) => [...(before ?? []), parse(text)];
}
