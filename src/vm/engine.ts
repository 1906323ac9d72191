import type { StateValue } from "../base/json.ts";
import type { Ns } from "../base/units.ts";
import type { IoBus } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { GuestMemory } from "../machine/memory.ts";
import type { CpuBoard, CpuPins } from "../machine/processor.ts";
import type { InitialCpuState, MsrValue } from "../pc/linux/entry.ts";

export type EngineName = "interpret" | "translate" | "kvm";

/** Why `run` came back: the deadline has come; the CPU waits for an interrupt; somebody called `stop`. */
export type CpuExit = "deadline" | "halted" | "stopped";

/** One virtual CPU, whatever runs it. */
export interface CpuEngine {
	readonly name: EngineName;
	readonly pins: CpuPins;
	/** Waits for an interrupt (HLT), or for a start-up message: running it does nothing until a pin changes that. */
	readonly isHalted: boolean;
	/** Called when a pin makes a halted CPU runnable. */
	onWake: () => void;
	/** Executes until guest time `deadlineNs`, give or take some microseconds, or an earlier end. */
	run(deadlineNs: Ns): CpuExit;
	/** Makes `run` return at the next instruction boundary. Called from within `run`, by a device. */
	stop(): void;
	/** The deadline of the present `run` is now this, if that is earlier. Called from within `run`. */
	hasten(deadlineNs: Ns): void;
	/** Instructions retired since power-on. */
	readonly instructionCount: number;
	/** Figures for `--stats`, named by the engine: translated regions, exits by reason, … */
	stats(): Readonly<Record<string, number>>;
	/** Starts as a boot loader would have it. */
	enter(state: InitialCpuState): void;
	/** Sets registers that firmware sets on every processor before it boots anything; INIT and start-up keep them. */
	setFirmwareMsrs(msrs: readonly MsrValue[]): void;
	save(): StateValue;
	load(state: StateValue): void;
	dispose(): void;
}

/** What an engine is built into. */
export interface EngineEnvironment {
	readonly index: number;
	readonly cpuCount: number;
	readonly memory: GuestMemory;
	readonly io: IoBus;
	readonly clock: Clock;
	readonly board: CpuBoard;
	/** For RDRAND: 32 unpredictable bits. */
	readonly random32: () => number;
}

export type EngineFactory = (environment: EngineEnvironment) => CpuEngine;
