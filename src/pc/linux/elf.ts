import { PcError } from "../error.ts";

/** An ELF kernel with the PVH entry note (Xen, docs/misc/pvh.pandoc, "x86/HVM direct boot ABI"). */
export interface PvhImage {
	/** 32-bit physical entry point. */
	readonly entryAddr: number;
	readonly segments: readonly { readonly addr: number; readonly bytes: Uint8Array; readonly memoryBytes: number }[];
}

const PT_LOAD = 1;
const PT_NOTE = 4;
const EM_386 = 3;
const EM_X86_64 = 62;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

export function isElf(image: Uint8Array): boolean {
	return image.length >= 52 && image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46;
}

interface ProgramHeader {
	readonly type: number;
	readonly offset: number;
	readonly physAddr: number;
	readonly fileBytes: number;
	readonly memoryBytes: number;
}

/** Reads an ELF32 or ELF64 kernel. Throws `PcError` if it is not x86, is cut short, or has no PVH note. */
export function parsePvh(image: Uint8Array): PvhImage {
	const headers = programHeaders(image);
	for (const { type, offset, fileBytes } of headers)
		if ((type === PT_LOAD || type === PT_NOTE) && offset + fileBytes > image.length)
			throw new PcError(
				"kernel-truncated",
				`the ELF kernel is truncated: a segment ends at ${offset + fileBytes}, the file at ${image.length}`,
			);
	let entryAddr: number | undefined;
	for (const { type, offset, fileBytes } of headers)
		if (type === PT_NOTE) entryAddr ??= pvhEntry(image.subarray(offset, offset + fileBytes));
	if (entryAddr === undefined) throw new PcError("kernel-unsupported", "the ELF kernel has no PVH entry (CONFIG_PVH); use its bzImage");
	const segments = headers
		.filter(({ type, memoryBytes }) => type === PT_LOAD && memoryBytes > 0)
		.map(({ physAddr, offset, fileBytes, memoryBytes }) => ({
			addr: physAddr,
			bytes: image.subarray(offset, offset + fileBytes),
			memoryBytes,
		}));
	return { entryAddr, segments };
}

function programHeaders(image: Uint8Array): readonly ProgramHeader[] {
	const view = new DataView(image.buffer, image.byteOffset, image.length);
	const is64 = image[4] === 2;
	const machine = view.getUint16(18, true);
	if (image[5] !== 1 || (machine !== EM_386 && machine !== EM_X86_64)) throw new PcError("not-a-kernel", "the ELF file is not for x86");
	if (is64 && image.length < 64) throw new PcError("kernel-truncated", "the ELF file ends within its header");
	const tableOffset = is64 ? Number(view.getBigUint64(32, true)) : view.getUint32(28, true);
	const entryBytes = view.getUint16(is64 ? 54 : 42, true);
	const count = view.getUint16(is64 ? 56 : 44, true);
	if (entryBytes < (is64 ? 56 : 32) || tableOffset + entryBytes * count > image.length)
		throw new PcError("kernel-truncated", "the ELF file ends within its program headers");
	return Array.from({ length: count }, (_, i): ProgramHeader => {
		const at = tableOffset + i * entryBytes;
		const word = (offset32: number, offset64: number) =>
			is64 ? Number(view.getBigUint64(at + offset64, true)) : view.getUint32(at + offset32, true);
		return {
			type: view.getUint32(at, true),
			offset: word(4, 8),
			physAddr: word(12, 24),
			fileBytes: word(16, 32),
			memoryBytes: word(20, 40),
		};
	});
}

function pvhEntry(notes: Uint8Array): number | undefined {
	const view = new DataView(notes.buffer, notes.byteOffset, notes.length);
	let at = 0;
	while (at + 12 <= notes.length) {
		const nameBytes = view.getUint32(at, true);
		const valueBytes = view.getUint32(at + 4, true);
		const type = view.getUint32(at + 8, true);
		const nameAt = at + 12;
		const valueAt = nameAt + ((nameBytes + 3) & ~3);
		if (valueAt + valueBytes > notes.length) return undefined;
		const isXen = nameBytes === 4 && view.getUint32(nameAt, true) === 0x006e_6558;
		if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY && valueBytes >= 4) return view.getUint32(valueAt, true);
		at = valueAt + ((valueBytes + 3) & ~3);
	}
	return undefined;
}
