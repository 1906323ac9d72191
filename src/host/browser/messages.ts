import type { DiskFormat } from "../../disk/open.ts";
import type { MachineOptions } from "../../vm/config.ts";
import type { MachineEvents, MachineExit, MachineStats } from "../../vm/machine.ts";
import type { SentError } from "../../vm/sent-error.ts";
import type { RestoreOptions, SnapshotOptions } from "../../vm/snapshot.ts";

/** An address that has been resolved, or the bytes themselves. */
export type SentSource = string | Uint8Array;

export interface SentDisk {
	readonly source: SentSource;
	readonly format: DiskFormat;
	readonly isIndependent: boolean;
}

/** What a worker makes its machine of. */
export type SentOptions = Omit<MachineOptions, "kernel" | "initrd" | "bios" | "disks" | "nics"> & {
	readonly kernel?: SentSource | undefined;
	readonly initrd?: SentSource | undefined;
	readonly bios?: SentSource | undefined;
	readonly disks?: readonly SentDisk[] | undefined;
};

/** What a page may ask of its machine; each is answered once. */
export type Call =
	| { readonly name: "create"; readonly options: SentOptions }
	| { readonly name: "start" | "pause" | "resume" | "stop" | "pressPowerButton" | "stats" }
	| { readonly name: "snapshot"; readonly options: SnapshotOptions }
	| { readonly name: "restore"; readonly reference: string; readonly options: RestoreOptions }
	| { readonly name: "removeSnapshot"; readonly reference: string; readonly withChildren: boolean };

export type ToWorker =
	| { readonly kind: "call"; readonly id: number; readonly call: Call }
	| { readonly kind: "input"; readonly port: number; readonly bytes: Uint8Array };

export type SentExit = Omit<MachineExit, "error"> & { readonly error?: SentError | undefined };

export type FromWorker =
	| { readonly kind: "result"; readonly id: number; readonly value: unknown }
	| { readonly kind: "error"; readonly id: number; readonly error: SentError }
	| { readonly kind: "event"; readonly name: "state" | "reset" | "console"; readonly event: MachineEvents["state" | "reset" | "console"] }
	| { readonly kind: "deviceError"; readonly device: string; readonly error: SentError }
	/** The last one. */
	| { readonly kind: "exit"; readonly exit: SentExit; readonly stats: MachineStats };
