import type { DiskFormat } from "../../disk/open.ts";
import type { MachineOptions } from "../../vm/config.ts";
import type { MachineState } from "../../vm/machine-face.ts";
import type { SentAnswer } from "../../vm/questions.ts";
import type { SentEvent } from "../../vm/remote-machine.ts";
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

export type FromWorker =
	| ({ readonly kind: "answer" } & SentAnswer<unknown>)
	| { readonly kind: "state"; readonly state: MachineState }
	| SentEvent;
