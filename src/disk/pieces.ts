/** Bytes in pieces, end to end: a guest's request as it lies in its memory. */
export type Pieces = readonly Uint8Array[];

export function lengthOf(pieces: Pieces): number {
	let length = 0;
	for (const piece of pieces) length += piece.length;
	return length;
}

/** Bytes [at, at+length) of the pieces, in pieces. */
export function cut(pieces: Pieces, at: number, length: number): Pieces {
	const parts: Uint8Array[] = [];
	let skip = at;
	let wanted = length;
	for (const piece of pieces) {
		if (wanted === 0) break;
		if (skip >= piece.length) {
			skip -= piece.length;
			continue;
		}
		const count = Math.min(piece.length - skip, wanted);
		parts.push(skip === 0 && count === piece.length ? piece : piece.subarray(skip, skip + count));
		wanted -= count;
		skip = 0;
	}
	return parts;
}

export function fillZeros(pieces: Pieces): void {
	for (const piece of pieces) piece.fill(0);
}
