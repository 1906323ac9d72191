/** The little registers of a PC/AT's and its chipset's glue logic. */
import type { IoHandler } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";

/** DRAM refresh, which bit 4 of the NMI status register follows, toggles this often. */
const REFRESH_NS = 15_085;

export type NmiStatusState = { readonly control: number };

export interface NmiStatusOptions {
	readonly name: string;
	readonly clock: Clock;
	/** GATE of the speaker's timer. */
	readonly timerGate: Wire;
	/** OUT of the speaker's timer. */
	readonly isTimerOutHigh: () => boolean;
	/** High while the timer's output reaches the speaker. */
	readonly speaker: Wire;
}

/** NMI status and control register (IBM PC/AT "System Control Port B"): timer gate, speaker, error enables. */
export class NmiStatusControl implements Device<NmiStatusState> {
	readonly name: string;
	readonly register: IoHandler;
	readonly #options: NmiStatusOptions;
	#control = 0;

	constructor(options: NmiStatusOptions) {
		this.name = options.name;
		this.#options = options;
		options.timerGate.set(false);
		this.register = {
			accessBytes: { min: 1, max: 1 },
			read: () => {
				const refresh = (Math.floor(options.clock.nowNs / REFRESH_NS) & 1) << 4;
				return this.#control | refresh | (options.isTimerOutHigh() ? 0x20 : 0);
			},
			write: (_offset, _bytes, value) => this.#apply(value & 0x0f),
		};
	}

	reset(): void {
		this.#apply(0);
	}

	save(): NmiStatusState {
		return { control: this.#control };
	}

	load(state: NmiStatusState): void {
		this.#apply(state.control);
	}

	#apply(control: number): void {
		this.#control = control;
		this.#options.timerGate.set((control & 1) !== 0);
		this.#options.speaker.set((control & 3) === 3);
	}
}

export type SystemControlState = { readonly value: number };

/** System control port A (IBM PS/2, port 92h): fast A20 and fast reset. */
export class SystemControlA implements Device<SystemControlState> {
	readonly name: string;
	readonly register: IoHandler;
	readonly #a20: Wire;
	#value = 0;

	/** @param resetPulse pulsed when the reset bit goes from 0 to 1 */
	constructor(name: string, a20: Wire, resetPulse: Wire) {
		this.name = name;
		this.#a20 = a20;
		this.register = {
			accessBytes: { min: 1, max: 1 },
			read: () => this.#value,
			write: (_offset, _bytes, value) => {
				const isReset = (value & ~this.#value & 1) !== 0;
				this.#apply(value & 0x03);
				if (!isReset) return;
				resetPulse.set(true);
				resetPulse.set(false);
			},
		};
	}

	reset(): void {
		this.#apply(0);
	}

	save(): SystemControlState {
		return { value: this.#value };
	}

	load(state: SystemControlState): void {
		this.#apply(state.value);
	}

	#apply(value: number): void {
		this.#value = value;
		this.#a20.set((value & 0x02) !== 0);
	}
}

export type ResetControlState = { readonly value: number };

const RST_CPU = 0x04;
const SYS_RST = 0x02;

/** Reset control register of Intel chipsets (82371SB "PIIX3", RC), which FADT's RESET_REG names. */
export class ResetControl implements Device<ResetControlState> {
	readonly name: string;
	readonly register: IoHandler;
	#value = 0;

	constructor(name: string, onReset: (isHard: boolean) => void) {
		this.name = name;
		this.register = {
			accessBytes: { min: 1, max: 1 },
			read: () => this.#value,
			write: (_offset, _bytes, value) => {
				const isReset = (value & ~this.#value & RST_CPU) !== 0;
				// The reset that it asks for clears RST_CPU again.
				this.#value = isReset ? value & SYS_RST : value & (SYS_RST | RST_CPU);
				if (isReset) onReset((value & SYS_RST) !== 0);
			},
		};
	}

	reset(): void {
		this.#value = 0;
	}

	save(): ResetControlState {
		return { value: this.#value };
	}

	load(state: ResetControlState): void {
		this.#value = state.value;
	}
}

export type PostCodeState = { readonly code: number };

/** The latch for power-on self-test codes: keeps the last byte, for whoever debugs a firmware. Writes also serve as delays. */
export class PostCode implements Device<PostCodeState> {
	readonly name: string;
	readonly register: IoHandler;
	#code = 0;

	constructor(name: string) {
		this.name = name;
		this.register = {
			accessBytes: { min: 1, max: 1 },
			read: () => this.#code,
			write: (_offset, _bytes, value) => {
				this.#code = value;
			},
		};
	}

	get code(): number {
		return this.#code;
	}

	reset(): void {
		this.#code = 0;
	}

	save(): PostCodeState {
		return { code: this.#code };
	}

	load(state: PostCodeState): void {
		this.#code = state.code;
	}
}
