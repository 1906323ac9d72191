/**
 * ACPI fixed hardware (ACPI 6.5 §4.8, "ACPI Hardware Specification"): PM1 event and control blocks, power management
 * timer, one general-purpose event block, and the SMI command port that hands them to the operating system.
 */
import type { Ns } from "../base/units.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Clock, Timer } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import { InputPin } from "./input-pin.ts";
import { TickRate } from "./ticks.ts";

export const PM_TIMER_HZ = 3_579_545;

const TMR_STS = 1 << 0;
const GBL_STS = 1 << 5;
const PWRBTN_STS = 1 << 8;
const SLPBTN_STS = 1 << 9;
const RTC_STS = 1 << 10;
const WAK_STS = 1 << 15;
const STATUS_BITS = TMR_STS | (1 << 4) | GBL_STS | PWRBTN_STS | SLPBTN_STS | RTC_STS | WAK_STS;
/** The enable bits stand where their status bits do; bus mastering and wake have none. */
const ENABLE_BITS = TMR_STS | GBL_STS | PWRBTN_STS | SLPBTN_STS | RTC_STS;
const SCI_EN = 1 << 0;
const SLP_TYP_SHIFT = 10;
const SLP_TYP_MASK = 7;
const SLP_EN = 1 << 13;
/** GBL_RLS and SLP_EN read as zero: the one speaks to firmware that waits for the global lock, of which there is none. */
const CONTROL_BITS = SCI_EN | (1 << 1) | (SLP_TYP_MASK << SLP_TYP_SHIFT);

export type AcpiPmState = {
	readonly pm1Status: number;
	readonly pm1Enable: number;
	readonly pm1Control: number;
	readonly gpeStatus: number;
	readonly gpeEnable: number;
	readonly gpeLines: number;
	readonly smiCommand: number;
	readonly smiStatus: number;
	/** TMR_STS is right up to this tick of the timer. */
	readonly timerTicks: number;
};

export interface AcpiPmOptions {
	readonly name: string;
	readonly clock: Clock;
	/** The system control interrupt, level. */
	readonly sci: Wire;
	/** SLP_EN has been written: the three bits of SLP_TYP, whose meaning the board's DSDT gives. */
	readonly onSleep: (sleepType: number) => void;
	/** FADT's ACPI_ENABLE and ACPI_DISABLE. */
	readonly enableCommand: number;
	readonly disableCommand: number;
	/** Other values written to the SMI command port. */
	readonly onSmiCommand?: (command: number) => void;
	/** FADT's TMR_VAL_EXT. Default: 32. */
	readonly timerBits?: 24 | 32;
	/** Events 0 to this; the GPE0 block has a quarter as many bytes. Default: 16. */
	readonly gpeCount?: 8 | 16 | 24 | 32;
}

export class AcpiPm implements Device<AcpiPmState> {
	readonly name: string;
	/** PM1a_EVT_BLK: 4 bytes, status then enable. */
	readonly pm1Event: IoHandler;
	/** PM1a_CNT_BLK: 2 bytes. */
	readonly pm1Control: IoHandler;
	/** PM_TMR_BLK: 4 bytes. */
	readonly pmTimer: IoHandler;
	/** GPE0_BLK: status bytes, then as many enable bytes. */
	readonly gpe0: IoHandler;
	/** SMI_CMD and the status byte behind it. */
	readonly smiPort: IoHandler;
	readonly gpe0Bytes: number;
	readonly #options: AcpiPmOptions;
	readonly #clock: Clock;
	readonly #rate = new TickRate(PM_TIMER_HZ);
	readonly #overflow: Timer;
	readonly #gpePins: readonly Wire[];
	readonly #halfRange: number;
	#pm1Status = 0;
	#pm1Enable = 0;
	#pm1Control = 0;
	#gpeStatus = 0;
	#gpeEnable = 0;
	#gpeLines = 0;
	#smiCommand = 0;
	#smiStatus = 0;
	#timerTicks = 0;

