import { randomFillSync } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Host, Sleep } from "../../vm/host.ts";

/** Below this a timer of Node's would come too late (it counts whole milliseconds): the thread itself waits instead. */
const SHORTEST_TIMER_NS = 1_200_000;
/** The longest that a timer of Node's can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Longest that the thread is blocked: what the host has ready meanwhile has to wait as long. */
const LONGEST_BLOCK_NS = 300_000;

const never = new Int32Array(new SharedArrayBuffer(4));

/** Time, chance and patience as Node gives them. */
export class NodeHost implements Host {
	nowNs(): number {
		return performance.now() * 1e6;
	}

	wallMs(): number {
		return Date.now();
	}

	random(into: Uint8Array): void {
		randomFillSync(into);
	}

	yield(): Promise<void> {
		return new Promise((resolve) => setImmediate(resolve));
	}

	sleep(delayNs: number): Sleep {
		let timer: NodeJS.Timeout | NodeJS.Immediate | undefined;
		let finish = (): void => {};
		const done = new Promise<void>((resolve) => {
			finish = resolve;
		});
		const wake = (): void => {
			clearTimeout(timer as NodeJS.Timeout);
			clearImmediate(timer as NodeJS.Immediate);
			finish();
		};
		const endNs = this.nowNs() + delayNs;
		const wait = (): void => {
			const leftNs = endNs - this.nowNs();
			if (leftNs <= 0) finish();
			else if (leftNs >= SHORTEST_TIMER_NS) timer = setTimeout(wait, Math.min(LONGEST_TIMER_MS, Math.floor((leftNs - 200_000) / 1e6)));
			else {
				Atomics.wait(never, 0, 0, Math.min(leftNs, LONGEST_BLOCK_NS) / 1e6);
				// Between two short waits the host's events come in.
				timer = setImmediate(wait);
			}
		};
		// Not at once: whoever called has to have the `wake` in hand.
		timer = setImmediate(wait);
		return { done, wake };
	}
}
