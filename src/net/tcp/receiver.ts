import { type Range, RangeSet } from "./range-set.ts";
import { ReorderBuffer } from "./send-buffer.ts";

/** The receiving half of a connection: what has come, in which order, and how much more may come. */
export class Receiver {
	/** Everything before this has come and been passed on; what we acknowledge. */
	position = 0;
	readonly bufferBytes: number;
	readonly #pass: ((bytes: Uint8Array) => void) | undefined;
	readonly #reorder = new ReorderBuffer();
	/** Stretches behind a gap, for selective acknowledgments, and where the last one to come began. */
	readonly #early = new RangeSet();
	#lastEarly = 0;
	#unconsumedBytes = 0;
	#finAt: number | undefined;
	#isStopped = false;

	constructor(bufferBytes: number, pass: ((bytes: Uint8Array) => void) | undefined) {
		this.bufferBytes = bufferBytes;
		this.#pass = pass;
	}

	get windowBytes(): number {
		return Math.max(0, this.bufferBytes - this.#unconsumedBytes);
	}

	consumed(bytes: number): void {
		this.#unconsumedBytes -= bytes;
	}

	/** Passes nothing on any more. */
	stop(): void {
		this.#isStopped = true;
	}

	/** RFC 9293 §3.10.7.4, first check. A keep-alive's position just before ours is answered too. */
	isAcceptable(start: number, end: number): boolean {
		if (start === end) return start >= this.position - 1 && start <= this.position + this.windowBytes;
		return end > this.position && start < this.position + Math.max(this.windowBytes, 1);
	}

	/** True when the bytes came in order and left no gap. */
	take(start: number, bytes: Uint8Array): boolean {
		const inWindow = bytes.subarray(0, Math.max(0, this.position + this.windowBytes - start));
		const isInOrder = start <= this.position && this.#reorder.isEmpty;
		if (isInOrder) this.#deliver(inWindow.subarray(this.position - start));
		else if (inWindow.length > 0) {
			this.#reorder.add(start, inWindow);
			this.#early.add(start, start + inWindow.length);
			this.#lastEarly = start;
			for (let part = this.#reorder.take(this.position); part !== undefined; part = this.#reorder.take(this.position)) this.#deliver(part);
		}
		return isInOrder;
	}

	#deliver(bytes: Uint8Array): void {
		this.position += bytes.length;
		if (this.#pass === undefined || this.#isStopped || bytes.length === 0) return;
		this.#unconsumedBytes += bytes.length;
		this.#pass(bytes);
	}

	/** The stream ends at `position`. */
	noteFin(position: number): void {
		this.#finAt = position;
	}

	/** Where the stream ends, while that has not come. */
	get finAt(): number | undefined {
		return this.#finAt;
	}

	/** True once, when everything up to the end has come; the end itself then counts as come too. */
	takeFin(): boolean {
		if (this.#finAt !== this.position) return false;
		this.#finAt = undefined;
		this.position++;
		return true;
	}

	/** The stretch that grew last, then the lowest others: three fit beside timestamps (RFC 2018 §4). */
	sackBlocks(): Range[] | undefined {
		this.#early.release(this.position);
		if (this.#early.size === 0) return undefined;
		const latest = this.#early.containing(this.#lastEarly);
		const others = this.#early.ranges.slice(0, 3).filter((range) => range !== latest);
		const blocks = latest === undefined ? others : [latest, ...others];
		return blocks.slice(0, 3).map(({ start, end }) => ({ start: start >>> 0, end: end >>> 0 }));
	}
}
