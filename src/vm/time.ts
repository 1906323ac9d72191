import type { Ns } from "../base/units.ts";
import { MachineClock } from "../machine/clock.ts";
import type { Host } from "./host.ts";

/** Where a machine's time comes from. */
export interface TimeKeeper {
	readonly clock: MachineClock;
	/** Guest time runs. */
	start(): void;
	/** Guest time stands still. */
	stop(): void;
	/** No CPU has anything to do before `untilNs`: how long the host may sleep. 0: time has been moved on at once. */
	idle(untilNs: Ns): number;
}

/** Guest time is the host's, less what was spent in pause. */
export class HostPacedTime implements TimeKeeper {
	readonly clock: MachineClock;
	readonly #host: Host;
	#isRunning = false;
	#guestNs: Ns = 0;
	#sinceNs = 0;

	constructor(host: Host) {
		this.#host = host;
		this.clock = new MachineClock(() => (this.#isRunning ? this.#guestNs + Math.floor(host.nowNs() - this.#sinceNs) : this.#guestNs));
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

	idle(untilNs: Ns): number {
		return Math.max(0, untilNs - this.clock.nowNs);
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

	idle(untilNs: Ns): number {
		if (!Number.isFinite(untilNs)) return untilNs;
		this.#skippedNs = Math.max(this.#skippedNs, untilNs - this.#instructions());
		return 0;
	}
}
