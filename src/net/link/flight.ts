import type { Ns } from "../../base/units.ts";
import { type SuperFrame, segmentsOf } from "../offload/segment.ts";

/** A frame propagating along the cable. */
export interface FlyingFrame {
	readonly frame: Uint8Array;
	readonly index: number;
	readonly deliverNs: Ns;
	/** Later frames that must go by first (reordering); 0 for nearly all. */
	readonly heldByFrames: number;
	/** Set: `frame` is this one's, and has not been cut. */
	readonly whole?: SuperFrame | undefined;
}

/** One after another, as if whatever is whole had been cut when it was sent. */
export function cutFlying(flying: FlyingFrame): readonly FlyingFrame[] {
	const { whole, index, deliverNs, heldByFrames } = flying;
	if (whole === undefined) return [flying];
	return segmentsOf(whole).map((frame, at) => ({ frame, index: index + at, deliverNs, heldByFrames }));
}

/** What is on the cable, by time of delivery and, at one time, by order of departure. A binary heap. */
export class Flight {
	readonly #heap: { flying: FlyingFrame; order: number }[] = [];
	#departed = 0;

	get size(): number {
		return this.#heap.length;
	}

	get nextNs(): Ns | undefined {
		return this.#heap[0]?.flying.deliverNs;
	}

	push(flying: FlyingFrame): void {
		const heap = this.#heap;
		const entry = { flying, order: this.#departed++ };
		let index = heap.length;
		heap.push(entry);
		while (index > 0) {
			const above = (index - 1) >> 1;
			const parent = heap[above]!;
			if (parent.flying.deliverNs <= flying.deliverNs) break;
			heap[index] = parent;
			index = above;
		}
		heap[index] = entry;
	}

	pop(): FlyingFrame | undefined {
		const heap = this.#heap;
		const first = heap[0];
		const last = heap.pop();
		if (first === undefined || last === undefined || heap.length === 0) return first?.flying;
		let index = 0;
		for (;;) {
			let below = 2 * index + 1;
			if (below >= heap.length) break;
			if (below + 1 < heap.length && isBefore(heap[below + 1]!, heap[below]!)) below++;
			if (!isBefore(heap[below]!, last)) break;
			heap[index] = heap[below]!;
			index = below;
		}
		heap[index] = last;
		return first.flying;
	}

	/** Everything on the cable, in order of delivery; takes nothing out. */
	entries(): FlyingFrame[] {
		return this.#heap.toSorted((a, b) => (isBefore(a, b) ? -1 : 1)).map((entry) => entry.flying);
	}

	clear(): FlyingFrame[] {
		const all = this.entries();
		this.#heap.length = 0;
		return all;
	}
}

function isBefore(a: { flying: FlyingFrame; order: number }, b: { flying: FlyingFrame; order: number }): boolean {
	return a.flying.deliverNs < b.flying.deliverNs || (a.flying.deliverNs === b.flying.deliverNs && a.order < b.order);
}
