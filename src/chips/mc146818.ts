/**
 * MC146818 real-time clock with 128 bytes of RAM (Motorola MC146818A data sheet, "Real-Time Clock plus RAM (RTC)"). Time
 * is worked out from the machine's clock when somebody looks; alarms are set only for interrupts that are enabled.
 */
import { NS_PER_S, NS_PER_US, type Ns } from "../base/units.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Clock, Timer } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import { calendarOf, dayOfWeek, SECONDS_PER_DAY, secondsOf } from "./mc146818-calendar.ts";
import { TickRate } from "./ticks.ts";

const SECONDS = 0;
const SECONDS_ALARM = 1;
const MINUTES = 2;
const MINUTES_ALARM = 3;
const HOURS = 4;
const HOURS_ALARM = 5;
const DAY_OF_WEEK = 6;
const DAY_OF_MONTH = 7;
const MONTH = 8;
const YEAR = 9;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;

const A_UIP = 0x80;
const A_DV = 0x70;
const A_DV_32768_HZ = 0x20;
const A_RS = 0x0f;
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_SQWE = 0x08;
const B_DM = 0x04;
const B_24_HOURS = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VRT = 0x80;
const HOURS_PM = 0x80;
/** Alarm bytes from here on match anything. */
const ALARM_ANY = 0xc0;

const RAM_BYTES = 128;
/** The first update after the divider is let go comes half a second later. */
const DIVIDER_START_NS = NS_PER_S / 2;
/** UIP rises this long before an update, which then takes 1984 µs on a 32.768 kHz time base. */
const UIP_NS = (244 + 1984) * NS_PER_US;
const OSCILLATOR = new TickRate(32_768);

export type RtcState = {
	readonly index: number;
	readonly ram: Uint8Array;
	/** The time registers in `ram` hold the second that began at `secondStartNs`. */
	readonly secondStartNs: number;
	/** Register C's flags are right up to here. */
	readonly flagsNs: number;
};

export interface RtcOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly irq: Wire;
	/** Wall time at the clock's present moment: seconds since 1970-01-01, in the zone the guest shall see. */
	readonly initialWallTimeS: number;
	/** Where the board keeps the century in BCD (a PC: 0x32); left out, that byte is plain RAM. */
	readonly centuryIndex?: number;
}

export class Mc146818 implements Device<RtcState> {
	readonly name: string;
	/** Offset 0: index (write-only, 7 bits); offset 1: data. */
	readonly registers: IoHandler;
	readonly #clock: Clock;
	readonly #irq: Wire;
	readonly #timer: Timer;
	readonly #centuryIndex: number | undefined;
	readonly #ram = new Uint8Array(RAM_BYTES);
	#index = 0;
	#secondStartNs: Ns;
	#flagsNs: Ns;

