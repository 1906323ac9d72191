import { NS_PER_MS, type Ns } from "../base/units.ts";
import { MachineClock } from "../machine/clock.ts";
import type { Host } from "./host.ts";

/** Where a machine's time comes from. */
export interface TimeKeeper {
	readonly clock: MachineClock;
	/** Guest time runs. */
	start(): void;
	/** Guest time stands still. */
	stop(): void;
	/** Guest time is this from now on: the machine's state is another one. */
	set(nowNs: Ns): void;
	/** No CPU has anything to do before `untilNs`: how long the host may sleep. 0: time has been moved on at once. */
	idle(untilNs: Ns): number;
	/** The host has slept, and CPUs may have something to do. */
	awake(): void;
}

/**
 * Longest step that guest time takes between two looks at it. A host that had no processor for us for longer has taken that
 * time from the guest too; otherwise a whole series of timer ticks would be due at once, and a guest that counts them would
 * find its timer broken.
 */
const MAX_STEP_NS = 2 * NS_PER_MS;

/** Guest time is the host's, less what was spent in pause and what the host kept for others. */
export class HostPacedTime implements TimeKeeper {
	readonly clock: MachineClock;
	readonly #host: Host;
	#isRunning = false;
	#guestNs: Ns = 0;
	#sinceNs = 0;
	/** The machine sleeps: the time until it wakes passes in full, whoever asks for it meanwhile. */
	#isIdle = false;

	constructor(host: Host) {
		this.#host = host;
		this.clock = new MachineClock(() => this.#read());
	}

	#read(): Ns {
		if (!this.#isRunning) return this.#guestNs;
		const hostNs = this.#host.nowNs();
		const passedNs = Math.floor(hostNs - this.#sinceNs);
		if (passedNs <= 0) return this.#guestNs;
		const limitNs = this.#isIdle ? Number.POSITIVE_INFINITY : MAX_STEP_NS;
		this.#guestNs += Math.min(passedNs, limitNs);
		this.#sinceNs += passedNs > limitNs ? hostNs - this.#sinceNs : passedNs;
		return this.#guestNs;
	}

	start(): void {
		if (this.#isRunning) return;
		this.#sinceNs = this.#host.nowNs();
		this.#isRunning = true;
	}

	stop(): void {
		this.#guestNs = this.clock.nowNs;
		this.#isRunning = false;
	}

	set(nowNs: Ns): void {
		this.#guestNs = nowNs;
		this.#sinceNs = this.#host.nowNs();
		this.clock.rebase(nowNs, () => this.#read());
	}

	idle(untilNs: Ns): number {
		const delayNs = Math.max(0, untilNs - this.clock.nowNs);
		this.#isIdle = true;
		return delayNs;
	}

	awake(): void {
		this.#read();
		this.#isIdle = false;
	}
}

/** Guest time is counted in instructions: the same run takes the same guest time on any host, and idling takes none of the host's. */
export class CountedTime implements TimeKeeper {
	readonly clock: MachineClock;
	readonly #instructions: () => number;
	#skippedNs: Ns = 0;

	/** @param instructions retired so far by the machine's CPUs; each takes one nanosecond */
	constructor(instructions: () => number) {
		this.#instructions = instructions;
		this.clock = new MachineClock(() => this.#skippedNs + instructions());
	}

	start(): void {}

	stop(): void {}

	set(nowNs: Ns): void {
		this.#skippedNs = nowNs - this.#instructions();
		this.clock.rebase(nowNs, () => this.#skippedNs + this.#instructions());
	}

	idle(untilNs: Ns): number {
		if (!Number.isFinite(untilNs)) return untilNs;
		this.#skippedNs = Math.max(this.#skippedNs, untilNs - this.#instructions());
		return 0;
	}

	awake(): void {}
}
