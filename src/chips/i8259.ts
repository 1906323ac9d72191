/**
 * 8259A programmable interrupt controller (Intel 231468-003, "8259A Programmable Interrupt Controller"), with the
 * edge/level register that EISA and later chipsets put beside it. One chip: a board builds the cascade.
 */
import type { IoHandler } from "../machine/bus.ts";
import { type Device, unimplemented } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import { InputPin } from "./input-pin.ts";

const ICW1_IC4 = 0x01;
const ICW1_SNGL = 0x02;
const ICW1_LTIM = 0x08;
const ICW1_SELECT = 0x10;
const ICW4_UPM = 0x01;
const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10;
const OCW3_SELECT = 0x08;
const OCW3_RIS = 0x01;
const OCW3_RR = 0x02;
const OCW3_P = 0x04;
const OCW3_SMM = 0x20;
const OCW3_ESMM = 0x40;
const POLL_I = 0x80;

export type PicState = {
	readonly lines: number;
	readonly irr: number;
	readonly isr: number;
	readonly imr: number;
	readonly icw1: number;
	readonly icw2: number;
	readonly icw3: number;
	readonly icw4: number;
	/** Which ICW the next write to A0=1 is (2, 3, 4), or 0 when initialised. */
	readonly expectedIcw: number;
	readonly elcr: number;
	readonly lowestPriorityLevel: number;
	readonly isReadingIsr: boolean;
	readonly isPolling: boolean;
	readonly isSpecialMask: boolean;
	readonly isRotatingOnAutoEoi: boolean;
};

export interface PicOptions {
	readonly name: string;
	readonly int: Wire;
	/** Level of the SP/EN pin: high makes the chip a master. */
	readonly isMaster: boolean;
	/** Lines the edge/level register may make level-triggered. */
	readonly elcrWritableMask?: number;
}

/** What stands behind a master's input that ICW3 declares a slave. */
export interface PicSlave {
	acknowledge(): number;
}

export class I8259 implements Device<PicState>, PicSlave {
	readonly name: string;
	/** Offsets 0 (A0 low) and 1 (A0 high). */
	readonly registers: IoHandler;
	/** The one edge/level control register. */
	readonly edgeLevelControl: IoHandler;
	readonly #int: Wire;
	readonly #isMaster: boolean;
	readonly #elcrMask: number;
	readonly #pins: readonly Wire[];
	readonly #slaves: (PicSlave | undefined)[] = new Array<PicSlave | undefined>(8).fill(undefined);
	#lines = 0;
	#irr = 0;
	#isr = 0;
	#imr = 0;
	#icw1 = 0;
	#icw2 = 0;
	#icw3 = 0;
	#icw4 = 0;
	#expectedIcw = 0;
	#elcr = 0;
	#lowestPriorityLevel = 7;
	#isReadingIsr = false;
	#isPolling = false;
	#isSpecialMask = false;
	#isRotatingOnAutoEoi = false;

