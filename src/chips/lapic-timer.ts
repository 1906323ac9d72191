/** The local APIC's timer (Intel SDM Vol. 3A §11.5.4, "APIC Timer"): one-shot, periodic, TSC-deadline. Its bus clock counts nanoseconds. */
import type { Ns } from "../base/units.ts";
import type { Clock, Timer } from "../machine/clock.ts";

/** Modes that differ from the periodic one, which is 1. */
const TIMER_ONE_SHOT = 0;
const TIMER_TSC_DEADLINE = 2;

/** Interrupts closer together than this coalesce in IRR anyhow; alarms for each would only starve the processor. */
const MIN_PERIOD_NS = 10_000;

export type LapicTimerState = {
	readonly mode: number;
	readonly isMasked: boolean;
	readonly initialCount: number;
	readonly divideConfiguration: number;
	/** The count was `startCount` at `startNs`. */
	readonly startCount: number;
	readonly startNs: number;
	readonly tscDeadline: bigint;
};

export class LapicTimer {
	readonly #clock: Clock;
	readonly #timer: Timer;
	readonly #nsOfTsc: (tsc: bigint) => Ns;
	readonly #onExpire: () => void;
	#mode = TIMER_ONE_SHOT;
	#isMasked = true;
	#initialCount = 0;
	#divideConfiguration = 0;
	#startCount = 0;
	#startNs: Ns = 0;
	#tscDeadline = 0n;

	/** `onExpire` is called only while the timer's vector is not masked. */
	constructor(name: string, clock: Clock, nsOfTsc: (tsc: bigint) => Ns, onExpire: () => void) {
		this.#clock = clock;
		this.#nsOfTsc = nsOfTsc;
		this.#onExpire = onExpire;
		this.#timer = clock.timer(name, () => this.#expired());
	}

	reset(): void {
		this.#mode = TIMER_ONE_SHOT;
		this.#isMasked = true;
		this.#initialCount = this.#startCount = this.#divideConfiguration = 0;
		this.#startNs = 0;
		this.#tscDeadline = 0n;
		this.#arm();
	}

	save(): LapicTimerState {
		return {
			mode: this.#mode,
			isMasked: this.#isMasked,
			initialCount: this.#initialCount,
			divideConfiguration: this.#divideConfiguration,
			startCount: this.#startCount,
			startNs: this.#startNs,
			tscDeadline: this.#tscDeadline,
		};
	}

	load(state: LapicTimerState): void {
		this.#mode = state.mode;
		this.#isMasked = state.isMasked;
		this.#initialCount = state.initialCount;
		this.#divideConfiguration = state.divideConfiguration;
		this.#startCount = state.startCount;
		this.#startNs = state.startNs;
		this.#tscDeadline = state.tscDeadline;
		this.#arm();
	}

	/** The timer's LVT entry has been written. Going to or from TSC-deadline mode stops the timer. */
	configure(mode: number, isMasked: boolean): void {
		this.#settle();
		if (mode !== this.#mode && (mode === TIMER_TSC_DEADLINE || this.#mode === TIMER_TSC_DEADLINE)) {
			this.#initialCount = this.#startCount = 0;
			this.#tscDeadline = 0n;
		}
		this.#mode = mode;
		this.#isMasked = isMasked;
		this.#arm();
	}

	get initialCount(): number {
		return this.#initialCount;
	}

	writeInitialCount(count: number): void {
		if (this.#mode === TIMER_TSC_DEADLINE) return;
		this.#settle();
		this.#initialCount = this.#startCount = count;
		this.#startNs = this.#clock.nowNs;
		this.#arm();
	}

	get currentCount(): number {
		if (this.#mode === TIMER_TSC_DEADLINE || this.#initialCount === 0) return 0;
		const elapsed = Math.floor((this.#clock.nowNs - this.#startNs) / this.#divisor);
		if (elapsed < this.#startCount) return this.#startCount - elapsed;
		if (this.#mode === TIMER_ONE_SHOT) return 0;
		return this.#initialCount - ((elapsed - this.#startCount) % this.#initialCount);
	}

	get divideConfiguration(): number {
		return this.#divideConfiguration;
	}

	writeDivideConfiguration(value: number): void {
		this.#settle();
		this.#startCount = this.currentCount;
		this.#startNs = this.#clock.nowNs;
		this.#divideConfiguration = value & 0xb;
		this.#arm();
	}

	/** IA32_TSC_DEADLINE; 0 when not armed. */
	get tscDeadline(): bigint {
		return this.#tscDeadline;
	}

	writeTscDeadline(tsc: bigint): void {
		if (this.#mode !== TIMER_TSC_DEADLINE) return;
		this.#tscDeadline = tsc;
		if (tsc !== 0n && this.#nsOfTsc(tsc) <= this.#clock.nowNs) this.#expired();
		else this.#arm();
	}

	/** The time-stamp counter has been set: a pending deadline lies elsewhere now. */
	tscChanged(): void {
		this.writeTscDeadline(this.#tscDeadline);
	}

	/** Bits 3, 1, 0: 000 divides by 2 … 110 by 128, 111 by 1. */
	get #divisor(): number {
		const code = ((this.#divideConfiguration & 8) >> 1) | (this.#divideConfiguration & 3);
		return code === 7 ? 1 : 2 << code;
	}

	/** An expiry that the host is late with comes before whatever is written now. */
	#settle(): void {
		if (this.#timer.isArmed && this.#timer.deadlineNs <= this.#clock.nowNs) this.#expired();
	}

	#expired(): void {
		if (this.#mode === TIMER_TSC_DEADLINE) this.#tscDeadline = 0n;
		else if (this.#mode === TIMER_ONE_SHOT) this.#startCount = 0;
		this.#arm();
		if (!this.#isMasked) this.#onExpire();
	}

	#arm(): void {
		const deadlineNs = this.#nextExpiryNs();
		if (Number.isSafeInteger(deadlineNs)) this.#timer.arm(deadlineNs);
		else if (this.#timer.isArmed) this.#timer.disarm();
	}

	#nextExpiryNs(): Ns {
		if (this.#mode === TIMER_TSC_DEADLINE) return this.#tscDeadline === 0n ? Number.POSITIVE_INFINITY : this.#nsOfTsc(this.#tscDeadline);
		// Counting on without interrupting needs no alarm.
		if (this.#isMasked || this.#initialCount === 0) return Number.POSITIVE_INFINITY;
		const nowNs = this.#clock.nowNs;
		const firstNs = this.#startNs + this.#startCount * this.#divisor;
		if (this.#mode === TIMER_ONE_SHOT) return this.#startCount === 0 || firstNs <= nowNs ? Number.POSITIVE_INFINITY : firstNs;
		if (firstNs > nowNs && this.#startCount > 0) return firstNs;
		const periodNs = this.#initialCount * this.#divisor;
		const earliestNs = periodNs < MIN_PERIOD_NS ? nowNs + MIN_PERIOD_NS : nowNs;
		return firstNs + (Math.floor((earliestNs - firstNs) / periodNs) + 1) * periodNs;
	}
}
