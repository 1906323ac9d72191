/** PS/2 keyboard, 101 keys and more (IBM "Personal System/2 Hardware Interface Technical Reference", "Keyboards"). */
import { type Device, unimplemented } from "../machine/device.ts";
import { PS2_ACK, PS2_BAT_OK, PS2_RESEND, type Ps2Device } from "./ps2-device.ts";
import { type KeyName, SET2_BY_KEY, set1OfSet2, set2OfSet1 } from "./ps2-keys.ts";

const SET_LEDS = 0xed;
const ECHO = 0xee;
const SET_SCAN_CODES = 0xf0;
const READ_ID = 0xf2;
const SET_TYPEMATIC = 0xf3;
const ENABLE = 0xf4;
const DEFAULT_DISABLE = 0xf5;
const SET_DEFAULT = 0xf6;
const SET_ALL_FIRST = 0xf7;
const SET_KEY_LAST = 0xfd;
const RESEND = 0xfe;
const RESET = 0xff;
const RELEASE = 0xf0;
const ID = [0xab, 0x83] as const;
const DEFAULT_TYPEMATIC = 0x2b;
/** Keys and replies that find less room are lost, whole. */
const BUFFER_BYTES = 128;

export const LED_SCROLL_LOCK = 1;
export const LED_NUM_LOCK = 2;
export const LED_CAPS_LOCK = 4;

export type KeyboardState = {
	readonly output: readonly number[];
	/** A command that waits for its parameter, 0 if none does. */
	readonly command: number;
	readonly scanCodeSet: number;
	readonly isScanning: boolean;
	readonly leds: number;
	readonly typematic: number;
	readonly lastByte: number;
};

export class Ps2Keyboard implements Device<KeyboardState>, Ps2Device {
	readonly name: string;
	onOutput: () => void = () => {};
	readonly #onLeds: (leds: number) => void;
	#output: number[] = [];
	#command = 0;
	#scanCodeSet = 2;
	#isScanning = true;
	#leds = 0;
	#typematic = DEFAULT_TYPEMATIC;
	#lastByte = 0;

	constructor(name: string, onLeds: (leds: number) => void = () => {}) {
		this.name = name;
		this.#onLeds = onLeds;
	}

	/** LED_… bits. */
	get leds(): number {
		return this.#leds;
	}

	/** A key goes down: its name, or its set-1 make code (0x1e, 0xe048). A host that repeats keys calls this again. */
	keyDown(key: KeyName | number): void {
		this.#key(key, true);
	}

	keyUp(key: KeyName | number): void {
		this.#key(key, false);
	}

	get hasOutput(): boolean {
		return this.#output.length > 0;
	}

	takeOutput(): number {
		const byte = this.#output.shift() ?? 0;
		if (byte !== PS2_RESEND) this.#lastByte = byte;
		return byte;
	}

	write(byte: number): void {
		const command = this.#command;
		this.#command = 0;
		// A new command instead of a parameter takes the old one's place.
		if (command !== 0 && byte < 0x80) this.#parameter(command, byte);
		else this.#execute(byte);
	}

	reset(): void {
		this.#output = [];
		this.#command = 0;
		this.#setDefaults();
		this.#isScanning = true;
		this.#setLeds(0);
	}

	save(): KeyboardState {
		return {
			output: [...this.#output],
			command: this.#command,
			scanCodeSet: this.#scanCodeSet,
			isScanning: this.#isScanning,
			leds: this.#leds,
			typematic: this.#typematic,
			lastByte: this.#lastByte,
		};
	}

	load(state: KeyboardState): void {
		this.#output = [...state.output];
		this.#command = state.command;
		this.#scanCodeSet = state.scanCodeSet;
		this.#isScanning = state.isScanning;
		this.#typematic = state.typematic;
		this.#lastByte = state.lastByte;
		this.#setLeds(state.leds);
	}

	#setLeds(leds: number): void {
		this.#leds = leds;
		this.#onLeds(leds);
	}

	#setDefaults(): void {
		this.#scanCodeSet = 2;
		this.#typematic = DEFAULT_TYPEMATIC;
	}

	#send(...bytes: readonly number[]): void {
		// A host that never reads loses what it does not read.
		if (this.#output.length + bytes.length > BUFFER_BYTES) return;
		const wasEmpty = this.#output.length === 0;
		this.#output.push(...bytes);
		if (wasEmpty) this.onOutput();
	}

	#key(key: KeyName | number, isDown: boolean): void {
		const sequence = sequenceOf(key, isDown);
		if (this.#isScanning && sequence.length > 0) this.#send(...(this.#scanCodeSet === 1 ? inSet1(sequence) : sequence));
	}

	#execute(command: number): void {
		switch (command) {
			case SET_LEDS:
			case SET_SCAN_CODES:
			case SET_TYPEMATIC:
				this.#command = command;
				this.#send(PS2_ACK);
				return;
			case ECHO:
				this.#send(ECHO);
				return;
			case READ_ID:
				this.#send(PS2_ACK, ...ID);
				return;
			case ENABLE:
				this.#output = [];
				this.#isScanning = true;
				this.#send(PS2_ACK);
				return;
			case DEFAULT_DISABLE:
			case SET_DEFAULT:
				this.#output = [];
				this.#setDefaults();
				this.#isScanning = command === SET_DEFAULT;
				this.#send(PS2_ACK);
				return;
			case RESEND:
				this.#send(this.#lastByte);
				return;
			case RESET:
				this.reset();
				this.#send(PS2_ACK, PS2_BAT_OK);
				return;
			default:
				if (command >= SET_ALL_FIRST && command <= SET_KEY_LAST) {
					unimplemented(this.name, "key types of scan code set 3");
					this.#send(PS2_ACK);
				} else this.#send(PS2_RESEND);
		}
	}

	#parameter(command: number, value: number): void {
		if (command === SET_LEDS) {
			this.#send(PS2_ACK);
			this.#setLeds(value & 7);
		} else if (command === SET_TYPEMATIC) {
			this.#typematic = value & 0x7f;
			this.#send(PS2_ACK);
		} else if (value === 0) this.#send(PS2_ACK, this.#scanCodeSet);
		else if (value > 3) this.#send(PS2_RESEND);
		else {
			if (value === 3) unimplemented(this.name, "scan code set 3");
			else this.#scanCodeSet = value;
			this.#send(PS2_ACK);
		}
	}
}

/** What set 2 sends for a key; nothing if there is no such key. */
function sequenceOf(key: KeyName | number, isDown: boolean): readonly number[] {
	if (key === "Pause") return isDown ? [0xe1, 0x14, 0x77, 0xe1, RELEASE, 0x14, RELEASE, 0x77] : [];
	if (key === "PrintScreen") return isDown ? [0xe0, 0x12, 0xe0, 0x7c] : [0xe0, RELEASE, 0x7c, 0xe0, RELEASE, 0x12];
	const code = typeof key === "number" ? set2OfSet1(key) : SET2_BY_KEY[key];
	if (code === undefined) return [];
	const prefix = code > 0xff ? [code >> 8] : [];
	return isDown ? [...prefix, code & 0xff] : [...prefix, RELEASE, code & 0xff];
}

function inSet1(sequence: readonly number[]): readonly number[] {
	const result: number[] = [];
	let releaseBit = 0;
	for (const byte of sequence) {
		if (byte === RELEASE) releaseBit = 0x80;
		else {
			result.push(set1OfSet2(byte) | releaseBit);
			releaseBit = 0;
		}
	}
	return result;
}
