import type { Ns } from "../../base/units.ts";
import { MachineClock } from "../../machine/clock.ts";
import { type Clock, TimerQueue } from "../../net/time.ts";
import type { Host, Sleep } from "../../vm/host.ts";

/**
 * A clock for links and nodes that follows the host's while it runs. Alarms go off between the machines' slices: whoever
 * works for long on the same thread calls `runDue` now and then.
 */
export class RealtimeClock {
	/** For as many timers as you like. */
	readonly clock: Clock;
	readonly #base: MachineClock;
	readonly #host: Host;
	#isRunning = false;
	#passedNs: Ns = 0;
	#sinceNs = 0;
	#sleep: Sleep | undefined;
	#loop: Promise<void> = Promise.resolve();

	constructor(host: Host) {
		this.#host = host;
		this.#base = new MachineClock(() => this.#read());
		this.#base.onDeadlineMoved = () => this.#sleep?.wake();
		this.clock = new TimerQueue(this.#base, "lab");
	}

	get nowNs(): Ns {
		return this.#base.nowNs;
	}

	#read(): Ns {
		return this.#passedNs + (this.#isRunning ? Math.floor(this.#host.nowNs() - this.#sinceNs) : 0);
	}

	/** Goes on from `nowNs`, as a snapshot has it. */
	set(nowNs: Ns): void {
		this.#passedNs = nowNs;
		this.#sinceNs = this.#host.nowNs();
		this.#base.rebase(nowNs, () => this.#read());
	}

	runDue(): void {
		if (this.#isRunning) this.#base.runDue();
	}

	/** Infinity when no alarm is set. */
	get untilNextNs(): Ns {
		return this.#base.nextDeadlineNs - this.#base.nowNs;
	}

	start(): void {
		if (this.#isRunning) return;
		this.#sinceNs = this.#host.nowNs();
		this.#isRunning = true;
		this.#loop = this.#run();
	}

	/** Resolves when nothing goes off any more. */
	async stop(): Promise<void> {
		if (!this.#isRunning) return;
		this.#passedNs = this.#read();
		this.#isRunning = false;
		this.#sleep?.wake();
		await this.#loop;
	}

	async #run(): Promise<void> {
		while (this.#isRunning) {
			this.#base.runDue();
			this.#sleep = this.#host.sleep(Math.max(0, this.#base.nextDeadlineNs - this.#read()));
			await this.#sleep.done;
			this.#sleep = undefined;
		}
	}
}

/** A host whose every yield and sleep sees to `clock` first: machines of that host keep the lab punctual. */
export function punctualHost(host: Host, clock: RealtimeClock): Host {
	return {
		nowNs: () => host.nowNs(),
		wallMs: () => host.wallMs(),
		random: (into) => host.random(into),
		yield: () => {
			clock.runDue();
			return host.yield();
		},
		sleep: (delayNs) => {
			clock.runDue();
			return host.sleep(delayNs);
		},
	};
}
