/** 8254 programmable interval timer (Intel 231164-005): three counters behind four byte registers. */
import type { IoHandler } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";
import { PitCounter, type PitCounterState } from "./i8254-counter.ts";
import { InputPin } from "./input-pin.ts";
import { TickRate } from "./ticks.ts";

/** The PC's CLK: 14.318180 MHz / 12. */
export const PIT_HZ = 1_193_182;

const CONTROL_OFFSET = 3;
const SELECT_READ_BACK = 3;
/** Active low. */
const READ_BACK_COUNT = 0x20;
const READ_BACK_STATUS = 0x10;

export type PitState = { readonly counters: readonly PitCounterState[] };

export interface PitOptions {
	readonly name: string;
	readonly clock: Clock;
	/** OUT0–OUT2. One left out costs no alarms; its level can still be asked for. */
	readonly out: readonly [Wire | undefined, Wire | undefined, Wire | undefined];
	readonly clockHz?: number;
}

export class I8254 implements Device<PitState> {
	readonly name: string;
	/** Offsets 0–2: the counters; 3: control word. */
	readonly registers: IoHandler;
	readonly #counters: readonly PitCounter[];
	readonly #gates: readonly Wire[];

	constructor(options: PitOptions) {
		this.name = options.name;
		const rate = new TickRate(options.clockHz ?? PIT_HZ);
		this.#counters = options.out.map((out, n) => new PitCounter(`${options.name} counter ${n}`, options.clock, rate, out));
		this.#gates = this.#counters.map(
			(counter) =>
				new InputPin(
					() => counter.isGateHigh,
					(high) => counter.setGate(high),
				),
		);
		this.registers = {
			accessBytes: { min: 1, max: 1 },
			// The control word cannot be read: the data bus floats.
			read: (offset) => (offset === CONTROL_OFFSET ? 0xff : this.#counter(offset).readCount()),
			write: (offset, _bytes, value) => {
				if (offset === CONTROL_OFFSET) this.#writeControl(value);
				else this.#counter(offset).writeCount(value);
			},
		};
	}

	/** GATE`n`; high unless a board says otherwise. */
	gate(n: number): Wire {
		return this.#gates[n] as Wire;
	}

	/** OUT`n` at this moment. */
	isOutHigh(n: number): boolean {
		return this.#counter(n).isOutHigh;
	}

	reset(): void {
		for (const counter of this.#counters) counter.reset();
	}

	save(): PitState {
		return { counters: this.#counters.map((counter) => counter.save()) };
	}

	load(state: PitState): void {
		for (const [n, counter] of state.counters.entries()) this.#counter(n).load(counter);
	}

	#counter(n: number): PitCounter {
		return this.#counters[n] as PitCounter;
	}

	#writeControl(value: number): void {
		const select = value >> 6;
		if (select === SELECT_READ_BACK) {
			for (let n = 0; n < 3; n++) {
				if ((value & (2 << n)) === 0) continue;
				if ((value & READ_BACK_COUNT) === 0) this.#counter(n).latchCount();
				if ((value & READ_BACK_STATUS) === 0) this.#counter(n).latchStatus();
			}
		} else if ((value & 0x30) === 0) this.#counter(select).latchCount();
		else this.#counter(select).writeControl(value);
	}
}
