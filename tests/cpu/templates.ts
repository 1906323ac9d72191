import { Code, CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic } from "iced-x86";
import type { Mode } from "./format.ts";

/**
 * Every encoding worth testing, found by walking the opcode maps with a foreign decoder: independent of the project's own
 * opcode rows, so that a row missing there is found here.
 */
export interface Template {
	/** The foreign decoder's name for the form, for instance `Add_rm32_r32`; one template per form and operand kind. */
	readonly code: number;
	readonly isMemory: boolean;
	/** Alternative encodings of the same form. */
	readonly encodings: readonly Encoding[];
}

export interface Encoding {
	/** Mandatory and size prefixes, in the order they must stand; REX is separate because it comes last. */
	readonly prefixes: readonly number[];
	/** REX bits that the form needs: W, and B where it makes another instruction of it (90). */
	readonly rex: number;
	readonly opcode: readonly number[];
	/** ModRM, when there is one: the values of reg (and for register forms rm) that mean this form, as bit masks. */
	readonly modRm: { readonly regMask: number; readonly rmMask: number; readonly isMemory: boolean } | undefined;
	/** Immediates, offsets and far pointers after the operand bytes. */
	readonly immediateBytes: number;
}

/** x86-64-v2 with AES-NI and PCLMULQDQ, and what every such processor has besides. */
const FEATURES = new Set<number>(
	(
		[
			"INTEL8086",
			"INTEL8086_ONLY",
			"INTEL186",
			"INTEL286",
			"INTEL386",
			"INTEL486",
			"X64",
			"AES",
			"CLFSH",
			"CMOV",
			"CMPXCHG16B",
			"CX8",
			"FPU",
			"FPU287",
			"FPU387",
			"FXSR",
			"MMX",
			"MSR",
			"MULTIBYTENOP",
			"PAUSE",
			"PCLMULQDQ",
			"POPCNT",
			"PREFETCHW",
			"SSE",
			"SSE2",
			"SSE3",
			"SSE4_1",
			"SSE4_2",
			"SSSE3",
		] as const
	).map((name) => CpuidFeature[name]),
);

/**
 * Left out: what leaves user mode on purpose, what reads something no two processors agree on, what Linux emulates for
 * the program (UMIP), and what vendors do differently with.
 */
const EXCLUDED = new Set<number>(
	(
		[
			"Syscall",
			"Sysenter",
			"Sysexit",
			"Sysexitq",
			"Sysret",
			"Sysretq",
			"Cpuid",
			"Rdtsc",
			"Rdtscp",
			"Rdpmc",
			"Sgdt",
			"Sidt",
			"Smsw",
			"Str",
			"Sldt",
			"Ud0",
			"Loadall",
			"Loadallreset286",
			"Rsm",
			"Montmul",
			"Getsec",
			"Swapgs",
			"Int1", // hypervisors get its return address wrong
		] as const
	).map((name) => Mnemonic[name as keyof typeof Mnemonic] as unknown as number),
);

const PREFIX_SETS: readonly (readonly number[])[] = [[], [0x66], [0xf3], [0xf2], [0x66, 0xf2], [0x66, 0xf3]];

const REX_W = 8;
const REX_B = 1;

const MAPS: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const NOT_OPCODES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** 0F 18 to 0F 1F do nothing, whatever later extensions made of them. */
export const DECODER_OPTIONS = DecoderOptions.ForceReservedNop;

interface Probe {
	readonly code: number;
	readonly length: number;
}

class Prober {
	readonly #bytes = new Uint8Array(15);
	readonly #instruction = new Instruction();
	readonly #mode: Mode;

	constructor(mode: Mode) {
		this.#mode = mode;
	}

