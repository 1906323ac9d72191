/**
 * The decoder against a foreign one, iced-x86: generated encodings (prefixes × opcode × ModRM) and random bytes, in all three code
 * sizes, compared for validity, length, mnemonic and operands. DECODE_SWEEP=full tries every ModRM byte with every prefix set
 * (minutes); the default takes a seeded sample of that.
 */
import {
	CodeSize,
	CpuidFeature,
	Decoder,
	DecoderOptions,
	EncodingKind,
	Code as IcedCode,
	Instruction,
	MemorySizeExt,
	Mnemonic,
	OpKind,
	Register,
} from "iced-x86";
import { expect, test } from "vitest";
import { decode } from "./decode.ts";
import type { CodeBits, Insn, MemOperand, Operand } from "./insn.ts";
import { manualMnemonic } from "./mnemonics.ts";

const CASE_BYTES = 24;
const SHOWN_BYTES = 15;

/** Extensions iced knows and we do not offer: these encodings must be #UD here (or the older instruction, see `renamed`). */
const notOffered: ReadonlySet<string> = new Set(
	(
		"ADX AVX AVX2 BMI2 CET_SS CLZERO D3NOW D3NOWEXT CYRIX_D3NOW ENQCMD GFNI HLE_or_RTM HRESET INVLPGB LWP MCOMMIT MONITORX MOVDIR64B MOVDIRI OSS " +
		"PADLOCK_ACE PADLOCK_PHE PADLOCK_PMM PADLOCK_RNG PADLOCK_GMI PADLOCK_UNDOC PCONFIG PKU PTWRITE RDPRU RTM SERIALIZE SEV_ES SEV_SNP " +
		"SGX1 SHA SSE4A TDX TSXLDTRK UINTR WAITPKG KL AESKLE WIDE_KL FRED LKGS RMPQUERY RAO_INT MSRLIST WRMSRNS TSE"
	).split(" "),
);

/** iced's name → ours, where they mean the same instruction. */
const renamed: Readonly<Record<string, string>> = {
	SAL: "SHL",
	WAIT: "FWAIT",
	XLATB: "XLAT",
	SYSRETQ: "SYSRET",
	SYSEXITQ: "SYSEXIT",
	RESERVEDNOP: "NOP",
	// A CPU without the extension runs these as the instruction they were cut out of.
	GETSECQ: "GETSEC",
	PCMPESTRI64: "PCMPESTRI",
	PCMPESTRM64: "PCMPESTRM",
	WBNOINVD: "WBINVD",
	ENDBR32: "NOP",
	ENDBR64: "NOP",
	CLDEMOTE: "NOP",
	VMGEXIT: "VMMCALL",
	RDSSPD: "NOP",
	RDSSPQ: "NOP",
	// 8087 and 287 control instructions, accepted and ignored since the 387.
	FNENI: "FNOP",
	FNDISI: "FNOP",
	FNSETPM: "FNOP",
};

/** iced names the whole register where the instruction reads 8 or 16 bits of it. */
const readsLowPart = /^(ARPL|LAR|LSL|MOV|LLDT|LTR|VERR|VERW|LMSW|PINSRB|PINSRW)$/;

const featureNames = new Map<number, string>(
	Object.entries(CpuidFeature).flatMap(([name, value]) => (typeof value === "number" ? [[value, name]] : [])),
);
const IP = 0x1000_0000n;

interface Mismatch {
	count: number;
	readonly example: string;
}

