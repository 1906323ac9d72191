/**
 * PS/2 mouse (IBM "Personal System/2 Hardware Interface Technical Reference", "Mouse"), with the wheel and the side
 * buttons of Microsoft's IntelliMouse, which a driver asks for by a sequence of sample rates.
 */
import type { Device } from "../machine/device.ts";
import { PS2_ACK, PS2_BAT_OK, PS2_RESEND, type Ps2Device } from "./ps2-device.ts";

const SET_SCALING_1 = 0xe6;
const SET_SCALING_2 = 0xe7;
const SET_RESOLUTION = 0xe8;
const STATUS_REQUEST = 0xe9;
const SET_STREAM = 0xea;
const READ_DATA = 0xeb;
const RESET_WRAP = 0xec;
const SET_WRAP = 0xee;
const SET_REMOTE = 0xf0;
const READ_ID = 0xf2;
const SET_SAMPLE_RATE = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const SET_DEFAULT = 0xf6;
const RESEND = 0xfe;
const RESET = 0xff;

const ID_STANDARD = 0;
const ID_WHEEL = 3;
const ID_FIVE_BUTTONS = 4;
const KNOCK_WHEEL = "200,100,80";
const KNOCK_FIVE_BUTTONS = "200,200,80";
const DEFAULT_SAMPLE_RATE = 100;
const DEFAULT_RESOLUTION = 2;
/** Nine bits with their sign. */
const MAX_STEP = 255;
/** A host that never reads loses the replies beyond these. */
const BUFFER_BYTES = 128;

export const BUTTON_LEFT = 1;
export const BUTTON_RIGHT = 2;
export const BUTTON_MIDDLE = 4;
export const BUTTON_BACK = 8;
export const BUTTON_FORWARD = 16;

export type MouseState = {
	readonly output: readonly number[];
	readonly command: number;
	readonly id: number;
	readonly lastRates: readonly number[];
	readonly sampleRate: number;
	readonly resolution: number;
	readonly isScaled: boolean;
	readonly isReporting: boolean;
	readonly isRemote: boolean;
	readonly isWrapping: boolean;
	readonly buttons: number;
	readonly dx: number;
	readonly dy: number;
	readonly dz: number;
	/** Something has happened that no packet has told yet. */
	readonly isDirty: boolean;
	readonly lastByte: number;
};

export class Ps2Mouse implements Device<MouseState>, Ps2Device {
	readonly name: string;
	onOutput: () => void = () => {};
	#output: number[] = [];
	#command = 0;
	#id = ID_STANDARD;
	#lastRates: number[] = [];
	#sampleRate = DEFAULT_SAMPLE_RATE;
	#resolution = DEFAULT_RESOLUTION;
	#isScaled = false;
	#isReporting = false;
	#isRemote = false;
	#isWrapping = false;
	#buttons = 0;
	#dx = 0;
	#dy = 0;
	#dz = 0;
	#isDirty = false;
	#lastByte = 0;

	constructor(name: string) {
		this.name = name;
	}

	/** Moves by counts, right and down as on a screen. */
	move(right: number, down: number): void {
		this.#dx += Math.trunc(right);
		this.#dy -= Math.trunc(down);
		this.#moved();
	}

	/** Turns the wheel by notches; positive is towards the user (down). */
	wheel(notches: number): void {
		this.#dz += Math.trunc(notches);
		this.#moved();
	}

