// §8.5 and §13.5, "PHY Registers"; IEEE 802.3-2018 §22.2.4, "Management functions", and §40.5.1.
const CONTROL = 0;
const STATUS = 1;
const ID1 = 2;
const ID2 = 3;
const ADVERTISEMENT = 4;
const PARTNER = 5;
const EXPANSION = 6;
const GIGABIT_CONTROL = 9;
const GIGABIT_STATUS = 10;
const EXTENDED_STATUS = 15;
const SPECIFIC_CONTROL = 16;
const SPECIFIC_STATUS = 17;
const EXTENDED_SPECIFIC_CONTROL = 20;
const REGISTERS = 32;

const CONTROL_RESET = 0x8000;
const CONTROL_RESTART = 0x0200;
const STATUS_LINK = 0x0004;
const STATUS_NEGOTIATED = 0x0020;
const RESOLVED = 0x0800;
const LINK = 0x0400;
const FULL_DUPLEX = 0x2000;
/** All that a partner can do up to 100 Mbit/s, acknowledged. */
const PARTNER_ALL = 0x4de1;
const PARTNER_10 = 0x4061;

const WRITABLE = [CONTROL, ADVERTISEMENT, 7, GIGABIT_CONTROL, SPECIFIC_CONTROL, 18, EXTENDED_SPECIFIC_CONTROL, 24, 29, 30];

/** Speeds as the registers number them: 10, 100 and 1000 Mbit/s. */
export type PhySpeed = 0 | 1 | 2;

/** The transceiver in the card (a Marvell 88E1011), as far as a driver can tell by MDIO. */
export class Phy {
	readonly #registers = new Uint16Array(REGISTERS);
	/** Set by the card. The driver has asked for the link to be made anew. */
	onRestart: () => void = () => {};

	constructor() {
		this.reset();
	}

	reset(): void {
		const registers = this.#registers;
		registers.fill(0);
		registers[CONTROL] = 0x1140;
		registers[STATUS] = 0x7949;
		registers[ID1] = 0x0141;
		registers[ID2] = 0x0c20;
		registers[ADVERTISEMENT] = 0x0de1;
		registers[GIGABIT_CONTROL] = 0x0e00;
		registers[EXTENDED_STATUS] = 0x3000;
		registers[SPECIFIC_CONTROL] = 0x0360;
		registers[EXTENDED_SPECIFIC_CONTROL] = 0x0d60;
	}

	setLink(isUp: boolean, speed: PhySpeed): void {
		const registers = this.#registers;
		const both = STATUS_LINK | STATUS_NEGOTIATED;
		registers[STATUS] = (registers[STATUS]! & ~both) | (isUp ? both : 0);
		registers[PARTNER] = isUp ? (speed === 0 ? PARTNER_10 : PARTNER_ALL) : 0;
		registers[EXPANSION] = isUp ? 0x000f : 0;
		registers[GIGABIT_STATUS] = isUp && speed === 2 ? 0x3c00 : 0;
		registers[SPECIFIC_STATUS] = isUp ? (speed << 14) | FULL_DUPLEX | RESOLVED | LINK : 0;
	}

	read(register: number): number {
		return this.#registers[register % REGISTERS]!;
	}

	write(register: number, value: number): void {
		if (!WRITABLE.includes(register)) return;
		if (register !== CONTROL) this.#registers[register] = value;
		else if ((value & CONTROL_RESET) !== 0) {
			this.reset();
			this.onRestart();
		} else {
			this.#registers[CONTROL] = value & ~CONTROL_RESTART;
			if ((value & CONTROL_RESTART) !== 0) this.onRestart();
		}
	}

	save(): readonly number[] {
		return [...this.#registers];
	}

	load(state: readonly number[]): void {
		this.#registers.set(state);
	}
}