function hex(bytes: Uint8Array): string {
	return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** iced's register numbers as ours: class and index. */
function registerText(register: Register): string {
	const name = Register[register]!;
	const byte8 = ["AL", "CL", "DL", "BL", "SPL", "BPL", "SIL", "DIL"].indexOf(name);
	if (byte8 >= 0) return `gpr${byte8}/1`;
	const high = ["AH", "CH", "DH", "BH"].indexOf(name);
	if (high >= 0) return `gpr8h${high}/1`;
	for (const [prefix, bytes] of [
		["R", 8],
		["E", 4],
		["", 2],
	] as const) {
		const index = ["AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI"].indexOf(name.slice(prefix.length));
		if (name.startsWith(prefix) && index >= 0) return `gpr${index}/${bytes}`;
	}
	const extended = /^R(\d+)([DWL]?)$/.exec(name);
	if (extended !== null) return `gpr${extended[1]}/${{ D: 4, W: 2, L: 1, "": 8 }[extended[2] as "D" | "W" | "L" | ""]}`;
	const segment = ["ES", "CS", "SS", "DS", "FS", "GS"].indexOf(name);
	if (segment >= 0) return `seg${segment}`;
	return name.toLowerCase().replace(/^mm/, "mmx");
}

function baseText(register: Register): string {
	return register === Register.None ? "-" : registerText(register).replace(/\/\d$/, "");
}

/** iced reports the ES, CS, SS, DS overrides that 64-bit mode ignores. */
function isIgnored(segment: Register): boolean {
	return segment !== Register.None && segment !== Register.FS && segment !== Register.GS;
}

/** 64-bit direct offsets beyond 2^53 are rounded (`MemOperand.disp`). */
function rounded(displacement: bigint): bigint {
	return BigInt.asUintN(64, BigInt(Number(BigInt.asIntN(64, displacement))));
}

function icedMemory(insn: Instruction, kind: OpKind): string {
	const is64 = insn.codeSize === CodeSize.Code64;
	const ignored = is64 && isIgnored(insn.segmentPrefix);
	const isStack = ["gpr4", "gpr5"].includes(baseText(insn.memoryBase));
	const segment = ignored ? (isStack ? "seg2" : "seg3") : registerText(insn.memorySegment);
	switch (kind) {
		case OpKind.MemorySegSI:
		case OpKind.MemorySegESI:
		case OpKind.MemorySegRSI:
			return `[${segment}:gpr6+-*0+0]`;
		case OpKind.MemorySegDI:
		case OpKind.MemorySegEDI:
		case OpKind.MemorySegRDI:
			return `[${segment}:gpr7+-*0+0]`;
		case OpKind.MemoryESDI:
		case OpKind.MemoryESEDI:
		case OpKind.MemoryESRDI:
			return "[seg0:gpr7+-*0+0]";
		default: {
			if (insn.mnemonic === Mnemonic.Xlatb) return `[${segment}:gpr3+-*0+0]`;
			const rip = insn.memoryBase === Register.RIP || insn.memoryBase === Register.EIP;
			const base = rip ? "ip" : baseText(insn.memoryBase);
			const hasIndex = insn.memoryIndex !== Register.None;
			const scale = hasIndex ? Math.log2(insn.memoryIndexScale) : 0;
			return `[${segment}:${base}+${baseText(insn.memoryIndex)}*${scale}+${rounded(insn.memoryDisplacement)}]`;
		}
	}
}

function icedOperand(insn: Instruction, index: number, immediateBits: number): string {
	const kind = insn.opKind(index);
	switch (kind) {
		case OpKind.Register:
			return registerText(insn.opRegister(index));
		case OpKind.NearBranch16:
		case OpKind.NearBranch32:
		case OpKind.NearBranch64:
			return `to ${insn.nearBranchTarget}`;
		case OpKind.FarBranch16:
		case OpKind.FarBranch32:
			return `${insn.farBranchSelector}:${kind === OpKind.FarBranch16 ? insn.farBranch16 : insn.farBranch32}`;
		default:
			return kind >= OpKind.MemorySegSI ? icedMemory(insn, kind) : `$${BigInt.asUintN(immediateBits, insn.immediate(index))}`;
	}
}

function ourMemory(insn: Insn, operand: MemOperand): string {
	let disp = BigInt(operand.disp);
	if (operand.ripRelative) disp += IP + BigInt(insn.lengthBytes);
	// iced gives the displacement cut to the address size.
	const part = (register: number) => (register < 0 ? "-" : `gpr${register}`);
	const base = operand.ripRelative ? "ip" : part(operand.base);
	return `[seg${operand.seg}:${base}+${part(operand.index)}*${operand.scale}+${BigInt.asUintN(operand.addrBits, disp)}]`;
}

function ourOperand(insn: Insn, operand: Operand): string {
	switch (operand.kind) {
		case "reg":
			return operand.cls.startsWith("gpr") ? `${operand.cls}${operand.index}/${operand.bytes}` : operand.cls + operand.index;
		case "mem":
			return ourMemory(insn, operand);
		case "imm":
			return `$${BigInt.asUintN(operand.bytes * 8, BigInt(operand.value))}`;
		case "imm64":
			return `$${BigInt.asUintN(64, operand.value)}`;
		case "rel":
			return `to ${BigInt.asUintN(insn.opBytes * 8, IP + BigInt(insn.lengthBytes + operand.disp))}`;
		case "far":
			return `${operand.selector}:${operand.offset}`;
	}
}

function expectUd(insn: Instruction): boolean {
	if (insn.encoding !== EncodingKind.Legacy) return true;
	if (renamed[Mnemonic[insn.mnemonic]!.toUpperCase()] !== undefined) return false;
	return [...insn.cpuidFeatures()].some((feature) => notOffered.has(featureNames.get(feature)!));
}

/** "" when both agree; otherwise a short name of the difference. */
function compare(bytes: Uint8Array, at: number, bits: CodeBits, iced: Instruction): string {
	const ours = decode(bytes, at, CASE_BYTES, bits);
	const icedName = IcedCode[iced.code]!;
	const isUd = iced.code === IcedCode.INVALID || expectUd(iced);
	if (ours.fault !== undefined) return isUd ? "" : `${bits}: we refuse ${icedName}`;
	if (isUd) return `${bits}: we accept ${manualMnemonic(ours)} ${ours.row.operands} for ${icedName}`;
	if (ours.lengthBytes !== iced.length) return `${bits}: length of ${icedName}`;
	const icedMnemonic = Mnemonic[iced.mnemonic]!.toUpperCase();
	const name = manualMnemonic(ours);
	// F3 90 with REX.B: processors exchange with R8, whatever the prefix.
	if (name === "XCHG" && icedMnemonic === "PAUSE") return "";
	if (name !== icedMnemonic && name !== renamed[icedMnemonic] && !(name === "NOP" && icedMnemonic.startsWith("PREFETCH")))
		return `${bits}: ${name} for ${icedName}`;
	if (ours.mnemonic === "NOP") return "";
	if (operandsDiffer(ours, iced)) return `${bits}: operands of ${icedName}`;
	return accessDiffers(ours, iced) ? `${bits}: access size of ${icedName}` : "";
}

function operandTexts(ours: Insn, iced: Instruction): readonly [ours: readonly string[], icedOnes: readonly string[]] {
	const narrow = (text: string) => (readsLowPart.test(ours.mnemonic) && text.startsWith("gpr") ? text.slice(0, -2) : text);
	const icedOnes: string[] = [];
	for (let i = 0; i < iced.opCount; i++) {
		const mate = ours.operands[i];
		icedOnes.push(narrow(icedOperand(iced, i, mate?.kind === "imm" ? mate.bytes * 8 : 64)));
	}
	const list = ours.operands.map((operand) => narrow(ourOperand(ours, operand)));
	// iced leaves XMM0 of the blends, and MONITOR's address, unsaid.
	if (ours.row.operands.at(-1) === "XMM0" || ours.mnemonic === "MONITOR") list.pop();
	return [list, icedOnes];
}

/** Whether memory is accessed in another size; where we say 0, the size is none or depends on state. */
function accessDiffers(ours: Insn, iced: Instruction): boolean {
	const mem = ours.operands.find((operand) => operand.kind === "mem");
	return mem !== undefined && mem.bytes !== 0 && mem.bytes !== MemorySizeExt.size(iced.memorySize);
}

function operandsDiffer(ours: Insn, iced: Instruction): boolean {
	const [list, icedOnes] = operandTexts(ours, iced);
	return list.join() !== icedOnes.join();
}

function run(bits: CodeBits, cases: Uint8Array, into: Map<string, Mismatch>): void {
	const decoder = new Decoder(bits, cases, DecoderOptions.None);
	const iced = new Instruction();
	for (let at = 0; at + CASE_BYTES <= cases.length; at += CASE_BYTES) {
		decoder.position = at;
		decoder.ip = IP;
		decoder.decodeOut(iced);
		const difference = compare(cases, at, bits, iced);
		if (difference === "") continue;
		const known = into.get(difference);
		if (known !== undefined) known.count++;
		else {
			const ours = decode(cases, at, CASE_BYTES, bits);
			const texts =
				ours.fault === undefined
					? operandTexts(ours, iced)
							.map((list) => list.join(", "))
							.join(" | ")
					: ours.fault;
			into.set(difference, { count: 1, example: `${hex(cases.subarray(at, at + SHOWN_BYTES))} | ${texts}` });
		}
	}
	iced.free();
	decoder.free();
}

/** Marsaglia's xorshift, so that every run tries the same bytes. */
function randomBytes(seed: number): () => number {
	let state = seed;
	return () => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return state & 0xff;
	};
}

