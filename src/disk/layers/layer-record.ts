import { DiskError } from "../disk.ts";
import { decodeUtf8, encodeUtf8 } from "../utf8.ts";

/** Which layers an undoable disk consists of. */
export interface LayerRecord {
	/** From the base upwards; the last one is written to. */
	readonly layers: readonly string[];
	/** Steps taken back, the next to be redone last. Each stands on the one that was below it. */
	readonly redo: readonly string[];
	/** Number of the next layer: names are not used twice. */
	readonly next: number;
}

const VERSION = 1;

export function encodeRecord(record: LayerRecord): Uint8Array {
	return encodeUtf8(`${JSON.stringify({ version: VERSION, ...record }, undefined, "\t")}\n`);
}

/** @throws DiskError corrupt, or unsupported for a later version */
export function decodeRecord(bytes: Uint8Array, where: string): LayerRecord {
	let value: unknown;
	try {
		value = JSON.parse(decodeUtf8(bytes));
	} catch (cause) {
		throw new DiskError("corrupt", where, "the record of layers is not JSON", { cause });
	}
	const { version, layers, redo, next } = (value ?? {}) as Record<string, unknown>;
	if (typeof version === "number" && version > VERSION)
		throw new DiskError("unsupported", where, `a record of layers of version ${version}`);
	if (version !== VERSION || !isNames(layers) || layers.length === 0 || !isNames(redo) || typeof next !== "number")
		throw new DiskError("corrupt", where, "the record of layers makes no sense");
	return { layers, redo, next };
}

function isNames(value: unknown): value is readonly string[] {
	return Array.isArray(value) && value.every((name) => typeof name === "string" && /^[\w.-]+$/.test(name));
}
