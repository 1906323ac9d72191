import type { Sleep } from "../../../../vm/host.ts";
import { NodeHost } from "../../host.ts";
import { CELL } from "./messages.ts";

/** Longest that the thread waits for its bell alone: what comes by no bell (its own timers) has to wait as long. */
const LONGEST_WAIT_NS = 50_000_000;

/**
 * The host of a machine that has a thread to itself. All that comes for it comes with its bell: it waits for that with the
 * thread stopped, and looks at it whenever it is asked for the time, which a machine does every 200 µs at the least.
 */
export class ThreadHost extends NodeHost {
	readonly #cells: Int32Array;
	#seen = 0;
	/** The bell has been rung. */
	onBell: () => void = () => {};

	constructor(cells: Int32Array) {
		super();
		this.#cells = cells;
	}

	override nowNs(): number {
		this.#look();
		return super.nowNs();
	}

	#look(): void {
		const rung = Atomics.load(this.#cells, CELL.bell);
		if (rung === this.#seen) return;
		this.#seen = rung;
		this.onBell();
	}

	override sleep(delayNs: number): Sleep {
		let finish = (): void => {};
		const done = new Promise<void>((resolve) => {
			finish = resolve;
		});
		let isOver = false;
		const wake = (): void => {
			isOver = true;
			finish();
		};
		const endNs = this.nowNs() + delayNs;
		const wait = (): void => {
			// The look at the bell may wake.
			const leftNs = endNs - this.nowNs();
			if (isOver) return;
			if (leftNs <= 0) {
				wake();
				return;
			}
			Atomics.wait(this.#cells, CELL.bell, this.#seen, Math.min(leftNs, LONGEST_WAIT_NS) / 1e6);
			setImmediate(wait);
		};
		// Not at once: whoever called has to have the `wake` in hand.
		setImmediate(wait);
		return { done, wake };
	}
}
