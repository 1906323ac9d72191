/**
 * 8042 keyboard and auxiliary device controller (IBM "Personal System/2 Hardware Interface Technical Reference",
 * "Keyboard and Auxiliary Device Controller").
 */
import type { IoHandler } from "../machine/bus.ts";
import type { Clock, Timer } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import type { Ps2Device } from "./ps2-device.ts";
import { set1OfSet2 } from "./ps2-keys.ts";

const STATUS_OBF = 0x01;
const STATUS_SYS = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX = 0x20;
const STATUS_TIMEOUT = 0x40;

const CCB_INT = 0x01;
const CCB_INT2 = 0x02;
const CCB_SYS = 0x04;
const CCB_KBD_DISABLED = 0x10;
const CCB_AUX_DISABLED = 0x20;
const CCB_XLATE = 0x40;
/** As a power-on self-test leaves it: both interrupts, translation, system flag. */
const CCB_RESET = CCB_INT | CCB_INT2 | CCB_SYS | CCB_XLATE;

const READ_RAM = 0x20;
const WRITE_RAM = 0x60;
const TEST_PASSWORD = 0xa4;
const DISABLE_AUX = 0xa7;
const ENABLE_AUX = 0xa8;
const TEST_AUX = 0xa9;
const SELF_TEST = 0xaa;
const TEST_KBD = 0xab;
const DISABLE_KBD = 0xad;
const ENABLE_KBD = 0xae;
const READ_INPUT_PORT = 0xc0;
const READ_OUTPUT_PORT = 0xd0;
const WRITE_OUTPUT_PORT = 0xd1;
const WRITE_KBD_OUTPUT = 0xd2;
const WRITE_AUX_OUTPUT = 0xd3;
const WRITE_AUX = 0xd4;
const READ_TEST_INPUTS = 0xe0;
const PULSE_OUTPUT_PORT = 0xf0;

const OUTPUT_PORT_NOT_RESET = 0x01;
const OUTPUT_PORT_A20 = 0x02;
const OUTPUT_PORT_IRQ1 = 0x10;
const OUTPUT_PORT_IRQ12 = 0x20;
/** Clock and data of both devices, which idle high. */
const OUTPUT_PORT_IDLE = 0xcc;
const INPUT_PORT_UNLOCKED = 0x80;
const NO_PASSWORD = 0xf1;
const TIMEOUT_BYTE = 0xfe;
const RELEASE = 0xf0;

/** Between the host's read of one byte and a device's next; the serial line would take nearly a millisecond. */
const BYTE_NS = 200_000;
/** A host that asks on without reading loses the answers beyond these. */
const MAX_REPLIES = 16;

export type I8042State = {
	readonly ram: Uint8Array;
	readonly hasOutput: boolean;
	readonly isOutputAux: boolean;
	readonly isOutputTimeout: boolean;
	readonly output: number;
	/** The controller's own replies that wait for the output buffer; bit 8 marks the auxiliary device's. */
	readonly replies: readonly number[];
	/** A command that waits for its parameter, 0 if none does. */
	readonly command: number;
	readonly isCommandLast: boolean;
	readonly isReleaseSeen: boolean;
	readonly isA20High: boolean;
	readonly lineFreeNs: number;
};

export interface I8042Options {
	readonly name: string;
	readonly clock: Clock;
	readonly keyboardIrq: Wire;
	readonly auxIrq: Wire;
	readonly a20: Wire;
	/** Pulsed to reset the processor. */
	readonly resetPulse: Wire;
}

export class I8042 implements Device<I8042State> {
	readonly name: string;
	/** The data register. */
	readonly data: IoHandler;
	/** Status when read, command when written. */
	readonly command: IoHandler;
	readonly #options: I8042Options;
	readonly #clock: Clock;
	readonly #line: Timer;
	readonly #ram = new Uint8Array(32);
	#keyboard: Ps2Device | undefined;
	#aux: Ps2Device | undefined;
	#hasOutput = false;
	#isOutputAux = false;
	#isOutputTimeout = false;
	#output = 0;
	#replies: number[] = [];
	#command = 0;
	#isCommandLast = false;
	#isReleaseSeen = false;
	#isA20High = true;
	#lineFreeNs = 0;

	constructor(options: I8042Options) {
		this.name = options.name;
		this.#options = options;
		this.#clock = options.clock;
		this.#line = options.clock.timer(`${options.name} line`, () => this.#fill());
		this.#ram[0] = CCB_RESET;
		options.a20.set(true);
		this.data = {
			accessBytes: { min: 1, max: 1 },
			read: () => this.#readData(),
			write: (_offset, _bytes, value) => this.#writeData(value),
		};
		this.command = {
			accessBytes: { min: 1, max: 1 },
			read: () => this.#status,
			write: (_offset, _bytes, value) => this.#writeCommand(value),
		};
	}

