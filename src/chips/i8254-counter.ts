/**
 * One counter of an 8254 (Intel 231164-005, "8254 Programmable Interval Timer", "Mode Definitions"). Nothing is counted
 * down: the counting element and OUT are worked out from the CLK tick at which the count was loaded.
 */
import type { Clock, Timer } from "../machine/clock.ts";
import type { Wire } from "../machine/wire.ts";
import type { TickRate } from "./ticks.ts";

/** Read/write modes of the control word. */
const RW_LSB = 1;
const RW_MSB = 2;
const STATUS_OUT = 0x80;
const STATUS_NULL_COUNT = 0x40;
const NONE = -1;
const MIN_PERIOD_TICKS = 12;

export type PitCounterState = {
	readonly mode: number;
	readonly rw: number;
	readonly isBcd: boolean;
	readonly isGateHigh: boolean;
	/** The count register, 1–65536, effective from the next load. */
	readonly countRegister: number;
	/** First byte of a two-byte write, −1 if none has come. */
	readonly writtenLowByte: number;
	readonly isMsbNext: boolean;
	readonly latchedCount: number;
	readonly latchedStatus: number;
	/** A count has been written since the control word. */
	readonly isLoaded: boolean;
	/** Modes 1 and 5: GATE has risen since. */
	readonly isTriggered: boolean;
	/** Modes 2 and 3: the count register awaits the end of the (half) cycle. */
	readonly isReloadPending: boolean;
	/** Mode 3: which half. */
	readonly isHalfHigh: boolean;
	readonly loadCount: number;
	readonly loadTick: number;
	/** Ticks counted when GATE stopped the count, −1 while it counts. */
	readonly frozenElapsed: number;
	readonly settledTick: number;
	readonly lastCount: number;
};

/** Undefined in the data sheet; this leaves OUT low, so that switching on makes no edge. */
const POWER_ON: PitCounterState = {
	mode: 0,
	rw: 3,
	isBcd: false,
	isGateHigh: true,
	countRegister: 0x10000,
	writtenLowByte: NONE,
	isMsbNext: false,
	latchedCount: NONE,
	latchedStatus: NONE,
	isLoaded: false,
	isTriggered: false,
	isReloadPending: false,
	isHalfHigh: true,
	loadCount: 0x10000,
	loadTick: 0,
	frozenElapsed: NONE,
	settledTick: 0,
	lastCount: 0,
};

