import type { Insn, MemOperand, Operand } from "../../x86/decode/insn.ts";
import { at, MODE } from "../state/layout.ts";

/**
 * A decoded instruction as the interpreter's handlers read it: 64 bytes in the machine's memory, a block's records one
 * after another. Register operands are offsets within the CPU's block, so AH is just another offset.
 */
export const RECORD_BYTES = 64;
export const REC = {
	/** Slot of the function table that runs it. */
	callee: 0,
	/** Offset of the instruction, and of the next one, from the block's first. */
	delta: 4,
	next: 8,
	/** Operands 0–2: offset of a general or vector register, or the number of any other. */
	operand: 12,
	base: 24,
	index: 28,
	scale: 32,
	/** Number of the memory operand's segment. */
	seg: 36,
	disp: 40,
	/** Immediate; for a relative branch, target − start of the block; of an x87 instruction, the ModRM byte. */
	imm: 48,
	/** Place in the block, the head being 0. */
	position: 56,
	/** Of a head: instructions in the block, and how often it will run before it counts as hot. */
	count: 8,
	heat: 12,
	/** Of a head: slot of the region to enter in its place, 0 for none; pages besides the block's that it was made from (-1: ask), each with its
	 * distance from the block's, linear, and its physical number. */
	region: 16,
	pageCount: 20,
	pages: 24,
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

/** Writes the record of `insn`, which starts `delta` bytes into its block. */
export function writeRecord(view: DataView, record: number, callee: number, insn: Insn, delta: number, position: number): void {
	const next = delta + insn.lengthBytes;
	view.setInt32(record + REC.callee, callee, true);
	view.setInt32(record + REC.delta, delta, true);
	view.setInt32(record + REC.next, next, true);
	view.setInt32(record + REC.position, position, true);
	if (insn.row.unit === "x87") view.setInt32(record + REC.imm, insn.modrm, true);
	let hasImmediate = false;
	const operands = insn.operands;
	for (let n = 0; n < operands.length; n++) {
		const operand = operands[n] as Operand;
		if (operand.kind === "reg") {
			if (n < 3) view.setInt32(record + REC.operand + 4 * n, registerSlot(operand), true);
		} else if (operand.kind === "imm") {
			setNumber64(view, record + (hasImmediate ? REC.disp : REC.imm), operand.value);
			hasImmediate = true;
		} else if (operand.kind === "imm64") view.setBigInt64(record + REC.imm, operand.value, true);
		else if (operand.kind === "rel") setNumber64(view, record + REC.imm, operand.disp + next);
		else if (operand.kind === "far") {
			setNumber64(view, record + REC.imm, operand.offset);
			setNumber64(view, record + REC.disp, operand.selector);
		}
	}
	const mem = memoryOperand(insn);
	if (mem === undefined) return;
	view.setInt32(record + REC.base, mem.ripRelative ? at("rip") : mem.base < 0 ? at("zero") : at("gpr", mem.base), true);
	view.setInt32(record + REC.index, mem.index < 0 ? at("zero") : at("gpr", mem.index), true);
	view.setInt32(record + REC.scale, mem.scale, true);
	view.setInt32(record + REC.seg, mem.seg, true);
	setNumber64(view, record + REC.disp, mem.ripRelative ? mem.disp + next : mem.disp);
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
