import { type Instruction, Mnemonic, OpKind, Register } from "iced-x86";
import type { CaseBuilder } from "./builder.ts";
import { AREAS, type Mode } from "./format.ts";
import type { Random } from "./random.ts";
import { PLACES, RCX, RDX } from "./registers.ts";
import { operandBits } from "./undefined.ts";
import { integerValue, writeExtended, writeVector } from "./values.ts";

/**
 * Selectors for loads of segment registers: null ones, the user segments, those of the local table, absent ones, and
 * ones beyond every table. Linux's system segments are left to chance: their contents are the kernel's affair.
 */
export function selectorValue(random: Random, mode: Mode): number {
	const kind = random.below(16);
	if (kind < 3) return random.below(4);
	if (kind < 8 || mode === 64) return kind < 12 ? 0x2b : kind < 14 ? 0x23 : kind < 15 ? 0x2a : 0xfff8 | random.below(4);
	if (kind < 14) return (random.below(9) << 3) | 4 | (random.chance(0.9) ? 3 : random.below(4));
	return kind < 15 ? 0x23 : 0xff8 | random.below(8);
}

/** Writes `count` bytes of a patch, cut off where the area ends. */
export function patchAt(builder: CaseBuilder, address: number, bytes: Uint8Array): void {
	for (const area of AREAS) {
		if (address < area.address || address >= area.address + area.sizeBytes) continue;
		const room = area.address + area.sizeBytes - address;
		// Code is laid out last and may overwrite it; patches over the case's own code would say otherwise.
		if (area.imageOffset !== 0) builder.patch(address, bytes.subarray(0, Math.min(bytes.length, room)));
	}
}

export function littleEndian(value: bigint, count: number): Uint8Array {
	const bytes = new Uint8Array(count);
	for (let index = 0; index < count; index++) {
		bytes[index] = Number(value & 0xffn);
		value >>= 8n;
	}
	return bytes;
}

/** Values that make an instruction do something: small counts, dividends that fit, selectors that exist. */
export function prepareOperands(builder: CaseBuilder, instruction: Instruction, address: number | undefined, sizeBytes: number): void {
	const { random, mode } = builder;
	if (address !== undefined && random.chance(0.3)) patchOperand(builder, address, sizeBytes);
	if (instruction.isStringInstruction && (instruction.hasRepePrefix || instruction.hasRepnePrefix) && builder.isFree(RCX)) {
		const kind = random.below(8);
		builder.pin(RCX, kind === 0 ? 0n : kind === 7 ? integerValue(random) : BigInt(random.below(24)));
	}
	switch (instruction.mnemonic) {
		case Mnemonic.Div:
		case Mnemonic.Idiv:
			if (builder.isFree(RDX) && random.chance(0.7)) builder.pin(RDX, random.chance(0.7) ? 0n : -1n & 0xffff_ffff_ffff_ffffn);
			break;
		case Mnemonic.Shld:
		case Mnemonic.Shrd:
			if ((operandBits(instruction) === 16 || mode === 16) && instruction.op2Kind === OpKind.Register)
				builder.pin(RCX, (integerValue(random) & ~0xffn) | BigInt(random.below(17) | (random.below(8) << 5)));
			break;
		case Mnemonic.Bt:
		case Mnemonic.Bts:
		case Mnemonic.Btr:
		case Mnemonic.Btc:
			// The bit's number reaches far beyond the operand in memory.
			if (instruction.op0Kind === OpKind.Memory && instruction.op1Kind === OpKind.Register) {
				const place = PLACES[instruction.op1Register] as (typeof PLACES)[number];
				if (builder.isFree(place.gpr) && random.chance(0.9)) builder.pin(place.gpr, BigInt.asUintN(64, BigInt(random.below(1024) - 256)));
			}
			break;
		case Mnemonic.Verr:
		case Mnemonic.Verw:
		case Mnemonic.Lar:
		case Mnemonic.Lsl:
		case Mnemonic.Arpl:
		case Mnemonic.Mov: {
			const isLoad = instruction.mnemonic !== Mnemonic.Mov || isSegmentRegister(instruction.op0Register);
			const operand = instruction.opCount > 1 && instruction.mnemonic !== Mnemonic.Arpl ? 1 : 0;
			if (!isLoad) break;
			const selector = BigInt(selectorValue(random, mode));
			if (instruction.opKind(operand) === OpKind.Memory) {
				if (address !== undefined) patchAt(builder, address, littleEndian(selector, 2));
			} else {
				const place = PLACES[instruction.opRegister(operand)] as (typeof PLACES)[number];
				if (place.gpr >= 0 && builder.isFree(place.gpr)) builder.pin(place.gpr, (integerValue(random) & ~0xffffn) | selector);
			}
			break;
		}
		case Mnemonic.Lds:
		case Mnemonic.Les:
		case Mnemonic.Lfs:
		case Mnemonic.Lgs:
		case Mnemonic.Lss:
			if (address !== undefined) patchAt(builder, address + sizeBytes - 2, littleEndian(BigInt(selectorValue(random, mode)), 2));
			break;
		case Mnemonic.Ldmxcsr:
			if (address !== undefined && random.chance(0.8)) patchAt(builder, address, littleEndian(BigInt(random.u32() & 0xffff), 4));
			break;
		case Mnemonic.Fldcw:
			if (address !== undefined && random.chance(0.8)) patchAt(builder, address, littleEndian(BigInt((random.u32() & 0xf3f) | 0x3f), 2));
			break;
		case Mnemonic.Fxrstor:
		case Mnemonic.Fxrstor64:
			if (address !== undefined && random.chance(0.9)) patchAt(builder, address + 24, littleEndian(BigInt(random.u32() & 0xffff), 4));
			break;
		case Mnemonic.Fnstenv:
		case Mnemonic.Fnsave:
		case Mnemonic.Fxsave:
		case Mnemonic.Fxsave64:
			ignorePointers(builder, instruction, address);
			break;
		default:
			break;
	}
}

function isSegmentRegister(register: number): boolean {
	return register >= Register.ES && register <= Register.GS;
}

function patchOperand(builder: CaseBuilder, address: number, sizeBytes: number): void {
	const { random } = builder;
	const bytes = new Uint8Array(16);
	const view = new DataView(bytes.buffer);
	if (sizeBytes === 10) writeExtended(random, view, 0);
	else if (sizeBytes >= 4 && random.chance(0.6)) writeVector(random, view, 0);
	else view.setBigUint64(0, integerValue(random), true);
	patchAt(builder, address, bytes.subarray(0, Math.min(Math.max(sizeBytes, 1), 16)));
}

/** FIP, FDP, FOP and their selectors; in FXSAVE's image MXCSR_MASK too, which is the processor's own. */
function ignorePointers(builder: CaseBuilder, instruction: Instruction, address: number | undefined): void {
	if (address === undefined) return;
	if (instruction.mnemonic === Mnemonic.Fxsave || instruction.mnemonic === Mnemonic.Fxsave64) {
		builder.ignored.push({ address: address + 6, length: 18 }, { address: address + 28, length: 4 });
		return;
	}
	const is16 = instruction.memorySize === MEMORY_ENVIRONMENT_14 || instruction.memorySize === MEMORY_STATE_94;
	builder.ignored.push(is16 ? { address: address + 6, length: 8 } : { address: address + 12, length: 16 });
}

/** The decoder's MemorySize.FpuEnv14 and FpuState94: the 16-bit layouts. */
const MEMORY_ENVIRONMENT_14 = 34;
const MEMORY_STATE_94 = 36;
