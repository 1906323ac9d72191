import type { Ns } from "../../base/units.ts";
import type { QueueLimits } from "./config.ts";

/** A frame on its way through a direction of a link. */
export interface QueuedFrame {
	/** Replaced by a marked copy where ECN says so. */
	frame: Uint8Array;
	/** Its number in this direction, from 0: what all its randomness is looked up by. */
	readonly index: number;
	readonly arrivalNs: Ns;
	readonly wireBytes: number;
}

export type QueueDropReason = "queue" | "aqm";

export interface QueueContext {
	readonly limits: QueueLimits;
	/** Of one full frame at the current rate, for thresholds that must not be below it. */
	readonly fullFrameNs: Ns;
	readonly fullFrameBytes: number;
	drop(entry: QueuedFrame, reason: QueueDropReason): void;
	/** Marks the frame as having met congestion, if it may be; false when it may not. */
	mark(entry: QueuedFrame): boolean;
	/** Uniform 32-bit number for this frame. */
	random(index: number): number;
}

/** What waits in front of a serialiser. The frame being sent is no longer in here. */
export interface FrameQueue {
	readonly packets: number;
	readonly bytes: number;
	enqueue(entry: QueuedFrame, nowNs: Ns): void;
	dequeue(nowNs: Ns): QueuedFrame | undefined;
	/** Takes everything out, oldest first. */
	drain(): QueuedFrame[];
	/** Puts back what was drained or saved, whatever the bounds are now: only newcomers are measured against them. */
	restore(entries: readonly QueuedFrame[]): void;
	saveAqm(): AqmState;
	/** To be called before `restore`. */
	loadAqm(state: AqmState): void;
}

/** Named numbers of an algorithm's memory; which, is its own affair. */
export type AqmState = { readonly [name: string]: number };

/** First in, first out, in amortised constant time. */
export class Fifo {
	#entries: QueuedFrame[] = [];
	#head = 0;
	bytes = 0;
	wireBytes = 0;

	get packets(): number {
		return this.#entries.length - this.#head;
	}

	push(entry: QueuedFrame): void {
		this.#entries.push(entry);
		this.bytes += entry.frame.length;
		this.wireBytes += entry.wireBytes;
	}

	peek(): QueuedFrame | undefined {
		return this.#entries[this.#head];
	}

	shift(): QueuedFrame | undefined {
		const entry = this.#entries[this.#head];
		if (entry === undefined) return undefined;
		this.#head++;
		if (this.#head > 64 && this.#head * 2 > this.#entries.length) {
			this.#entries = this.#entries.slice(this.#head);
			this.#head = 0;
		}
		this.bytes -= entry.frame.length;
		this.wireBytes -= entry.wireBytes;
		return entry;
	}

	drain(): QueuedFrame[] {
		const all = this.#entries.slice(this.#head);
		this.#entries = [];
		this.#head = 0;
		this.bytes = 0;
		this.wireBytes = 0;
		return all;
	}
}

/** Bounded in bytes, packets and cable time; what does not fit is lost. */
export class DropTail implements FrameQueue {
	protected readonly fifo = new Fifo();
	protected readonly context: QueueContext;

	constructor(context: QueueContext) {
		this.context = context;
	}

	get packets(): number {
		return this.fifo.packets;
	}

	get bytes(): number {
		return this.fifo.bytes;
	}

	enqueue(entry: QueuedFrame, _nowNs: Ns): void {
		const { limits } = this.context;
		const isFull =
			this.fifo.packets + 1 > limits.packets ||
			this.fifo.bytes + entry.frame.length > limits.bytes ||
			this.fifo.wireBytes + entry.wireBytes > limits.wireBytes;
		if (isFull) this.context.drop(entry, "queue");
		else this.fifo.push(entry);
	}

	dequeue(_nowNs: Ns): QueuedFrame | undefined {
		return this.fifo.shift();
	}

	drain(): QueuedFrame[] {
		return this.fifo.drain();
	}

	restore(entries: readonly QueuedFrame[]): void {
		for (const entry of entries) this.fifo.push(entry);
	}

	saveAqm(): AqmState {
		return {};
	}

	loadAqm(_state: AqmState): void {}
}