	/** What `head` and a ModRM byte, followed by zeros, decode to; undefined if that is none of ours. */
	probe(head: readonly number[], modRm: number): Probe | undefined {
		this.#bytes.fill(0);
		this.#bytes.set(head);
		this.#bytes[head.length] = modRm;
		const decoder = new Decoder(this.#mode, this.#bytes, DECODER_OPTIONS);
		decoder.decodeOut(this.#instruction);
		decoder.free();
		const { code, length, mnemonic } = this.#instruction;
		if (code === Code.INVALID || EXCLUDED.has(mnemonic)) return undefined;
		for (const feature of this.#instruction.cpuidFeatures()) if (!FEATURES.has(feature)) return undefined;
		return { code, length };
	}
}

const byMode = new Map<Mode, readonly Template[]>();

/** All templates of a mode. Takes a fraction of a second, once. */
export function templatesOf(mode: Mode): readonly Template[] {
	const templates = byMode.get(mode) ?? findTemplates(mode);
	byMode.set(mode, templates);
	return templates;
}

function findTemplates(mode: Mode): Template[] {
	const prober = new Prober(mode);
	const found = new Map<string, { code: number; isMemory: boolean; encodings: Encoding[] }>();
	const add = (code: number, isMemory: boolean, encoding: Encoding): void => {
		const key = `${code} ${isMemory}`;
		const template = found.get(key);
		if (template === undefined) found.set(key, { code, isMemory, encodings: [encoding] });
		else template.encodings.push(encoding);
	};
	for (const prefixes of PREFIX_SETS)
		for (const rex of mode === 64 ? [0, REX_W, REX_B, REX_W | REX_B] : [0])
			for (const map of MAPS)
				for (let byte = 0; byte < 256; byte++) {
					if (map.length === 0 && (byte === 0x0f || NOT_OPCODES.has(byte) || (mode === 64 && (byte & 0xf0) === 0x40))) continue;
					if (map.length === 1 && (byte === 0x38 || byte === 0x3a)) continue;
					if ((rex & REX_B) !== 0 && (map.length > 0 || byte !== 0x90)) continue;
					const opcode = [...map, byte];
					const head = [...prefixes, ...(rex !== 0 ? [0x40 | rex] : []), ...opcode];
					collect(prober, head, { prefixes, rex, opcode }, mode, add);
				}
	return [...found.values()];
}

type Add = (code: number, isMemory: boolean, encoding: Encoding) => void;

function collect(prober: Prober, head: number[], fixed: Pick<Encoding, "prefixes" | "rex" | "opcode">, mode: Mode, add: Add): void {
	const isControlMove = fixed.opcode[0] === 0x0f && fixed.opcode.length === 2 && ((fixed.opcode[1] as number) & 0xfc) === 0x20;
	if (isControlMove) {
		for (let reg = 0; reg < 8; reg++) {
			const probe = prober.probe(head, 0xc0 | (reg << 3));
			if (probe !== undefined)
				add(probe.code, false, { ...fixed, modRm: { regMask: 1 << reg, rmMask: 0xff, isMemory: false }, immediateBytes: 0 });
		}
		return;
	}
	/** ModRM with mod 2 brings a displacement: a longer instruction than with mod 3 or 0. */
	const displacementBytes = mode === 16 ? 2 : 4;
	const masks = new Map<string, { code: number; isMemory: boolean; regMask: number; rmMask: number; immediateBytes: number }>();
	const note = (probe: Probe, isMemory: boolean, reg: number, rmMask: number, operandBytes: number): void => {
		const immediateBytes = probe.length - head.length - operandBytes;
		const key = `${probe.code} ${isMemory} ${rmMask === 0xff ? "" : reg}`;
		const mask = masks.get(key);
		if (mask === undefined) masks.set(key, { code: probe.code, isMemory, regMask: 1 << reg, rmMask, immediateBytes });
		else {
			mask.regMask |= 1 << reg;
			mask.rmMask |= rmMask;
		}
	};
	for (let reg = 0; reg < 8; reg++) {
		const plain = prober.probe(head, reg << 3);
		const displaced = prober.probe(head, 0x80 | (reg << 3));
		if (plain !== undefined && displaced !== undefined && plain.code === displaced.code && plain.length === displaced.length) {
			// No ModRM: the byte was part of an immediate, or of nothing.
			add(plain.code, false, { ...fixed, modRm: undefined, immediateBytes: plain.length - head.length });
			return;
		}
		if (displaced !== undefined) note(displaced, true, reg, 0xff, 1 + displacementBytes);
		const registers = [0, 1, 2, 3, 4, 5, 6, 7].map((rm) => prober.probe(head, 0xc0 | (reg << 3) | rm));
		for (const code of new Set(registers.map((probe) => probe?.code))) {
			if (code === undefined) continue;
			let rmMask = 0;
			for (let rm = 0; rm < 8; rm++) if (registers[rm]?.code === code) rmMask |= 1 << rm;
			const probe = registers.find((other) => other?.code === code) as Probe;
			note(probe, false, reg, rmMask, 1);
		}
	}
	for (const { code, isMemory, regMask, rmMask, immediateBytes } of masks.values())
		add(code, isMemory, { ...fixed, modRm: { regMask, rmMask, isMemory }, immediateBytes });
}
