import type { Machine, MachineStats } from "./machine.ts";
import { type MachineEvents, type MachineExit, MachineFace } from "./machine-face.ts";
import { receiveError, receiveExit, type SentError, type SentExit, sendError, sendExit } from "./sent-error.ts";

/** What a machine's thread tells, unasked, whoever stands for the machine on another. */
export type SentEvent =
	| { readonly kind: "console"; readonly port: number; readonly bytes: Uint8Array }
	| { readonly kind: "reset"; readonly cause: MachineEvents["reset"]["cause"] }
	| { readonly kind: "deviceError"; readonly device: string; readonly error: SentError }
	/** The last one. */
	| { readonly kind: "exit"; readonly exit: SentExit; readonly stats: MachineStats };

/** Tells what happens to a machine, but for its end: whoever runs it knows when that may be told. */
export function forwardEvents(machine: Machine, send: (event: SentEvent) => void): void {
	machine.on("console", ({ port, bytes }) => send({ kind: "console", port, bytes }));
	machine.on("reset", ({ cause }) => send({ kind: "reset", cause }));
	machine.on("deviceError", ({ device, error }) => send({ kind: "deviceError", device, error: sendError(error) }));
}

/** A machine's end, as it is told. */
export function exitEvent(machine: Machine, exit: MachineExit): SentEvent {
	return { kind: "exit", exit: sendExit(exit), stats: machine.stats };
}

/** Stands for a machine that another thread runs. */
export abstract class RemoteMachine extends MachineFace {
	protected hear(event: SentEvent): void {
		switch (event.kind) {
			case "console":
				this.printed(event.port, event.bytes);
				return;
			case "reset":
				this.emit("reset", { machine: this.name, cause: event.cause });
				return;
			case "deviceError":
				this.emit("deviceError", { machine: this.name, device: event.device, error: receiveError(event.error) });
				return;
			case "exit":
				this.ended(receiveExit(event.exit), event.stats);
		}
	}

	/** The machine has ended on its thread, with these figures. */
	protected abstract ended(exit: MachineExit, stats: MachineStats): void;
}
