import type { Insn, MemOperand, Operand, RegOperand } from "./insn.ts";
import { SEG } from "./insn.ts";
import { manualMnemonic } from "./mnemonics.ts";

const names16 = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"] as const;
const names8 = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"] as const;
const names8h = ["ah", "ch", "dh", "bh"] as const;
const segments = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
const sizeWords: Readonly<Record<number, string>> = {
	1: "byte",
	2: "word",
	4: "dword",
	6: "fword",
	8: "qword",
	10: "tbyte",
	16: "xmmword",
};

function gprName(index: number, bytes: number): string {
	if (index >= 8) return `r${index}${bytes === 8 ? "" : bytes === 4 ? "d" : bytes === 2 ? "w" : "b"}`;
	if (bytes === 1) return names8[index]!;
	return (bytes === 8 ? "r" : bytes === 4 ? "e" : "") + names16[index]!;
}

function registerName(operand: RegOperand): string {
	switch (operand.cls) {
		case "gpr":
			return gprName(operand.index, operand.bytes);
		case "gpr8h":
			return names8h[operand.index]!;
		case "seg":
			return segments[operand.index]!;
		case "mmx":
			return `mm${operand.index}`;
		case "st":
			return `st(${operand.index})`;
		default:
			return operand.cls + operand.index;
	}
}

/** 9 and below as they are, the rest as the usual 0x… */
function hex(value: number | bigint): string {
	return value < 10 ? value.toString() : `0x${value.toString(16)}`;
}

function signed(value: number): string {
	return value < 0 ? `-${hex(-value)}` : hex(value);
}

/** `value` cut to `bits`, as an address reads. */
function address(value: bigint, bits: number): string {
	return `0x${BigInt.asUintN(bits, value).toString(16)}`;
}

function memoryText(operand: MemOperand, insn: Insn, nextAddress: bigint | undefined): string {
	const registerBytes = operand.addrBits / 8;
	const terms: string[] = [];
	if (operand.ripRelative && nextAddress === undefined) terms.push(operand.addrBits === 64 ? "rip" : "eip");
	if (operand.base >= 0) terms.push(gprName(operand.base, registerBytes));
	if (operand.index >= 0) {
		terms.push(gprName(operand.index, registerBytes) + (operand.scale > 0 ? `*${1 << operand.scale}` : ""));
	}
	if (insn.mnemonic === "XLAT") terms.push("al");
	let text = terms.join("+");
	if (text === "") text = address(BigInt(operand.disp) + (operand.ripRelative ? nextAddress! : 0n), operand.addrBits);
	else if (operand.disp !== 0) text += operand.disp < 0 ? `-${hex(-operand.disp)}` : `+${hex(operand.disp)}`;
	const usual = operand.base === 4 || operand.base === 5 ? SEG.ss : SEG.ds;
	const isString = operand.seg === SEG.es && operand.base === 7 && insn.modrm < 0;
	const segment = operand.seg === usual || isString ? "" : `${segments[operand.seg]}:`;
	const size = sizeWords[operand.bytes];
	return `${size === undefined ? "" : `${size} ptr `}${segment}[${text}]`;
}

function operandText(operand: Operand, insn: Insn, nextAddress: bigint | undefined): string {
	switch (operand.kind) {
		case "reg":
			return registerName(operand);
		case "mem":
			return memoryText(operand, insn, nextAddress);
		case "imm":
			return signed(operand.value);
		case "imm64":
			return address(operand.value, 64);
		case "far":
			return `${hex(operand.selector)}:${hex(operand.offset)}`;
		case "rel":
			if (nextAddress === undefined) return operand.disp < 0 ? `.-${hex(-operand.disp)}` : `.+${hex(operand.disp)}`;
			return address(nextAddress + BigInt(operand.disp), insn.opBytes * 8);
	}
}

const repeatsWhileEqual: ReadonlySet<string> = new Set(["CMPS", "SCAS"]);
const repeats: ReadonlySet<string> = new Set(["MOVS", "STOS", "LODS", "INS", "OUTS"]);

function prefixText(insn: Insn): string {
	let text = insn.lock ? "lock " : "";
	if (insn.rep === 0) return text;
	if (repeatsWhileEqual.has(insn.mnemonic)) text += insn.rep === 0xf3 ? "repe " : "repne ";
	else if (repeats.has(insn.mnemonic)) text += insn.rep === 0xf3 ? "rep " : "repne ";
	return text;
}

/**
 * Intel-syntax text of one instruction: "lock add dword ptr fs:[rax+rcx*8+0x10], edx". With `at`, the instruction's own offset in
 * its code segment, branch targets and RIP-relative addresses are absolute; without, ".+5" counts from the next instruction.
 */
export function disassemble(insn: Insn, at?: bigint): string {
	const nextAddress = at === undefined ? undefined : at + BigInt(insn.lengthBytes);
	const isFar = insn.mnemonic === "CALLF" || insn.mnemonic === "JMPF";
	const name = manualMnemonic(insn).toLowerCase() + (isFar ? " far" : "");
	const operands = insn.operands.map((operand) => operandText(operand, insn, nextAddress)).join(", ");
	return prefixText(insn) + name + (operands === "" ? "" : ` ${operands}`);
}
