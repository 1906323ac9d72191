import { randomFillSync } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { KeptCode } from "../../cpu/kept-code.ts";
import type { Host, Sleep } from "../../vm/host.ts";
import { sleepWith, type Waits } from "../../vm/sleep.ts";
import { keptCode } from "./kept-code.ts";

/** Below this a timer of Node's would come too late (it counts whole milliseconds): the thread itself waits instead. */
const SHORTEST_TIMER_NS = 1_200_000;

/** Time, chance and patience as Node gives them. */
export class NodeHost implements Host {
	readonly #waits: Waits;

	/** @param bell other threads change its first cell, and notify, where the host's events have something for this one */
	constructor(bell: Int32Array = new Int32Array(new SharedArrayBuffer(4))) {
		this.#waits = {
			nowNs: () => performance.now() * 1e6,
			later: (callback, delayMs) => {
				const timer = setTimeout(callback, delayMs);
				return () => clearTimeout(timer);
			},
			soon: (callback) => {
				const immediate = setImmediate(callback);
				return () => clearImmediate(immediate);
			},
			block: (delayNs) => void Atomics.wait(bell, 0, Atomics.load(bell, 0), delayNs / 1e6),
		};
	}

	get keptCode(): KeptCode {
		return keptCode();
	}

	nowNs(): number {
		return this.#waits.nowNs();
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
		return sleepWith(this.#waits, delayNs, SHORTEST_TIMER_NS);
	}
}
