import { type Range, RangeSet } from "./range-set.ts";

interface Resent {
	readonly start: number;
	readonly length: number;
	/** Up to where all had been sent by then. */
	sentTo: number;
}

/** What the other side has told selectively of our bytes, and what we have made of it (RFC 6675). */
export class Scoreboard {
	readonly sacked = new RangeSet();
	/** Gaps up to here have been filled again. */
	#resentTo = 0;
	#resent: Resent[] = [];

	/** A loss has been seen: recovery begins at the first byte not acknowledged. */
	begin(una: number): void {
		this.#resentTo = una;
		this.#resent = [];
	}

	/** All before `una` is acknowledged. */
	advance(una: number): void {
		this.#resentTo = Math.max(this.#resentTo, una);
		this.sacked.release(una);
	}

	noteResent(start: number, length: number, sentTo: number): void {
		this.#resentTo = Math.max(this.#resentTo, start + length);
		this.#resent.push({ start, length, sentTo });
	}

	/** What is believed to be on the way ("pipe", §4): all that was sent, less what arrived, less what is lost. */
	flightBytes(una: number, next: number, mss: number, isRecovering: boolean): number {
		const sentBytes = next - una - this.sacked.covered(una, next);
		if (!isRecovering) return sentBytes;
		const lostTo = this.#lostTo(una, mss);
		const from = Math.max(una, this.#resentTo);
		return sentBytes - (lostTo <= from ? 0 : lostTo - from - this.sacked.covered(from, lostTo));
	}

	/** The next gap that is lost and has not been filled again. */
	nextLost(una: number, mss: number): Range | undefined {
		const gap = this.sacked.gapFrom(Math.max(una, this.#resentTo));
		return gap.start < this.#lostTo(una, mss) ? gap : undefined;
	}

	/** Gaps before this have three segments' worth of arrivals behind them. */
	#lostTo(una: number, mss: number): number {
		return Math.max(una, (this.sacked.highest ?? una) - 3 * mss);
	}

	/**
	 * What was sent after a retransmission has arrived, and the retransmission has not: it is lost as well. Returns
	 * those, as about to be sent once more.
	 */
	takeLostAgain(una: number, mss: number, sentTo: number): readonly { readonly start: number; readonly length: number }[] {
		const highest = this.sacked.highest ?? 0;
		this.#resent = this.#resent.filter(({ start }) => start >= una && this.sacked.containing(start) === undefined);
		const lost = this.#resent.filter((each) => highest >= each.sentTo + 3 * mss);
		for (const each of lost) each.sentTo = sentTo;
		return lost;
	}
}
