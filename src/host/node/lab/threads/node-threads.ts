import type { MachineThreads, ThreadOptions } from "../../../../lab/runtime.ts";
import type { LabCards } from "./lab-cards.ts";
import { ThreadedMachine } from "./threaded-machine.ts";

/** How long after the last frame the lab's thread goes on listening for the bell: waking it by a message costs the sender ten times as much. */
const LINGER_MS = 3;
/** Longest that it listens without letting the host's events in. */
const LISTEN_MS = 0.3;

/** Worker threads of this process for a lab's machines. */
export class NodeThreads implements MachineThreads {
	/** Rung by machines that have frames: for the host by which the lab's own thread sleeps. */
	readonly bell: Int32Array<SharedArrayBuffer> = new Int32Array(new SharedArrayBuffer(4));
	readonly #cards = new Set<LabCards>();
	/** The lab's alarms. */
	#runDue: () => number = () => Number.POSITIVE_INFINITY;
	#isAwake = false;
	#untilMs = 0;

	place(options: ThreadOptions) {
		const guest = new ThreadedMachine(options, this.bell.buffer, () => this.#wake());
		this.#cards.add(guest.cards);
		this.#runDue = options.runDue;
		const leave = (): void => {
			this.#cards.delete(guest.cards);
			guest.leave();
		};
		return { guest, ready: guest.ready, leave };
	}

	#wake(): void {
		if (this.#isAwake) return;
		this.#isAwake = true;
		this.#listen();
	}

	#listen(): void {
		const heard = Atomics.load(this.bell, 0);
		let taken = 0;
		for (const cards of this.#cards) taken += cards.pump();
		const nowMs = performance.now();
		if (taken > 0) this.#untilMs = nowMs + LINGER_MS;
		if (nowMs >= this.#untilMs && this.#sleep()) return;
		if (taken === 0) Atomics.wait(this.bell, 0, heard, Math.max(0, Math.min(LISTEN_MS, this.#runDue() / 1e6)));
		setImmediate(() => this.#listen());
	}

	/** False when somebody has written just then. */
	#sleep(): boolean {
		let isQuiet = true;
		for (const cards of this.#cards) isQuiet = cards.sleep() && isQuiet;
		this.#isAwake = !isQuiet;
		return isQuiet;
	}
}
