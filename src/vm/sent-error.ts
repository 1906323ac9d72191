import { DiskError } from "../disk/disk.ts";
import { PcError } from "../pc/error.ts";
import { SnapshotError } from "../snapshot/error.ts";
import { MachineError } from "./error.ts";
import type { MachineExit } from "./machine-face.ts";

/** An error as it crosses from one thread to another: structured clones keep neither its class nor its fields. */
export interface SentError {
	readonly type: string;
	readonly message: string;
	readonly stack: string | undefined;
	readonly fields: Readonly<Record<string, string>>;
}

export function sendError(error: unknown): SentError {
	if (!(error instanceof Error)) return { type: "Error", message: String(error), stack: undefined, fields: {} };
	const { kind, where } = error as { readonly kind?: unknown; readonly where?: unknown };
	const fields = { ...(typeof kind === "string" ? { kind } : {}), ...(typeof where === "string" ? { where } : {}) };
	return { type: error.name, message: error.message, stack: error.stack, fields };
}

/** The classes of errors that a caller may tell apart, by name. */
const TYPES = { MachineError, DiskError, SnapshotError, PcError } as const;

export function receiveError({ type, message, stack, fields }: SentError): Error {
	const error = new Error(message);
	const known = (TYPES as Readonly<Record<string, { readonly prototype: Error }>>)[type];
	// Not by its constructor: that would put the message together a second time.
	if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
	return Object.assign(error, { name: type, ...fields }, stack === undefined ? {} : { stack });
}

/** How a machine ended, as it crosses from one thread to another. */
export type SentExit = Omit<MachineExit, "error"> & { readonly error?: SentError };

export function sendExit({ reason, code, error }: MachineExit): SentExit {
	return { reason, code, ...(error === undefined ? {} : { error: sendError(error) }) };
}

export function receiveExit({ reason, code, error }: SentExit): MachineExit {
	return { reason, code, ...(error === undefined ? {} : { error: receiveError(error) }) };
}