	/** The buttons that are down, BUTTON_… bits. */
	setButtons(buttons: number): void {
		if (buttons === this.#buttons) return;
		this.#buttons = buttons & 0x1f;
		this.#moved();
	}

	get hasOutput(): boolean {
		return this.#output.length > 0 || (this.#isDirty && this.#isStreaming);
	}

	takeOutput(): number {
		if (this.#output.length === 0) this.#output.push(...this.#packet());
		const byte = this.#output.shift() ?? 0;
		if (byte !== PS2_RESEND) this.#lastByte = byte;
		return byte;
	}

	write(byte: number): void {
		const command = this.#command;
		this.#command = 0;
		if (this.#isWrapping && byte !== RESET && byte !== RESET_WRAP) this.#send(byte);
		else if (command === SET_RESOLUTION) this.#setResolution(byte);
		else if (command === SET_SAMPLE_RATE) this.#setSampleRate(byte);
		else this.#execute(byte);
	}

	reset(): void {
		this.#output = [];
		this.#command = 0;
		this.#id = ID_STANDARD;
		this.#lastRates = [];
		this.#isWrapping = false;
		this.#setDefaults();
	}

	save(): MouseState {
		return {
			output: [...this.#output],
			command: this.#command,
			id: this.#id,
			lastRates: [...this.#lastRates],
			sampleRate: this.#sampleRate,
			resolution: this.#resolution,
			isScaled: this.#isScaled,
			isReporting: this.#isReporting,
			isRemote: this.#isRemote,
			isWrapping: this.#isWrapping,
			buttons: this.#buttons,
			dx: this.#dx,
			dy: this.#dy,
			dz: this.#dz,
			isDirty: this.#isDirty,
			lastByte: this.#lastByte,
		};
	}

	load(state: MouseState): void {
		this.#output = [...state.output];
		this.#command = state.command;
		this.#id = state.id;
		this.#lastRates = [...state.lastRates];
		this.#sampleRate = state.sampleRate;
		this.#resolution = state.resolution;
		this.#isScaled = state.isScaled;
		this.#isReporting = state.isReporting;
		this.#isRemote = state.isRemote;
		this.#isWrapping = state.isWrapping;
		this.#buttons = state.buttons;
		this.#dx = state.dx;
		this.#dy = state.dy;
		this.#dz = state.dz;
		this.#isDirty = state.isDirty;
		this.#lastByte = state.lastByte;
	}

	get #isStreaming(): boolean {
		return this.#isReporting && !this.#isRemote && !this.#isWrapping;
	}

	#setDefaults(): void {
		this.#sampleRate = DEFAULT_SAMPLE_RATE;
		this.#resolution = DEFAULT_RESOLUTION;
		this.#isScaled = this.#isReporting = this.#isRemote = false;
		this.#forgetMotion();
	}

	#forgetMotion(): void {
		this.#dx = this.#dy = this.#dz = 0;
		this.#isDirty = false;
	}

	#moved(): void {
		if (!this.#isStreaming && !this.#isRemote) {
			this.#dx = this.#dy = this.#dz = 0;
			return;
		}
		const hadOutput = this.hasOutput;
		this.#isDirty = true;
		if (!hadOutput && this.hasOutput) this.onOutput();
	}

	#send(...bytes: readonly number[]): void {
		if (this.#output.length + bytes.length > BUFFER_BYTES) return;
		const hadOutput = this.hasOutput;
		this.#output.push(...bytes);
		if (!hadOutput) this.onOutput();
	}

	/** Takes as much motion as one packet holds; the rest makes the next one. */
	#packet(): readonly number[] {
		const dx = clamp(this.#dx, MAX_STEP);
		const dy = clamp(this.#dy, MAX_STEP);
		const dz = this.#id === ID_STANDARD ? this.#dz : clamp(this.#dz, 7);
		this.#dx -= dx;
		this.#dy -= dy;
		this.#dz -= dz;
		this.#isDirty = this.#dx !== 0 || this.#dy !== 0 || this.#dz !== 0;
		const isScaled = this.#isScaled && !this.#isRemote;
		const x = isScaled ? clamp(scaled(dx), MAX_STEP) : dx;
		const y = isScaled ? clamp(scaled(dy), MAX_STEP) : dy;
		const packet = [(this.#buttons & 7) | 0x08 | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0), x & 0xff, y & 0xff];
		if (this.#id === ID_WHEEL) packet.push(dz & 0xff);
		else if (this.#id === ID_FIVE_BUTTONS) packet.push((dz & 0x0f) | ((this.#buttons & (BUTTON_BACK | BUTTON_FORWARD)) << 1));
		return packet;
	}

	#setResolution(value: number): void {
		if (value > 3) this.#send(PS2_RESEND);
		else {
			this.#resolution = value;
			this.#send(PS2_ACK);
		}
	}

	#setSampleRate(rate: number): void {
		this.#sampleRate = rate;
		this.#lastRates = [...this.#lastRates, rate].slice(-3);
		const knock = this.#lastRates.join();
		if (knock === KNOCK_WHEEL && this.#id === ID_STANDARD) this.#id = ID_WHEEL;
		else if (knock === KNOCK_FIVE_BUTTONS) this.#id = ID_FIVE_BUTTONS;
		this.#send(PS2_ACK);
	}

	#execute(command: number): void {
		// Any command ends the packet that was on its way.
		if (command !== RESEND) this.#output = [];
		switch (command) {
			case SET_SCALING_1:
			case SET_SCALING_2:
				this.#isScaled = command === SET_SCALING_2;
				break;
			case SET_RESOLUTION:
			case SET_SAMPLE_RATE:
				this.#command = command;
				break;
			case STATUS_REQUEST:
				this.#send(PS2_ACK, this.#status, this.#resolution, this.#sampleRate);
				return;
			case SET_STREAM:
				this.#isRemote = false;
				this.#forgetMotion();
				break;
			case READ_DATA:
				this.#send(PS2_ACK, ...this.#packet());
				return;
			case RESET_WRAP:
				this.#isWrapping = false;
				break;
			case SET_WRAP:
				this.#isWrapping = true;
				break;
			case SET_REMOTE:
				this.#isRemote = true;
				this.#forgetMotion();
				break;
			case READ_ID:
				this.#send(PS2_ACK, this.#id);
				return;
			case ENABLE:
			case DISABLE:
				this.#isReporting = command === ENABLE;
				this.#forgetMotion();
				break;
			case SET_DEFAULT:
				this.#setDefaults();
				break;
			case RESEND:
				this.#send(this.#lastByte);
				return;
			case RESET:
				this.reset();
				this.#send(PS2_ACK, PS2_BAT_OK, ID_STANDARD);
				return;
			default:
				this.#send(PS2_RESEND);
				return;
		}
		this.#send(PS2_ACK);
	}

	get #status(): number {
		return (
			(this.#isRemote ? 0x40 : 0) |
			(this.#isReporting ? 0x20 : 0) |
			(this.#isScaled ? 0x10 : 0) |
			((this.#buttons & BUTTON_LEFT) !== 0 ? 4 : 0) |
			((this.#buttons & BUTTON_MIDDLE) !== 0 ? 2 : 0) |
			((this.#buttons & BUTTON_RIGHT) !== 0 ? 1 : 0)
		);
	}
}

function clamp(value: number, limit: number): number {
	return Math.max(-limit, Math.min(limit, value));
}

/** 2:1 scaling: small steps finer, large ones doubled. */
function scaled(value: number): number {
	const size = Math.abs(value);
	return Math.sign(value) * ([0, 1, 1, 3, 6, 9][size] ?? 2 * size);
}
