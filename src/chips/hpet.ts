/**
 * High precision event timers (Intel "IA-PC HPET (High Precision Event Timers) Specification" 1.0a): a 64-bit counter at
 * 100 MHz and three comparators, each periodic if asked.
 */
import type { Ns, PhysAddr } from "../base/units.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Clock, Timer } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";

const GCAP_ID = 0x000;
const GEN_CONF = 0x010;
const GINTR_STA = 0x020;
const MAIN_CNT = 0x0f0;
const TIMERS = 0x100;
const TIMER_STRIDE = 0x20;
const TN_CONF = 0x00;
const TN_COMPARATOR = 0x08;
const TN_FSB = 0x10;

const ENABLE_CNF = 0x1;
const LEG_RT_CNF = 0x2;
const INT_TYPE_CNF = 0x2;
const INT_ENB_CNF = 0x4;
const TYPE_CNF = 0x8;
const PER_INT_CAP = 0x10;
const SIZE_CAP = 0x20;
const VAL_SET_CNF = 0x40;
const MODE32_CNF = 0x100;
const INT_ROUTE_CNF = 0x3e00;
const INT_ROUTE_SHIFT = 9;
const FSB_EN_CNF = 0x4000;
const FSB_INT_DEL_CAP = 0x8000;

const TIMER_COUNT = 3;
const TICK_NS = 10;
const PERIOD_FS = 10_000_000;
/** Vendor Intel, legacy replacement, 64-bit counter, three timers, revision 1. */
const CAPABILITIES = 0x8086_a000 | ((TIMER_COUNT - 1) << 8) | 0x01;
/** Shorter periods only coalesce; an alarm for each would starve the processor. */
const MIN_PERIOD_TICKS = 1000n;

export type HpetTimerState = {
	readonly config: number;
	readonly comparator: bigint;
	readonly period: bigint;
	readonly fsbAddress: number;
	readonly fsbValue: number;
};

export type HpetState = {
	readonly config: number;
	readonly status: number;
	/** The main counter at `baseNs`; while halted, for good. */
	readonly baseCount: bigint;
	readonly baseNs: number;
	readonly timers: readonly HpetTimerState[];
};

export interface HpetOptions {
	readonly name: string;
	readonly clock: Clock;
	/** A driver of its own for each timer on each interrupt controller input. */
	readonly route: (timer: number, input: number) => Wire;
	/** The inputs that timers may be routed to, a bit each. */
	readonly routeMask: number;
	/** Where timers 0 and 1 go in legacy replacement mode. */
	readonly legacyOut: readonly [Wire, Wire];
	/** High while timers 0 and 1 stand in for the 8254 and the real-time clock, whose lines the board then cuts. */
	readonly legacyReplacement: Wire;
	/** Message-signalled delivery, if the board has it. */
	readonly onMessage?: (address: PhysAddr, data: number) => void;
}

type Comparator = { -readonly [K in keyof HpetTimerState]: HpetTimerState[K] };

export class Hpet implements Device<HpetState> {
	readonly name: string;
	/** The 1 KiB block. */
	readonly registers: IoHandler;
	readonly #options: HpetOptions;
	readonly #clock: Clock;
	readonly #alarms: readonly Timer[];
	readonly #routes = new Map<number, Wire>();
	readonly #driven: (Wire | undefined)[] = new Array<Wire | undefined>(TIMER_COUNT).fill(undefined);
	#timers: Comparator[];
	#config = 0;
	#status = 0;
	#baseCount = 0n;
	#baseNs: Ns = 0;

	constructor(options: HpetOptions) {
		this.name = options.name;
		this.#options = options;
		this.#clock = options.clock;
		this.#timers = powerOnTimers();
		this.#alarms = this.#timers.map((_, n) => options.clock.timer(`${options.name} timer ${n}`, () => this.#expired(n)));
		this.registers = {
			accessBytes: { min: 4, max: 4 },
			read: (offset) => this.#read(offset & ~3) >>> (8 * (offset & 3)),
			write: (offset, bytes, value) => {
				if (bytes === 4 && (offset & 3) === 0) this.#write(offset, value);
			},
		};
	}

