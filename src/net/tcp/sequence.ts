/** The position nearest to `reference` that has this sequence number. */
export function near(sequence: number, reference: number): number {
	return reference + ((sequence - (reference >>> 0)) | 0);
}
