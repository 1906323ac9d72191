import { assert } from "../../base/assert.ts";

/**
 * An encoder for the ACPI Machine Language: each function gives the bytes of one term (ACPI 6.5 §20.2, "AML Grammar
 * Definition"). Terms nest by passing them on.
 */
export type Aml = Uint8Array;

export function ascii(text: string): Uint8Array {
	return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function concat(...parts: readonly (Aml | number)[]): Uint8Array {
	const blocks = parts.map((part) => (typeof part === "number" ? Uint8Array.of(part) : part));
	const all = new Uint8Array(blocks.reduce((sum, block) => sum + block.length, 0));
	let at = 0;
	for (const block of blocks) {
		all.set(block, at);
		at += block.length;
	}
	return all;
}

/** PkgLength counts itself too, so its own size is found by trying (ACPI 6.5 §20.2.4, "Package Length Encoding"). */
function packageLength(contentBytes: number): Uint8Array {
	if (contentBytes + 1 <= 0x3f) return Uint8Array.of(contentBytes + 1);
	for (let extra = 1; extra <= 3; extra++) {
		const total = contentBytes + 1 + extra;
		if (total >= 2 ** (4 + 8 * extra)) continue;
		const bytes = Uint8Array.of((extra << 6) | (total & 15), ...new Array<number>(extra).fill(0));
		for (let i = 0; i < extra; i++) bytes[1 + i] = (total >>> (4 + 8 * i)) & 0xff;
		return bytes;
	}
	throw new RangeError(`AML package of ${contentBytes} bytes`);
}

/** A field's length in bits, encoded as a PkgLength that does not count itself. */
function fieldLength(bits: number): Uint8Array {
	if (bits <= 0x3f) return Uint8Array.of(bits);
	if (bits < 0x1000) return Uint8Array.of(0x40 | (bits & 15), bits >>> 4);
	return Uint8Array.of(0x80 | (bits & 15), (bits >>> 4) & 0xff, bits >>> 12);
}

function packaged(opcode: readonly number[], ...content: readonly (Aml | number)[]): Aml {
	const body = concat(...content);
	return concat(Uint8Array.from(opcode), packageLength(body.length), body);
}

/** `\_SB.PCI0`, `^^LNKA`, `FOO`: segments shorter than four characters are padded with underscores. */
export function nameString(path: string): Aml {
	const match = /^(\\|\^*)([A-Z0-9_.]*)$/.exec(path);
	assert(match !== null, `not an ACPI name: ${path}`);
	const prefix = ascii(match[1] as string);
	const segments = match[2] === "" ? [] : (match[2] as string).split(".");
	for (const segment of segments) assert(/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment), `not an ACPI name segment: ${segment} in ${path}`);
	const names = concat(...segments.map((segment) => ascii(segment.padEnd(4, "_"))));
	if (segments.length === 0) return concat(prefix, 0);
	if (segments.length === 1) return concat(prefix, names);
	if (segments.length === 2) return concat(prefix, 0x2e, names);
	return concat(prefix, 0x2f, segments.length, names);
}

/** A constant in its shortest form. */
export function integer(value: number | bigint): Aml {
	const wide = BigInt(value);
	assert(wide >= 0n && wide < 1n << 64n, `AML integer ${value}`);
	if (wide === 0n) return Uint8Array.of(0x00);
	if (wide === 1n) return Uint8Array.of(0x01);
	const [opcode, bytes] = wide < 0x100n ? [0x0a, 1] : wide < 0x10000n ? [0x0b, 2] : wide < 1n << 32n ? [0x0c, 4] : [0x0e, 8];
	const term = new Uint8Array(1 + bytes);
	term[0] = opcode;
	for (let i = 0; i < bytes; i++) term[1 + i] = Number((wide >> BigInt(8 * i)) & 0xffn);
	return term;
}

export const ZERO: Aml = Uint8Array.of(0x00);
/** No target: the result of an operator goes nowhere but to its caller. */
export const NO_TARGET: Aml = Uint8Array.of(0x00);

