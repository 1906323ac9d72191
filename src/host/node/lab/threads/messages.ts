import type { Mac } from "../../../../net/frames/address.ts";
import type { MachineOptions, NicModel } from "../../../../vm/config.ts";
import type { MachineStats } from "../../../../vm/machine.ts";
import type { SentAnswer } from "../../../../vm/questions.ts";
import type { SentEvent } from "../../../../vm/remote-machine.ts";
import type { SentError } from "../../../../vm/sent-error.ts";

/** Cells that a machine's thread and the lab's share. */
export const CELL = {
	/** The machine's bell: counts what the lab has left for it. */
	bell: 0,
	/** The lab waits for a message when there are frames. */
	isLabAsleep: 1,
	/** The lab has more for the machine than its ring would hold. */
	wantsRoom: 2,
	/** Counts how often the lab has made room in its own ring. */
	room: 3,
	/** From here on, two cells a card: does the cable take super-frames; its speed in Mbit/s, 0: as fast as you like. */
	cards: 8,
} as const;
export const CELLS_PER_CARD = 2;

export interface SentDiskFacts {
	readonly sizeBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly isReadOnly: boolean;
	readonly bus: "virtio" | "ide";
	readonly isIndependent: boolean;
}

/** What a machine's thread begins with. */
export interface ThreadData {
	readonly machine: Omit<MachineOptions, "nics" | "disks">;
	readonly disks: readonly SentDiskFacts[];
	readonly cards: readonly { readonly model: NicModel; readonly mac: Mac }[];
	readonly startWallMs: number | undefined;
	readonly cells: SharedArrayBuffer;
	/** The lab's bell: its host's sleep ends when that is rung. */
	readonly labBell: SharedArrayBuffer;
	readonly toMachine: SharedArrayBuffer;
	readonly toLab: SharedArrayBuffer;
}

export type GuestVerb = "start" | "pause" | "resume" | "stop" | "pressPowerButton";

/** A disk's work, done where the disk is open. `bytes` lie in shared memory wherever the guest's do. */
export interface DiskRequest {
	readonly disk: number;
	readonly verb: "read" | "write" | "writeZeroes" | "discard" | "flush" | "close";
	readonly offsetBytes: number;
	readonly lengthBytes: number;
	readonly bytes?: Uint8Array;
}

export type ToThread =
	| { readonly kind: "call"; readonly id: number; readonly verb: GuestVerb }
	| { readonly kind: "input"; readonly port: number; readonly bytes: Uint8Array }
	/** Bytes only for a buffer that the disk's thread does not see. */
	| ({ readonly kind: "disk" } & SentAnswer<Uint8Array | undefined>);

export type FromThread =
	| { readonly kind: "ready" }
	| { readonly kind: "broken"; readonly error: SentError }
	/** There are frames. */
	| { readonly kind: "frames" }
	| ({ readonly kind: "answer" } & SentAnswer<void>)
	| { readonly kind: "stats"; readonly stats: MachineStats }
	| { readonly kind: "disk"; readonly id: number; readonly request: DiskRequest }
	| SentEvent;
