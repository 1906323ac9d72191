import {
	Code,
	type ConstantOffsets,
	Decoder,
	FlowControl,
	Instruction,
	InstructionInfoFactory,
	MemorySizeExt,
	Mnemonic,
	OpAccess,
	OpKind,
} from "iced-x86";
import { aimOperand, aimRegister } from "./aim.ts";
import { CaseBuilder } from "./builder.ts";
import { prepareControlFlow } from "./control-flow.ts";
import { randomEncoding } from "./encode.ts";
import { CODE_ADDRESS, CODE_BYTES, type Mode, type TestCase } from "./format.ts";
import { prepareOperands } from "./operands.ts";
import { Random } from "./random.ts";
import { PLACES, RCX } from "./registers.ts";
import { DECODER_OPTIONS, type Template, templatesOf } from "./templates.ts";
import { flagEffects, fromIced, operandBits } from "./undefined.ts";
import { randomFx } from "./values.ts";

export interface Generated extends TestCase {
	/** Memory that holds what no two processors agree on (x87 instruction and data pointers); not compared. */
	readonly ignored: readonly { readonly address: number; readonly length: number }[];
}

/** Their images hold pointers that processors do not agree on: it must be known where, and nothing may load them. */
const IMAGES: ReadonlySet<number> = new Set([Mnemonic.Fnstenv, Mnemonic.Fnsave, Mnemonic.Fxsave, Mnemonic.Fxsave64]);

/** Ends a sequence: nothing behind it is reached, or its results are not the same to the last bit everywhere. */
const LAST = new Set(
	(
		[
			"Ud1",
			"Ud2",
			"Int1",
			"Int3",
			"Int",
			"Hlt",
			"Cli",
			"Sti",
			"In",
			"Out",
			"Insb",
			"Insw",
			"Insd",
			"Outsb",
			"Outsw",
			"Outsd",
			"Lgdt",
			"Lidt",
			"Lldt",
			"Ltr",
			"Lmsw",
			"Clts",
			"Invd",
			"Wbinvd",
			"Invlpg",
			"Rdmsr",
			"Wrmsr",
			"Fsin",
			"Fcos",
			"Fsincos",
			"Fptan",
			"Fpatan",
			"F2xm1",
			"Fyl2x",
			"Fyl2xp1",
			"Rcpps",
			"Rcpss",
			"Rsqrtps",
			"Rsqrtss",
		] as const
	).map((text) => Mnemonic[text] as unknown as number),
);

const LEGACY_PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67, 0xf0, 0xf2, 0xf3]);

/** These always fault in user mode: worth a look now and then, no more. */
const PRIVILEGED =
	/^(Hlt|Cli|Sti|In|Out|Ins[bwd]|Outs[bwd]|Lgdt|Lidt|Lldt|Ltr|Lmsw|Clts|Invd|Wbinvd|Invlpg|Rdmsr|Wrmsr|Ud[12]|Int1|Int3|Mov_(r\d\d_[cd]r|[cd]r_))/;

/** Makes cases from a seed; the same seed, mode and count give the same cases on every machine. */
export class Generator {
	readonly #random: Random;
	readonly #mode: Mode;
	readonly #maxLength: number;
	readonly #templates: readonly Template[];
	readonly #instruction = new Instruction();
	readonly #infos = new InstructionInfoFactory();

	/**
	 * @param only keep templates whose name (`Add_rm32_r32`) matches
	 * @param maxLength instructions in a sequence, at most
	 */
	constructor(seed: number, mode: Mode, only?: RegExp, maxLength = 6) {
		this.#maxLength = maxLength;
		this.#random = new Random(seed ^ (mode << 24));
		this.#mode = mode;
		const templates: Template[] = [];
		for (const template of templatesOf(mode)) {
			const text = Code[template.code] as string;
			if (only !== undefined && !only.test(text)) continue;
			const weight = PRIVILEGED.test(text) ? 1 : 6;
			for (let copy = 0; copy < weight; copy++) templates.push(template);
		}
		if (templates.length === 0) throw new RangeError(`no instruction matches ${only}`);
		this.#templates = templates;
	}

