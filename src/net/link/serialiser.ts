import type { Ns } from "../../base/units.ts";

/** Mahimahi's unit of delivery (its packets carry 1500 bytes of IP and 4 of its own). */
const OPPORTUNITY_BYTES = 1504;
const NS_PER_MS = 1_000_000;

export type SerialiserState = { freeNs: Ns; remainder: number; rateBps: number; opportunity: number; opportunityBytesLeft: number };

/**
 * The sending end of a cable, one frame after another. A frame takes 8·bytes/rate; what that leaves of a nanosecond
 * is carried on exactly, so that a link that stays busy sends its rate and not a bit more or less.
 */
export class Serialiser {
	/** The cable is free from `#freeNs` + `#remainder`/`#rateBps` ns on. */
	#freeNs: Ns = 0;
	#remainder = 0;
	#rateBps = 1;
	#opportunity = -1;
	#opportunityBytesLeft = 0;

	/** Sends a frame that is there from `arrivalNs` on; returns when its last bit has left (rounded up). */
	send(arrivalNs: Ns, bytes: number, rateBps: number): Ns {
		if (arrivalNs > this.#freeNs) {
			this.#freeNs = arrivalNs;
			this.#remainder = 0;
		} else if (rateBps !== this.#rateBps) {
			// A remainder counts in parts of its own rate; part of a nanosecond is lost at a change of rate.
			this.#freeNs += this.#remainder > 0 ? 1 : 0;
			this.#remainder = 0;
		}
		this.#rateBps = rateBps;
		// 8e9 · 64 KiB stays below 2^53, so all of this is exact.
		const bitNs = bytes * 8e9 + this.#remainder;
		let wholeNs = Math.floor(bitNs / rateBps);
		if (wholeNs * rateBps > bitNs) wholeNs--;
		this.#remainder = bitNs - wholeNs * rateBps;
		this.#freeNs += wholeNs;
		return this.#freeNs + (this.#remainder > 0 ? 1 : 0);
	}

	/**
	 * The same, at moments given as milliseconds from 0, the last one being the period. Each carries 1504 bytes; what
	 * a frame leaves of one is there for the next frame, if that is waiting already.
	 */
	sendAtOpportunities(arrivalNs: Ns, bytes: number, timesMs: readonly number[]): Ns {
		const periodMs = timesMs.at(-1) as number;
		const timeNs = (count: number) => (Math.floor(count / timesMs.length) * periodMs + timesMs[count % timesMs.length]!) * NS_PER_MS;
		if (arrivalNs > this.#freeNs || this.#opportunity < 0) {
			this.#opportunityBytesLeft = 0;
			const skipped = Math.floor(arrivalNs / NS_PER_MS / periodMs) * timesMs.length - 2;
			this.#opportunity = Math.max(this.#opportunity, skipped);
		}
		let left = bytes;
		for (;;) {
			const taken = Math.min(left, this.#opportunityBytesLeft);
			left -= taken;
			this.#opportunityBytesLeft -= taken;
			if (left === 0) break;
			do this.#opportunity++;
			while (timeNs(this.#opportunity) < arrivalNs);
			this.#opportunityBytesLeft = OPPORTUNITY_BYTES;
		}
		this.#remainder = 0;
		this.#freeNs = Math.max(timeNs(this.#opportunity), arrivalNs);
		return this.#freeNs;
	}

	/** Nothing is being sent any more from now on (the cable went down). */
	abort(nowNs: Ns): void {
		if (this.#freeNs > nowNs) this.#freeNs = nowNs;
		this.#remainder = 0;
	}

	save(): SerialiserState {
		return {
			freeNs: this.#freeNs,
			remainder: this.#remainder,
			rateBps: this.#rateBps,
			opportunity: this.#opportunity,
			opportunityBytesLeft: this.#opportunityBytesLeft,
		};
	}

	load(state: SerialiserState): void {
		this.#freeNs = state.freeNs;
		this.#remainder = state.remainder;
		this.#rateBps = state.rateBps;
		this.#opportunity = state.opportunity;
		this.#opportunityBytesLeft = state.opportunityBytesLeft;
	}
}
