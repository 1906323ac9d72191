/**
 * What the decoder hands out: one instruction, its table row and its operands, all resolved (prefixes, REX, ModRM, SIB).
 * Notation follows Intel SDM Vol. 2 (325383-083), Appendix A, "Opcode Map".
 */

/** Width of the code segment: its D bit, or its L bit in IA-32e mode. */
export type CodeBits = 16 | 32 | 64;

/** Segment registers by their number in a Sreg field (SDM Vol. 2A §3.1.1.3, table 3-1 and Vol. 2D table B-8). */
export const SEG = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;

/**
 * A memory operand. Offset = base + (index << scale) + disp, cut to `addrBits`; then the segment's base is added.
 * In 64-bit mode `seg` says which base applies: only FS and GS have one, and SS still decides #SS against #GP.
 */
export interface MemOperand {
	readonly kind: "mem";
	/** Resolved segment register, 0..5: the override if one counts, else SS for rSP/rBP bases, ES for string destinations, DS. */
	readonly seg: number;
	/** General register 0..15, or -1 for none. */
	readonly base: number;
	/** General register 0..15 (never 4), or -1 for none. For XLAT, -1: its index is AL, zero-extended. */
	readonly index: number;
	/** Shift applied to the index, 0..3. */
	readonly scale: number;
	/**
	 * Signed displacement. Exact, but for MOV's 64-bit direct offset outside ±2^53 where it is rounded: such an address is
	 * not canonical whatever the segment base, so it faults all the same.
	 */
	readonly disp: number;
	/** The displacement counts from the end of this instruction (RIP, or EIP with 32-bit addresses in 64-bit mode). */
	readonly ripRelative: boolean;
	readonly addrBits: 16 | 32 | 64;
	/**
	 * Bytes accessed; 0 where the operand is only an address (LEA, INVLPG, PREFETCHh, NOP, CLFLUSH) or the size depends on state
	 * (XSAVE family). BT/BTS/BTR/BTC with a register bit offset access `bytes` at an address moved by that offset.
	 */
	readonly bytes: number;
}

/** gpr8h: AH, CH, DH, BH as index 0..3. `bytes` is the width accessed: 4 for the scalar-single use of an XMM register. */
export type RegClass = "gpr" | "gpr8h" | "seg" | "cr" | "dr" | "mmx" | "xmm" | "st";

export interface RegOperand {
	readonly kind: "reg";
	readonly cls: RegClass;
	readonly index: number;
	readonly bytes: number;
}

/**
 * An immediate. `Iz`, `Iv`, `sIb` (a byte sign-extended to the operand size) and the constant 1 are signed numbers in the range
 * of `bytes` bytes; `Ib` and `Iw` (ports, counts, controls, vectors, the byte forms of arithmetic) are unsigned.
 */
export interface ImmOperand {
	readonly kind: "imm";
	readonly value: number;
	readonly bytes: number;
}

/** The immediate of MOV r64, imm64 and of nothing else; signed. */
export interface Imm64Operand {
	readonly kind: "imm64";
	readonly value: bigint;
	readonly bytes: 8;
}

/** A near branch target: `disp` (signed) counts from the next instruction; cut the sum to `opBytes`. */
export interface RelOperand {
	readonly kind: "rel";
	readonly disp: number;
	/** Width of the encoded displacement. */
	readonly bytes: number;
}

/** A direct far pointer (CALL/JMP ptr16:16, ptr16:32); `offset` is unsigned. */
export interface FarOperand {
	readonly kind: "far";
	readonly selector: number;
	readonly offset: number;
	/** Width of the encoded pointer: 4 or 6. */
	readonly bytes: number;
}

export type Operand = MemOperand | RegOperand | ImmOperand | Imm64Operand | RelOperand | FarOperand;

export type OpcodeMap = "1" | "0F" | "0F38" | "0F3A";

