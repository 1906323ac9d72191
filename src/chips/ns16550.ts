/**
 * 16550A UART (National Semiconductor PC16550D, TL/C/8652). The line to the host is fast and lossless: sending takes no
 * time, received bytes wait for room in the FIFO and come in bursts at a real line's pace, so that a guest can keep up.
 */
import { NS_PER_S, type Ns } from "../base/units.ts";
import type { IoHandler } from "../machine/bus.ts";
import type { Clock, Timer } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import { InputPin } from "./input-pin.ts";
import {
	FCR_ENABLE,
	FCR_RCVR_RESET,
	IER_EDSSI,
	IER_ELSI,
	IER_ERBFI,
	IER_ETBEI,
	IIR_FIFOS_ENABLED,
	IIR_LINE_STATUS,
	IIR_MODEM_STATUS,
	IIR_NONE,
	IIR_RECEIVED_DATA,
	IIR_THRE,
	IIR_TIMEOUT,
	LCR_BREAK,
	LCR_DLAB,
	LCR_PEN,
	LCR_STB,
	LCR_WLS,
	LSR_BI,
	LSR_DR,
	LSR_FE,
	LSR_FIFO_ERROR,
	LSR_OE,
	LSR_PE,
	LSR_TEMT,
	LSR_THRE,
	MCR_DTR,
	MCR_LOOP,
	MCR_OUT1,
	MCR_OUT2,
	MCR_RTS,
	MSR_CTS,
	MSR_DCD,
	MSR_DSR,
	MSR_RI,
	MSR_TERI,
} from "./ns16550-registers.ts";

const RBR_THR = 0;
const IER = 1;
const IIR_FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;
const SCR = 7;

const FIFO_BYTES = 16;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
const DEFAULT_CRYSTAL_HZ = 1_843_200;
const DEFAULT_QUEUE_BYTES = 4096;
const SLOWEST_BAUD = 115_200;
/** A character and what came with it: BI, FE and PE in their LSR places, shifted up. */
const ERROR_SHIFT = 8;
const ERRORS = LSR_PE | LSR_FE | LSR_BI;

export type UartState = {
	readonly ier: number;
	readonly fcr: number;
	readonly lcr: number;
	readonly mcr: number;
	readonly msrDeltas: number;
	/** CTS, DSR, RI, DCD inputs, in their MSR places. */
	readonly modemInputs: number;
	readonly scr: number;
	readonly divisor: number;
	readonly receiveFifo: readonly number[];
	/** Bytes from the host that have not reached the FIFO yet. */
	readonly receiveQueue: readonly number[];
	readonly hasOverrun: boolean;
	readonly isThrePending: boolean;
	readonly isTimeoutPending: boolean;
	readonly hasTimeoutDeadline: boolean;
	readonly timeoutDeadlineNs: number;
	/** When the line is free for the next burst. */
	readonly lineFreeNs: number;
};

export interface UartOptions {
	readonly name: string;
	readonly clock: Clock;
	readonly irq: Wire;
	/** A byte leaves for the host. */
	readonly onTransmit: (byte: number) => void;
	/** There is room for received bytes again, after `receive` took fewer than it was given. */
	readonly onSpace?: () => void;
	/** MCR's DTR, RTS and OUT1 have changed. */
	readonly onModemControl?: (isDtr: boolean, isRts: boolean) => void;
	/** The host stops sending while RTS is off. Default: false, for the many guests that never turn it on. */
	readonly isRtsHonoured?: boolean;
	/** IRQ reaches the board only while OUT2 is on, as on ISA cards. Default: true. */
	readonly isIrqGatedByOut2?: boolean;
	readonly crystalHz?: number;
	readonly queueBytes?: number;
}

export class Ns16550 implements Device<UartState> {
	readonly name: string;
	/** Offsets 0–7. */
	readonly registers: IoHandler;
	/** Modem inputs; asserted from the start, as by a null modem, except RI. */
	readonly cts: Wire;
	readonly dsr: Wire;
	readonly ri: Wire;
	readonly dcd: Wire;
	readonly #options: UartOptions;
	readonly #clock: Clock;
	readonly #queueBytes: number;
	readonly #timeoutTimer: Timer;
	readonly #lineTimer: Timer;
	#ier = 0;
	#fcr = 0;
	#lcr = 0;
	#mcr = 0;
	#msrDeltas = 0;
	#modemInputs = MSR_CTS | MSR_DSR | MSR_DCD;
	#scr = 0;
	#divisor = 12;
	#fifo: number[] = [];
	#queue: number[] = [];
	#wasQueueFull = false;
	#hasOverrun = false;
	#isThrePending = false;
	#isTimeoutPending = false;
	#lineFreeNs: Ns = 0;

