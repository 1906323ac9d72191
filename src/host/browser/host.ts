import type { Host, Sleep } from "../../vm/host.ts";
import { sleepWith, type Waits } from "../../vm/sleep.ts";

/** Browsers' timers count whole milliseconds, and those of a worker come up to one late. */
const SHORTEST_TIMER_NS = 2_200_000;
/** `getRandomValues` fills no more at a time (Web Cryptography API, "The getRandomValues method"). */
const MOST_RANDOM_BYTES = 65_536;

/**
 * Calls back in a task of its own, behind those that are due already: what has been posted to a thread is handled first. A timer
 * would take four milliseconds when they follow each other (HTML Standard, "Timers"), a message takes some ten microseconds.
 */
class Turns {
	readonly #waiting: { readonly callback: () => void; isCancelled: boolean }[] = [];
	readonly #post: () => void;

	constructor() {
		const { port1, port2 } = new MessageChannel();
		port1.onmessage = () => {
			const turn = this.#waiting.shift();
			if (turn?.isCancelled === false) turn.callback();
		};
		this.#post = () => port2.postMessage(undefined);
	}

	next(callback: () => void): () => void {
		const turn = { callback, isCancelled: false };
		this.#waiting.push(turn);
		this.#post();
		return () => {
			turn.isCancelled = true;
		};
	}
}

/** Time, chance and patience as a browser gives them, in a page or in one of its workers. */
export class BrowserHost implements Host {
	readonly #turns = new Turns();
	readonly #waits: Waits;

	/** @param canBlock the thread may be stopped for a moment: a worker's may, a page's may not */
	constructor(canBlock: boolean) {
		const never = canBlock ? new Int32Array(new SharedArrayBuffer(4)) : undefined;
		this.#waits = {
			nowNs: () => performance.now() * 1e6,
			later: (callback, delayMs) => {
				const timer = setTimeout(callback, delayMs);
				return () => clearTimeout(timer);
			},
			soon: (callback) => this.#turns.next(callback),
			...(never === undefined ? {} : { block: (delayNs: number) => void Atomics.wait(never, 0, 0, delayNs / 1e6) }),
		};
	}

	nowNs(): number {
		return this.#waits.nowNs();
	}

	wallMs(): number {
		return Date.now();
	}

	random(into: Uint8Array): void {
		// Guest memory is shared, and that is refused.
		const piece = new Uint8Array(Math.min(into.length, MOST_RANDOM_BYTES));
		for (let done = 0; done < into.length; done += piece.length) {
			crypto.getRandomValues(piece);
			into.set(piece.subarray(0, into.length - done), done);
		}
	}

	yield(): Promise<void> {
		return new Promise((resolve) => void this.#turns.next(resolve));
	}

	sleep(delayNs: number): Sleep {
		return sleepWith(this.#waits, delayNs, SHORTEST_TIMER_NS);
	}
}
