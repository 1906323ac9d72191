import type { IoHandler } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";

export type SystemControlState = {
	readonly portB: number;
	readonly isA20Forced: boolean;
	readonly resetControl: number;
	readonly isNmiMasked: boolean;
	readonly postCode: number;
};

export interface SystemControlOptions {
	readonly clock: Clock;
	/** GATE2 of the interval timer follows bit 0 of port B. */
	readonly setSpeakerGate: (high: boolean) => void;
	readonly isSpeakerTimerHigh: () => boolean;
	/** Software asked for a reset of the machine. */
	readonly requestReset: (cause: string) => void;
}

const PORT_B_WRITABLE = 0x0f;
const PORT_B_REFRESH = 0x10;
const PORT_B_OUT2 = 0x20;
/** The refresh request toggles with every DRAM refresh. */
const REFRESH_NS = 15_085;
const PORT_92_RESET = 0x01;
const PORT_92_A20 = 0x02;
const RESET_SYSTEM = 0x02;
const RESET_CPU = 0x04;
const RESET_WRITABLE = 0x0e;
const NMI_MASK = 0x80;

/**
 * The odds and ends that a PC's ISA bridge answers itself: port B (0x61), fast A20 and reset (0x92), reset control
 * (0xCF9), the NMI mask (bit 7 of 0x70), the POST code (0x80).
 */
export class SystemControl implements Device<SystemControlState> {
	readonly name = "system-control";
	readonly #options: SystemControlOptions;
	#portB = 0;
	#isA20Forced = false;
	#resetControl = 0;
	#isNmiMasked = false;
	#postCode = 0;

	constructor(options: SystemControlOptions) {
		this.#options = options;
	}

	/** Port 92h holds the A20 line up whatever the keyboard controller says. */
	get isA20Forced(): boolean {
		return this.#isA20Forced;
	}

	get isNmiMasked(): boolean {
		return this.#isNmiMasked;
	}

	/** The last byte written to port 0x80. */
	get postCode(): number {
		return this.#postCode;
	}

	/** 82371SB data sheet, "NMISC—NMI Status and Control Register (IO)". */
	readonly portB: IoHandler = {
		accessBytes: { min: 1, max: 1 },
		read: () => {
			const { clock, isSpeakerTimerHigh } = this.#options;
			const refresh = Math.floor(clock.nowNs / REFRESH_NS) % 2 === 1 ? PORT_B_REFRESH : 0;
			return this.#portB | refresh | (isSpeakerTimerHigh() ? PORT_B_OUT2 : 0);
		},
		write: (_offset, _bytes, value) => {
			this.#portB = value & PORT_B_WRITABLE;
			this.#options.setSpeakerGate((value & 1) !== 0);
		},
	};

	/** 82371SB data sheet, "Port 92 Register". */
	readonly port92: IoHandler = {
		accessBytes: { min: 1, max: 1 },
		read: () => (this.#isA20Forced ? PORT_92_A20 : 0),
		write: (_offset, _bytes, value) => {
			this.#isA20Forced = (value & PORT_92_A20) !== 0;
			if ((value & PORT_92_RESET) !== 0) this.#options.requestReset("port 92");
		},
	};

	/** 82371SB data sheet, "RC—Reset Control Register": a rising RCPU resets; the kind does not matter to a guest. */
	readonly resetControl: IoHandler = {
		accessBytes: { min: 1, max: 1 },
		read: () => this.#resetControl,
		write: (_offset, _bytes, value) => {
			const isRising = (value & ~this.#resetControl & RESET_CPU) !== 0;
			this.#resetControl = value & RESET_WRITABLE;
			if (isRising) this.#options.requestReset((value & RESET_SYSTEM) !== 0 ? "hard reset by port CF9" : "soft reset by port CF9");
		},
	};

	/** Port 0x80: what the power-on self-test has reached; many systems write here just to pass a microsecond. */
	readonly post: IoHandler = {
		accessBytes: { min: 1, max: 1 },
		read: () => this.#postCode,
		write: (_offset, _bytes, value) => {
			this.#postCode = value & 0xff;
		},
	};

	/** Puts the NMI mask before the clock chip's two ports. */
	withNmiMask(clockChip: IoHandler): IoHandler {
		return {
			accessBytes: { min: 1, max: 1 },
			read: (offset, bytes) => clockChip.read(offset, bytes),
			write: (offset, bytes, value) => {
				if (offset === 0) this.#isNmiMasked = (value & NMI_MASK) !== 0;
				clockChip.write(offset, bytes, value);
			},
		};
	}

	reset(): void {
		this.#portB = 0;
		this.#options.setSpeakerGate(false);
		this.#isA20Forced = false;
		this.#resetControl = 0;
		this.#isNmiMasked = false;
		this.#postCode = 0;
	}

	save(): SystemControlState {
		return {
			portB: this.#portB,
			isA20Forced: this.#isA20Forced,
			resetControl: this.#resetControl,
			isNmiMasked: this.#isNmiMasked,
			postCode: this.#postCode,
		};
	}

	load(state: SystemControlState): void {
		this.#portB = state.portB;
		this.#isA20Forced = state.isA20Forced;
		this.#resetControl = state.resetControl;
		this.#isNmiMasked = state.isNmiMasked;
		this.#postCode = state.postCode;
	}
}
