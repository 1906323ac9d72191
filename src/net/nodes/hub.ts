import type { Ns } from "../../base/units.ts";
import { ETHERNET_FRAMING, wireBytes } from "../link/config.ts";
import { Serialiser, type SerialiserState } from "../link/serialiser.ts";
import { Jack } from "../port.ts";
import type { Clock, Timer } from "../time.ts";

export interface HubOptions {
	readonly name: string;
	readonly clock: Clock;
	/** Of the one medium that all ports share; 10 Mbit/s by default. */
	readonly rateBps?: number;
	/** Most frames that may wait for the medium; beyond them senders have given up (16 collisions). */
	readonly maxWaiting?: number;
}

export type HubState = {
	readonly stats: { repeatedFrames: number; lostFrames: number };
	readonly medium: SerialiserState;
	readonly waiting: { from: string; frame: Uint8Array; endNs: Ns }[];
};

/**
 * A repeater: one half-duplex medium. Whoever sends is heard at all other ports, and everybody else waits until the
 * medium is free. Waiting is fair and in order of arrival; collisions themselves are not played out.
 */
export class Hub {
	readonly name: string;
	readonly stats = { repeatedFrames: 0, lostFrames: 0 };
	readonly #clock: Clock;
	readonly #rateBps: number;
	readonly #maxWaiting: number;
	readonly #ports = new Map<string, Jack>();
	readonly #medium = new Serialiser();
	readonly #timer: Timer;
	#waiting: { from: string; frame: Uint8Array; endNs: Ns }[] = [];

	constructor(options: HubOptions) {
		this.name = options.name;
		this.#clock = options.clock;
		this.#rateBps = options.rateBps ?? 10_000_000;
		this.#maxWaiting = options.maxWaiting ?? 256;
		this.#timer = options.clock.timer(`hub ${options.name}`, (deadlineNs) => this.#repeat(deadlineNs));
	}

	/** The port of that name, made on first use. */
	port(name: string): Jack {
		let jack = this.#ports.get(name);
		if (jack === undefined) {
			jack = new Jack(`${this.name}:${name}`);
			jack.onFrame = (frame) => this.#hear(name, frame);
			this.#ports.set(name, jack);
		}
		return jack;
	}

	#hear(from: string, frame: Uint8Array): void {
		if (this.#waiting.length >= this.#maxWaiting) {
			this.stats.lostFrames++;
			return;
		}
		const endNs = this.#medium.send(this.#clock.nowNs, wireBytes(ETHERNET_FRAMING, frame.length), this.#rateBps);
		this.#waiting.push({ from, frame, endNs });
		if (!this.#timer.isArmed) this.#timer.arm(endNs);
	}

	#repeat(nowNs: Ns): void {
		while (this.#waiting.length > 0 && (this.#waiting[0] as { endNs: Ns }).endNs <= nowNs) {
			const { from, frame } = this.#waiting.shift() as { from: string; frame: Uint8Array };
			this.stats.repeatedFrames++;
			for (const [name, jack] of this.#ports) if (name !== from) jack.send(frame);
		}
		const next = this.#waiting[0];
		if (next !== undefined) this.#timer.arm(next.endNs);
	}

	save(): HubState {
		return {
			stats: { ...this.stats },
			medium: this.#medium.save(),
			waiting: this.#waiting.map((each) => ({ ...each, frame: each.frame.slice() })),
		};
	}

	load(state: HubState): void {
		Object.assign(this.stats, state.stats);
		this.#medium.load(state.medium);
		this.#waiting = state.waiting.map((each) => ({ ...each, frame: each.frame.slice() }));
		const next = this.#waiting[0];
		if (next === undefined) this.#timer.disarm();
		else this.#timer.arm(next.endNs);
	}
}
