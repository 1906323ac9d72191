/** A growing run of bytes with WebAssembly's variable-length integers (WebAssembly Core 2.0 §5.2.2, "Integers"). */
export class ByteSink {
	#bytes = new Uint8Array(256);
	#length = 0;

	get length(): number {
		return this.#length;
	}

	#reserve(count: number): void {
		if (this.#length + count <= this.#bytes.length) return;
		const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
		grown.set(this.#bytes.subarray(0, this.#length));
		this.#bytes = grown;
	}

	u8(value: number): void {
		if (this.#length === this.#bytes.length) this.#reserve(1);
		this.#bytes[this.#length++] = value;
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
		for (;;) {
			const low = value & 0x7f;
			value >>= 7;
			if ((value === 0 && (low & 0x40) === 0) || (value === -1 && (low & 0x40) !== 0)) {
				this.u8(low);
				return;
			}
			this.u8(low | 0x80);
		}
	}

	/** Signed LEB128 of a 64-bit value. */
	s64(value: bigint): void {
		if (value >= -0x8000_0000n && value <= 0x7fff_ffffn) {
			this.s32(Number(value));
			return;
		}
		let rest = BigInt.asIntN(64, value);
		for (;;) {
			const low = Number(rest & 0x7fn);
			rest >>= 7n;
			if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) {
				this.u8(low);
				return;
			}
			this.u8(low | 0x80);
		}
	}

	raw(bytes: Uint8Array | readonly number[]): void {
		this.#reserve(bytes.length);
		this.#bytes.set(bytes, this.#length);
		this.#length += bytes.length;
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
