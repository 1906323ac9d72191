import { assert } from "../base/assert.ts";
import type { Ns } from "../base/units.ts";

/** A one-shot alarm. Periodic devices re-arm from `deadlineNs`, never from "now", so that no period drifts. */
export interface Timer {
	arm(deadlineNs: Ns): void;
	disarm(): void;
	readonly isArmed: boolean;
	/** Valid while armed. */
	readonly deadlineNs: Ns;
}

export interface Clock {
	readonly nowNs: Ns;
	timer(name: string, onExpire: (deadlineNs: Ns) => void): Timer;
}

class ClockTimer implements Timer {
	isArmed = false;
	deadlineNs: Ns = 0;
	readonly name: string;
	readonly onExpire: (deadlineNs: Ns) => void;
	readonly #owner: MachineClock;

	constructor(owner: MachineClock, name: string, onExpire: (deadlineNs: Ns) => void) {
		this.#owner = owner;
		this.name = name;
		this.onExpire = onExpire;
	}

	arm(deadlineNs: Ns): void {
		assert(Number.isFinite(deadlineNs), `timer ${this.name}: deadline ${deadlineNs}`);
		this.deadlineNs = Math.ceil(deadlineNs);
		this.isArmed = true;
		this.#owner.timerChanged(this);
	}

	disarm(): void {
		this.isArmed = false;
		this.#owner.timerChanged(this);
	}
}

/**
 * The machine's one clock. Time comes from `source` (host-paced, or counted in guest instructions), alarms go off in
 * deadline order from `runDue`, each seeing `nowNs` not before its own deadline.
 */
export class MachineClock implements Clock {
	readonly #timers: ClockTimer[] = [];
	#source: () => Ns;
	/** Time shown while an alarm runs late: never earlier than what has been shown before. */
	#floorNs: Ns = 0;
	#nextDeadlineNs: Ns = Number.POSITIVE_INFINITY;
	/** Called when the earliest deadline moves, so that a running CPU slice can be cut short. */
	onDeadlineMoved: (nextDeadlineNs: Ns) => void = () => {};
	/** Called when somebody reads the time and an alarm turns out to be due: `runDue` is wanted soon. */
	onOverdue: () => void = () => {};

	constructor(source: () => Ns) {
		this.#source = source;
	}

	get nowNs(): Ns {
		const nowNs = this.#source();
		if (nowNs > this.#floorNs) this.#floorNs = nowNs;
		if (this.#floorNs >= this.#nextDeadlineNs) this.onOverdue();
		return this.#floorNs;
	}

	get nextDeadlineNs(): Ns {
		return this.#nextDeadlineNs;
	}

	/** Puts another source under the clock (engine change, restore); it must go on from `nowNs`. */
	rebase(nowNs: Ns, source: () => Ns): void {
		this.#source = source;
		this.#floorNs = nowNs;
	}

	timer(name: string, onExpire: (deadlineNs: Ns) => void): Timer {
		const timer = new ClockTimer(this, name, onExpire);
		this.#timers.push(timer);
		return timer;
	}

	timerChanged(_timer: ClockTimer): void {
		const before = this.#nextDeadlineNs;
		this.#findNext();
		if (this.#nextDeadlineNs < before) this.onDeadlineMoved(this.#nextDeadlineNs);
	}

	/** Fires every alarm that is due; returns how many did. */
	runDue(): number {
		let fired = 0;
		const nowNs = this.nowNs;
		while (this.#nextDeadlineNs <= nowNs) {
			const due = this.#earliest();
			if (due === undefined) break;
			due.isArmed = false;
			this.#findNext();
			due.onExpire(due.deadlineNs);
			fired++;
		}
		return fired;
	}

	#earliest(): ClockTimer | undefined {
		let earliest: ClockTimer | undefined;
		for (const timer of this.#timers)
			if (timer.isArmed && (earliest === undefined || timer.deadlineNs < earliest.deadlineNs)) earliest = timer;
		return earliest;
	}

	#findNext(): void {
		this.#nextDeadlineNs = this.#earliest()?.deadlineNs ?? Number.POSITIVE_INFINITY;
	}
}

/** A clock that tests step by hand: `advance` runs every alarm at exactly its own time. */
export class SteppedClock implements Clock {
	#nowNs: Ns = 0;
	readonly #clock = new MachineClock(() => this.#nowNs);

	get nowNs(): Ns {
		return this.#nowNs;
	}

	timer(name: string, onExpire: (deadlineNs: Ns) => void): Timer {
		return this.#clock.timer(name, onExpire);
	}

	advance(byNs: Ns): void {
		const endNs = this.#nowNs + byNs;
		while (this.#clock.nextDeadlineNs <= endNs) {
			this.#nowNs = Math.max(this.#nowNs, this.#clock.nextDeadlineNs);
			this.#clock.runDue();
		}
		this.#nowNs = endNs;
	}
}
