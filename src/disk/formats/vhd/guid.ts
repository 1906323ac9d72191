/** Text and identifiers as Microsoft's formats write them. */
export function decodeUtf16be(bytes: Uint8Array): string {
	return decodeUtf16(bytes, false);
}

export function decodeUtf16le(bytes: Uint8Array): string {
	return decodeUtf16(bytes, true);
}

function decodeUtf16(bytes: Uint8Array, isLittleEndian: boolean): string {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	let text = "";
	for (let at = 0; at + 2 <= bytes.length; at += 2) {
		const unit = view.getUint16(at, isLittleEndian);
		if (unit === 0) break;
		text += String.fromCharCode(unit);
	}
	return text;
}

/** A GUID's usual spelling, upper case; its first three groups are little-endian. */
export function guidText(bytes: Uint8Array): string {
	const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
	const digits = order.map((i) => (bytes[i] ?? 0).toString(16).padStart(2, "0")).join("");
	return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join("-").toUpperCase();
}
