/**
 * Bytes to `Insn`: prefixes, REX, opcode map, ModRM, SIB, displacement, immediates.
 * Intel SDM Vol. 2A (325383-083), chapter 2, "Instruction Format". Where Intel and AMD part, this does as Intel.
 */
import type { CodeBits, DecodeFault, DecodeResult, MemOperand, Operand } from "./insn.ts";
import { MAX_INSN_BYTES, SEG } from "./insn.ts";
import type { OperandSpec } from "./operand-spec.ts";
import { CR, DR, GPR, GPR8H, KIND, MMX, SIZE, SREG, ST, XMM } from "./operand-spec.ts";
import type { CompiledRow } from "./table.ts";
import { DIM, lookups64, lookupsLegacy, SIZING } from "./table.ts";

const UD: DecodeFault = Object.freeze({ fault: "ud" });
const TOO_LONG: DecodeFault = Object.freeze({ fault: "gp-too-long" });
const NEED_MORE: DecodeFault = Object.freeze({ fault: "need-more-bytes" });

const PREFIX = { segment: 1, operandSize: 2, addressSize: 3, lock: 4, repeat: 5, rex: 6 } as const;
const REX_B = 1;
const REX_X = 2;
const REX_R = 4;
const REX_W = 8;

function prefixClasses(is64: boolean): Uint8Array {
	const classes = new Uint8Array(256);
	for (const byte of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]) classes[byte] = PREFIX.segment;
	classes[0x66] = PREFIX.operandSize;
	classes[0x67] = PREFIX.addressSize;
	classes[0xf0] = PREFIX.lock;
	classes[0xf2] = classes[0xf3] = PREFIX.repeat;
	if (is64) classes.fill(PREFIX.rex, 0x40, 0x50);
	return classes;
}

const prefixes64 = prefixClasses(true);
const prefixesLegacy = prefixClasses(false);

/** SDM Vol. 2A table 2-1: base and index of 16-bit addresses by ModRM.rm (BX 3, BP 5, SI 6, DI 7). */
const base16 = [3, 3, 5, 5, 6, 7, 5, 3] as const;
const index16 = [6, 7, 6, 7, -1, -1, -1, -1] as const;

const NO_OPERANDS: readonly Operand[] = Object.freeze([]);

// The instruction under decode. One decode at a time: nothing below yields or calls out.
let code: Uint8Array = new Uint8Array(0);
let cursor = 0;
let end = 0;
/** Set when something needed more bytes than there were; what was read then is worthless. */
let overran = false;
let is64 = false;
let rex = 0;
let hasRex = false;
let segOverride = -1;
let addrBits: 16 | 32 | 64 = 64;
let opBytes: 2 | 4 | 8 = 4;
let opcode = 0;
let modrm = -1;
let memSeg = 0;
let memBase = -1;
let memIndex = -1;
let memScale = 0;
let memDisp = 0;
let encodedDispBytes = 0;
let memRip = false;

function take(count: number): number {
	const at = cursor;
	cursor += count;
	if (cursor > end) overran = true;
	return at;
}

function unsigned8(): number {
	return code[take(1)]!;
}

function signed8(): number {
	return (code[take(1)]! << 24) >> 24;
}

function unsigned16(): number {
	const at = take(2);
	return code[at]! | (code[at + 1]! << 8);
}

function signed16(): number {
	return (unsigned16() << 16) >> 16;
}

function signed32(): number {
	const at = take(4);
	return code[at]! | (code[at + 1]! << 8) | (code[at + 2]! << 16) | (code[at + 3]! << 24);
}

function signedImmediate(bytes: number): number {
	return bytes === 1 ? signed8() : bytes === 2 ? signed16() : signed32();
}