	constructor(options: UartOptions) {
		this.name = options.name;
		this.#options = options;
		this.#clock = options.clock;
		this.#queueBytes = options.queueBytes ?? DEFAULT_QUEUE_BYTES;
		this.#timeoutTimer = options.clock.timer(`${options.name} receive timeout`, () => {
			this.#isTimeoutPending = true;
			this.#update();
		});
		this.#lineTimer = options.clock.timer(`${options.name} line`, () => this.#fillFifo());
		this.cts = this.#modemPin(MSR_CTS);
		this.dsr = this.#modemPin(MSR_DSR);
		this.ri = this.#modemPin(MSR_RI);
		this.dcd = this.#modemPin(MSR_DCD);
		this.registers = {
			accessBytes: { min: 1, max: 1 },
			read: (offset) => this.#read(offset),
			write: (offset, _bytes, value) => this.#write(offset, value),
		};
	}

	/** Room for bytes from the host. */
	get spaceBytes(): number {
		return this.#queueBytes - this.#queue.length;
	}

	/** Takes bytes from the host as far as there is room; returns how many. `onSpace` says when more may come. */
	receive(bytes: Uint8Array): number {
		let accepted = 0;
		// A second round uses what the FIFO has taken from the queue in the first.
		for (let round = 0; round < 2; round++) {
			const count = Math.min(bytes.length - accepted, this.spaceBytes);
			for (let i = 0; i < count; i++) this.#queue.push(bytes[accepted + i] as number);
			accepted += count;
			this.#fillFifo();
		}
		// Only now, so that `onSpace` never comes before the caller knows how far it got.
		if (accepted < bytes.length) this.#wasQueueFull = true;
		return accepted;
	}

	/** The host holds the line low for longer than a character. */
	receiveBreak(): void {
		this.#queue.push((LSR_BI | LSR_FE) << ERROR_SHIFT);
		this.#fillFifo();
	}

	/** Bits per second, as programmed. */
	get baud(): number {
		return (this.#options.crystalHz ?? DEFAULT_CRYSTAL_HZ) / (16 * Math.max(1, this.#divisor));
	}

	reset(): void {
		this.#ier = this.#fcr = this.#lcr = this.#mcr = this.#msrDeltas = 0;
		this.#fifo = [];
		this.#hasOverrun = this.#isThrePending = this.#isTimeoutPending = false;
		this.#timeoutTimer.disarm();
		this.#update();
	}

	save(): UartState {
		return {
			ier: this.#ier,
			fcr: this.#fcr,
			lcr: this.#lcr,
			mcr: this.#mcr,
			msrDeltas: this.#msrDeltas,
			modemInputs: this.#modemInputs,
			scr: this.#scr,
			divisor: this.#divisor,
			receiveFifo: [...this.#fifo],
			receiveQueue: [...this.#queue],
			hasOverrun: this.#hasOverrun,
			isThrePending: this.#isThrePending,
			isTimeoutPending: this.#isTimeoutPending,
			hasTimeoutDeadline: this.#timeoutTimer.isArmed,
			timeoutDeadlineNs: this.#timeoutTimer.isArmed ? this.#timeoutTimer.deadlineNs : 0,
			lineFreeNs: this.#lineFreeNs,
		};
	}

	load(state: UartState): void {
		this.#ier = state.ier;
		this.#fcr = state.fcr;
		this.#lcr = state.lcr;
		this.#mcr = state.mcr;
		this.#msrDeltas = state.msrDeltas;
		this.#modemInputs = state.modemInputs;
		this.#scr = state.scr;
		this.#divisor = state.divisor;
		this.#fifo = [...state.receiveFifo];
		this.#queue = [...state.receiveQueue];
		this.#hasOverrun = state.hasOverrun;
		this.#isThrePending = state.isThrePending;
		this.#isTimeoutPending = state.isTimeoutPending;
		this.#lineFreeNs = state.lineFreeNs;
		if (state.hasTimeoutDeadline) this.#timeoutTimer.arm(state.timeoutDeadlineNs);
		else this.#timeoutTimer.disarm();
		this.#update();
		this.#armLine();
	}

	#modemPin(bit: number): Wire {
		return new InputPin(
			() => (this.#modemInputs & bit) !== 0,
			(high) => {
				const before = this.#modemStatus;
				this.#modemInputs = high ? this.#modemInputs | bit : this.#modemInputs & ~bit;
				this.#modemChanged(before);
			},
		);
	}

	get #areFifosEnabled(): boolean {
		return (this.#fcr & FCR_ENABLE) !== 0;
	}

	get #capacity(): number {
		return this.#areFifosEnabled ? FIFO_BYTES : 1;
	}

	get #trigger(): number {
		return this.#areFifosEnabled ? (TRIGGER_LEVELS[this.#fcr >> 6] as number) : 1;
	}

	/** Start, data, parity and stop bits; a slow setting is not worth waiting for. */
	get #characterNs(): Ns {
		const bits = 2 + 5 + (this.#lcr & LCR_WLS) + ((this.#lcr & LCR_PEN) !== 0 ? 1 : 0) + ((this.#lcr & LCR_STB) !== 0 ? 1 : 0);
		return Math.ceil((bits * NS_PER_S) / Math.max(this.baud, SLOWEST_BAUD));
	}

	// Receiving

	/** Moves a burst from the host's queue into the FIFO, when the line is free. */
	#fillFifo(): void {
		const nowNs = this.#clock.nowNs;
		if (this.#isBurstWaiting && nowNs >= this.#lineFreeNs) {
			const burst = this.#queue.splice(0, this.#capacity - this.#fifo.length);
			this.#fifo.push(...burst);
			this.#lineFreeNs = nowNs + burst.length * this.#characterNs;
			this.#fifoTouched();
			this.#update();
			if (this.#wasQueueFull) {
				this.#wasQueueFull = false;
				this.#options.onSpace?.();
			}
		}
		this.#armLine();
	}

	get #isBurstWaiting(): boolean {
		if (this.#queue.length === 0 || this.#fifo.length >= this.#capacity || (this.#mcr & MCR_LOOP) !== 0) return false;
		return this.#options.isRtsHonoured !== true || (this.#mcr & MCR_RTS) !== 0;
	}

	#armLine(): void {
		if (this.#isBurstWaiting) this.#lineTimer.arm(Math.max(this.#lineFreeNs, this.#clock.nowNs));
		else if (this.#lineTimer.isArmed) this.#lineTimer.disarm();
	}

	/** Bytes below the trigger level interrupt after four characters' time without a change. */
	#fifoTouched(): void {
		this.#isTimeoutPending = false;
		if (this.#areFifosEnabled && this.#fifo.length > 0) this.#timeoutTimer.arm(this.#clock.nowNs + 4 * this.#characterNs);
		else if (this.#timeoutTimer.isArmed) this.#timeoutTimer.disarm();
	}

	/** A character arrives at a receiver that may be full: the newest is lost. */
	#receiveLooped(byte: number): void {
		if (this.#fifo.length < this.#capacity) this.#fifo.push(byte);
		else {
			this.#hasOverrun = true;
			// Without FIFOs the holding register is overwritten.
			if (!this.#areFifosEnabled) this.#fifo[0] = byte;
		}
		this.#fifoTouched();
	}

	#readReceiver(): number {
		const character = this.#fifo.shift();
		if (character === undefined) return 0;
		this.#fifoTouched();
		this.#fillFifo();
		this.#update();
		return character & 0xff;
	}

	// Status and interrupts

	get #lineStatus(): number {
		const head = this.#fifo[0];
		let lsr = LSR_THRE | LSR_TEMT;
		if (head !== undefined) lsr |= LSR_DR | ((head >> ERROR_SHIFT) & ERRORS);
		if (this.#hasOverrun) lsr |= LSR_OE;
		if (this.#areFifosEnabled && this.#fifo.some((character) => character >> ERROR_SHIFT !== 0)) lsr |= LSR_FIFO_ERROR;
		return lsr;
	}

	get #modemStatus(): number {
		if ((this.#mcr & MCR_LOOP) === 0) return this.#modemInputs;
		const mcr = this.#mcr;
		return (
			((mcr & MCR_RTS) !== 0 ? MSR_CTS : 0) |
			((mcr & MCR_DTR) !== 0 ? MSR_DSR : 0) |
			((mcr & MCR_OUT1) !== 0 ? MSR_RI : 0) |
			((mcr & MCR_OUT2) !== 0 ? MSR_DCD : 0)
		);
	}

	#modemChanged(before: number): void {
		const after = this.#modemStatus;
		// RI counts only when it ends; the other inputs at each change.
		const changed = (before ^ after) >> 4;
		const isRingOver = (before & ~after & MSR_RI) !== 0;
		this.#msrDeltas |= (changed & ~MSR_TERI & 0xf) | (isRingOver ? MSR_TERI : 0);
		this.#update();
	}

	/** The pending interrupt of the highest priority. */
	get #interruptId(): number {
		if ((this.#ier & IER_ELSI) !== 0 && (this.#lineStatus & (LSR_OE | ERRORS)) !== 0) return IIR_LINE_STATUS;
		if ((this.#ier & IER_ERBFI) !== 0) {
			if (this.#fifo.length >= this.#trigger) return IIR_RECEIVED_DATA;
			if (this.#isTimeoutPending) return IIR_TIMEOUT;
		}
		if ((this.#ier & IER_ETBEI) !== 0 && this.#isThrePending) return IIR_THRE;
		if ((this.#ier & IER_EDSSI) !== 0 && this.#msrDeltas !== 0) return IIR_MODEM_STATUS;
		return IIR_NONE;
	}

	#update(): void {
		const isGateOpen = this.#options.isIrqGatedByOut2 === false || (this.#mcr & MCR_OUT2) !== 0;
		this.#options.irq.set(isGateOpen && this.#interruptId !== IIR_NONE);
	}

	// Registers

	#read(offset: number): number {
		const isDlab = (this.#lcr & LCR_DLAB) !== 0;
		switch (offset) {
			case RBR_THR:
				return isDlab ? this.#divisor & 0xff : this.#readReceiver();
			case IER:
				return isDlab ? this.#divisor >> 8 : this.#ier;
			case IIR_FCR: {
				const id = this.#interruptId;
				// Reading IIR takes a THRE interrupt back, if it is the one shown.
				if (id === IIR_THRE) {
					this.#isThrePending = false;
					this.#update();
				}
				return id | (this.#areFifosEnabled ? IIR_FIFOS_ENABLED : 0);
			}
			case LCR:
				return this.#lcr;
			case MCR:
				return this.#mcr;
			case LSR: {
				const lsr = this.#lineStatus;
				this.#hasOverrun = false;
				if (this.#fifo[0] !== undefined) this.#fifo[0] &= 0xff;
				this.#update();
				return lsr;
			}
			case MSR: {
				const msr = this.#modemStatus | this.#msrDeltas;
				this.#msrDeltas = 0;
				this.#update();
				return msr;
			}
			default:
				return this.#scr;
		}
	}

	#write(offset: number, value: number): void {
		const isDlab = (this.#lcr & LCR_DLAB) !== 0;
		switch (offset) {
			case RBR_THR:
				if (isDlab) this.#divisor = (this.#divisor & 0xff00) | value;
				else this.#transmit(value);
				break;
			case IER:
				if (isDlab) this.#divisor = (this.#divisor & 0xff) | (value << 8);
				else {
					// Enabling THRE with an empty transmitter raises it at once, each time.
					if ((value & ~this.#ier & IER_ETBEI) !== 0) this.#isThrePending = true;
					this.#ier = value & (IER_ERBFI | IER_ETBEI | IER_ELSI | IER_EDSSI);
				}
				break;
			case IIR_FCR:
				this.#writeFcr(value);
				break;
			case LCR:
				this.#lcr = value;
				break;
			case MCR:
				this.#writeMcr(value);
				break;
			case SCR:
				this.#scr = value;
				break;
			// LSR is written only in factory tests; MSR is read-only.
			default:
				return;
		}
		this.#update();
	}

	/** The FIFO empties at once: THRE falls and rises, so its interrupt comes back. */
	#transmit(value: number): void {
		const byte = value & (0xff >> (3 - (this.#lcr & LCR_WLS)));
		if ((this.#mcr & MCR_LOOP) !== 0) this.#receiveLooped(byte);
		else if ((this.#lcr & LCR_BREAK) === 0) this.#options.onTransmit(byte);
		this.#isThrePending = true;
	}

	#writeFcr(value: number): void {
		const isToggled = ((value ^ this.#fcr) & FCR_ENABLE) !== 0;
		if (isToggled || (value & FCR_RCVR_RESET) !== 0) {
			this.#fifo = [];
			this.#hasOverrun = false;
		}
		// The other bits are not programmed unless FCR0 is written as 1.
		this.#fcr = (value & FCR_ENABLE) !== 0 ? value & 0xc9 : 0;
		this.#fifoTouched();
		this.#fillFifo();
	}

	#writeMcr(value: number): void {
		const before = this.#modemStatus;
		this.#mcr = value & (MCR_DTR | MCR_RTS | MCR_OUT1 | MCR_OUT2 | MCR_LOOP);
		this.#modemChanged(before);
		this.#options.onModemControl?.((value & MCR_DTR) !== 0, (value & MCR_RTS) !== 0);
		this.#fillFifo();
	}
}
