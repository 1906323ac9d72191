import type { Ns } from "../base/units.ts";
import { NS_PER_S } from "../base/units.ts";

/**
 * Ticks of a `hz` oscillator that started at guest time 0. Exact integer arithmetic on whole seconds and their rest, so
 * that it never drifts. Good for `hz` below 9 MHz, where (1 s of ns) × hz still fits in 53 bits.
 */
export class TickRate {
	readonly hz: number;

	constructor(hz: number) {
		this.hz = hz;
	}

	/** Whole ticks that have passed at `ns`. */
	ticksAt(ns: Ns): number {
		const seconds = Math.floor(ns / NS_PER_S);
		return seconds * this.hz + Math.floor(((ns - seconds * NS_PER_S) * this.hz) / NS_PER_S);
	}

	/** The first nanosecond at which `ticks` have passed. */
	nsOf(ticks: number): Ns {
		const seconds = Math.floor(ticks / this.hz);
		return seconds * NS_PER_S + Math.ceil(((ticks - seconds * this.hz) * NS_PER_S) / this.hz);
	}
}
