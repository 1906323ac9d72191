/** UTF-8 for names inside images; what is malformed becomes U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string {
	let text = "";
	for (let i = 0; i < bytes.length; ) {
		const lead = bytes[i++] as number;
		const more = lead < 0x80 ? 0 : lead >= 0xf0 && lead < 0xf8 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc2 ? 1 : -1;
		let code = more <= 0 ? lead : lead & (0x3f >> more);
		let isValid = more >= 0 && lead < 0xf8;
		for (let k = 0; isValid && k < more; k++) {
			const next = bytes[i] ?? 0;
			isValid = (next & 0xc0) === 0x80;
			if (isValid) {
				code = code * 64 + (next & 0x3f);
				i++;
			}
		}
		text += isValid && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
	}
	return text;
}

export function encodeUtf8(text: string): Uint8Array {
	const bytes: number[] = [];
	for (const char of text) {
		const code = char.codePointAt(0) as number;
		if (code < 0x80) bytes.push(code);
		else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
		else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
		else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
	}
	return Uint8Array.from(bytes);
}