export function string(text: string): Aml {
	assert(/^[ -~]*$/.test(text), "AML strings are ASCII");
	return concat(0x0d, ascii(text), 0);
}

export function buffer(bytes: Uint8Array): Aml {
	return packaged([0x11], integer(bytes.length), bytes);
}

export function pkg(...elements: readonly Aml[]): Aml {
	assert(elements.length < 256, `AML package of ${elements.length} elements`);
	return packaged([0x12], elements.length, ...elements);
}

/** A PNP or EISA id ("PNP0A03") as the compressed integer that _HID takes (ACPI 6.5 §19.3.4, "EISAID"). */
export function eisaId(id: string): Aml {
	assert(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), `not an EISA id: ${id}`);
	const letter = (i: number) => id.charCodeAt(i) - 0x40;
	const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
	const product = Number.parseInt(id.slice(3), 16);
	return Uint8Array.of(0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
	return packaged([0x10], nameString(path), ...terms);
}

export function device(name: string, ...terms: readonly Aml[]): Aml {
	return packaged([0x5b, 0x82], nameString(name), ...terms);
}

export function name(path: string, value: Aml): Aml {
	return concat(0x08, nameString(path), value);
}

export function method(path: string, argumentCount: number, terms: readonly Aml[], isSerialized = false): Aml {
	assert(argumentCount >= 0 && argumentCount <= 7, `AML method with ${argumentCount} arguments`);
	return packaged([0x14], nameString(path), argumentCount | (isSerialized ? 8 : 0), ...terms);
}

export const REGION_SPACE = { systemMemory: 0, systemIo: 1, pciConfig: 2 } as const;

export function operationRegion(path: string, space: keyof typeof REGION_SPACE, offset: number, sizeBytes: number): Aml {
	return concat(0x5b, 0x80, nameString(path), REGION_SPACE[space], integer(offset), integer(sizeBytes));
}

export const FIELD_ACCESS = { any: 0, byte: 1, word: 2, dword: 3 } as const;

/** Named bit ranges of a region, low bits first; a `null` name skips. Writes preserve the other bits. */
export function field(region: string, access: keyof typeof FIELD_ACCESS, units: readonly (readonly [string | null, number])[]): Aml {
	const list = units.map(([unit, bits]) =>
		unit === null ? concat(0x00, fieldLength(bits)) : concat(ascii(unit.padEnd(4, "_")), fieldLength(bits)),
	);
	return packaged([0x5b, 0x81], nameString(region), FIELD_ACCESS[access], ...list);
}

/** CreateDWordField: `path` names four bytes of the buffer `source` at a byte offset. */
export function createDwordField(source: Aml, byteOffset: number, path: string): Aml {
	return concat(0x8a, source, integer(byteOffset), nameString(path));
}

export function arg(index: number): Aml {
	assert(index >= 0 && index < 7, `Arg${index}`);
	return Uint8Array.of(0x68 + index);
}

export function local(index: number): Aml {
	assert(index >= 0 && index < 8, `Local${index}`);
	return Uint8Array.of(0x60 + index);
}

/** Reads a name, or calls the method of that name. */
export function call(path: string, ...args: readonly Aml[]): Aml {
	return concat(nameString(path), ...args);
}

export function store(value: Aml, target: Aml): Aml {
	return concat(0x70, value, target);
}

export function returns(value: Aml): Aml {
	return concat(0xa4, value);
}

export function when(condition: Aml, then: readonly Aml[], otherwise: readonly Aml[] = []): Aml {
	const branch = packaged([0xa0], condition, ...then);
	return otherwise.length === 0 ? branch : concat(branch, packaged([0xa1], ...otherwise));
}

export function notify(target: string, value: number): Aml {
	return concat(0x86, nameString(target), integer(value));
}

export const and = (a: Aml, b: Aml, target = NO_TARGET): Aml => concat(0x7b, a, b, target);
export const or = (a: Aml, b: Aml, target = NO_TARGET): Aml => concat(0x7d, a, b, target);
