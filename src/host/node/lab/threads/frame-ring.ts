import { assert } from "../../../../base/assert.ts";

/** Bytes that a ring holds: a few dozen super-frames. A power of two. */
const RING_BYTES = 1 << 20;
/** Both counters run on for ever; what they point at is their rest by the ring's size. */
const CONTROL_BYTES = 64;
const WRITTEN = 0;
const READ = 8;
/** Length, kind, card, one number of the kind's. */
const HEADER_BYTES = 16;
const ALIGNMENT = 8;
/** No record is longer, whatever wrote it. */
export const MAX_RECORD_BYTES = RING_BYTES / 4;

/** What crosses: a frame; a TCP super-frame, whose number is its segments' payload; a card's carrier, up or down. */
export const RECORD = { frame: 0, whole: 1, carrier: 2 } as const;

export interface RingRecord {
	readonly kind: number;
	/** Among the machine's cards. */
	readonly card: number;
	readonly number: number;
	readonly bytes: Uint8Array;
}

export function newRing(): SharedArrayBuffer {
	return new SharedArrayBuffer(CONTROL_BYTES + RING_BYTES);
}

/** Frames from one thread to another: one writes, one reads, neither waits in here. */
export class FrameRing {
	readonly #counters: Int32Array;
	readonly #bytes: Uint8Array;
	readonly #view: DataView;

	constructor(shared: SharedArrayBuffer) {
		this.#counters = new Int32Array(shared, 0, CONTROL_BYTES / 4);
		this.#bytes = new Uint8Array(shared, CONTROL_BYTES);
		this.#view = new DataView(shared, CONTROL_BYTES);
	}

	get isEmpty(): boolean {
		return Atomics.load(this.#counters, WRITTEN) === Atomics.load(this.#counters, READ);
	}

	/** The writer's. False when there is no room. */
	write({ kind, card, number, bytes }: RingRecord): boolean {
		assert(bytes.length <= MAX_RECORD_BYTES, "a record is far shorter than its ring");
		const written = Atomics.load(this.#counters, WRITTEN);
		const used = (written - Atomics.load(this.#counters, READ)) >>> 0;
		const taken = spanOf(bytes.length);
		if (used + taken > RING_BYTES) return false;
		const at = written & (RING_BYTES - 1);
		this.#view.setUint32(at, bytes.length, true);
		this.#view.setUint16(at + 4, kind, true);
		this.#view.setUint16(at + 6, card, true);
		this.#put(written + 8, number);
		this.#copyIn(written + HEADER_BYTES, bytes);
		Atomics.store(this.#counters, WRITTEN, (written + taken) | 0);
		return true;
	}

	/** The reader's: the oldest record, copied out. */
	read(): RingRecord | undefined {
		const read = Atomics.load(this.#counters, READ);
		if (read === Atomics.load(this.#counters, WRITTEN)) return undefined;
		const at = read & (RING_BYTES - 1);
		const length = this.#view.getUint32(at, true);
		const record = {
			kind: this.#view.getUint16(at + 4, true),
			card: this.#view.getUint16(at + 6, true),
			number: this.#view.getUint32((read + 8) & (RING_BYTES - 1), true),
			bytes: this.#copyOut(read + HEADER_BYTES, length),
		};
		Atomics.store(this.#counters, READ, (read + spanOf(length)) | 0);
		return record;
	}

	#put(position: number, value: number): void {
		this.#view.setUint32(position & (RING_BYTES - 1), value, true);
	}

	#copyIn(position: number, bytes: Uint8Array): void {
		const at = position & (RING_BYTES - 1);
		const first = Math.min(bytes.length, RING_BYTES - at);
		if (first === bytes.length) this.#bytes.set(bytes, at);
		else {
			this.#bytes.set(bytes.subarray(0, first), at);
			this.#bytes.set(bytes.subarray(first), 0);
		}
	}

	#copyOut(position: number, length: number): Uint8Array {
		const at = position & (RING_BYTES - 1);
		const bytes = new Uint8Array(length);
		const first = Math.min(length, RING_BYTES - at);
		bytes.set(this.#bytes.subarray(at, at + first));
		if (first < length) bytes.set(this.#bytes.subarray(0, length - first), first);
		return bytes;
	}
}

/** Records begin at multiples of eight, so that no number in a header is cut by the ring's end. */
function spanOf(length: number): number {
	return HEADER_BYTES + ((length + ALIGNMENT - 1) & -ALIGNMENT);
}
