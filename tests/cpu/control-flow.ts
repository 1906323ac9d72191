import { FlowControl, type Instruction, Mnemonic, OpKind } from "iced-x86";
import { writeLittleEndian } from "./aim.ts";
import type { CaseBuilder } from "./builder.ts";
import { CODE_ADDRESS, initialBase, type Mode } from "./format.ts";
import { littleEndian, patchAt, selectorValue } from "./operands.ts";
import { PLACES, RSP } from "./registers.ts";

/** Code selectors for far transfers: mostly the one that runs already. */
function codeSelector(builder: CaseBuilder): number {
	const { random, mode } = builder;
	if (random.chance(0.25)) return selectorValue(random, mode);
	if (mode === 64) return 0x33;
	return mode === 32 ? 0x23 : random.chance(0.8) ? 0x07 : 0x47;
}

const ipOf = (mode: Mode, address: number): bigint => BigInt(mode === 16 ? address - CODE_ADDRESS : address);

/**
 * Gives branches, calls and returns somewhere to go: an instruction further on in the sequence, or just behind it.
 * A few are left wild; then the fetch faults.
 */
export function prepareControlFlow(
	builder: CaseBuilder,
	instruction: Instruction,
	bytes: Uint8Array,
	address: number | undefined,
	immediate: { offset: number; size: number },
): void {
	const { random, mode } = builder;
	const flow = instruction.flowControl;
	if (flow === FlowControl.Next) {
		if (instruction.mnemonic === Mnemonic.Pop || instruction.mnemonic === Mnemonic.Popf || instruction.mnemonic === Mnemonic.Popfd)
			preparePop(builder, instruction);
		return;
	}
	if (random.chance(0.06)) return;
	const own = builder.instructions.length;
	/** The next instruction is no jump at all; prefer those behind it. */
	const target = own + 1 + random.below(4);
	const isNear = (kind: number): boolean => kind === OpKind.NearBranch16 || kind === OpKind.NearBranch32 || kind === OpKind.NearBranch64;
	if (flow === FlowControl.Return) {
		prepareReturn(builder, instruction, target);
	} else if (isNear(instruction.op0Kind)) {
		const next = builder.nextAddress + bytes.length;
		builder.onLayout((addressOf) => writeLittleEndian(bytes, immediate.offset, immediate.size, BigInt(addressOf(target) - next)));
	} else if (instruction.op0Kind === OpKind.FarBranch16 || instruction.op0Kind === OpKind.FarBranch32) {
		const offsetBytes = instruction.op0Kind === OpKind.FarBranch16 ? 2 : 4;
		writeLittleEndian(bytes, bytes.length - 2, 2, BigInt(codeSelector(builder)));
		const at = bytes.length - 2 - offsetBytes;
		builder.onLayout((addressOf) => writeLittleEndian(bytes, at, offsetBytes, ipOf(mode, addressOf(target))));
	} else if (instruction.op0Kind === OpKind.Register) {
		const place = PLACES[instruction.op0Register] as (typeof PLACES)[number];
		if (place.gpr >= 0 && builder.isFree(place.gpr)) {
			builder.pin(place.gpr, 0n);
			builder.onLayout((addressOf) => builder.pin(place.gpr, ipOf(mode, addressOf(target))));
		}
	} else if (instruction.op0Kind === OpKind.Memory && address !== undefined) {
		const isFar =
			flow !== FlowControl.IndirectBranch && flow !== FlowControl.IndirectCall
				? false
				: instruction.isJmpFarIndirect || instruction.isCallFarIndirect;
		const size = pointerBytes(instruction);
		builder.onLayout((addressOf) => patchAt(builder, address, littleEndian(ipOf(mode, addressOf(target)), size)));
		if (isFar) patchAt(builder, address + size, littleEndian(BigInt(codeSelector(builder)), 2));
	}
}

/** Bytes of the offset part of an indirect target. The decoder's MemorySize 16–21: SegPtr16/32/64, Word/Dword/QwordOffset. */
function pointerBytes(instruction: Instruction): number {
	return [2, 4, 8, 2, 4, 8][instruction.memorySize - 16] ?? 8;
}

/** Linear address of the top of the stack, whose pointer has 16 bits in 16-bit mode. */
function stackTop(builder: CaseBuilder): number {
	const pointer = Number(builder.valueOf(RSP));
	if (builder.mode === 64) return pointer;
	return (builder.mode === 16 ? pointer & 0xffff : pointer) + initialBase(builder.mode, 2);
}

/** What the stack holds for RET, RETF and IRET, if it is known where that is. */
function prepareReturn(builder: CaseBuilder, instruction: Instruction, target: number): void {
	const { mode, random } = builder;
	if (builder.isDirty(RSP)) return;
	const top = stackTop(builder);
	const mnemonic = instruction.mnemonic;
	const size = Math.abs(returnSlotBytes(instruction));
	builder.onLayout((addressOf) => patchAt(builder, top, littleEndian(ipOf(mode, addressOf(target)), size)));
	if (mnemonic === Mnemonic.Ret) return;
	patchAt(builder, top + size, littleEndian(BigInt(codeSelector(builder)), 2));
	if (mnemonic === Mnemonic.Retf) return;
	patchAt(builder, top + 2 * size, littleEndian(BigInt((random.u32() & 0x254ed5) | 2), size));
	if (mode !== 64) return;
	// In 64-bit mode IRET always takes the stack as well.
	patchAt(builder, top + 3 * size, littleEndian(builder.valueOf(RSP), size));
	patchAt(builder, top + 4 * size, littleEndian(BigInt(random.chance(0.8) ? 0x2b : selectorValue(random, mode)), size));
}

function returnSlotBytes(instruction: Instruction): number {
	const text = instruction.mnemonic;
	if (text === Mnemonic.Iret) return 2;
	if (text === Mnemonic.Iretd) return 4;
	if (text === Mnemonic.Iretq) return 8;
	const own = instruction.opCount > 0 ? instruction.immediate16 : 0;
	const popped = instruction.stackPointerIncrement - own;
	return text === Mnemonic.Retf ? popped / 2 : popped;
}

function preparePop(builder: CaseBuilder, instruction: Instruction): void {
	const { mode, random } = builder;
	if (builder.isDirty(RSP)) return;
	const top = stackTop(builder);
	if (instruction.mnemonic !== Mnemonic.Pop)
		patchAt(builder, top, littleEndian(BigInt(random.u32() & (random.chance(0.9) ? 0x3ffeff : ~0)), 4));
	else if (instruction.op0Kind === OpKind.Register && (PLACES[instruction.op0Register] as (typeof PLACES)[number]).gpr < 0)
		patchAt(builder, top, littleEndian(BigInt(selectorValue(random, mode)), 2));
}
