import type { KeptCode } from "../cpu/kept-code.ts";

/** What a machine asks of the program around it: the only way by which the outside's time and chance come in. */
export interface Host {
	/** Nanoseconds from any origin, never going back. */
	nowNs(): number;
	/** The wall clock, in milliseconds since 1970-01-01 UTC: what a guest's battery-backed clock starts from. */
	wallMs(): number;
	/** Fills with unpredictable bytes. */
	random(into: Uint8Array): void;
	/** Lets the host's own events (files, sockets, keys) be handled; resolves as soon as they have been. */
	yield(): Promise<void>;
	/** Waits `delayNs` (infinity: for ever) or until woken, whichever is first. */
	sleep(delayNs: number): Sleep;
	/** Where generated code outlives the process, if anywhere. */
	readonly keptCode?: KeptCode | undefined;
}

export interface Sleep {
	readonly done: Promise<void>;
	/** Ends the sleep; harmless if it is over. */
	wake(): void;
}
