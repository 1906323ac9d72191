import type { Ns } from "../../base/units.ts";

const MS: Ns = 1_000_000;
const MIN_RTO_NS: Ns = 200 * MS;
const MAX_RTO_NS: Ns = 60_000 * MS;
const INITIAL_RTO_NS: Ns = 1000 * MS;
/** RFC 6928. */
const INITIAL_WINDOW_SEGMENTS = 10;

/** Round-trip time and retransmission timeout (RFC 6298), with the floor of 200 ms that all systems use. */
export class RoundTrip {
	#smoothedNs: Ns | undefined;
	#variationNs: Ns = 0;
	#backoff = 1;

	get timeoutNs(): Ns {
		const base = this.#smoothedNs === undefined ? INITIAL_RTO_NS : this.#smoothedNs + Math.max(MS, 4 * this.#variationNs);
		return Math.min(MAX_RTO_NS, Math.max(MIN_RTO_NS, base) * this.#backoff);
	}

	sample(rttNs: Ns): void {
		this.#backoff = 1;
		if (this.#smoothedNs === undefined) {
			this.#smoothedNs = rttNs;
			this.#variationNs = rttNs / 2;
			return;
		}
		this.#variationNs = 0.75 * this.#variationNs + 0.25 * Math.abs(this.#smoothedNs - rttNs);
		this.#smoothedNs = 0.875 * this.#smoothedNs + 0.125 * rttNs;
	}

	backOff(): void {
		this.#backoff = Math.min(64, this.#backoff * 2);
	}
}

/** NewReno (RFC 5681, RFC 6582), counted in bytes; with selective acknowledgments, the window rules of RFC 6675. */
export class Congestion {
	#mss: number;
	windowBytes: number;
	#thresholdBytes = Number.POSITIVE_INFINITY;
	#duplicates = 0;
	/** While recovering: the position up to which losses belong to the same event. */
	#recoverTo: number | undefined;
	#timedOutTo = 0;
	hasSack = false;

	constructor(mss: number) {
		this.#mss = mss;
		this.windowBytes = INITIAL_WINDOW_SEGMENTS * mss;
	}

	setMss(mss: number): void {
		this.#mss = mss;
		this.windowBytes = INITIAL_WINDOW_SEGMENTS * mss;
	}

	get isRecovering(): boolean {
		return this.#recoverTo !== undefined;
	}

	/** New data is acknowledged up to `position`; true when, without SACK, the segment there has to go again. */
	acknowledged(bytes: number, position: number): boolean {
		this.#duplicates = 0;
		if (this.#recoverTo !== undefined) {
			if (position < this.#recoverTo) {
				if (this.hasSack) return false;
				this.windowBytes = Math.max(this.#mss, this.windowBytes - bytes + this.#mss);
				return true;
			}
			this.windowBytes = this.#thresholdBytes;
			this.#recoverTo = undefined;
			return false;
		}
		if (this.windowBytes < this.#thresholdBytes) this.windowBytes += Math.min(bytes, 2 * this.#mss);
		else this.windowBytes += Math.max(1, Math.floor((this.#mss * bytes) / this.windowBytes));
		return false;
	}

	/**
	 * The same acknowledgment of `position` again; true when that shows a loss: at the third, or when three segments'
	 * worth behind it has been acknowledged selectively.
	 */
	duplicate(position: number, sentTo: number, sackedBytes: number): boolean {
		this.#duplicates++;
		if (this.#recoverTo !== undefined) {
			if (!this.hasSack) this.windowBytes += this.#mss;
			return false;
		}
		// RFC 6582 §4: after a timeout, duplicates of what is being sent again mean nothing.
		if ((this.#duplicates < 3 && sackedBytes <= 2 * this.#mss) || position < this.#timedOutTo) return false;
		this.#thresholdBytes = Math.max((sentTo - position) / 2, 2 * this.#mss);
		this.windowBytes = this.#thresholdBytes + (this.hasSack ? 0 : 3 * this.#mss);
		this.#recoverTo = sentTo;
		return true;
	}

	timedOut(flightBytes: number, sentTo: number): void {
		this.#thresholdBytes = Math.max(flightBytes / 2, 2 * this.#mss);
		this.windowBytes = this.#mss;
		this.#recoverTo = undefined;
		this.#duplicates = 0;
		this.#timedOutTo = sentTo;
	}
}