	attachKeyboard(device: Ps2Device): void {
		this.#keyboard = device;
		device.onOutput = () => this.#fill();
	}

	/** The mouse's port. */
	attachAux(device: Ps2Device): void {
		this.#aux = device;
		device.onOutput = () => this.#fill();
	}

	reset(): void {
		this.#ram.fill(0);
		this.#ram[0] = CCB_RESET;
		this.#hasOutput = this.#isOutputAux = this.#isOutputTimeout = this.#isCommandLast = this.#isReleaseSeen = false;
		this.#output = this.#command = 0;
		this.#replies = [];
		this.#lineFreeNs = 0;
		this.#setA20(true);
		this.#update();
		this.#fill();
	}

	save(): I8042State {
		return {
			ram: this.#ram.slice(),
			hasOutput: this.#hasOutput,
			isOutputAux: this.#isOutputAux,
			isOutputTimeout: this.#isOutputTimeout,
			output: this.#output,
			replies: [...this.#replies],
			command: this.#command,
			isCommandLast: this.#isCommandLast,
			isReleaseSeen: this.#isReleaseSeen,
			isA20High: this.#isA20High,
			lineFreeNs: this.#lineFreeNs,
		};
	}

	/** The devices are loaded before their controller, whose line may be waiting for them. */
	load(state: I8042State): void {
		this.#ram.set(state.ram);
		this.#hasOutput = state.hasOutput;
		this.#isOutputAux = state.isOutputAux;
		this.#isOutputTimeout = state.isOutputTimeout;
		this.#output = state.output;
		this.#replies = [...state.replies];
		this.#command = state.command;
		this.#isCommandLast = state.isCommandLast;
		this.#isReleaseSeen = state.isReleaseSeen;
		this.#lineFreeNs = state.lineFreeNs;
		this.#setA20(state.isA20High);
		this.#update();
		this.#fill();
	}

	/** The controller command byte. */
	get #ccb(): number {
		return this.#ram[0] as number;
	}

