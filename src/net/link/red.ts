import type { Ns } from "../../base/units.ts";
import type { QueueConfig } from "./config.ts";
import { type AqmState, DropTail, type QueueContext, type QueuedFrame } from "./queue.ts";

/** Weight of a new sample in the average: 2^-9, Floyd's 0.002. */
const WEIGHT = 1 / 512;
const ADAPT_INTERVAL_NS: Ns = 500_000_000;

/** Random early detection (Floyd and Jacobson 1993; adaptive: Floyd, Gummadi and Shenker 2001). */
export class Red extends DropTail {
	readonly #isEcn: boolean;
	readonly #isAdaptive: boolean;
	readonly #minBytes: number;
	readonly #maxBytes: number;
	#probability: number;
	#averageBytes = 0;
	/** Frames since the last mark; −1 while the average is below the lower threshold. */
	#count = -1;
	#idleSinceNs: Ns = 0;
	#adaptedNs: Ns = 0;

	constructor(context: QueueContext, config: QueueConfig) {
		super(context);
		const limitBytes = Math.min(context.limits.bytes, context.limits.wireBytes, context.limits.packets * context.fullFrameBytes);
		this.#maxBytes = config.redMaxBytes ?? limitBytes / 4;
		this.#minBytes = config.redMinBytes ?? this.#maxBytes / 3;
		this.#probability = config.redProbability ?? 0.02;
		this.#isEcn = config.ecn;
		this.#isAdaptive = config.redIsAdaptive ?? false;
	}

	override enqueue(entry: QueuedFrame, nowNs: Ns): void {
		this.#updateAverage(nowNs);
		if (this.#isAdaptive) this.#adapt(nowNs);
		if (this.#isHit(entry)) {
			this.#count = 0;
			if (!(this.#isEcn && this.context.mark(entry))) {
				this.context.drop(entry, "aqm");
				return;
			}
		}
		super.enqueue(entry, nowNs);
	}

	override dequeue(nowNs: Ns): QueuedFrame | undefined {
		const entry = super.dequeue(nowNs);
		if (this.packets === 0) this.#idleSinceNs = nowNs;
		return entry;
	}

	#updateAverage(nowNs: Ns): void {
		if (this.packets > 0) {
			this.#averageBytes += (this.bytes - this.#averageBytes) * WEIGHT;
			return;
		}
		// As if small frames had found the queue empty for as long as it was.
		const missed = Math.min(100_000, Math.floor((nowNs - this.#idleSinceNs) / Math.max(1, this.context.fullFrameNs)));
		let factor = 1;
		let power = 1 - WEIGHT;
		for (let left = missed; left > 0; left >>>= 1) {
			if (left & 1) factor *= power;
			power *= power;
		}
		this.#averageBytes *= factor * (1 - WEIGHT);
		this.#idleSinceNs = nowNs;
	}

	#isHit(entry: QueuedFrame): boolean {
		if (this.#averageBytes < this.#minBytes) {
			this.#count = -1;
			return false;
		}
		if (this.#averageBytes >= this.#maxBytes) return true;
		this.#count++;
		const base = (this.#probability * (this.#averageBytes - this.#minBytes)) / (this.#maxBytes - this.#minBytes);
		const spaced = this.#count * base >= 1 ? 1 : base / (1 - this.#count * base);
		return this.context.random(entry.index) < spaced * 0x1_0000_0000;
	}

	#adapt(nowNs: Ns): void {
		if (nowNs - this.#adaptedNs < ADAPT_INTERVAL_NS) return;
		this.#adaptedNs = nowNs;
		const span = this.#maxBytes - this.#minBytes;
		if (this.#averageBytes > this.#minBytes + 0.6 * span)
			this.#probability = Math.min(0.5, this.#probability + Math.min(0.01, this.#probability / 4));
		else if (this.#averageBytes < this.#minBytes + 0.4 * span) this.#probability = Math.max(0.01, this.#probability * 0.9);
	}

	override saveAqm(): AqmState {
		return {
			averageBytes: this.#averageBytes,
			count: this.#count,
			idleSinceNs: this.#idleSinceNs,
			adaptedNs: this.#adaptedNs,
			probability: this.#probability,
		};
	}

	override loadAqm(state: AqmState): void {
		this.#averageBytes = state.averageBytes ?? 0;
		this.#count = state.count ?? -1;
		this.#idleSinceNs = state.idleSinceNs ?? 0;
		this.#adaptedNs = state.adaptedNs ?? 0;
		this.#probability = state.probability ?? this.#probability;
	}
}