const fromBcd = (value: number) => (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
const toBcd = (value: number) =>
	(Math.floor(value / 1000) << 12) | (Math.floor((value % 1000) / 100) << 8) | (Math.floor((value % 100) / 10) << 4) | (value % 10);

export class PitCounter {
	readonly #clock: Clock;
	readonly #rate: TickRate;
	readonly #out: Wire | undefined;
	readonly #timer: Timer | undefined;
	#state: { -readonly [K in keyof PitCounterState]: PitCounterState[K] } = { ...POWER_ON };
	#isOutHigh = false;

	/** Without an `out` wire no alarm is ever set: OUT is then worked out only when somebody looks. */
	constructor(name: string, clock: Clock, rate: TickRate, out: Wire | undefined) {
		this.#clock = clock;
		this.#rate = rate;
		this.#out = out;
		if (out !== undefined) this.#timer = clock.timer(name, () => this.#sync());
	}

	get isOutHigh(): boolean {
		this.#sync();
		return this.#isOutHigh;
	}

	get isGateHigh(): boolean {
		return this.#state.isGateHigh;
	}

	reset(): void {
		this.#state = { ...POWER_ON, isGateHigh: this.#state.isGateHigh };
		this.#sync();
	}

	save(): PitCounterState {
		return { ...this.#state };
	}

	load(state: PitCounterState): void {
		this.#state = { ...state };
		const tick = this.#tick();
		this.#isOutHigh = this.#outAt(tick);
		this.#out?.set(this.#isOutHigh);
		this.#arm(tick);
	}

	writeControl(value: number): void {
		const tick = this.#sync();
		const state = this.#state;
		const mode = (value >> 1) & 7;
		this.#state = {
			...POWER_ON,
			mode: mode > 5 ? mode - 4 : mode,
			rw: (value >> 4) & 3,
			isBcd: (value & 1) !== 0,
			isGateHigh: state.isGateHigh,
			countRegister: state.countRegister,
			settledTick: tick,
			lastCount: this.#countAt(tick),
		};
		this.#sync();
	}

	writeCount(value: number): void {
		const state = this.#state;
		if (state.rw === RW_LSB) this.#newCount(value);
		else if (state.rw === RW_MSB) this.#newCount(value << 8);
		else if (state.writtenLowByte === NONE) {
			state.writtenLowByte = value;
			// Mode 0: the first byte stops the count and takes OUT low.
			if (state.mode === 0) {
				const tick = this.#sync();
				state.lastCount = this.#countAt(tick);
				state.isLoaded = false;
				this.#sync();
			}
		} else {
			const low = state.writtenLowByte;
			state.writtenLowByte = NONE;
			this.#newCount(low | (value << 8));
		}
	}

	readCount(): number {
		const state = this.#state;
		if (state.latchedStatus !== NONE) {
			const status = state.latchedStatus;
			state.latchedStatus = NONE;
			return status;
		}
		const count = state.latchedCount === NONE ? this.#encode(this.#countAt(this.#sync())) : state.latchedCount;
		if (state.rw === RW_LSB || state.rw === RW_MSB) {
			state.latchedCount = NONE;
			return state.rw === RW_LSB ? count & 0xff : count >> 8;
		}
		if (!state.isMsbNext) {
			state.isMsbNext = true;
			return count & 0xff;
		}
		state.isMsbNext = false;
		state.latchedCount = NONE;
		return count >> 8;
	}

	/** A second latch before the first is read changes nothing. */
	latchCount(): void {
		if (this.#state.latchedCount === NONE) this.#state.latchedCount = this.#encode(this.#countAt(this.#sync()));
	}

	latchStatus(): void {
		const tick = this.#sync();
		const state = this.#state;
		if (state.latchedStatus !== NONE) return;
		state.latchedStatus =
			(this.#isOutHigh ? STATUS_OUT : 0) |
			(this.#isNullCount(tick) ? STATUS_NULL_COUNT : 0) |
			(state.rw << 4) |
			(state.mode << 1) |
			(state.isBcd ? 1 : 0);
	}

	setGate(high: boolean): void {
		const tick = this.#sync();
		const state = this.#state;
		if (high === state.isGateHigh) return;
		state.isGateHigh = high;
		if (state.isLoaded) {
			if (state.mode === 1 || state.mode === 5) {
				if (high) {
					this.#loadAt(tick + 1);
					state.isTriggered = true;
				}
			} else if (!high) state.frozenElapsed = Math.max(0, tick - state.loadTick);
			else if (state.mode === 0 || state.mode === 4) {
				state.loadTick = tick - state.frozenElapsed;
				state.frozenElapsed = NONE;
			} else this.#loadAt(tick + 1);
		}
		this.#sync();
	}

	#tick(): number {
		return this.#rate.ticksAt(this.#clock.nowNs);
	}

	#encode(count: number): number {
		return this.#state.isBcd ? toBcd(count % 10000) : count & 0xffff;
	}

	#newCount(raw: number): void {
		const tick = this.#sync();
		const state = this.#state;
		const modulus = state.isBcd ? 10000 : 0x10000;
		const count = state.isBcd ? fromBcd(raw) : raw;
		state.countRegister = count === 0 ? modulus : count;
		switch (state.mode) {
			case 0:
			case 4:
				this.#loadAt(tick + 1);
				if (!state.isGateHigh) state.frozenElapsed = 0;
				break;
			case 2:
			case 3:
				// A count of 1 is illegal in these modes.
				state.countRegister = Math.max(2, state.countRegister);
				if (state.isLoaded) state.isReloadPending = true;
				else {
					this.#loadAt(tick + 1);
					if (!state.isGateHigh) state.frozenElapsed = 0;
				}
				break;
			default:
				if (!state.isTriggered) state.loadCount = state.countRegister;
		}
		state.isLoaded = true;
		this.#sync();
	}

	#loadAt(tick: number): void {
		const state = this.#state;
		state.loadTick = tick;
		state.loadCount = state.countRegister;
		state.isReloadPending = false;
		state.isHalfHigh = true;
		state.frozenElapsed = NONE;
	}

	get #isRunning(): boolean {
		const state = this.#state;
		if (!state.isLoaded || state.frozenElapsed !== NONE) return false;
		return state.isTriggered || (state.mode !== 1 && state.mode !== 5);
	}

	#elapsed(tick: number): number {
		const state = this.#state;
		return state.frozenElapsed === NONE ? tick - state.loadTick : state.frozenElapsed;
	}

	/** Goes through the reloads up to `tick`; true if OUT has risen on the way. */
	#settle(tick: number): boolean {
		const state = this.#state;
		const before = state.settledTick;
		state.settledTick = tick;
		if (!this.#isRunning || tick < state.loadTick) return false;
		switch (state.mode) {
			case 2: {
				if (tick - state.loadTick < state.loadCount) return false;
				if (state.isReloadPending) {
					state.loadTick += state.loadCount;
					state.loadCount = state.countRegister;
					state.isReloadPending = false;
				}
				state.loadTick += Math.floor((tick - state.loadTick) / state.loadCount) * state.loadCount;
				return true;
			}
			case 3: {
				let hasRisen = false;
				for (let half = this.#halfTicks(); tick - state.loadTick >= half; half = this.#halfTicks()) {
					state.loadTick += half;
					state.isHalfHigh = !state.isHalfHigh;
					if (state.isHalfHigh) hasRisen = true;
					if (state.isReloadPending) {
						state.loadCount = state.countRegister;
						state.isReloadPending = false;
					}
					const cycles = Math.floor((tick - state.loadTick) / state.loadCount);
					if (cycles > 0) {
						state.loadTick += cycles * state.loadCount;
						hasRisen = true;
					}
				}
				return hasRisen;
			}
			case 4:
			case 5: {
				const riseTick = state.loadTick + state.loadCount + 1;
				return before < riseTick && tick >= riseTick;
			}
			default:
				return false;
		}
	}

	#halfTicks(): number {
		const { loadCount, isHalfHigh } = this.#state;
		return isHalfHigh ? (loadCount + 1) >> 1 : loadCount >> 1;
	}

	#outAt(tick: number): boolean {
		const state = this.#state;
		const elapsed = this.#elapsed(tick);
		switch (state.mode) {
			case 0:
				return state.isLoaded && elapsed >= state.loadCount;
			case 1:
				return !state.isTriggered || elapsed >= state.loadCount;
			case 2:
				return !this.#isRunning || elapsed !== state.loadCount - 1;
			case 3:
				return !this.#isRunning || state.isHalfHigh;
			default:
				return !this.#isRunning || elapsed !== state.loadCount;
		}
	}

	/** The tick after `tick` at which OUT changes by itself. */
	#nextChange(tick: number): number {
		const { mode, loadTick, loadCount } = this.#state;
		if (!this.#isRunning) return Number.POSITIVE_INFINITY;
		const endTick = loadTick + loadCount;
		if (mode === 3) return loadTick + this.#halfTicks();
		if (mode === 2) return tick < endTick - 1 ? endTick - 1 : endTick;
		if (tick < endTick) return endTick;
		return mode >= 4 && tick === endTick ? endTick + 1 : Number.POSITIVE_INFINITY;
	}

	#countAt(tick: number): number {
		const state = this.#state;
		if (!state.isLoaded) return state.lastCount;
		const elapsed = Math.max(0, this.#elapsed(tick));
		if (state.mode === 2) return state.loadCount - elapsed;
		if (state.mode === 3) return Math.max(0, (state.loadCount & ~1) - 2 * elapsed);
		if (!state.isTriggered && (state.mode === 1 || state.mode === 5)) return state.loadCount;
		const modulus = state.isBcd ? 10000 : 0x10000;
		return (((state.loadCount - elapsed) % modulus) + modulus) % modulus;
	}

	#isNullCount(tick: number): boolean {
		const state = this.#state;
		if (!state.isLoaded || state.isReloadPending) return true;
		if (state.mode === 1 || state.mode === 5) return !state.isTriggered || state.loadCount !== state.countRegister;
		return state.frozenElapsed === NONE && tick < state.loadTick;
	}

	/** Brings OUT and the alarm up to the present; edges that were due since are shown, many as one. */
	#sync(): number {
		const tick = this.#tick();
		const hasRisen = this.#settle(tick);
		const isHigh = this.#outAt(tick);
		if (this.#out !== undefined) {
			if (hasRisen && isHigh === this.#isOutHigh) this.#out.set(!isHigh);
			this.#isOutHigh = isHigh;
			this.#out.set(isHigh);
			this.#arm(tick);
		}
		this.#isOutHigh = isHigh;
		return tick;
	}

	#arm(tick: number): void {
		if (this.#timer === undefined) return;
		const next = this.#nextChange(tick);
		if (next === Number.POSITIVE_INFINITY) {
			if (this.#timer.isArmed) this.#timer.disarm();
			return;
		}
		// A period of a few ticks only shows as edges run together; an alarm for each would starve the processor.
		const isFast = (this.#state.mode === 2 || this.#state.mode === 3) && this.#state.loadCount < MIN_PERIOD_TICKS;
		const deadlineNs = this.#rate.nsOf(isFast ? Math.max(next, tick + MIN_PERIOD_TICKS) : next);
		if (!this.#timer.isArmed || this.#timer.deadlineNs !== deadlineNs) this.#timer.arm(deadlineNs);
	}
}