	next(): Generated {
		const random = this.#random;
		const wanted = 1 + random.below(this.#maxLength);
		const builder = new CaseBuilder(random, this.#mode, this.#pickCodeAddress());
		const fx = randomFx(random, this.#mode === 64 ? 16 : 8);
		while (builder.instructions.length < wanted && this.#addInstruction(builder));
		return {
			mode: this.#mode,
			codeAddress: builder.codeAddress,
			instructions: builder.instructions,
			gpr: builder.finish(),
			rflags: this.#pickFlags(),
			fx,
			patches: builder.patches,
			ignored: builder.ignored,
		};
	}

	/** Anywhere in the area; now and then across its two pages, or running off its end. */
	#pickCodeAddress(): number {
		const random = this.#random;
		const kind = random.below(16);
		if (kind === 0) return CODE_ADDRESS + CODE_BYTES / 2 - 1 - random.below(24);
		if (kind === 1) return CODE_ADDRESS + CODE_BYTES - 1 - random.below(20);
		return CODE_ADDRESS + 0x200 + random.below(CODE_BYTES - 0x400);
	}

	#pickFlags(): number {
		const random = this.#random;
		let flags = 0x202 | (random.u32() & 0x8d5);
		if (random.chance(0.1)) flags |= 0x400;
		if (random.chance(0.01)) flags |= 0x40000;
		if (random.chance(0.01)) flags |= 0x100;
		return flags;
	}

	/** Adds one instruction; false when the sequence ends here. */
	#addInstruction(builder: CaseBuilder): boolean {
		for (let attempt = 0; attempt < 30; attempt++) {
			const template = this.#random.pick(this.#templates);
			const bytes = randomEncoding(this.#random, this.#mode, template);
			if (bytes.length > 15 || !this.#decode(bytes, builder.nextAddress)) continue;
			const instruction = this.#instruction;
			if (instruction.code !== template.code || !this.#isWanted(builder, bytes)) continue;
			if (!this.#place(builder, bytes)) continue;
			const isLast =
				LAST.has(instruction.mnemonic) || IMAGES.has(instruction.mnemonic) || instruction.flowControl === FlowControl.Exception;
			builder.append(bytes);
			return !isLast;
		}
		return false;
	}

	#decode(bytes: Uint8Array, address: number): boolean {
		const decoder = new Decoder(this.#mode, bytes, DECODER_OPTIONS);
		decoder.ip = BigInt(this.#mode === 16 ? address - CODE_ADDRESS : address);
		decoder.decodeOut(this.#instruction);
		const isWhole = this.#instruction.code !== Code.INVALID && this.#instruction.length === bytes.length;
		this.#constants = isWhole ? decoder.getConstantOffsets(this.#instruction) : undefined;
		decoder.free();
		return isWhole;
	}

	#constants: ConstantOffsets | undefined;

	/** Not what reads a flag that is open, nor what vendors do differently, nor what the architecture leaves open. */
	#isWanted(builder: CaseBuilder, bytes: Uint8Array): boolean {
		const instruction = this.#instruction;
		if ((fromIced(instruction.rflagsRead) & builder.openFlags) !== 0) return false;
		// Near branches with an operand-size prefix in 64-bit mode: Intel ignores it, AMD does not.
		if (this.#mode === 64 && instruction.flowControl !== FlowControl.Next && hasOperandSizePrefix(bytes)) return false;
		if (instruction.mnemonic === Mnemonic.Int && (instruction.immediate8 === 0x80 || this.#random.chance(0.8))) return false;
		if (instruction.mnemonic === Mnemonic.Shld || instruction.mnemonic === Mnemonic.Shrd) {
			// A count beyond 16 leaves the whole result open. In a 16-bit case the code segment, and so the width, may become another.
			if (operandBits(instruction) === 16 || this.#mode === 16)
				return instruction.op2Kind !== OpKind.Register ? (instruction.immediate8 & 31) <= 16 : builder.isFree(RCX);
		}
		return true;
	}

	/** Gives the instruction operands worth having and notes what it does to the registers. */
	#place(builder: CaseBuilder, bytes: Uint8Array): boolean {
		const instruction = this.#instruction;
		const constants = this.#constants as ConstantOffsets;
		const displacement = { offset: constants.displacementOffset, size: constants.displacementSize };
		const immediate = { offset: constants.immediateOffset, size: constants.immediateSize };
		constants.free();
		const info = this.#infos.info(instruction);
		const memories = info.usedMemory();
		const registers = info.usedRegisters();
		info.free();
		const sizeBytes = MemorySizeExt.size(instruction.memorySize);
		let address: number | undefined;
		let isPlaced = true;
		if (hasModRmMemory(instruction) && memories.length > 0) {
			address = aimOperand(builder, instruction, bytes, displacement, sizeBytes)?.address;
			isPlaced = address !== undefined || (!IMAGES.has(instruction.mnemonic) && this.#random.chance(0.1));
		}
		if (isPlaced) {
			prepareOperands(builder, instruction, address, sizeBytes);
			for (const memory of memories) {
				aimRegister(builder, memory.base, memory.segment, MemorySizeExt.size(memory.memorySize));
			}
			prepareControlFlow(builder, instruction, bytes, address, immediate);
			const effects = flagEffects(instruction);
			if (builder.isStraight) builder.openFlags &= ~effects.defined;
			builder.openFlags |= effects.undefined;
			if (instruction.flowControl !== FlowControl.Next) builder.isStraight = false;
			for (const register of registers) {
				const { access } = register;
				const place = PLACES[register.register] as (typeof PLACES)[number];
				if (place.gpr < 0 || access === OpAccess.Read || access === OpAccess.CondRead || access === OpAccess.NoMemAccess) continue;
				builder.soil(place.gpr);
			}
		}
		for (const memory of memories) memory.free();
		for (const register of registers) register.free();
		return isPlaced;
	}
}

function hasOperandSizePrefix(bytes: Uint8Array): boolean {
	for (const byte of bytes) {
		if (byte === 0x66) return true;
		if (!LEGACY_PREFIXES.has(byte)) return false;
	}
	return false;
}

function hasModRmMemory(instruction: Instruction): boolean {
	for (let operand = 0; operand < instruction.opCount; operand++) if (instruction.opKind(operand) === OpKind.Memory) return true;
	return false;
}
