import { DiskError } from "../disk/disk.ts";
import { HostError } from "../host/node/host-error.ts";
import { LabError } from "../lab/issue.ts";
import { SpecError } from "../net/link/errors.ts";
import { PcError } from "../pc/error.ts";
import { SnapshotError } from "../snapshot/error.ts";
import { MachineError } from "../vm/error.ts";

/** Exit codes that are not the guest's (as docker's, and timeout(1)'s). */
export const EXIT_OURS = 125;
export const EXIT_TIMEOUT = 124;

/** Something wrong with what was typed. */
export class UsageError extends Error {
	override readonly name = "UsageError";
}

const EXPECTED = [LabError, SpecError, UsageError, HostError, DiskError, PcError, MachineError, SnapshotError];

/** One line for whoever typed the command; the stack only for mistakes of ours, or when asked for. */
export function describeFailure(error: unknown, env: Readonly<Record<string, string | undefined>> = process.env): string {
	if (!(error instanceof Error)) return `basenji: ${String(error)}`;
	const isExpected = EXPECTED.some((kind) => error instanceof kind);
	const line = isExpected ? error.message : `internal error: ${error.message}`;
	const details = env.BASENJI_DEBUG === "1" || !isExpected ? `\n${error.stack ?? ""}` : "";
	return `basenji: ${line.replaceAll("\n", " ")}${details}`;
}
