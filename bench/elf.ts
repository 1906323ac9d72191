/** What `bench/emit.ts` wants of an ELF file (System V ABI, "Object Files"): its code, and where functions begin. */
export interface ElfCode {
	/** Virtual address of the first byte. */
	readonly address: number;
	readonly bytes: Uint8Array;
	/** Virtual addresses of functions within it, ascending. */
	readonly functions: readonly number[];
}

const SHT_PROGBITS = 1;
const SHT_SYMTAB = 2;
const SHF_EXECINSTR = 4;
const STT_FUNC = 2;

interface Section {
	readonly type: number;
	readonly flags: number;
	readonly address: number;
	readonly offset: number;
	readonly sizeBytes: number;
}

/** The largest executable section of a little-endian 64-bit file. @throws Error if it is none, or has no symbols */
export function readElf(file: Uint8Array): ElfCode {
	const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
	if (view.getUint32(0) !== 0x7f45_4c46 || view.getUint8(4) !== 2) throw new Error("not a 64-bit ELF file");
	const word = (at: number): number => Number(view.getBigUint64(at, true));
	const sections: Section[] = [];
	const [first, each, count] = [word(0x28), view.getUint16(0x3a, true), view.getUint16(0x3c, true)];
	for (let at = first; sections.length < count; at += each) {
		const type = view.getUint32(at + 4, true);
		sections.push({ type, flags: word(at + 8), address: word(at + 16), offset: word(at + 24), sizeBytes: word(at + 32) });
	}
	const code = sections
		.filter(({ type, flags }) => type === SHT_PROGBITS && (flags & SHF_EXECINSTR) !== 0)
		.reduce((a, b) => (b.sizeBytes > a.sizeBytes ? b : a));
	const symbols = sections.find(({ type }) => type === SHT_SYMTAB);
	if (symbols === undefined) throw new Error("the file has no symbols: functions cannot be told");
	const functions = new Set<number>();
	for (let at = symbols.offset; at < symbols.offset + symbols.sizeBytes; at += 24) {
		const address = word(at + 8);
		const isFunction = (view.getUint8(at + 4) & 15) === STT_FUNC;
		if (isFunction && address >= code.address && address < code.address + code.sizeBytes) functions.add(address);
	}
	return {
		address: code.address,
		bytes: file.subarray(code.offset, code.offset + code.sizeBytes),
		functions: [...functions].sort((a, b) => a - b),
	};
}
