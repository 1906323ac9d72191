import type { Ns } from "../../base/units.ts";
import type { QueueConfig } from "./config.ts";
import { type AqmState, DropTail, type Fifo, type QueueContext, type QueuedFrame } from "./queue.ts";

const DEFAULT_TARGET_NS: Ns = 5_000_000;
const DEFAULT_INTERVAL_NS: Ns = 100_000_000;

/** The control law of CoDel (RFC 8289 §4), over whatever queue of frames it is handed. */
export class CodelLaw {
	readonly #context: QueueContext;
	readonly #isEcn: boolean;
	readonly #targetNs: Ns;
	readonly #intervalNs: Ns;
	#firstAboveNs = -1;
	#dropNextNs: Ns = 0;
	#count = 0;
	#lastCount = 0;
	#isDropping = false;

	constructor(context: QueueContext, config: QueueConfig) {
		this.#context = context;
		this.#isEcn = config.ecn;
		// RFC 8289 §4.4: a target below one full frame's time would drop everything on a slow link.
		this.#targetNs = config.targetNs ?? Math.max(DEFAULT_TARGET_NS, Math.ceil(1.5 * context.fullFrameNs));
		this.#intervalNs = config.intervalNs ?? DEFAULT_INTERVAL_NS;
	}

	dequeue(fifo: Fifo, nowNs: Ns): QueuedFrame | undefined {
		let entry = fifo.shift();
		let mayDrop = this.#isLate(fifo, entry, nowNs);
		if (this.#isDropping) {
			if (!mayDrop) this.#isDropping = false;
			while (this.#isDropping && nowNs >= this.#dropNextNs) {
				this.#count++;
				const isMarked = this.#dropOrMark(entry as QueuedFrame);
				if (!isMarked) {
					entry = fifo.shift();
					mayDrop = this.#isLate(fifo, entry, nowNs);
					if (!mayDrop) {
						this.#isDropping = false;
						break;
					}
				}
				this.#dropNextNs = this.#nextDropNs(this.#dropNextNs);
				if (isMarked) break;
			}
		} else if (mayDrop) {
			if (!this.#dropOrMark(entry as QueuedFrame)) {
				entry = fifo.shift();
				this.#isLate(fifo, entry, nowNs);
			}
			this.#isDropping = true;
			const sinceLast = this.#count - this.#lastCount;
			this.#count = sinceLast > 1 && nowNs - this.#dropNextNs < 16 * this.#intervalNs ? sinceLast : 1;
			this.#lastCount = this.#count;
			this.#dropNextNs = this.#nextDropNs(nowNs);
		}
		return entry;
	}

	#isLate(fifo: Fifo, entry: QueuedFrame | undefined, nowNs: Ns): boolean {
		const isShort = entry === undefined || nowNs - entry.arrivalNs < this.#targetNs || fifo.bytes <= this.#context.fullFrameBytes;
		if (isShort) {
			this.#firstAboveNs = -1;
			return false;
		}
		if (this.#firstAboveNs < 0) {
			this.#firstAboveNs = nowNs + this.#intervalNs;
			return false;
		}
		return nowNs >= this.#firstAboveNs;
	}

	#dropOrMark(entry: QueuedFrame): boolean {
		if (this.#isEcn && this.#context.mark(entry)) return true;
		this.#context.drop(entry, "aqm");
		return false;
	}

	#nextDropNs(fromNs: Ns): Ns {
		return fromNs + Math.floor(this.#intervalNs / Math.sqrt(this.#count));
	}

	save(): AqmState {
		return {
			firstAboveNs: this.#firstAboveNs,
			dropNextNs: this.#dropNextNs,
			count: this.#count,
			lastCount: this.#lastCount,
			isDropping: this.#isDropping ? 1 : 0,
		};
	}

	load(state: AqmState): void {
		this.#firstAboveNs = state.firstAboveNs ?? -1;
		this.#dropNextNs = state.dropNextNs ?? 0;
		this.#count = state.count ?? 0;
		this.#lastCount = state.lastCount ?? 0;
		this.#isDropping = state.isDropping === 1;
	}
}

/** One queue under CoDel. */
export class Codel extends DropTail {
	readonly #law: CodelLaw;

	constructor(context: QueueContext, config: QueueConfig) {
		super(context);
		this.#law = new CodelLaw(context, config);
	}

	override dequeue(nowNs: Ns): QueuedFrame | undefined {
		return this.#law.dequeue(this.fifo, nowNs);
	}

	override saveAqm(): AqmState {
		return this.#law.save();
	}

	override loadAqm(state: AqmState): void {
		this.#law.load(state);
	}
}
