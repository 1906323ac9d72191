import type { Insn, MemOperand, Operand } from "../../x86/decode/insn.ts";
import { at, MODE } from "../state/layout.ts";

/**
 * A decoded instruction as the interpreter's handlers read it: 32 bytes in the machine's memory, a block's records one
 * after another. Register operands are offsets within the CPU's block, so AH is just another offset.
 */
export const RECORD_BYTES = 32;
export const REC = {
	/** Slot of the function table that runs it. */
	callee: 0,
	/** u16: offset of the instruction from the block's first, and above `DELTA_BITS` its place in the block. */
	delta: 4,
	/** u16: offset of the next instruction. */
	next: 6,
	/** u16 each, operands 0–2: offset of a general or vector register, or the number of any other. */
	operand: 8,
	/** u16 each: offsets of the registers. */
	base: 14,
	index: 16,
	/** u16: how far the index is shifted, and above `SEG_SHIFT` the memory operand's segment. A shift's count ignores what stands there. */
	scale: 18,
	/** i32: displacement, or a second immediate. */
	disp: 20,
	/** i64: immediate; for a relative branch, target − start of the block; of an x87 instruction, the ModRM byte. */
	imm: 24,
} as const;
export const DELTA_BITS = 9;
export const SEG_SHIFT = 6;

/** Longest run of instructions decoded as one block: a slice may end only between blocks. */
export const MAX_BLOCK_INSNS = 32;
/** Behind a block's head stand its instructions, and the record that leads on where it ends without a jump. */
export const MAX_BLOCK_BYTES = (MAX_BLOCK_INSNS + 2) * RECORD_BYTES;

/** Slot of the handler that enters a block by its head record: an engine's first. */
export const HEAD_SLOT = 0;

/** The record before a block's first instruction. */
export const HEAD = {
	/** 1: the code has changed, and nobody is to come here any more. */
	isStale: 0,
	/** u8: instructions in the block. */
	count: 4,
	/** u8 */
	modeKey: 5,
	/** u16: bytes of code. */
	lengthBytes: 6,
	/** How often it will run before it counts as hot. */
	heat: 8,
	/** Slot of the region to enter in its place, 0 for none; `RegionPages` has what must be mapped for that. */
	region: 12,
	/** i64: physical address of its first byte. */
	phys: 16,
	/** The next block in its chain; see `BlockStore`. */
	chain: 24,
	/** Number of the physical page of its tail when its (only) instruction crosses a page, plus 1; else 0. */
	tail: 28,
} as const;

/** The memory operand that a record describes: string moves have two, and the one through RSI can be overridden. */
export function memoryOperand(insn: Insn): MemOperand | undefined {
	const { operands } = insn;
	let found: MemOperand | undefined;
	for (let n = 0; n < operands.length; n++) {
		const operand = operands[n] as Operand;
		if (operand.kind === "mem" && (found === undefined || operand.base === 6)) found = operand;
	}
	return found;
}

function registerSlot(operand: Operand): number {
	if (operand.kind !== "reg") return 0;
	switch (operand.cls) {
		case "gpr":
			return at("gpr", operand.index);
		case "gpr8h":
			return at("gpr", operand.index) + 1;
		case "xmm":
			return at("xmm", operand.index);
		default:
			return operand.index;
	}
}

