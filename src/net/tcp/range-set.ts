export interface Range {
	readonly start: number;
	/** The position behind the last. */
	readonly end: number;
}

/** Stretches of a stream, kept apart and in order: what has been acknowledged selectively, or has come too early. */
export class RangeSet {
	#ranges: Range[] = [];
	/** Positions covered. */
	size = 0;

	get ranges(): readonly Range[] {
		return this.#ranges;
	}

	/** Behind the highest one; `undefined` when there is none. */
	get highest(): number | undefined {
		return this.#ranges.at(-1)?.end;
	}

	add(start: number, end: number): void {
		if (start >= end) return;
		const from = this.#indexAfter(start - 1);
		let to = from;
		let merged: Range = { start, end };
		for (let range = this.#ranges[to]; range !== undefined && range.start <= end; range = this.#ranges[++to]) {
			merged = { start: Math.min(merged.start, range.start), end: Math.max(merged.end, range.end) };
			this.size -= range.end - range.start;
		}
		this.#ranges.splice(from, to - from, merged);
		this.size += merged.end - merged.start;
	}

	/** Forgets what lies before `position`. */
	release(position: number): void {
		while (this.#ranges.length > 0) {
			const first = this.#ranges[0] as Range;
			if (first.end <= position) {
				this.#ranges.shift();
				this.size -= first.end - first.start;
				continue;
			}
			if (first.start < position) {
				this.#ranges[0] = { start: position, end: first.end };
				this.size -= position - first.start;
			}
			break;
		}
	}

	clear(): void {
		this.#ranges = [];
		this.size = 0;
	}

	/** The range that `position` lies in. */
	containing(position: number): Range | undefined {
		const range = this.#ranges[this.#indexAfter(position)];
		return range !== undefined && range.start <= position ? range : undefined;
	}

	/** The first gap at or behind `position`; its end is the next range's start, or infinity. */
	gapFrom(position: number): Range {
		const inside = this.containing(position);
		const start = inside?.end ?? position;
		return { start, end: this.#ranges[this.#indexAfter(start)]?.start ?? Number.POSITIVE_INFINITY };
	}

	/** Positions covered within [start, end). */
	covered(start: number, end: number): number {
		let sum = 0;
		for (let index = this.#indexAfter(start); index < this.#ranges.length; index++) {
			const range = this.#ranges[index] as Range;
			if (range.start >= end) break;
			sum += Math.min(end, range.end) - Math.max(start, range.start);
		}
		return sum;
	}

	/** Of the first range that ends behind `position`. */
	#indexAfter(position: number): number {
		let [low, high] = [0, this.#ranges.length];
		while (low < high) {
			const middle = (low + high) >> 1;
			if ((this.#ranges[middle] as Range).end > position) high = middle;
			else low = middle + 1;
		}
		return low;
	}
}
