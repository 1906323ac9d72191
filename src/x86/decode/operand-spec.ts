import { InternalError } from "../../base/assert.ts";
import type { RegClass, RegOperand } from "./insn.ts";
import { SEG } from "./insn.ts";

/** Where an operand comes from; the names follow the manual's addressing letters (SDM Vol. 2D, Appendix A §A.2.1). */
export const KIND = {
	/** One operand for every instruction of the row. */
	fixed: 0,
	/** Accumulator of the operand's size. */
	accumulator: 1,
	/** E, R: ModRM.rm as general register, or memory. */
	gprRm: 2,
	/** G: ModRM.reg as general register. */
	gprReg: 3,
	/** Z (our letter): the opcode's low three bits as general register. */
	gprOpcode: 4,
	/** M: memory only. */
	mem: 5,
	/** V, P: ModRM.reg as XMM or MMX register. */
	xmmReg: 6,
	mmxReg: 7,
	/** W, U and Q, N: ModRM.rm as XMM or MMX register, or memory. */
	xmmRm: 8,
	mmxRm: 9,
	/** I: zero-extended. */
	immUnsigned: 10,
	/** I: sign-extended to the operand size. */
	immSigned: 11,
	immSignedByte: 12,
	/** J */
	rel: 13,
	/** A */
	far: 14,
	/** O */
	direct: 15,
	/** S, C, D */
	seg: 16,
	cr: 17,
	dr: 18,
	/** X and Y: memory at DS:rSI and ES:rDI. */
	source: 19,
	destination: 20,
	/** BA, BB, BD: memory at DS:rAX, DS:rBX (+AL), DS:rDI. */
	based: 21,
	/** ST(i) */
	stRm: 22,
} as const;

/** Sizes that depend on prefixes are negative; the rest are bytes. */
export const SIZE = {
	/** Operand size. */
	v: -1,
	/** Operand size, at most 4. */
	z: -2,
	/** 8 with REX.W, else 4. */
	y: -3,
	/** 8 in 64-bit mode, else 4 (our letter). */
	n: -4,
	/** Far pointer: operand size + 2. */
	p: -5,
	/** BOUND's pair. */
	a: -6,
	/** Pseudo-descriptor: 6, or 10 in 64-bit mode. */
	s: -7,
	/** x87 environment, and whole x87 state. */
	env: -8,
	fsv: -9,
} as const;

export interface OperandSpec {
	readonly kind: number;
	/** As a register or immediate. */
	readonly size: number;
	/** As memory. */
	readonly memSize: number;
	/** The operand itself, for `fixed`; otherwise a stand-in. */
	readonly reg: RegOperand | { readonly kind: "imm"; readonly value: number; readonly bytes: number };
	/** For `based`: the base register. */
	readonly base: number;
}

function registers(cls: RegClass, count: number, bytes: number): readonly RegOperand[] {
	return Array.from({ length: count }, (_, index) => Object.freeze({ kind: "reg" as const, cls, index, bytes }));
}

function bySize(cls: RegClass, count: number, sizes: readonly number[]): readonly (readonly RegOperand[])[] {
	return Array.from({ length: 17 }, (_, bytes) => (sizes.includes(bytes) ? registers(cls, count, bytes) : []));
}

/** Every register operand there is, made once; indexed by bytes, then by number. */
export const GPR = bySize("gpr", 16, [1, 2, 4, 8]);
export const GPR8H = registers("gpr8h", 4, 1);
export const XMM = bySize("xmm", 16, [2, 4, 8, 16]);
export const MMX = bySize("mmx", 8, [4, 8]);
export const ST = registers("st", 8, 10);
export const SREG = registers("seg", 6, 2);
export const CR = bySize("cr", 9, [4, 8]);
export const DR = bySize("dr", 8, [4, 8]);

const sizes: Readonly<Record<string, number>> = {
	"": 0,
	b: 1,
	w: 2,
	d: 4,
	ss: 4,
	q: 8,
	sd: 8,
	t: 10,
	dq: 16,
	ps: 16,
	pd: 16,
	"512": 512,
	...SIZE,
};

const ONE = Object.freeze({ kind: "imm" as const, value: 1, bytes: 1 });

const fixed: Readonly<Record<string, OperandSpec["reg"]>> = {
	AL: GPR[1]![0]!,
	CL: GPR[1]![1]!,
	AX: GPR[2]![0]!,
	DX: GPR[2]![2]!,
	ES: SREG[SEG.es]!,
	CS: SREG[SEG.cs]!,
	SS: SREG[SEG.ss]!,
	DS: SREG[SEG.ds]!,
	FS: SREG[SEG.fs]!,
	GS: SREG[SEG.gs]!,
	ST0: ST[0]!,
	XMM0: XMM[16]![0]!,
	"1": ONE,
};

const letters: Readonly<Record<string, number>> = {
	E: KIND.gprRm,
	R: KIND.gprRm,
	G: KIND.gprReg,
	Z: KIND.gprOpcode,
	M: KIND.mem,
	V: KIND.xmmReg,
	P: KIND.mmxReg,
	W: KIND.xmmRm,
	U: KIND.xmmRm,
	Q: KIND.mmxRm,
	N: KIND.mmxRm,
	J: KIND.rel,
	A: KIND.far,
	O: KIND.direct,
	S: KIND.seg,
	C: KIND.cr,
	D: KIND.dr,
	X: KIND.source,
	Y: KIND.destination,
};

const whole: Readonly<Record<string, readonly [kind: number, size: number]>> = {
	rAX: [KIND.accumulator, SIZE.v],
	eAX: [KIND.accumulator, SIZE.z],
	Ib: [KIND.immUnsigned, 1],
	Iw: [KIND.immUnsigned, 2],
	Iz: [KIND.immSigned, SIZE.z],
	Iv: [KIND.immSigned, SIZE.v],
	sIb: [KIND.immSignedByte, SIZE.v],
	STi: [KIND.stRm, 10],
};

const bases: Readonly<Record<string, number>> = { A: 0, B: 3, D: 7 };

function sizeOf(text: string): number {
	const size = sizes[text];
	if (size === undefined) throw new InternalError(`opcode rows: unknown operand size "${text}"`);
	return size;
}

/** Reads one operand's letters: "Ev", "Vps", "rAX", "ST0", "1", or "Rd/Mb" where register and memory differ in size. */
export function parseOperand(text: string): OperandSpec {
	const constant = fixed[text];
	if (constant !== undefined) return { kind: KIND.fixed, size: constant.bytes, memSize: 0, reg: constant, base: -1 };
	const known = whole[text];
	if (known !== undefined) return { kind: known[0], size: known[1], memSize: 0, reg: ONE, base: -1 };
	const based = /^B([ABD])(.*)$/.exec(text);
	if (based !== null) {
		return { kind: KIND.based, size: 0, memSize: sizeOf(based[2]!), reg: ONE, base: bases[based[1]!]! };
	}
	const [register, memory] = text.split("/") as [string, string?];
	const kind = letters[register[0]!];
	if (kind === undefined) throw new InternalError(`opcode rows: unknown operand "${text}"`);
	const size = sizeOf(register.slice(1));
	return { kind, size, memSize: memory === undefined ? size : sizeOf(memory.slice(1)), reg: ONE, base: -1 };
}

/** Whether an operand of this kind is found through ModRM. */
export function needsModrm(kind: number): boolean {
	return (
		(kind >= KIND.gprRm && kind <= KIND.mmxRm && kind !== KIND.gprOpcode) || (kind >= KIND.seg && kind <= KIND.dr) || kind === KIND.stRm
	);
}