	get #status(): number {
		return (
			(this.#hasOutput ? STATUS_OBF : 0) |
			((this.#ccb & CCB_SYS) !== 0 ? STATUS_SYS : 0) |
			(this.#isCommandLast ? STATUS_COMMAND : 0) |
			STATUS_UNLOCKED |
			(this.#hasOutput && this.#isOutputAux ? STATUS_AUX : 0) |
			(this.#hasOutput && this.#isOutputTimeout ? STATUS_TIMEOUT : 0)
		);
	}

	#update(): void {
		this.#options.keyboardIrq.set(this.#hasOutput && !this.#isOutputAux && (this.#ccb & CCB_INT) !== 0);
		this.#options.auxIrq.set(this.#hasOutput && this.#isOutputAux && (this.#ccb & CCB_INT2) !== 0);
	}

	// The output buffer

	/** Puts the next byte into the output buffer: the controller's own at once, a device's when the line is free. */
	#fill(): void {
		if (this.#hasOutput) return;
		const reply = this.#replies.shift();
		if (reply !== undefined) {
			this.#put(reply & 0xff, (reply & 0x100) !== 0);
			return;
		}
		const device = this.#nextDevice();
		if (device === undefined) return;
		if (this.#clock.nowNs < this.#lineFreeNs) {
			this.#line.arm(this.#lineFreeNs);
			return;
		}
		const byte = device.takeOutput();
		if (device === this.#aux) this.#put(byte, true);
		else this.#putFromKeyboard(byte);
	}

	#nextDevice(): Ps2Device | undefined {
		if (this.#keyboard?.hasOutput === true && (this.#ccb & CCB_KBD_DISABLED) === 0) return this.#keyboard;
		if (this.#aux?.hasOutput === true && (this.#ccb & CCB_AUX_DISABLED) === 0) return this.#aux;
		return undefined;
	}

	#putFromKeyboard(byte: number): void {
		if ((this.#ccb & CCB_XLATE) === 0) this.#put(byte, false);
		else if (byte === RELEASE) {
			// Translation swallows the release prefix and marks the code that follows.
			this.#isReleaseSeen = true;
			this.#fill();
		} else {
			const releaseBit = this.#isReleaseSeen ? 0x80 : 0;
			this.#isReleaseSeen = false;
			this.#put(set1OfSet2(byte) | releaseBit, false);
		}
	}

	#put(byte: number, isAux: boolean): void {
		this.#hasOutput = true;
		this.#output = byte;
		this.#isOutputAux = isAux;
		this.#isOutputTimeout = false;
		this.#update();
	}

	#reply(byte: number, isAux = false): void {
		if (this.#replies.length < MAX_REPLIES) this.#replies.push(isAux ? byte | 0x100 : byte);
		this.#fill();
	}

	#readData(): number {
		// An empty buffer shows its last byte again.
		const byte = this.#output;
		if (this.#hasOutput) {
			this.#hasOutput = false;
			this.#lineFreeNs = this.#clock.nowNs + BYTE_NS;
			this.#update();
			this.#fill();
		}
		return byte;
	}

	// Writes

	#writeData(value: number): void {
		this.#isCommandLast = false;
		const command = this.#command;
		this.#command = 0;
		if (command === 0) {
			this.#ram[0] = this.#ccb & ~CCB_KBD_DISABLED;
			this.#sendTo(this.#keyboard, value, false);
		} else if (command === WRITE_OUTPUT_PORT) this.#writeOutputPort(value);
		else if (command === WRITE_KBD_OUTPUT) this.#reply(value);
		else if (command === WRITE_AUX_OUTPUT) this.#reply(value, true);
		else if (command === WRITE_AUX) {
			this.#ram[0] = this.#ccb & ~CCB_AUX_DISABLED;
			this.#sendTo(this.#aux, value, true);
		} else {
			this.#ram[command & 0x1f] = value;
			this.#update();
			this.#fill();
		}
	}

	#sendTo(device: Ps2Device | undefined, byte: number, isAux: boolean): void {
		if (device !== undefined) {
			this.#lineFreeNs = this.#clock.nowNs + BYTE_NS;
			device.write(byte);
			this.#fill();
		} else if (!this.#hasOutput) {
			this.#put(TIMEOUT_BYTE, isAux);
			this.#isOutputTimeout = true;
		}
	}

	#writeCommand(value: number): void {
		this.#isCommandLast = true;
		this.#command = 0;
		if (value >= READ_RAM && value < READ_RAM + 0x20) this.#reply(this.#ram[value & 0x1f] as number);
		else if (value >= WRITE_RAM && value < WRITE_RAM + 0x20) this.#command = value;
		else if (value >= PULSE_OUTPUT_PORT) this.#pulse(value);
		else this.#execute(value);
	}

	#execute(command: number): void {
		switch (command) {
			case TEST_PASSWORD:
				this.#reply(NO_PASSWORD);
				break;
			case DISABLE_AUX:
				this.#ram[0] = this.#ccb | CCB_AUX_DISABLED;
				break;
			case ENABLE_AUX:
				this.#ram[0] = this.#ccb & ~CCB_AUX_DISABLED;
				this.#fill();
				break;
			case SELF_TEST:
				this.#ram[0] = this.#ccb | CCB_SYS;
				this.#reply(0x55);
				break;
			case TEST_AUX:
			case TEST_KBD:
			case READ_TEST_INPUTS:
				this.#reply(0);
				break;
			case DISABLE_KBD:
				this.#ram[0] = this.#ccb | CCB_KBD_DISABLED;
				break;
			case ENABLE_KBD:
				this.#ram[0] = this.#ccb & ~CCB_KBD_DISABLED;
				this.#fill();
				break;
			case READ_INPUT_PORT:
				this.#reply(INPUT_PORT_UNLOCKED);
				break;
			case READ_OUTPUT_PORT:
				this.#reply(this.#outputPort);
				break;
			case WRITE_OUTPUT_PORT:
			case WRITE_KBD_OUTPUT:
			case WRITE_AUX_OUTPUT:
			case WRITE_AUX:
				this.#command = command;
				break;
		}
	}

	get #outputPort(): number {
		return (
			OUTPUT_PORT_IDLE |
			OUTPUT_PORT_NOT_RESET |
			(this.#isA20High ? OUTPUT_PORT_A20 : 0) |
			(this.#options.keyboardIrq.isHigh ? OUTPUT_PORT_IRQ1 : 0) |
			(this.#options.auxIrq.isHigh ? OUTPUT_PORT_IRQ12 : 0)
		);
	}

	#writeOutputPort(value: number): void {
		this.#setA20((value & OUTPUT_PORT_A20) !== 0);
		if ((value & OUTPUT_PORT_NOT_RESET) === 0) this.#pulseReset();
	}

	#setA20(high: boolean): void {
		this.#isA20High = high;
		this.#options.a20.set(high);
	}

	/** The low four bits name the lines that stay as they are; of these only RESET is wired to something that notices. */
	#pulse(command: number): void {
		if ((command & OUTPUT_PORT_NOT_RESET) === 0) this.#pulseReset();
	}

	#pulseReset(): void {
		this.#options.resetPulse.set(true);
		this.#options.resetPulse.set(false);
	}
}
