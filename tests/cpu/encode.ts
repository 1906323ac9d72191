import type { Mode } from "./format.ts";
import type { Random } from "./random.ts";
import type { Encoding, Template } from "./templates.ts";
import { integerValue } from "./values.ts";

const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;

/**
 * Random bytes for a template: registers, addressing form, displacement, immediates and prefixes that mean nothing.
 * Immediates and displacements are whatever; the generator aims them afterwards.
 */
export function randomEncoding(random: Random, mode: Mode, template: Template): Uint8Array {
	const encoding = pickEncoding(random, template);
	const bytes: number[] = [];
	if (random.chance(0.06)) bytes.push(0x67);
	if (random.chance(0.08))
		bytes.push(
			mode === 64 ? (random.chance(0.8) ? random.pick([0x64, 0x65]) : random.pick(SEGMENT_PREFIXES)) : random.pick(SEGMENT_PREFIXES),
		);
	if (template.isMemory ? random.chance(0.08) : random.chance(0.003)) bytes.push(0xf0);
	const address32 = mode === 16 ? bytes.includes(0x67) : mode === 64 || !bytes.includes(0x67);
	for (const prefix of encoding.prefixes) bytes.push(prefix);
	if (mode === 64) {
		const extension = random.chance(0.45) ? random.below(8) : 0;
		if (encoding.rex !== 0 || extension !== 0 || random.chance(0.05)) bytes.push(0x40 | encoding.rex | extension);
	}
	bytes.push(...encoding.opcode);
	if (encoding.modRm !== undefined) {
		const { regMask, rmMask, isMemory } = encoding.modRm;
		const reg = pickBit(random, regMask) << 3;
		if (isMemory) pushMemoryForm(random, bytes, reg, address32);
		else bytes.push(0xc0 | reg | pickBit(random, rmMask));
	}
	pushImmediate(random, bytes, encoding.immediateBytes);
	return Uint8Array.from(bytes);
}

/** Mostly the plainest spelling; sometimes one with prefixes that the instruction ignores, or repeats by. */
function pickEncoding(random: Random, template: Template): Encoding {
	const { encodings } = template;
	if (random.chance(0.3)) return random.pick(encodings);
	let fewest = 99;
	for (const encoding of encodings) fewest = Math.min(fewest, encoding.prefixes.length + (encoding.rex !== 0 ? 1 : 0));
	return random.pick(encodings.filter((encoding) => encoding.prefixes.length + (encoding.rex !== 0 ? 1 : 0) === fewest));
}

function pickBit(random: Random, mask: number): number {
	for (;;) {
		const bit = random.below(8);
		if ((mask & (1 << bit)) !== 0) return bit;
	}
}

function pushMemoryForm(random: Random, bytes: number[], reg: number, address32: boolean): void {
	const mod = random.below(3);
	const rm = random.below(8);
	bytes.push((mod << 6) | reg | rm);
	let displacementBytes: number;
	if (!address32) displacementBytes = mod === 0 ? (rm === 6 ? 2 : 0) : mod;
	else {
		displacementBytes = mod === 0 ? (rm === 5 ? 4 : 0) : mod === 1 ? 1 : 4;
		if (rm === 4) {
			const sib = random.below(256);
			bytes.push(sib);
			if (mod === 0 && (sib & 7) === 5) displacementBytes = 4;
		}
	}
	// A one-byte displacement is used as it is; longer ones start small and are aimed.
	for (let index = 0; index < displacementBytes; index++) bytes.push(displacementBytes === 1 ? random.below(256) : 0);
}

function pushImmediate(random: Random, bytes: number[], count: number): void {
	let value = integerValue(random);
	for (let index = 0; index < count; index++) {
		bytes.push(Number(value & 0xffn));
		value >>= 8n;
	}
}
