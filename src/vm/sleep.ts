import type { Sleep } from "./host.ts";

/** Longest that a thread is blocked: what its host has ready meanwhile has to wait as long. */
const LONGEST_BLOCK_NS = 300_000;
/** A timer is asked for this much less than what is left, since it comes late rather than early. */
const TIMER_SLACK_NS = 200_000;
/** The longest that timers of Node and of browsers wait: milliseconds in 31 bits. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What a host waits with. Whatever begins a wait returns what ends it. */
export interface Waits {
	nowNs(): number;
	/** Calls back after `delayMs` (whole milliseconds) or more. */
	later(callback: () => void, delayMs: number): () => void;
	/** Calls back as soon as the host's own events have been handled. */
	soon(callback: () => void): () => void;
	/** Stops the thread for so long; a thread that may not be stopped leaves this out, and waits with timers alone. */
	block?(delayNs: number): void;
}

/**
 * Sleeps with a host's timers as far as they are good enough, and the rest in short blocks with the host's events let in between.
 * @param shortestTimerNs below this a timer would come too late
 */
export function sleepWith(waits: Waits, delayNs: number, shortestTimerNs: number): Sleep {
	let finish = (): void => {};
	const done = new Promise<void>((resolve) => {
		finish = resolve;
	});
	const endNs = waits.nowNs() + delayNs;
	let cancel = (): void => {};
	const wait = (): void => {
		const leftNs = endNs - waits.nowNs();
		if (leftNs <= 0) finish();
		else if (leftNs >= shortestTimerNs || waits.block === undefined)
			cancel = waits.later(wait, Math.min(LONGEST_TIMER_MS, Math.max(1, Math.floor((leftNs - TIMER_SLACK_NS) / 1e6))));
		else {
			waits.block(Math.min(leftNs, LONGEST_BLOCK_NS));
			cancel = waits.soon(wait);
		}
	};
	// Not at once: whoever called has to have the `wake` in hand.
	cancel = waits.soon(wait);
	return {
		done,
		wake: () => {
			cancel();
			finish();
		},
	};
}