/** CPUID's word for what brought the instruction; "base" is what every x86-64 CPU and its ancestors share. */
export type Feature =
	| "base"
	| "fpu"
	| "cmov"
	| "mmx"
	| "sse"
	| "sse2"
	| "sse3"
	| "ssse3"
	| "sse41"
	| "sse42"
	| "popcnt"
	| "lzcnt"
	| "bmi1"
	| "aes"
	| "pclmulqdq"
	| "movbe"
	| "cx8"
	| "cx16"
	| "fxsr"
	| "xsave"
	| "xsaveopt"
	| "xsavec"
	| "xsaves"
	| "clflush"
	| "clflushopt"
	| "clwb"
	| "fsgsbase"
	| "rdtscp"
	| "rdpid"
	| "rdrand"
	| "rdseed"
	| "invpcid"
	| "smap"
	| "monitor"
	| "prefetchw"
	| "sep"
	| "syscall"
	| "vmx"
	| "svm"
	| "smx"
	| "longmode";

/** How control leaves: "sys" instructions fall through but may change what later bytes mean (modes, paging, interrupts). */
export type Flow = "none" | "jcc" | "jmp" | "call" | "ret" | "far" | "int" | "sys";

/** Which register file the instruction works on, and so which of CR0.EM/TS, CR4.OSFXSR gate it ("int": none of them). */
export type Unit = "int" | "x87" | "mmx" | "sse";

/** One row of the opcode map. */
export interface Row {
	/** Small, dense, the same for one build of the tables only: never store it in a file. */
	readonly id: number;
	readonly map: OpcodeMap;
	readonly opcode: number;
	readonly mnemonic: string;
	/** Condition 0..15 of JCC, SETCC, CMOVCC; otherwise -1. */
	readonly cc: number;
	/** The manual's operand letters, destination first. */
	readonly operands: readonly string[];
	readonly feature: Feature;
	readonly unit: Unit;
	readonly flow: Flow;
	/** LOCK is allowed when the first operand is memory (the decoder has already refused the rest). */
	readonly lockable: boolean;
	/** A memory operand must lie on a 16-byte boundary, or #GP(0). */
	readonly aligned: boolean;
	/** #GP(0) whenever CPL > 0. Instructions whose privilege depends on more (IOPL, TSD, PCE, UMIP) are not marked. */
	readonly cpl0: boolean;
}

export interface Insn {
	/** Never set: tells an instruction from a `DecodeFault`. */
	readonly fault: undefined;
	readonly row: Row;
	/** Canonical mnemonic; see `mnemonics.ts` for the ones that stand for a family. */
	readonly mnemonic: string;
	/** Condition 0..15 of JCC, SETCC, CMOVCC; otherwise -1. */
	readonly cc: number;
	readonly operands: readonly Operand[];
	readonly lengthBytes: number;
	/** Of these, the last are the displacement's (or direct offset's) bytes and then the immediates' or the branch's. */
	readonly dispBytes: number;
	readonly immBytes: number;
	/** Effective operand size, REX.W and 64-bit defaults included. Byte forms are told by `operands[0].bytes`, not here. */
	readonly opBytes: 2 | 4 | 8;
	readonly addrBits: 16 | 32 | 64;
	readonly codeBits: CodeBits;
	/** The last of F2/F3, if any; set also where it served as a mandatory prefix. */
	readonly rep: 0 | 0xf2 | 0xf3;
	readonly lock: boolean;
	readonly hasRex: boolean;
	readonly rexW: boolean;
	/** Segment override that counts (ES/CS/SS/DS do not in 64-bit mode), or -1. */
	readonly segOverride: number;
	readonly prefix66: boolean;
	/** The ModRM byte, or -1. */
	readonly modrm: number;
}

/**
 * ud: #UD. gp-too-long: more than 15 bytes, #GP(0). need-more-bytes: `limit` ended first; fetch more (or take the fetch's fault)
 * and decode again.
 */
export interface DecodeFault {
	readonly fault: "ud" | "gp-too-long" | "need-more-bytes";
}

export type DecodeResult = Insn | DecodeFault;

/** SDM Vol. 2A §2.3.11: longer instructions fault whatever they hold. */
export const MAX_INSN_BYTES = 15;