	constructor(options: PicOptions) {
		this.name = options.name;
		this.#int = options.int;
		this.#isMaster = options.isMaster;
		this.#elcrMask = options.elcrWritableMask ?? 0xff;
		this.#pins = Array.from(
			{ length: 8 },
			(_, n) =>
				new InputPin(
					() => (this.#lines & (1 << n)) !== 0,
					(high) => this.#lineChanged(n, high),
				),
		);
		this.registers = {
			accessBytes: { min: 1, max: 1 },
			read: (offset) => this.#read(offset),
			write: (offset, _bytes, value) => (offset === 0 ? this.#writeA0Low(value) : this.#writeA0High(value)),
		};
		this.edgeLevelControl = {
			accessBytes: { min: 1, max: 1 },
			read: () => this.#elcr,
			write: (_offset, _bytes, value) => {
				this.#elcr = value & this.#elcrMask;
				this.#followLevels();
				this.#update();
			},
		};
	}

	/** Input IR`n`. */
	irq(n: number): Wire {
		return this.#pins[n & 7] as Wire;
	}

	/** The slave whose INT drives IR`n`; its INTA cycle passes through this chip. */
	attachSlave(n: number, slave: PicSlave): void {
		this.#slaves[n & 7] = slave;
	}

	/** The INTA cycles: the vector. With nothing left to serve it is the default level 7, and no ISR bit is set. */
	acknowledge(): number {
		const level = this.#pendingLevel();
		if (level < 0) {
			this.#update();
			return this.#icw2 | 7;
		}
		this.#beginService(level);
		const slave = this.#isSlaveLevel(level) ? this.#slaves[level] : undefined;
		const vector = slave === undefined ? this.#icw2 | level : slave.acknowledge();
		// INT falls with INTA even if more is pending: a master in edge mode would miss a slave's next request otherwise.
		this.#int.set(false);
		this.#update();
		return vector;
	}

	reset(): void {
		this.#irr = this.#isr = this.#imr = 0;
		this.#icw1 = this.#icw2 = this.#icw3 = this.#icw4 = this.#expectedIcw = 0;
		this.#elcr = 0;
		this.#lowestPriorityLevel = 7;
		this.#isReadingIsr = this.#isPolling = this.#isSpecialMask = this.#isRotatingOnAutoEoi = false;
		this.#update();
	}

	save(): PicState {
		return {
			lines: this.#lines,
			irr: this.#irr,
			isr: this.#isr,
			imr: this.#imr,
			icw1: this.#icw1,
			icw2: this.#icw2,
			icw3: this.#icw3,
			icw4: this.#icw4,
			expectedIcw: this.#expectedIcw,
			elcr: this.#elcr,
			lowestPriorityLevel: this.#lowestPriorityLevel,
			isReadingIsr: this.#isReadingIsr,
			isPolling: this.#isPolling,
			isSpecialMask: this.#isSpecialMask,
			isRotatingOnAutoEoi: this.#isRotatingOnAutoEoi,
		};
	}

	load(state: PicState): void {
		this.#lines = state.lines;
		this.#irr = state.irr;
		this.#isr = state.isr;
		this.#imr = state.imr;
		this.#icw1 = state.icw1;
		this.#icw2 = state.icw2;
		this.#icw3 = state.icw3;
		this.#icw4 = state.icw4;
		this.#expectedIcw = state.expectedIcw;
		this.#elcr = state.elcr;
		this.#lowestPriorityLevel = state.lowestPriorityLevel;
		this.#isReadingIsr = state.isReadingIsr;
		this.#isPolling = state.isPolling;
		this.#isSpecialMask = state.isSpecialMask;
		this.#isRotatingOnAutoEoi = state.isRotatingOnAutoEoi;
		this.#update();
	}

	get #levelMask(): number {
		return (this.#icw1 & ICW1_LTIM) !== 0 ? 0xff : this.#elcr;
	}

	#lineChanged(n: number, high: boolean): void {
		const bit = 1 << n;
		this.#lines = high ? this.#lines | bit : this.#lines & ~bit;
		// An edge stays latched when its line falls again before INTA. Silicon turns that into a spurious IR7; keeping the
		// level's own vector instead loses no tick on a processor that is slow to acknowledge, and no driver minds. A slave
		// that withdraws its INT is believed, though: its request has no vector any more.
		if (high) this.#irr |= bit;
		else if ((this.#levelMask & bit) !== 0 || this.#isSlaveLevel(n)) this.#irr &= ~bit;
		this.#update();
	}

	#followLevels(): void {
		this.#irr = (this.#irr & ~this.#levelMask) | (this.#lines & this.#levelMask);
	}

	#isSlaveLevel(level: number): boolean {
		return this.#isMaster && (this.#icw1 & ICW1_SNGL) === 0 && (this.#icw3 & (1 << level)) !== 0;
	}