/** ModRM's memory forms (mod ≠ 3) into the `mem…` variables. */
function readAddress(): void {
	const mod = modrm >> 6;
	const rm = modrm & 7;
	memBase = memIndex = -1;
	memScale = memDisp = 0;
	memRip = false;
	let dispBytes = mod === 1 ? 1 : mod === 2 ? 4 : 0;
	let isStack = false;
	if (addrBits === 16) {
		if (dispBytes === 4) dispBytes = 2;
		if (mod === 0 && rm === 6) dispBytes = 2;
		else {
			memBase = base16[rm]!;
			memIndex = index16[rm]!;
			isStack = memBase === 5;
		}
	} else if (rm === 4) {
		const sib = unsigned8();
		const index = ((sib >> 3) & 7) | ((rex & REX_X) << 2);
		if (index !== 4) {
			memIndex = index;
			memScale = (sib >> 6) & 3;
		}
		if ((sib & 7) === 5 && mod === 0) dispBytes = 4;
		else {
			memBase = (sib & 7) | ((rex & REX_B) << 3);
			isStack = memBase === 4 || memBase === 5;
		}
	} else if (rm === 5 && mod === 0) {
		dispBytes = 4;
		memRip = is64;
	} else {
		memBase = rm | ((rex & REX_B) << 3);
		isStack = memBase === 5;
	}
	if (dispBytes !== 0) memDisp = signedImmediate(dispBytes);
	encodedDispBytes = dispBytes;
	memSeg = segOverride >= 0 ? segOverride : isStack ? SEG.ss : SEG.ds;
}

function resolveSize(size: number): number {
	if (size >= 0) return size;
	switch (size) {
		case SIZE.v:
			return opBytes;
		case SIZE.z:
			return opBytes === 2 ? 2 : 4;
		case SIZE.y:
			return (rex & REX_W) !== 0 ? 8 : 4;
		case SIZE.n:
			return is64 ? 8 : 4;
		case SIZE.p:
			return opBytes + 2;
		case SIZE.a:
			return opBytes * 2;
		case SIZE.s:
			return is64 ? 10 : 6;
		case SIZE.env:
			return opBytes === 2 ? 14 : 28;
		default:
			return opBytes === 2 ? 94 : 108;
	}
}

function memory(bytes: number): MemOperand {
	return {
		kind: "mem",
		seg: memSeg,
		base: memBase,
		index: memIndex,
		scale: memScale,
		disp: memDisp,
		ripRelative: memRip,
		addrBits,
		bytes,
	};
}

function memoryAt(seg: number, base: number, disp: number, bytes: number): MemOperand {
	return { kind: "mem", seg, base, index: -1, scale: 0, disp, ripRelative: false, addrBits, bytes };
}

function gpr(index: number, bytes: number): Operand {
	if (bytes === 1 && !hasRex && index >= 4) return GPR8H[index - 4]!;
	return GPR[bytes]![index]!;
}

/** SDM Vol. 2A, MOV: only these exist; CR8 needs REX.R, so 64-bit mode. */
function isControlRegister(index: number): boolean {
	return index === 0 || (index >= 2 && index <= 4) || index === 8;
}

function directOffset(): number {
	encodedDispBytes = addrBits >> 3;
	if (addrBits === 16) return unsigned16();
	const low = signed32() >>> 0;
	return addrBits === 32 ? low : signed32() * 0x1_0000_0000 + low;
}

function wideImmediate(): bigint {
	const low = signed32() >>> 0;
	return (BigInt(signed32()) << 32n) | BigInt(low);
}

