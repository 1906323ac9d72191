import { type Mac, writeMac } from "../../net/frames/address.ts";

const WORDS = 64;
/** §5.6.35: the sum of all words. */
const CHECKSUM = 0xbaba;
const CHECKSUM_WORD = 63;

// §13.4.3, "EEPROM/Flash Control & Data Register"
const SK = 1 << 0;
const CS = 1 << 1;
const DI = 1 << 2;
const DO = 1 << 3;
const REQ = 1 << 6;
const GNT = 1 << 7;
const PRES = 1 << 8;
const DRIVEN = SK | CS | DI | REQ;
/** A start bit, two of operation, six of address. */
const COMMAND_BITS = 9;
const READ = 0b110;

export type EepromState = { readonly pins: number; readonly input: number; readonly inputBits: number; readonly outputBit: number };

/** The card's serial EEPROM (a 93C46), read bit by bit over Microwire, or a word at a time by the EERD register. */
export class Eeprom {
	readonly #words = new Uint16Array(WORDS);
	#pins = 0;
	#input = 0;
	#inputBits = 0;
	/** What DO shows, counted from the first bit of word 0; -1: nothing is being read. */
	#outputBit = -1;

	constructor(
		mac: Mac,
		ids: { readonly vendorId: number; readonly deviceId: number; readonly subsystemVendorId: number; readonly subsystemId: number },
	) {
		const bytes = new Uint8Array(6);
		writeMac(bytes, 0, mac);
		for (let word = 0; word < 3; word++) this.#words[word] = bytes[2 * word]! | (bytes[2 * word + 1]! << 8);
		// §5.6, "EEPROM Address Map": initialisation controls, identity, the management and power words as the adapter has them.
		this.#words.set([0x6408, ids.subsystemId, ids.subsystemVendorId, ids.deviceId, ids.vendorId, 0x3040], 0x0a);
		this.#words[0x08] = 0xffff;
		this.#words[0x09] = 0xffff;
		const sum = this.#words.reduce((total, word) => total + word, 0);
		this.#words[CHECKSUM_WORD] = CHECKSUM - sum;
	}

	word(index: number): number {
		return this.#words[index % WORDS]!;
	}

	/** The value of EECD. */
	get control(): number {
		const isHigh = this.#outputBit < 0 || ((this.word(this.#outputBit >> 4) >> (15 - (this.#outputBit & 15))) & 1) !== 0;
		return this.#pins | ((this.#pins & REQ) !== 0 ? GNT : 0) | PRES | (isHigh ? DO : 0);
	}

	set control(value: number) {
		const before = this.#pins;
		this.#pins = value & DRIVEN;
		if ((value & CS) === 0) {
			this.#deselect();
			return;
		}
		if ((before & CS) === 0) this.#deselect();
		if ((value & SK) !== 0 && (before & SK) === 0) this.#rise((value & DI) !== 0);
		else if ((value & SK) === 0 && (before & SK) !== 0 && this.#outputBit >= -1 && this.#inputBits >= COMMAND_BITS) this.#fall();
	}

	#deselect(): void {
		this.#input = 0;
		this.#inputBits = 0;
		this.#outputBit = -1;
	}

	/** Commands come in on rising edges; zeros before the start bit are nothing. */
	#rise(isHigh: boolean): void {
		if (this.#inputBits >= COMMAND_BITS || (this.#inputBits === 0 && !isHigh)) return;
		this.#input = (this.#input << 1) | (isHigh ? 1 : 0);
		this.#inputBits++;
	}

	/** Data goes out on falling ones, word after word for as long as the clock goes on. */
	#fall(): void {
		if (this.#input >> 6 !== READ) return;
		this.#outputBit = this.#outputBit < 0 ? (this.#input & 0x3f) * 16 : (this.#outputBit + 1) % (WORDS * 16);
	}

	reset(): void {
		this.#pins = 0;
		this.#deselect();
	}

	save(): EepromState {
		return { pins: this.#pins, input: this.#input, inputBits: this.#inputBits, outputBit: this.#outputBit };
	}

	load(state: EepromState): void {
		this.#pins = state.pins;
		this.#input = state.input;
		this.#inputBits = state.inputBits;
		this.#outputBit = state.outputBit;
	}
}