const prefixSets = [
	"",
	"66",
	"f3",
	"f2",
	"67",
	"f0",
	"2e",
	"64",
	"66 f3",
	"66 f2",
	"f2 f3",
	"f3 f2",
	"66 67",
	"64 2e",
	"48",
	"4f",
	"66 48",
	"48 66",
	"f3 48",
	"f2 4c",
	"67 41",
	"f0 49",
	"66 f3 49",
].map((text) => Uint8Array.from(text === "" ? [] : text.split(" ").map((byte) => Number.parseInt(byte, 16))));
const maps = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];

/** One prefix set before every map × opcode × ModRM, `keepOf256` of them kept at random; random bytes fill the rest of each case. */
function generated(prefixes: Uint8Array, keepOf256: number, seed: number): Uint8Array {
	const random = randomBytes(seed);
	const out = new Uint8Array(maps.length * 0x10000 * CASE_BYTES);
	let at = 0;
	for (const map of maps)
		for (let opcodeAndModrm = 0; opcodeAndModrm < 0x10000; opcodeAndModrm++) {
			if (random() >= keepOf256) continue;
			const head = [...prefixes, ...map, opcodeAndModrm >> 8, opcodeAndModrm & 0xff];
			out.set(head, at);
			for (let i = head.length; i < CASE_BYTES; i++) out[at + i] = random();
			at += CASE_BYTES;
		}
	return out.subarray(0, at);
}

function randomCases(count: number): Uint8Array {
	const random = randomBytes(0x7654321);
	return Uint8Array.from({ length: count * CASE_BYTES }, random);
}

const isFull = process.env.DECODE_SWEEP === "full";

test.each([16, 32, 64] as const)(
	"decodes as iced-x86 does, %i-bit code",
	(bits) => {
		const mismatches = new Map<string, Mismatch>();
		prefixSets.forEach((prefixes, i) => {
			run(bits, generated(prefixes, isFull ? 256 : 3, 0x1234567 + i), mismatches);
		});
		run(bits, randomCases(isFull ? 1_000_000 : 20_000), mismatches);
		expect([...mismatches].map(([difference, { count, example }]) => `${difference} ×${count}: ${example}`)).toEqual([]);
	},
	600_000,
);
