import { randomFillSync } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Host, Sleep } from "../../vm/host.ts";
import { sleepWith, type Waits } from "../../vm/sleep.ts";

/** Below this a timer of Node's would come too late (it counts whole milliseconds): the thread itself waits instead. */
const SHORTEST_TIMER_NS = 1_200_000;

const never = new Int32Array(new SharedArrayBuffer(4));

const waits: Waits = {
	nowNs: () => performance.now() * 1e6,
	later: (callback, delayMs) => {
		const timer = setTimeout(callback, delayMs);
		return () => clearTimeout(timer);
	},
	soon: (callback) => {
		const immediate = setImmediate(callback);
		return () => clearImmediate(immediate);
	},
	block: (delayNs) => void Atomics.wait(never, 0, 0, delayNs / 1e6),
};

/** Time, chance and patience as Node gives them. */
export class NodeHost implements Host {
	nowNs(): number {
		return waits.nowNs();
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
		return sleepWith(waits, delayNs, SHORTEST_TIMER_NS);
	}
}
