import type { StateValue } from "../base/json.ts";
import { decodeUtf8, encodeUtf8 } from "../disk/utf8.ts";
import { SnapshotError } from "./error.ts";
import { stateFromJson, stateToJson } from "./state-text.ts";

/** What a snapshot says of the machine it belongs to: a machine takes it only if it is put together the same. */
export interface MachineShape {
	readonly memoryBytes: number;
	readonly cpus: number;
	readonly serialPorts: number;
	/** Sizes; what cannot be put back (independent disks, read-only ones) included. */
	readonly diskBytes: readonly number[];
	/** Models of network cards; the first snapshots of version 1 do not say. */
	readonly nics?: readonly string[];
	/** Their own addresses. Those may differ: a fork's do. */
	readonly macs?: readonly number[];
}

/** One snapshot, as its file says it. Times: `createdMs` since 1970 by the host's clock, `guestNs` since power-on. */
export interface SnapshotRecord {
	readonly id: string;
	readonly name: string;
	readonly note: string;
	readonly parent: string | undefined;
	readonly createdMs: number;
	readonly guestNs: number;
	/** Made by itself, and thinned out with age. */
	readonly isAutomatic: boolean;
	readonly machine: MachineShape;
	/** Store ids of the leaves of memory's page table. */
	readonly leaves: readonly number[];
	/** Pages that changed since the snapshot before. */
	readonly changedPages: number;
	/** For each disk its layers from the base upwards; undefined: it is not part of the snapshot. */
	readonly disks: readonly (readonly string[] | undefined)[];
	/** A thumbnail: what the console showed last. */
	readonly screen: string;
	/** CPUs, devices and clock, each part by its name. */
	readonly state: StateValue;
}

const FORMAT = "basenji-snapshot";
/** What `encodeSnapshot` writes. Every version before it opens, too. */
export const SNAPSHOT_VERSION = 1;

export function encodeSnapshot(record: SnapshotRecord): Uint8Array {
	const { state, parent, disks, ...rest } = record;
	const json = {
		format: FORMAT,
		version: SNAPSHOT_VERSION,
		...rest,
		parent: parent ?? null,
		disks: disks.map((layers) => layers ?? null),
		state: stateToJson(state),
	};
	return encodeUtf8(`${JSON.stringify(json)}\n`);
}

/** @throws SnapshotError corrupt; unsupported for a later version */
export function decodeSnapshot(bytes: Uint8Array, where: string): SnapshotRecord {
	const json = parseVersioned(bytes, where, FORMAT, SNAPSHOT_VERSION);
	const bad = (key: string): never => {
		throw new SnapshotError("corrupt", where, `"${key}" makes no sense`);
	};
	const text = (key: string): string => (typeof json[key] === "string" ? (json[key] as string) : bad(key));
	const number = (key: string): number => (Number.isFinite(json[key]) ? (json[key] as number) : bad(key));
	const machine = json.machine as Partial<MachineShape> | undefined;
	if (
		typeof machine !== "object" ||
		!Number.isInteger(machine.memoryBytes) ||
		!Number.isInteger(machine.cpus) ||
		!Number.isInteger(machine.serialPorts) ||
		!isNumbers(machine.diskBytes) ||
		(machine.nics !== undefined && !isTexts(machine.nics)) ||
		(machine.macs !== undefined && !isNumbers(machine.macs))
	)
		return bad("machine");
	const { leaves, disks } = json;
	if (!isNumbers(leaves)) return bad("leaves");
	if (!Array.isArray(disks) || disks.some((layers) => layers !== null && !isTexts(layers))) return bad("disks");
	if (typeof json.state !== "object" || json.state === null) return bad("state");
	return {
		id: text("id"),
		name: text("name"),
		note: text("note"),
		parent: json.parent === null ? undefined : text("parent"),
		createdMs: number("createdMs"),
		guestNs: number("guestNs"),
		isAutomatic: json.isAutomatic === true,
		machine: machine as MachineShape,
		leaves,
		changedPages: number("changedPages"),
		disks: disks.map((layers: readonly string[] | null) => layers ?? undefined),
		screen: text("screen"),
		state: stateFromJson(json.state),
	};
}

/** @throws SnapshotError corrupt; unsupported */
export function parseVersioned(bytes: Uint8Array, where: string, format: string, version: number): Record<string, unknown> {
	let json: Record<string, unknown>;
	try {
		json = JSON.parse(decodeUtf8(bytes)) as Record<string, unknown>;
	} catch (cause) {
		throw new SnapshotError("corrupt", where, "is not JSON", { cause });
	}
	if (typeof json !== "object" || json === null || json.format !== format)
		throw new SnapshotError("corrupt", where, `is no ${format} file`);
	if (typeof json.version !== "number" || !Number.isInteger(json.version) || json.version < 1)
		throw new SnapshotError("corrupt", where, "has no version");
	if (json.version > version)
		throw new SnapshotError("unsupported", where, `has version ${json.version}; this version of Basenji reads up to ${version}`);
	return json;
}

function isNumbers(value: unknown): value is readonly number[] {
	return Array.isArray(value) && value.every((entry) => Number.isInteger(entry) && entry >= 0);
}

function isTexts(value: unknown): value is readonly string[] {
	return Array.isArray(value) && value.every((entry) => typeof entry === "string" && /^[\w.-]+$/.test(entry));
}
