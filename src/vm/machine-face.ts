import type { Console } from "./console.ts";
import { Emitter } from "./emitter.ts";
import { MachineError } from "./error.ts";
import type { Sleep } from "./host.ts";
import { waitForConsole } from "./wait.ts";

export type MachineState = "created" | "running" | "paused" | "stopped";

/** How a machine came to its end. `code` is what a command line passes on. */
export interface MachineExit {
	/** `reset` and `triple-fault` only with `onReset: "stop"`; `stopped`: by `stop()`; `failed`: by an error of ours. */
	readonly reason: "power-off" | "debug-exit" | "reset" | "triple-fault" | "stopped" | "failed";
	readonly code: number;
	readonly error?: unknown;
}

export interface MachineEvents {
	readonly state: { readonly machine: string; readonly state: MachineState };
	/** The guest wrote to a serial port, or to the virtio console (whose number follows theirs). */
	readonly console: { readonly machine: string; readonly port: number; readonly bytes: Uint8Array };
	/** The guest reset itself and starts over. */
	readonly reset: { readonly machine: string; readonly cause: "request" | "triple-fault" };
	/** The host failed at what the guest asked of a device: the guest has seen an I/O error, say, and goes on. */
	readonly deviceError: { readonly machine: string; readonly device: string; readonly error: unknown };
	readonly exit: MachineExit;
}

export interface WaitCondition {
	/** Text or pattern on a serial port, looked for behind the previous match. */
	readonly console: string | RegExp;
	readonly port?: number;
	/** "60s", "500ms", or a number of seconds; none: as long as it takes. */
	readonly timeout?: string | number;
}

/** What a machine shows of itself, wherever it runs: its state, its consoles, its events and its end. */
export abstract class MachineFace {
	abstract readonly name: string;
	/** The serial ports, COM1 first, and behind them the virtio console. */
	abstract readonly consoles: readonly Console[];
	readonly #events = new Emitter<MachineEvents>();
	#state: MachineState = "created";
	/** How it ends, as soon as that is settled; it may have work left before it has ended. */
	protected ending: MachineExit | undefined;

	/** Waits in the host's time. */
	protected abstract sleep(delayNs: number): Sleep;

	get state(): MachineState {
		return this.#state;
	}

	/** How it ended; `undefined` before that. */
	get exit(): MachineExit | undefined {
		return this.ending;
	}

	/** The first serial port. @throws MachineError `config` if there is none */
	get console(): Console {
		const first = this.consoles[0];
		if (first === undefined) throw new MachineError("config", `${this.name}: serialPorts is 0`);
		return first;
	}

	/** Calls `listener` at each event of that name; the function returned ends it. */
	on<Name extends keyof MachineEvents>(name: Name, listener: (event: MachineEvents[Name]) => void): () => void {
		return this.#events.on(name, listener);
	}

	/** Resolves once the machine has ended, however that came. */
	async finished(): Promise<MachineExit> {
		if (this.ending !== undefined && this.#state === "stopped") return this.ending;
		return this.#events.once("exit");
	}

	/**
	 * Resolves with the text that matched, as soon as the guest has printed it.
	 * @throws MachineError `timeout`; `exited` if the machine ends first
	 */
	waitFor(condition: WaitCondition): Promise<string> {
		return waitForConsole(
			{
				name: this.name,
				consoles: this.consoles,
				endedBy: this.#state === "stopped" ? this.ending?.reason : undefined,
				onExit: (listener) => this.on("exit", listener),
				sleep: (delayNs) => this.sleep(delayNs),
			},
			condition,
		);
	}

	/** It has begun to end and takes no more calls, whatever its state still says. */
	protected get isClosing(): boolean {
		return false;
	}

	/** @throws MachineError `state` unless the machine is in one of `states` */
	protected need(call: string, ...states: readonly MachineState[]): void {
		if (!states.includes(this.#state) || this.isClosing)
			throw new MachineError("state", `${this.name}: ${call} needs a machine that is ${states.join(" or ")}, this one is ${this.#state}`);
	}

	protected emit<Name extends keyof MachineEvents>(name: Name, event: MachineEvents[Name]): void {
		this.#events.emit(name, event);
	}

	protected enter(state: MachineState): void {
		this.#state = state;
		this.emit("state", { machine: this.name, state });
	}

	/** The guest has written to a console. */
	protected printed(port: number, bytes: Uint8Array): void {
		this.emit("console", { machine: this.name, port, bytes });
		this.consoles[port]?.receive(bytes);
	}

	/** It has ended: nothing more comes from it. Harmless when it has been said already. */
	protected conclude(exit: MachineExit): void {
		if (this.#state === "stopped") return;
		this.ending = exit;
		this.enter("stopped");
		for (const target of this.consoles) target.close();
		this.emit("exit", exit);
	}
}