	constructor(options: AcpiPmOptions) {
		this.name = options.name;
		this.#options = options;
		this.#clock = options.clock;
		this.#halfRange = 2 ** ((options.timerBits ?? 32) - 1);
		this.#overflow = options.clock.timer(`${options.name} timer`, () => this.#update());
		const gpeCount = options.gpeCount ?? 16;
		this.gpe0Bytes = gpeCount / 4;
		this.#gpePins = Array.from(
			{ length: gpeCount },
			(_, n) =>
				new InputPin(
					() => (this.#gpeLines & (1 << n)) !== 0,
					(high) => {
						this.#gpeLines = high ? this.#gpeLines | (1 << n) : this.#gpeLines & ~(1 << n);
						this.#update();
					},
				),
		);
		// Byte registers behind 16-bit names: every width comes out right.
		const byBytes = (read: (offset: number) => number, write: (offset: number, value: number) => void): IoHandler => ({
			accessBytes: { min: 1, max: 1 },
			read,
			write: (offset, _bytes, value) => write(offset, value),
		});
		this.pm1Event = byBytes(
			(offset) => this.#readPm1Event(offset),
			(offset, value) => this.#writePm1Event(offset, value),
		);
		this.gpe0 = byBytes(
			(offset) => this.#readGpe(offset),
			(offset, value) => this.#writeGpe(offset, value),
		);
		this.smiPort = byBytes(
			(offset) => (offset === 0 ? this.#smiCommand : this.#smiStatus),
			(offset, value) => this.#writeSmiPort(offset, value),
		);
		this.pm1Control = byBytes(
			(offset) => (this.#pm1Control >> (8 * offset)) & 0xff,
			(offset, value) => this.#writePm1Control(offset, value),
		);
		this.pmTimer = {
			accessBytes: { min: 1, max: 4 },
			read: (offset) => this.timerValue >>> (8 * offset),
			write: () => {},
		};
	}

	/** General-purpose event `n`: sets its status bit while high. */
	gpe(n: number): Wire {
		return this.#gpePins[n] as Wire;
	}

	/** The guest has taken ACPI over: it listens to the power button, and the SCI is live. */
	get isEnabled(): boolean {
		return (this.#pm1Control & SCI_EN) !== 0;
	}

	get timerValue(): number {
		return this.#rate.ticksAt(this.#clock.nowNs) % (2 * this.#halfRange);
	}

	/** A short press. False if the guest has not asked to hear of it. */
	pressPowerButton(): boolean {
		this.#raise(PWRBTN_STS);
		return this.isEnabled && (this.#pm1Enable & PWRBTN_STS) !== 0;
	}

	pressSleepButton(): boolean {
		this.#raise(SLPBTN_STS);
		return this.isEnabled && (this.#pm1Enable & SLPBTN_STS) !== 0;
	}

	/** The real-time clock's alarm has gone off. */
	raiseRtcAlarm(): void {
		this.#raise(RTC_STS);
	}

	/** The machine leaves a sleeping state. */
	wake(): void {
		this.#raise(WAK_STS);
	}

	/** As firmware leaves it for guests that are started without any: already in ACPI mode. */
	enable(): void {
		this.#pm1Control |= SCI_EN;
		this.#update();
	}

	reset(): void {
		this.#pm1Status = this.#pm1Enable = this.#pm1Control = 0;
		this.#gpeStatus = this.#gpeEnable = 0;
		this.#smiCommand = this.#smiStatus = 0;
		this.#timerTicks = this.#rate.ticksAt(this.#clock.nowNs);
		this.#update();
	}

	save(): AcpiPmState {
		this.#update();
		return {
			pm1Status: this.#pm1Status,
			pm1Enable: this.#pm1Enable,
			pm1Control: this.#pm1Control,
			gpeStatus: this.#gpeStatus,
			gpeEnable: this.#gpeEnable,
			gpeLines: this.#gpeLines,
			smiCommand: this.#smiCommand,
			smiStatus: this.#smiStatus,
			timerTicks: this.#timerTicks,
		};
	}

	load(state: AcpiPmState): void {
		this.#pm1Status = state.pm1Status;
		this.#pm1Enable = state.pm1Enable;
		this.#pm1Control = state.pm1Control;
		this.#gpeStatus = state.gpeStatus;
		this.#gpeEnable = state.gpeEnable;
		this.#gpeLines = state.gpeLines;
		this.#smiCommand = state.smiCommand;
		this.#smiStatus = state.smiStatus;
		this.#timerTicks = state.timerTicks;
		this.#update();
	}

	#raise(statusBit: number): void {
		this.#pm1Status |= statusBit;
		this.#update();
	}

	/** TMR_STS is set whenever the timer's top bit changes, either way. */
	#gatherTimer(): void {
		const ticks = this.#rate.ticksAt(this.#clock.nowNs);
		if (Math.floor(ticks / this.#halfRange) !== Math.floor(this.#timerTicks / this.#halfRange)) this.#pm1Status |= TMR_STS;
		this.#timerTicks = ticks;
	}

	#update(): void {
		this.#gatherTimer();
		this.#gpeStatus |= this.#gpeLines;
		const isFixedEvent = (this.#pm1Status & this.#pm1Enable & ENABLE_BITS) !== 0;
		const isGeneralEvent = (this.#gpeStatus & this.#gpeEnable) !== 0;
		this.#options.sci.set(this.isEnabled && (isFixedEvent || isGeneralEvent));
		if ((this.#pm1Enable & TMR_STS) !== 0) this.#overflow.arm(this.#nextOverflowNs());
		else if (this.#overflow.isArmed) this.#overflow.disarm();
	}

	#nextOverflowNs(): Ns {
		return this.#rate.nsOf((Math.floor(this.#timerTicks / this.#halfRange) + 1) * this.#halfRange);
	}

	#readPm1Event(offset: number): number {
		this.#gatherTimer();
		const value = offset < 2 ? this.#pm1Status : this.#pm1Enable;
		return (value >> (8 * (offset & 1))) & 0xff;
	}

	#writePm1Event(offset: number, value: number): void {
		this.#gatherTimer();
		const bits = value << (8 * (offset & 1));
		// Status bits are cleared by writing ones.
		if (offset < 2) this.#pm1Status &= ~(bits & STATUS_BITS);
		else this.#pm1Enable = replaceByte(this.#pm1Enable, offset & 1, value) & ENABLE_BITS;
		this.#update();
	}

	#writePm1Control(offset: number, value: number): void {
		const written = replaceByte(this.#pm1Control, offset, value);
		this.#pm1Control = written & CONTROL_BITS;
		this.#update();
		if (offset === 1 && (written & SLP_EN) !== 0) this.#options.onSleep((written >> SLP_TYP_SHIFT) & SLP_TYP_MASK);
	}

	#readGpe(offset: number): number {
		const half = this.gpe0Bytes / 2;
		return offset < half ? (this.#gpeStatus >>> (8 * offset)) & 0xff : (this.#gpeEnable >>> (8 * (offset - half))) & 0xff;
	}

	#writeGpe(offset: number, value: number): void {
		const half = this.gpe0Bytes / 2;
		if (offset < half) this.#gpeStatus &= ~(value << (8 * offset));
		else this.#gpeEnable = replaceByte(this.#gpeEnable, offset - half, value);
		this.#update();
	}

	#writeSmiPort(offset: number, value: number): void {
		if (offset !== 0) {
			this.#smiStatus = value;
			return;
		}
		this.#smiCommand = value;
		if (value === this.#options.enableCommand) this.#pm1Control |= SCI_EN;
		else if (value === this.#options.disableCommand) this.#pm1Control &= ~SCI_EN;
		else this.#options.onSmiCommand?.(value);
		this.#update();
	}
}

function replaceByte(value: number, byteIndex: number, byte: number): number {
	return (value & ~(0xff << (8 * byteIndex))) | (byte << (8 * byteIndex));
}
