import type { StateValue } from "../base/json.ts";
import type { Ns } from "../base/units.ts";
import { SoftwareCpu } from "../cpu/software-cpu.ts";
import type { SoftwareEngine } from "../cpu/software-engine.ts";
import { EXIT } from "../cpu/state/layout.ts";
import type { CpuPins } from "../machine/processor.ts";
import type { InitialCpuState, MsrValue } from "../pc/linux/entry.ts";
import type { CpuEngine, CpuExit, EngineEnvironment, EngineName } from "./engine.ts";
import { enterState, setFirmwareMsrs } from "./enter.ts";

/** Fewest instructions worth entering generated code for. */
const MIN_BUDGET = 500;
/** Most between two looks at the clock: about two milliseconds of fast code. */
const MAX_BUDGET = 1_000_000;
/** Longest stretch by the present estimate of speed: code that turns out ten times slower still leaves timers their time. */
const MAX_STRETCH_NS = 200_000;
/** Instructions per nanosecond that a CPU is believed to do before it has been measured. */
const FIRST_RATE = 0.05;

export interface SoftwareCpuOptions {
	/** Guest time is the count of instructions: budgets are exact instead of estimated. */
	readonly isCounted: boolean;
}

/** A software CPU as the machine drives it: deadlines in guest time become budgets in instructions. */
export class SoftwareCpuEngine implements CpuEngine {
	readonly name: EngineName;
	readonly pins: CpuPins;
	readonly #engine: SoftwareEngine;
	readonly #cpu: SoftwareCpu;
	readonly #environment: EngineEnvironment;
	readonly #options: SoftwareCpuOptions;
	/** Instructions per nanosecond, measured as it runs. */
	#rate = FIRST_RATE;
	#deadlineNs: Ns = 0;
	#isStopAsked = false;

	constructor(engine: SoftwareEngine, environment: EngineEnvironment, options: SoftwareCpuOptions) {
		this.name = engine.translator === undefined ? "interpret" : "translate";
		this.#engine = engine;
		this.#environment = environment;
		this.#options = options;
		this.#cpu = new SoftwareCpu(engine, {
			...environment,
			entropy: { next32: environment.random32 },
			// Its turn ends: all CPUs of a machine take turns on one thread, the holder of a lock too.
			...(environment.cpuCount > 1 ? { onPause: () => this.stop() } : {}),
		});
		this.pins = this.#cpu.pins;
	}

	get isHalted(): boolean {
		return this.#cpu.isHalted;
	}

	set onWake(onWake: () => void) {
		this.#cpu.onWake = onWake;
	}

	get onWake(): () => void {
		return this.#cpu.onWake;
	}

	get instructionCount(): number {
		return this.#cpu.instructionCount + this.#cpu.sliceCount;
	}

	run(deadlineNs: Ns): CpuExit {
		const { clock } = this.#environment;
		this.#deadlineNs = deadlineNs;
		this.#isStopAsked = false;
		for (let nowNs = clock.nowNs; nowNs < this.#deadlineNs; ) {
			const leftNs = this.#deadlineNs - nowNs;
			const budget = this.#options.isCounted ? leftNs : Math.max(MIN_BUDGET, Math.floor(Math.min(leftNs, MAX_STRETCH_NS) * this.#rate));
			const before = this.#cpu.instructionCount;
			const end = this.#cpu.run(Math.min(budget, MAX_BUDGET), this.#options.isCounted);
			const laterNs = clock.nowNs;
			this.#measure(this.#cpu.instructionCount - before, laterNs - nowNs);
			nowNs = laterNs;
			if (end === "halted") return "halted";
			if (this.#isStopAsked) return "stopped";
		}
		return "deadline";
	}

	/** A moving average: code that has just been translated runs ten times as fast as it did. */
	#measure(instructions: number, ns: number): void {
		if (ns <= 0 || instructions < MIN_BUDGET) return;
		this.#rate += (Math.min(instructions / ns, 10) - this.#rate) / 4;
	}

	stop(): void {
		this.#isStopAsked = true;
		this.#cpu.stop();
	}

	hasten(deadlineNs: Ns): void {
		if (deadlineNs >= this.#deadlineNs) return;
		this.#deadlineNs = deadlineNs;
		// The run loop's next round has the right budget.
		this.#cpu.stop();
	}

	stats(): Readonly<Record<string, number>> {
		const exits = Object.entries(EXIT).map(([name, index]) => [`exits.${name}`, this.#cpu.exitCounts[index] ?? 0]);
		const translated = this.#environment.index === 0 ? this.#engine.translator?.stats : undefined;
		return {
			...Object.fromEntries(exits),
			...(translated === undefined
				? {}
				: {
						translatedRegions: translated.regions,
						secondRegions: translated.secondRegions,
						recalledRegions: translated.recalled,
						translatedInstructions: translated.instructions,
						translatedBytes: translated.bytes,
						invalidatedRegions: translated.invalidated,
						refusedRegions: translated.refused,
					}),
		};
	}

	enter(state: InitialCpuState): void {
		enterState(this.#cpu.context, state);
	}

	setFirmwareMsrs(msrs: readonly MsrValue[]): void {
		setFirmwareMsrs(this.#cpu.context, msrs);
	}

	save(): StateValue {
		return this.#cpu.state.save();
	}

	load(state: StateValue): void {
		this.#cpu.load(state as Record<string, unknown>);
	}

	dispose(): void {
		this.#cpu.stop();
		if (this.#environment.index === 0) this.#engine.dispose();
	}
}