/** Writes the record of `insn`, which starts `delta` bytes into its block and is its `position`-th. */
export function writeRecord(view: DataView, record: number, callee: number, insn: Insn, delta: number, position: number): void {
	const next = delta + insn.lengthBytes;
	view.setInt32(record + REC.callee, callee, true);
	view.setUint16(record + REC.delta, delta | (position << DELTA_BITS), true);
	view.setUint16(record + REC.next, next, true);
	if (insn.row.unit === "x87") setNumber64(view, record + REC.imm, insn.modrm);
	let hasImmediate = false;
	const operands = insn.operands;
	for (let n = 0; n < operands.length; n++) {
		const operand = operands[n] as Operand;
		if (operand.kind === "reg") {
			if (n < 3) view.setUint16(record + REC.operand + 2 * n, registerSlot(operand), true);
		} else if (operand.kind === "imm") {
			if (hasImmediate) view.setInt32(record + REC.disp, operand.value, true);
			else setNumber64(view, record + REC.imm, operand.value);
			hasImmediate = true;
		} else if (operand.kind === "imm64") view.setBigInt64(record + REC.imm, operand.value, true);
		else if (operand.kind === "rel") setNumber64(view, record + REC.imm, operand.disp + next);
		else if (operand.kind === "far") {
			setNumber64(view, record + REC.imm, operand.offset);
			view.setInt32(record + REC.disp, operand.selector, true);
		}
	}
	const mem = memoryOperand(insn);
	if (mem === undefined) return;
	view.setUint16(record + REC.base, mem.ripRelative ? at("rip") : mem.base < 0 ? at("zero") : at("gpr", mem.base), true);
	view.setUint16(record + REC.index, mem.index < 0 ? at("zero") : at("gpr", mem.index), true);
	view.setUint16(record + REC.scale, mem.scale | (mem.seg << SEG_SHIFT), true);
	if (!isFarAddress(mem)) view.setInt32(record + REC.disp, mem.ripRelative ? mem.disp + next : mem.disp, true);
	else if (mem.ripRelative) view.setInt32(record + REC.disp, mem.disp, true);
	else setNumber64(view, record + REC.imm, mem.disp);
}

/**
 * A displacement that a record has no room for: MOV's 64-bit direct offset, which has no immediate beside it; or one from RIP that might
 * not fit when it counts from the block's start, and stands there as it is.
 */
export function isFarAddress({ addrBits, ripRelative, disp }: MemOperand): boolean {
	return addrBits === 64 && (ripRelative ? Math.abs(disp) > 0x7fff_0000 : disp !== (disp | 0));
}

/** Nothing but a base and a displacement, if those, which most operands are. */
export function isUnindexed({ index, seg }: MemOperand): boolean {
	return index < 0 && seg !== 1;
}

function setNumber64(view: DataView, offset: number, value: number): void {
	const low = value | 0;
	view.setInt32(offset, low, true);
	view.setInt32(offset + 4, value === low ? low >> 31 : Math.floor(value / 0x1_0000_0000), true);
}

/**
 * What of an instruction of a given table row a handler is compiled for: everything that `Ops` may look at, and nothing that the record
 * tells: sizes, prefix, mode and kinds of operands. A number below 2³⁰.
 */
export function shapeKey(insn: Insn, modeKey: number): number {
	const { opBytes, addrBits, rep } = insn;
	const mode = modeKey & (MODE.codeMask | MODE.stack32 | MODE.flat);
	const prefix = rep === 0 ? 0 : rep & 1 ? 2 : 1;
	return (((operandKinds(insn) * 16 + mode) * 4 + prefix) * 4 + ((opBytes >> 2) & 3)) * 4 + ((addrBits >> 5) & 3);
}

/** The operands' values that a meaning is specialised for, as part of the shape. */
export function shapeValues({ operands }: Insn, specialise: "imm" | "reg" | "all"): string {
	let values = "";
	for (const operand of operands) {
		if (operand.kind === "imm" && specialise !== "reg") values += `i${operand.value}`;
		else if (operand.kind === "reg" && specialise !== "imm") values += `r${operand.index}`;
	}
	return values;
}

/** Kinds of the operands as one number below 2²⁰. */
function operandKinds({ operands }: Insn): number {
	let kinds = 0;
	for (let n = 0; n < operands.length; n++) kinds = kinds * 16 + operandKind(operands[n] as Operand);
	return kinds;
}

function operandKind(operand: Operand): number {
	switch (operand.kind) {
		case "reg":
			return operand.cls === "gpr8h" ? 2 : 1;
		case "mem":
			if (isFarAddress(operand)) return operand.seg >= 4 ? 11 : 12;
			if (isUnindexed(operand)) return operand.seg >= 4 ? 13 : operand.seg === 2 ? 14 : 15;
			return operand.seg >= 4 ? 3 : operand.seg === 2 ? 4 : operand.seg === 1 ? 5 : 6;
		case "imm":
			return 7;
		case "imm64":
			return 8;
		case "rel":
			return 9;
		default:
			return 10;
	}
}