	constructor(options: RtcOptions) {
		this.name = options.name;
		this.#clock = options.clock;
		this.#irq = options.irq;
		this.#centuryIndex = options.centuryIndex;
		this.#timer = options.clock.timer(options.name, () => this.#refresh());
		this.registers = {
			accessBytes: { min: 1, max: 1 },
			read: (offset) => (offset === 0 ? 0xff : this.readByte(this.#index)),
			write: (offset, _bytes, value) => {
				if (offset === 0) this.#index = value & (RAM_BYTES - 1);
				else this.writeByte(this.#index, value);
			},
		};
		const wallSecond = Math.floor(options.initialWallTimeS);
		this.#flagsNs = options.clock.nowNs;
		this.#secondStartNs = this.#flagsNs - Math.round((options.initialWallTimeS - wallSecond) * NS_PER_S);
		this.#ram[REGISTER_A] = A_DV_32768_HZ | 6;
		this.#ram[REGISTER_B] = B_24_HOURS;
		this.#encodeTime(wallSecond);
	}

	/** What the guest would read at `index`; also for firmware that fills in the RAM. */
	readByte(index: number): number {
		if (index < REGISTER_A || index === this.#centuryIndex) this.#catchUp();
		if (index === REGISTER_A) return (this.#byte(REGISTER_A) & ~A_UIP) | (this.#isUpdateInProgress ? A_UIP : 0);
		if (index === REGISTER_D) return D_VRT;
		if (index !== REGISTER_C) return this.#byte(index);
		this.#refresh();
		const flags = this.#byte(REGISTER_C);
		this.#ram[REGISTER_C] = 0;
		this.#refresh();
		return flags;
	}

	writeByte(index: number, value: number): void {
		if (index === REGISTER_C || index === REGISTER_D) return;
		this.#gatherFlags();
		if (index === REGISTER_A) this.#writeRegisterA(value);
		else if (index === REGISTER_B) this.#writeRegisterB(value);
		else this.#ram[index] = value;
		this.#refresh();
	}

	/** Sets the clock, as a person would in a setup program: seconds since 1970-01-01, in the zone that the guest shall see. */
	setWallTime(seconds: number): void {
		this.#gatherFlags();
		const whole = Math.floor(seconds);
		this.#secondStartNs = this.#clock.nowNs - Math.round((seconds - whole) * NS_PER_S);
		this.#encodeTime(whole);
		this.#refresh();
	}

	/** RESET clears interrupt enables and flags; time and RAM live on the battery. */
	reset(): void {
		this.#gatherFlags();
		this.#ram[REGISTER_B] = this.#byte(REGISTER_B) & ~(B_PIE | B_AIE | B_UIE | B_SQWE);
		this.#ram[REGISTER_C] = 0;
		this.#refresh();
	}

	save(): RtcState {
		this.#refresh();
		return { index: this.#index, ram: this.#ram.slice(), secondStartNs: this.#secondStartNs, flagsNs: this.#flagsNs };
	}

	load(state: RtcState): void {
		this.#index = state.index;
		this.#ram.set(state.ram);
		this.#secondStartNs = state.secondStartNs;
		this.#flagsNs = state.flagsNs;
		this.#irq.set((this.#byte(REGISTER_C) & C_IRQF) !== 0);
		this.#refresh();
	}

	#byte(index: number): number {
		return this.#ram[index] as number;
	}

	#writeRegisterA(value: number): void {
		const wasRunning = this.#isDividerRunning;
		this.#catchUp();
		this.#ram[REGISTER_A] = value & ~A_UIP;
		if (!wasRunning && this.#isDividerRunning) this.#secondStartNs = this.#clock.nowNs + DIVIDER_START_NS - NS_PER_S;
	}

	#writeRegisterB(value: number): void {
		this.#catchUp();
		// SET stops updates, and with them their interrupt.
		this.#ram[REGISTER_B] = (value & B_SET) !== 0 ? value & ~B_UIE : value;
	}

	/** DV = 11x holds the divider chain in reset; other settings than 010 belong to crystals a PC does not have. */
	get #isDividerRunning(): boolean {
		return (this.#byte(REGISTER_A) & A_DV) < 0x60;
	}

	get #isUpdating(): boolean {
		return this.#isDividerRunning && (this.#byte(REGISTER_B) & B_SET) === 0;
	}

	get #isUpdateInProgress(): boolean {
		if (!this.#isUpdating) return false;
		const sinceSecondNs = (this.#clock.nowNs - this.#secondStartNs) % NS_PER_S;
		return sinceSecondNs >= NS_PER_S - UIP_NS;
	}

	/** Brings the time registers up to the present second. While SET holds them, the divider goes on underneath. */
	#catchUp(): void {
		const seconds = this.#isDividerRunning ? Math.floor((this.#clock.nowNs - this.#secondStartNs) / NS_PER_S) : 0;
		if (seconds <= 0) return;
		this.#secondStartNs += seconds * NS_PER_S;
		if (this.#isUpdating) this.#encodeTime(this.#decodeTime() + seconds);
	}

	#encode(value: number): number {
		return (this.#byte(REGISTER_B) & B_DM) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
	}

	#decode(value: number): number {
		return (this.#byte(REGISTER_B) & B_DM) !== 0 ? value : (value >> 4) * 10 + (value & 15);
	}

	#encodeHour(hour: number): number {
		if ((this.#byte(REGISTER_B) & B_24_HOURS) !== 0) return this.#encode(hour);
		return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? HOURS_PM : 0);
	}

	#decodeHour(value: number): number {
		if ((this.#byte(REGISTER_B) & B_24_HOURS) !== 0) return this.#decode(value);
		return (this.#decode(value & ~HOURS_PM) % 12) + ((value & HOURS_PM) !== 0 ? 12 : 0);
	}

	#decodeTime(): number {
		const shortYear = this.#decode(this.#byte(YEAR));
		const century = this.#centuryIndex === undefined ? 20 : fromBcd(this.#byte(this.#centuryIndex));
		return secondsOf({
			second: this.#decode(this.#byte(SECONDS)),
			minute: this.#decode(this.#byte(MINUTES)),
			hour: this.#decodeHour(this.#byte(HOURS)),
			day: this.#decode(this.#byte(DAY_OF_MONTH)),
			month: this.#decode(this.#byte(MONTH)),
			year: century * 100 + shortYear,
		});
	}

	#encodeTime(seconds: number): void {
		const time = calendarOf(seconds);
		this.#ram[SECONDS] = this.#encode(time.second);
		this.#ram[MINUTES] = this.#encode(time.minute);
		this.#ram[HOURS] = this.#encodeHour(time.hour);
		this.#ram[DAY_OF_WEEK] = this.#encode(dayOfWeek(seconds));
		this.#ram[DAY_OF_MONTH] = this.#encode(time.day);
		this.#ram[MONTH] = this.#encode(time.month);
		this.#ram[YEAR] = this.#encode(((time.year % 100) + 100) % 100);
		if (this.#centuryIndex !== undefined) {
			const century = Math.floor(time.year / 100) % 100;
			this.#ram[this.#centuryIndex] = (Math.floor(century / 10) << 4) | (century % 10);
		}
	}

	/** Oscillator ticks between periodic interrupts; 0 when switched off. */
	get #periodTicks(): number {
		const rate = this.#byte(REGISTER_A) & A_RS;
		if (rate === 0 || !this.#isDividerRunning) return 0;
		// The two fastest rates repeat two slower ones on a 32.768 kHz time base.
		return 1 << ((rate <= 2 ? rate + 7 : rate) - 1);
	}

	/** The first periodic interrupt after `ns`. */
	#nextPeriodNs(ns: Ns): Ns {
		const periodTicks = this.#periodTicks;
		if (periodTicks === 0) return Number.POSITIVE_INFINITY;
		// Counted from a second's start, so that the phase is the divider's.
		const baseNs = this.#secondStartNs - Math.ceil(Math.max(0, this.#secondStartNs - ns) / NS_PER_S) * NS_PER_S;
		const periods = Math.floor(OSCILLATOR.ticksAt(ns - baseNs) / periodTicks);
		return baseNs + OSCILLATOR.nsOf((periods + 1) * periodTicks);
	}

	/** The first update that ends after `ns`. */
	#nextUpdateNs(ns: Ns): Ns {
		if (!this.#isUpdating) return Number.POSITIVE_INFINITY;
		return this.#secondStartNs + (Math.floor((ns - this.#secondStartNs) / NS_PER_S) + 1) * NS_PER_S;
	}

	/** The end of the first update after `ns` whose time matches the alarm bytes. */
	#nextAlarmNs(ns: Ns): Ns {
		const updateNs = this.#nextUpdateNs(ns);
		if (updateNs === Number.POSITIVE_INFINITY) return updateNs;
		const first = this.#decodeTime() + Math.round((updateNs - this.#secondStartNs) / NS_PER_S);
		const firstOfDay = ((first % SECONDS_PER_DAY) + SECONDS_PER_DAY) % SECONDS_PER_DAY;
		const hour0 = Math.floor(firstOfDay / 3600);
		const minute0 = Math.floor(firstOfDay / 60) % 60;
		const second0 = firstOfDay % 60;
		const matches = (index: number, encoded: number) => this.#byte(index) >= ALARM_ANY || this.#byte(index) === encoded;
		for (let hours = 0; hours <= 24; hours++) {
			if (!matches(HOURS_ALARM, this.#encodeHour((hour0 + hours) % 24))) continue;
			for (let minute = hours === 0 ? minute0 : 0; minute < 60; minute++) {
				if (!matches(MINUTES_ALARM, this.#encode(minute))) continue;
				for (let second = hours === 0 && minute === minute0 ? second0 : 0; second < 60; second++) {
					if (!matches(SECONDS_ALARM, this.#encode(second))) continue;
					return updateNs + (hours * 3600 + (minute - minute0) * 60 + (second - second0)) * NS_PER_S;
				}
			}
		}
		return Number.POSITIVE_INFINITY;
	}

	/** Sets the flags of everything that has happened since they were last right. */
	#gatherFlags(): void {
		const nowNs = this.#clock.nowNs;
		const sinceNs = this.#flagsNs;
		if (nowNs === sinceNs) return;
		let flags = this.#byte(REGISTER_C);
		if ((flags & C_PF) === 0 && this.#nextPeriodNs(sinceNs) <= nowNs) flags |= C_PF;
		if (this.#nextUpdateNs(sinceNs) <= nowNs) {
			flags |= C_UF;
			if ((flags & C_AF) === 0 && this.#nextAlarmNs(sinceNs) <= nowNs) flags |= C_AF;
		}
		this.#ram[REGISTER_C] = flags;
		this.#catchUp();
		this.#flagsNs = nowNs;
	}

	/** Flags, IRQ and the next alarm, as of now. */
	#refresh(): void {
		this.#gatherFlags();
		const flags = this.#byte(REGISTER_C) & (C_PF | C_AF | C_UF);
		const enables = this.#byte(REGISTER_B) & (B_PIE | B_AIE | B_UIE);
		const isRequesting = (flags & enables) !== 0;
		this.#ram[REGISTER_C] = flags | (isRequesting ? C_IRQF : 0);
		this.#irq.set(isRequesting);
		// Once IRQ is up nothing changes it but a read of register C.
		let nextNs = Number.POSITIVE_INFINITY;
		if (!isRequesting) {
			if ((enables & B_PIE) !== 0) nextNs = Math.min(nextNs, this.#nextPeriodNs(this.#flagsNs));
			if ((enables & B_UIE) !== 0) nextNs = Math.min(nextNs, this.#nextUpdateNs(this.#flagsNs));
			if ((enables & B_AIE) !== 0) nextNs = Math.min(nextNs, this.#nextAlarmNs(this.#flagsNs));
		}
		if (nextNs !== Number.POSITIVE_INFINITY) this.#timer.arm(nextNs);
		else if (this.#timer.isArmed) this.#timer.disarm();
	}
}

function fromBcd(value: number): number {
	return (value >> 4) * 10 + (value & 15);
}