	/** The main counter. */
	get count(): bigint {
		if ((this.#config & ENABLE_CNF) === 0) return this.#baseCount;
		return BigInt.asUintN(64, this.#baseCount + BigInt(this.#ticksSinceBase()));
	}

	reset(): void {
		this.#config = this.#status = 0;
		this.#baseCount = 0n;
		this.#baseNs = 0;
		this.#timers = powerOnTimers();
		this.#options.legacyReplacement.set(false);
		for (let n = 0; n < TIMER_COUNT; n++) this.#refresh(n);
	}

	save(): HpetState {
		return {
			config: this.#config,
			status: this.#status,
			baseCount: this.#baseCount,
			baseNs: this.#baseNs,
			timers: this.#timers.map((timer) => ({ ...timer })),
		};
	}

	load(state: HpetState): void {
		this.#config = state.config;
		this.#status = state.status;
		this.#baseCount = state.baseCount;
		this.#baseNs = state.baseNs;
		this.#timers = state.timers.map((timer) => ({ ...timer }));
		this.#options.legacyReplacement.set((this.#config & LEG_RT_CNF) !== 0);
		for (let n = 0; n < TIMER_COUNT; n++) this.#refresh(n);
	}

	#ticksSinceBase(): number {
		return Math.floor((this.#clock.nowNs - this.#baseNs) / TICK_NS);
	}

	#timer(n: number): Comparator {
		return this.#timers[n] as Comparator;
	}

	#widthBits(n: number): number {
		return (this.#timer(n).config & MODE32_CNF) !== 0 ? 32 : 64;
	}

	#isPeriodic(n: number): boolean {
		return (this.#timer(n).config & TYPE_CNF) !== 0;
	}

	// Expiry

	/** A match that the host is late with comes before whatever is written now. */
	#settle(): void {
		for (const [n, alarm] of this.#alarms.entries()) if (alarm.isArmed && alarm.deadlineNs <= this.#clock.nowNs) this.#expired(n);
	}

	#expired(n: number): void {
		const timer = this.#timer(n);
		if (this.#isPeriodic(n) && timer.period > 0n) {
			const width = this.#widthBits(n);
			const late = BigInt.asUintN(width, this.count - timer.comparator);
			const skipped = timer.period < MIN_PERIOD_TICKS ? late + MIN_PERIOD_TICKS : late;
			timer.comparator = BigInt.asUintN(width, timer.comparator + (skipped / timer.period + 1n) * timer.period);
		}
		this.#fire(n);
		this.#arm(n);
	}

	#fire(n: number): void {
		const { config, fsbAddress, fsbValue } = this.#timer(n);
		const isLevel = (config & INT_TYPE_CNF) !== 0;
		if (isLevel) {
			this.#status |= 1 << n;
			this.#drive(n);
		}
		if ((config & INT_ENB_CNF) === 0) return;
		if ((config & FSB_EN_CNF) !== 0) this.#options.onMessage?.(fsbAddress, fsbValue);
		else if (!isLevel) {
			const wire = this.#wire(n);
			wire?.set(true);
			wire?.set(false);
		}
	}

	/** Where timer `n` interrupts now; a route that the board does not have leads nowhere. */
	#wire(n: number): Wire | undefined {
		if (n < 2 && (this.#config & LEG_RT_CNF) !== 0) return this.#options.legacyOut[n];
		const input = (this.#timer(n).config & INT_ROUTE_CNF) >> INT_ROUTE_SHIFT;
		if ((this.#options.routeMask & (1 << input)) === 0) return undefined;
		const key = n * 32 + input;
		let wire = this.#routes.get(key);
		if (wire === undefined) {
			wire = this.#options.route(n, input);
			this.#routes.set(key, wire);
		}
		return wire;
	}

	/** Holds the line of a level-triggered timer while its status bit stands. */
	#drive(n: number): void {
		const { config } = this.#timer(n);
		const isHeld = (this.#status & (1 << n)) !== 0 && (config & (INT_ENB_CNF | FSB_EN_CNF)) === INT_ENB_CNF;
		const wire = isHeld ? this.#wire(n) : undefined;
		const before = this.#driven[n];
		if (before !== undefined && before !== wire) before.set(false);
		this.#driven[n] = wire;
		wire?.set(true);
	}

	#arm(n: number): void {
		const alarm = this.#alarms[n] as Timer;
		const deadlineNs = this.#nextMatchNs(n);
		if (Number.isSafeInteger(deadlineNs)) alarm.arm(deadlineNs);
		else if (alarm.isArmed) alarm.disarm();
	}

	#nextMatchNs(n: number): Ns {
		const { config, comparator } = this.#timer(n);
		// Nobody sees an edge-triggered timer that may not interrupt; a periodic one catches up when it may.
		const isSeen = (config & (INT_ENB_CNF | INT_TYPE_CNF)) !== 0;
		if ((this.#config & ENABLE_CNF) === 0 || !isSeen) return Number.POSITIVE_INFINITY;
		const width = this.#widthBits(n);
		const ahead = BigInt.asUintN(width, comparator - this.count);
		// A match that has just been counts again after a whole round.
		const ticks = ahead === 0n ? 2 ** width : Number(ahead);
		return this.#baseNs + (this.#ticksSinceBase() + ticks) * TICK_NS;
	}

	/** After any change to timer `n`. */
	#refresh(n: number): void {
		this.#drive(n);
		this.#arm(n);
	}

	// Registers

	#read(offset: number): number {
		switch (offset) {
			case GCAP_ID:
				return CAPABILITIES >>> 0;
			case GCAP_ID + 4:
				return PERIOD_FS;
			case GEN_CONF:
				return this.#config;
			case GINTR_STA:
				return this.#status;
			case MAIN_CNT:
				return low32(this.count);
			case MAIN_CNT + 4:
				return high32(this.count);
		}
		const n = Math.floor((offset - TIMERS) / TIMER_STRIDE);
		if (n < 0 || n >= TIMER_COUNT) return 0;
		return this.#readTimer(n, (offset - TIMERS) % TIMER_STRIDE);
	}

	#readTimer(n: number, offset: number): number {
		const { config, fsbAddress, fsbValue } = this.#timer(n);
		switch (offset) {
			case TN_CONF:
				return config | PER_INT_CAP | SIZE_CAP | (this.#options.onMessage === undefined ? 0 : FSB_INT_DEL_CAP);
			case TN_CONF + 4:
				return this.#options.routeMask >>> 0;
			case TN_COMPARATOR:
				return low32(this.#currentComparator(n));
			case TN_COMPARATOR + 4:
				return high32(this.#currentComparator(n));
			case TN_FSB:
				return fsbValue;
			case TN_FSB + 4:
				return fsbAddress;
			default:
				return 0;
		}
	}

	/** A periodic comparator that nobody waits for is brought up to date only here. */
	#currentComparator(n: number): bigint {
		this.#catchUp(n);
		return this.#timer(n).comparator;
	}

	#catchUp(n: number): void {
		const timer = this.#timer(n);
		const width = this.#widthBits(n);
		const late = BigInt.asUintN(width, this.count - timer.comparator);
		// In the past, rather than far ahead: half of the number circle each.
		const isLate = late > 0n && late < 1n << BigInt(width - 1);
		if (this.#isPeriodic(n) && timer.period > 0n && isLate && !(this.#alarms[n] as Timer).isArmed)
			timer.comparator = BigInt.asUintN(width, timer.comparator + (late / timer.period + 1n) * timer.period);
	}

	#write(offset: number, value: number): void {
		this.#settle();
		switch (offset) {
			case GEN_CONF:
				this.#writeConfig(value);
				return;
			case GINTR_STA:
				this.#status &= ~value;
				for (let n = 0; n < TIMER_COUNT; n++) this.#drive(n);
				return;
			case MAIN_CNT:
				this.#setCount((this.count & 0xffff_ffff_0000_0000n) | BigInt(value));
				return;
			case MAIN_CNT + 4:
				this.#setCount((this.count & 0xffff_ffffn) | (BigInt(value) << 32n));
				return;
		}
		const n = Math.floor((offset - TIMERS) / TIMER_STRIDE);
		if (n < 0 || n >= TIMER_COUNT) return;
		this.#writeTimer(n, (offset - TIMERS) % TIMER_STRIDE, value);
		this.#refresh(n);
	}

	#setCount(count: bigint): void {
		this.#baseCount = count;
		this.#baseNs = this.#clock.nowNs;
		for (let n = 0; n < TIMER_COUNT; n++) this.#arm(n);
	}

	#writeConfig(value: number): void {
		const count = this.count;
		this.#config = value & (ENABLE_CNF | LEG_RT_CNF);
		this.#setCount(count);
		this.#options.legacyReplacement.set((value & LEG_RT_CNF) !== 0);
		for (let n = 0; n < TIMER_COUNT; n++) this.#drive(n);
	}

	#writeTimer(n: number, offset: number, value: number): void {
		const timer = this.#timer(n);
		switch (offset) {
			case TN_CONF: {
				this.#catchUp(n);
				let writable = INT_TYPE_CNF | INT_ENB_CNF | TYPE_CNF | VAL_SET_CNF | MODE32_CNF | INT_ROUTE_CNF;
				if (this.#options.onMessage !== undefined) writable |= FSB_EN_CNF;
				let config = value & writable;
				// A route that the timer does not have reads back as another.
				if ((this.#options.routeMask & (1 << ((config & INT_ROUTE_CNF) >> INT_ROUTE_SHIFT))) === 0) config &= ~INT_ROUTE_CNF;
				timer.config = config;
				if ((config & MODE32_CNF) !== 0) {
					timer.comparator &= 0xffff_ffffn;
					timer.period &= 0xffff_ffffn;
				}
				if ((config & INT_TYPE_CNF) === 0) this.#status &= ~(1 << n);
				return;
			}
			case TN_COMPARATOR:
				this.#writeComparator(n, 0xffff_ffffn, BigInt(value));
				return;
			case TN_COMPARATOR + 4:
				if (this.#widthBits(n) === 64) this.#writeComparator(n, 0xffff_ffff_0000_0000n, BigInt(value) << 32n);
				return;
			case TN_FSB:
				timer.fsbValue = value;
				return;
			case TN_FSB + 4:
				timer.fsbAddress = value;
		}
	}

	/**
	 * A write to a periodic timer sets its period, and with VAL_SET the next match as well (§2.3.9.2.2, "Periodic Mode").
	 */
	#writeComparator(n: number, mask: bigint, value: bigint): void {
		const timer = this.#timer(n);
		if (!this.#isPeriodic(n) || (timer.config & VAL_SET_CNF) !== 0) timer.comparator = (timer.comparator & ~mask) | value;
		if (this.#isPeriodic(n)) timer.period = (timer.period & ~mask) | value;
		timer.config &= ~VAL_SET_CNF;
	}
}

function powerOnTimers(): Comparator[] {
	return Array.from({ length: TIMER_COUNT }, () => ({
		config: 0,
		comparator: 0xffff_ffff_ffff_ffffn,
		period: 0n,
		fsbAddress: 0,
		fsbValue: 0,
	}));
}

function low32(value: bigint): number {
	return Number(value & 0xffff_ffffn);
}

function high32(value: bigint): number {
	return Number(value >> 32n);
}
