/** Bytes for any 32-bit value. */
export const PADDED_BYTES = 5;

/** Signed LEB128 in so many bytes, whatever the value is. */
export function putPadded(bytes: Uint8Array, at: number, value: number, count: number): void {
	for (let n = 0; n < count - 1; n++) bytes[at + n] = ((value >> (7 * n)) & 0x7f) | 0x80;
	bytes[at + count - 1] = (value >> (7 * (count - 1))) & 0x7f;
}

/** A growing run of bytes with WebAssembly's variable-length integers (WebAssembly Core 2.0 §5.2.2, "Integers"). */
export class ByteSink {
	#bytes: Uint8Array;
	#length = 0;

	/** @param room bytes to begin with */
	constructor(room = 256) {
		this.#bytes = new Uint8Array(room);
	}

	get length(): number {
		return this.#length;
	}

	#grow(count: number): void {
		const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
		grown.set(this.#bytes.subarray(0, this.#length));
		this.#bytes = grown;
	}

	u8(value: number): void {
		if (this.#length === this.#bytes.length) this.#grow(1);
		this.#bytes[this.#length++] = value;
	}

	/** An instruction's code and its first immediate, when both are single bytes. */
	pair(first: number, second: number): void {
		if (this.#length + 2 > this.#bytes.length) this.#grow(2);
		const bytes = this.#bytes;
		const at = this.#length;
		bytes[at] = first;
		bytes[at + 1] = second;
		this.#length = at + 2;
	}

	/** Puts another byte in the place of one that is there. */
	replace(at: number, value: number): void {
		this.#bytes[at] = value;
	}

	/** Unsigned LEB128 of a value below 2^32. */
	u32(value: number): void {
		value >>>= 0;
		while (value >= 0x80) {
			this.u8((value & 0x7f) | 0x80);
			value >>>= 7;
		}
		this.u8(value);
	}

	/** Signed LEB128 of a 32-bit value. */
	s32(value: number): void {
		value |= 0;
		while (value < -0x40 || value >= 0x40) {
			this.u8((value & 0x7f) | 0x80);
			value >>= 7;
		}
		this.u8(value & 0x7f);
	}

	/** Signed LEB128 of a 64-bit value. */
	s64(value: bigint | number): void {
		if (typeof value === "number") {
			if (value === (value | 0)) {
				this.s32(value);
				return;
			}
			value = BigInt(value);
		}
		let rest = BigInt.asIntN(64, value);
		while (rest < -0x40n || rest >= 0x40n) {
			this.u8(Number(rest & 0x7fn) | 0x80);
			rest >>= 7n;
		}
		this.u8(Number(rest & 0x7fn));
	}

	/** A value in so many bytes that another can be put in its place (`putPadded`). */
	padded(value: number, count: number): void {
		if (this.#length + count > this.#bytes.length) this.#grow(count);
		putPadded(this.#bytes, this.#length, value, count);
		this.#length += count;
	}

	raw(bytes: Uint8Array | readonly number[]): void {
		if (this.#length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
		this.#bytes.set(bytes, this.#length);
		this.#length += bytes.length;
	}

	/** A few bytes out of others. */
	copy(from: Uint8Array, first: number, end: number): void {
		const count = end - first;
		if (this.#length + count > this.#bytes.length) this.#grow(count);
		const bytes = this.#bytes;
		const to = this.#length - first;
		for (let i = first; i < end; i++) bytes[to + i] = from[i] as number;
		this.#length += count;
	}

	/** What has been written from a position on. */
	since(first: number): Uint8Array {
		return this.#bytes.slice(first, this.#length);
	}

	append(other: ByteSink): void {
		this.raw(other.#bytes.subarray(0, other.#length));
	}

	name(text: string): void {
		this.u32(text.length);
		for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i));
	}

	take(): Uint8Array {
		return this.#bytes.slice(0, this.#length);
	}

	clear(): void {
		this.#length = 0;
	}
}