/** One operand; `undefined` where its field holds a register that does not exist. */
function readOperand(spec: OperandSpec): Operand | undefined {
	switch (spec.kind) {
		case KIND.fixed:
			return spec.reg;
		case KIND.accumulator:
			return GPR[resolveSize(spec.size)]![0];
		case KIND.gprRm:
			if (modrm < 0xc0) return memory(resolveSize(spec.memSize));
			return gpr((modrm & 7) | ((rex & REX_B) << 3), resolveSize(spec.size));
		case KIND.gprReg:
			return gpr(((modrm >> 3) & 7) | ((rex & REX_R) << 1), resolveSize(spec.size));
		case KIND.gprOpcode:
			return gpr((opcode & 7) | ((rex & REX_B) << 3), resolveSize(spec.size));
		case KIND.mem:
			return modrm < 0xc0 ? memory(resolveSize(spec.memSize)) : undefined;
		case KIND.xmmReg:
			return XMM[resolveSize(spec.size)]![((modrm >> 3) & 7) | ((rex & REX_R) << 1)];
		case KIND.mmxReg:
			return MMX[resolveSize(spec.size)]![(modrm >> 3) & 7];
		case KIND.xmmRm:
			if (modrm < 0xc0) return memory(resolveSize(spec.memSize));
			return XMM[resolveSize(spec.size)]![(modrm & 7) | ((rex & REX_B) << 3)];
		case KIND.mmxRm:
			if (modrm < 0xc0) return memory(resolveSize(spec.memSize));
			return MMX[resolveSize(spec.size)]![modrm & 7];
		case KIND.immUnsigned:
			return { kind: "imm", value: spec.size === 1 ? unsigned8() : unsigned16(), bytes: spec.size };
		case KIND.immSigned: {
			const bytes = resolveSize(spec.size);
			if (bytes === 8) return { kind: "imm64", value: wideImmediate(), bytes };
			return { kind: "imm", value: signedImmediate(bytes), bytes: spec.size === SIZE.z ? opBytes : bytes };
		}
		case KIND.immSignedByte:
			return { kind: "imm", value: signed8(), bytes: opBytes };
		case KIND.rel: {
			const bytes = resolveSize(spec.size);
			return { kind: "rel", disp: signedImmediate(bytes), bytes };
		}
		case KIND.far: {
			const offset = opBytes === 2 ? unsigned16() : signed32() >>> 0;
			return { kind: "far", selector: unsigned16(), offset, bytes: opBytes + 2 };
		}
		case KIND.direct:
			return memoryAt(segOverride >= 0 ? segOverride : SEG.ds, -1, directOffset(), resolveSize(spec.memSize));
		case KIND.seg:
			return SREG[(modrm >> 3) & 7];
		case KIND.cr: {
			const index = ((modrm >> 3) & 7) | ((rex & REX_R) << 1);
			return isControlRegister(index) ? CR[resolveSize(spec.size)]![index] : undefined;
		}
		case KIND.dr:
			return DR[resolveSize(spec.size)]![((modrm >> 3) & 7) | ((rex & REX_R) << 1)];
		case KIND.source:
			return memoryAt(segOverride >= 0 ? segOverride : SEG.ds, 6, 0, resolveSize(spec.memSize));
		case KIND.destination:
			return memoryAt(SEG.es, 7, 0, resolveSize(spec.memSize));
		case KIND.based:
			return memoryAt(segOverride >= 0 ? segOverride : SEG.ds, spec.base, 0, resolveSize(spec.memSize));
		default:
			return ST[modrm & 7];
	}
}

function operandSize(sizing: number, codeBits: CodeBits, prefix66: boolean): 2 | 4 | 8 {
	if (codeBits === 64) {
		if ((rex & REX_W) !== 0 || sizing === SIZING.f64) return 8;
		if (prefix66) return 2;
		return sizing === SIZING.d64 ? 8 : 4;
	}
	return (codeBits === 32) === prefix66 ? 2 : 4;
}

function segmentOf(prefix: number): number {
	switch (prefix) {
		case 0x26:
			return SEG.es;
		case 0x2e:
			return SEG.cs;
		case 0x36:
			return SEG.ss;
		case 0x3e:
			return SEG.ds;
		case 0x64:
			return SEG.fs;
		default:
			return SEG.gs;
	}
}

/** Which of an opcode's cells the prefixes, ModRM and REX pick; the order is `fill`'s in table.ts. */
function selectCell(dims: number, prefixColumn: number): number {
	let cell = 0;
	if ((dims & DIM.prefix) !== 0) cell = prefixColumn;
	if ((dims & DIM.reg) !== 0) cell = (cell << 3) | ((modrm >> 3) & 7);
	if ((dims & DIM.mod) !== 0) cell = (cell << 1) | (modrm >= 0xc0 ? 1 : 0);
	if ((dims & DIM.rm) !== 0) cell = (cell << 3) | (modrm & 7);
	if ((dims & DIM.w) !== 0) cell = (cell << 1) | ((rex & REX_W) >> 3);
	if ((dims & DIM.b) !== 0) cell = (cell << 1) | (rex & REX_B);
	return cell;
}

/** MOV to and from CRn and DRn takes its general register from ModRM.rm whatever ModRM.mod says (SDM Vol. 2A, MOV). */
function ignoresMod(map: number): boolean {
	return map === 1 && opcode >= 0x20 && opcode <= 0x23;
}

