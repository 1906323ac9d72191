/** UTF-8 both ways: the core has no TextEncoder. */
export function encodeUtf8(text: string): Uint8Array {
	const bytes: number[] = [];
	for (const character of text) {
		const code = character.codePointAt(0) as number;
		// A lone surrogate has no encoding (Unicode 16.0 §3.9, D92): it becomes U+FFFD.
		const point = code >= 0xd800 && code < 0xe000 ? 0xfffd : code;
		if (point < 0x80) bytes.push(point);
		else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 0x3f));
		else if (point < 0x1_0000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
		else bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 0x3f), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
	}
	return Uint8Array.from(bytes);
}

const SMALLEST = [0, 0, 0x80, 0x800, 0x1_0000];

/** A stream of bytes to text: a character cut in two waits for its rest; what is no UTF-8 becomes U+FFFD. */
export class Utf8Decoder {
	#point = 0;
	#length = 0;
	#missing = 0;

	decode(bytes: Uint8Array): string {
		let text = "";
		for (const byte of bytes) {
			if (this.#missing > 0) {
				if ((byte & 0xc0) === 0x80) {
					this.#point = (this.#point << 6) | (byte & 0x3f);
					if (--this.#missing === 0) text += this.#finish();
					continue;
				}
				this.#missing = 0;
				text += "\ufffd";
			}
			text += this.#begin(byte);
		}
		return text;
	}

	#begin(byte: number): string {
		if (byte < 0x80) return String.fromCharCode(byte);
		this.#length = byte < 0xc2 || byte > 0xf4 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
		if (this.#length === 0) return "\ufffd";
		this.#missing = this.#length - 1;
		this.#point = byte & (0xff >> (this.#length + 1));
		return "";
	}

	#finish(): string {
		const point = this.#point;
		const isValid = point >= (SMALLEST[this.#length] as number) && point <= 0x10_ffff && (point < 0xd800 || point >= 0xe000);
		return isValid ? String.fromCodePoint(point) : "\ufffd";
	}
}