	/** The level INT stands for, by priority, fully nested; −1 if none. */
	#pendingLevel(): number {
		const requests = this.#irr & ~this.#imr;
		if (requests === 0) return -1;
		const inService = this.#isSpecialMask ? this.#isr & ~this.#imr : this.#isr;
		for (let rank = 1; rank <= 8; rank++) {
			const level = (this.#lowestPriorityLevel + rank) & 7;
			const bit = 1 << level;
			if ((inService & bit) !== 0) {
				const mayNest = (this.#icw4 & ICW4_SFNM) !== 0 && this.#isSlaveLevel(level) && (requests & bit) !== 0;
				return mayNest ? level : -1;
			}
			if ((requests & bit) !== 0) return level;
		}
		return -1;
	}

	#beginService(level: number): void {
		const bit = 1 << level;
		if ((this.#levelMask & bit) === 0) this.#irr &= ~bit;
		if ((this.#icw4 & ICW4_AEOI) === 0) this.#isr |= bit;
		else if (this.#isRotatingOnAutoEoi) this.#lowestPriorityLevel = level;
	}

	#update(): void {
		this.#int.set(this.#pendingLevel() >= 0);
	}

	#read(offset: number): number {
		if (this.#isPolling) {
			this.#isPolling = false;
			const level = this.#pendingLevel();
			if (level < 0) return 7;
			this.#beginService(level);
			this.#int.set(false);
			this.#update();
			return POLL_I | level;
		}
		if (offset === 1) return this.#imr;
		return this.#isReadingIsr ? this.#isr : this.#irr;
	}

	#writeA0Low(value: number): void {
		if ((value & ICW1_SELECT) !== 0) this.#initialise(value);
		else if ((value & OCW3_SELECT) !== 0) this.#writeOcw3(value);
		else this.#writeOcw2(value);
		this.#update();
	}

	#initialise(icw1: number): void {
		this.#icw1 = icw1;
		this.#irr = this.#isr = this.#imr = 0;
		this.#lowestPriorityLevel = 7;
		this.#isSpecialMask = this.#isReadingIsr = this.#isPolling = this.#isRotatingOnAutoEoi = false;
		if ((icw1 & ICW1_IC4) === 0) this.#icw4 = 0;
		this.#expectedIcw = 2;
		this.#followLevels();
	}

	#writeOcw3(value: number): void {
		if ((value & OCW3_ESMM) !== 0) this.#isSpecialMask = (value & OCW3_SMM) !== 0;
		if ((value & OCW3_P) !== 0) this.#isPolling = true;
		else if ((value & OCW3_RR) !== 0) this.#isReadingIsr = (value & OCW3_RIS) !== 0;
	}

	/** R, SL and EOI are the top three bits. */
	#writeOcw2(value: number): void {
		const level = value & 7;
		switch (value >> 5) {
			case 0b000:
				this.#isRotatingOnAutoEoi = false;
				break;
			case 0b100:
				this.#isRotatingOnAutoEoi = true;
				break;
			case 0b001:
			case 0b101: {
				const ended = this.#highestInService();
				if (ended < 0) break;
				this.#isr &= ~(1 << ended);
				if (value >> 5 === 0b101) this.#lowestPriorityLevel = ended;
				break;
			}
			case 0b011:
				this.#isr &= ~(1 << level);
				break;
			case 0b110:
				this.#lowestPriorityLevel = level;
				break;
			case 0b111:
				this.#isr &= ~(1 << level);
				this.#lowestPriorityLevel = level;
				break;
		}
	}

	/** What a non-specific EOI ends. In special mask mode a masked level is left alone. */
	#highestInService(): number {
		const inService = this.#isSpecialMask ? this.#isr & ~this.#imr : this.#isr;
		for (let rank = 1; rank <= 8; rank++) {
			const level = (this.#lowestPriorityLevel + rank) & 7;
			if ((inService & (1 << level)) !== 0) return level;
		}
		return -1;
	}

	#writeA0High(value: number): void {
		switch (this.#expectedIcw) {
			case 2:
				this.#icw2 = value & 0xf8;
				this.#expectedIcw = (this.#icw1 & ICW1_SNGL) === 0 ? 3 : (this.#icw1 & ICW1_IC4) !== 0 ? 4 : 0;
				break;
			case 3:
				this.#icw3 = value;
				this.#expectedIcw = (this.#icw1 & ICW1_IC4) !== 0 ? 4 : 0;
				break;
			case 4:
				this.#icw4 = value;
				this.#expectedIcw = 0;
				if ((value & ICW4_UPM) === 0) unimplemented(this.name, "MCS-80/85 CALL sequence (ICW4 µPM = 0)");
				break;
			default:
				this.#imr = value;
		}
		this.#update();
	}
}
