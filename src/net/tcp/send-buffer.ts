interface Chunk {
	readonly start: number;
	readonly bytes: Uint8Array;
}

/** Bytes that have been handed over and not yet acknowledged, by their place in the stream. */
export class SendBuffer {
	readonly #chunks: Chunk[] = [];
	/** Stream position of the first byte held. */
	#start: number;
	#end: number;

	constructor(start: number) {
		this.#start = start;
		this.#end = start;
	}

	get start(): number {
		return this.#start;
	}

	get end(): number {
		return this.#end;
	}

	get size(): number {
		return this.#end - this.#start;
	}

	push(bytes: Uint8Array): void {
		if (bytes.length === 0) return;
		this.#chunks.push({ start: this.#end, bytes });
		this.#end += bytes.length;
	}

	/** A copy of at most `length` bytes from `position` on. */
	slice(position: number, length: number): Uint8Array {
		const out = new Uint8Array(Math.max(0, Math.min(length, this.#end - position)));
		for (let index = this.#indexOf(position), filled = 0; filled < out.length; index++) {
			const { start, bytes } = this.#chunks[index] as Chunk;
			const from = position + filled - start;
			const part = bytes.subarray(from, from + out.length - filled);
			out.set(part, filled);
			filled += part.length;
		}
		return out;
	}

	/** Forgets what lies before `position`; returns how many bytes that were. */
	release(position: number): number {
		const until = Math.min(position, this.#end);
		const released = until - this.#start;
		if (released <= 0) return 0;
		this.#start = until;
		this.#chunks.splice(0, until === this.#end ? this.#chunks.length : this.#indexOf(until));
		return released;
	}

	/** Of the chunk that holds `position`. */
	#indexOf(position: number): number {
		let [low, high] = [0, this.#chunks.length - 1];
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if ((this.#chunks[middle] as Chunk).start <= position) low = middle;
			else high = middle - 1;
		}
		return low;
	}
}

/** Segments that have come before their turn, without overlaps, bounded by the window that let them in. */
export class ReorderBuffer {
	#parts: { start: number; bytes: Uint8Array }[] = [];

	get isEmpty(): boolean {
		return this.#parts.length === 0;
	}

	add(start: number, bytes: Uint8Array): void {
		const place = this.#parts.findIndex((part) => part.start > start);
		const at = place < 0 ? this.#parts.length : place;
		const before = this.#parts[at - 1];
		const skip = before === undefined ? 0 : Math.max(0, before.start + before.bytes.length - start);
		const after = this.#parts[at];
		const end = Math.min(start + bytes.length, after?.start ?? Number.POSITIVE_INFINITY);
		if (start + skip < end) this.#parts.splice(at, 0, { start: start + skip, bytes: bytes.slice(skip, end - start) });
		// What sticks out behind the next part is a part of its own.
		if (after !== undefined && start + bytes.length > after.start + after.bytes.length)
			this.add(after.start + after.bytes.length, bytes.subarray(after.start + after.bytes.length - start));
	}

	/** The part that continues at `position`, if it is here. */
	take(position: number): Uint8Array | undefined {
		while (this.#parts.length > 0) {
			const first = this.#parts[0] as { start: number; bytes: Uint8Array };
			if (first.start > position) return undefined;
			this.#parts.shift();
			const skip = position - first.start;
			if (skip < first.bytes.length) return first.bytes.subarray(skip);
		}
		return undefined;
	}
}