/**
 * Decodes the instruction at `bytes[at]`; at most `limit` bytes may be looked at. Pure and total: any bytes give an `Insn` or a
 * `DecodeFault`. Says nothing about what depends on machine state: CPUID features (`row.feature`), privilege, real-address mode's
 * missing instructions (ARPL, LAR, LLDT, …, which decode here).
 */
export function decode(bytes: Uint8Array, at: number, limit: number, codeBits: CodeBits): DecodeResult {
	const ranOut = limit >= MAX_INSN_BYTES ? TOO_LONG : NEED_MORE;
	code = bytes;
	cursor = at;
	end = at + Math.min(limit, MAX_INSN_BYTES);
	overran = false;
	is64 = codeBits === 64;
	rex = 0;
	hasRex = false;
	segOverride = -1;
	let prefix66 = false;
	let prefix67 = false;
	let lock = false;
	let rep: 0 | 0xf2 | 0xf3 = 0;

	const prefixClass = is64 ? prefixes64 : prefixesLegacy;
	for (;;) {
		if (cursor >= end) return ranOut;
		opcode = bytes[cursor++]!;
		const kind = prefixClass[opcode]!;
		if (kind === 0) break;
		// A REX prefix counts only right before the opcode (SDM Vol. 2A §2.2.1).
		if (kind === PREFIX.rex) {
			rex = opcode & 15;
			hasRex = true;
			continue;
		}
		rex = 0;
		hasRex = false;
		if (kind === PREFIX.operandSize) prefix66 = true;
		else if (kind === PREFIX.addressSize) prefix67 = true;
		else if (kind === PREFIX.lock) lock = true;
		else if (kind === PREFIX.repeat) rep = opcode as 0xf2 | 0xf3;
		else if (!is64 || opcode >= 0x64) segOverride = segmentOf(opcode);
	}

	let map = 0;
	if (opcode === 0x0f) {
		if (cursor >= end) return ranOut;
		opcode = bytes[cursor++]!;
		map = 1;
		if (opcode === 0x38 || opcode === 0x3a) {
			map = opcode === 0x38 ? 2 : 3;
			if (cursor >= end) return ranOut;
			opcode = bytes[cursor++]!;
		}
	}
	const lookup = (is64 ? lookups64 : lookupsLegacy)[map]!;
	const dims = lookup.dims[opcode]!;
	if (dims === 0) return UD;
	modrm = -1;
	if ((dims & DIM.hasModrm) !== 0) {
		if (cursor >= end) return ranOut;
		modrm = bytes[cursor++]!;
	}
	const prefixColumn = rep === 0xf3 ? 2 : rep === 0xf2 ? 3 : prefix66 ? 1 : 0;
	const found: CompiledRow | undefined = lookup.cells[lookup.first[opcode]! + selectCell(dims, prefixColumn)];
	if (found === undefined) return UD;
	const row = found.row;
	if (lock && (!row.lockable || modrm >= 0xc0)) return UD;

	addrBits = is64 ? (prefix67 ? 32 : 64) : (codeBits === 32) === prefix67 ? 16 : 32;
	opBytes = operandSize(found.sizing, codeBits, prefix66);
	const rawModrm = modrm;
	encodedDispBytes = 0;
	if (modrm >= 0 && modrm < 0xc0) {
		if (ignoresMod(map)) modrm |= 0xc0;
		else readAddress();
	}

	const beforeDisp = cursor - encodedDispBytes;
	const specs = found.specs;
	let operands = NO_OPERANDS;
	if (specs.length > 0) {
		const list: Operand[] = [];
		for (let i = 0; i < specs.length; i++) {
			const operand = readOperand(specs[i]!);
			if (operand === undefined) return UD;
			list.push(operand);
		}
		operands = list;
	}
	if (overran) return ranOut;
	return {
		fault: undefined,
		row,
		mnemonic: row.mnemonic,
		cc: row.cc,
		operands,
		lengthBytes: cursor - at,
		dispBytes: encodedDispBytes,
		immBytes: cursor - beforeDisp - encodedDispBytes,
		opBytes,
		addrBits,
		codeBits,
		rep,
		lock,
		hasRex,
		rexW: (rex & REX_W) !== 0,
		segOverride,
		prefix66,
		modrm: rawModrm,
	};
}
