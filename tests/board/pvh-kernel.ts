const PT_LOAD = 1;
const PT_NOTE = 4;
const HEADER_BYTES = 52;
const PROGRAM_HEADER_BYTES = 32;
const NOTE_BYTES = 20;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/**
 * An executable of 32 bits with these segments, and the note that says where a PVH loader enters it: in flat protected mode,
 * interrupts off.
 */
export function pvhKernel(entryAddr: number, segments: readonly { readonly addr: number; readonly bytes: Uint8Array }[]): Uint8Array {
	const count = segments.length + 1;
	const noteAt = HEADER_BYTES + count * PROGRAM_HEADER_BYTES;
	const image = new Uint8Array(noteAt + NOTE_BYTES + segments.reduce((sum, { bytes }) => sum + bytes.length, 0));
	const view = new DataView(image.buffer);
	image.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
	view.setUint16(16, 2, true);
	view.setUint16(18, 3, true);
	view.setUint32(28, HEADER_BYTES, true);
	view.setUint16(42, PROGRAM_HEADER_BYTES, true);
	view.setUint16(44, count, true);
	let index = 0;
	const header = (type: number, offset: number, addr: number, sizeBytes: number): void => {
		const at = HEADER_BYTES + PROGRAM_HEADER_BYTES * index++;
		for (const [i, field] of [type, offset, addr, addr, sizeBytes, sizeBytes].entries()) view.setUint32(at + 4 * i, field, true);
	};
	let offset = noteAt + NOTE_BYTES;
	for (const { addr, bytes } of segments) {
		header(PT_LOAD, offset, addr, bytes.length);
		image.set(bytes, offset);
		offset += bytes.length;
	}
	header(PT_NOTE, noteAt, 0, NOTE_BYTES);
	for (const [i, field] of [4, 4, XEN_ELFNOTE_PHYS32_ENTRY, 0x006e_6558, entryAddr].entries()) view.setUint32(noteAt + 4 * i, field, true);
	return image;
}
