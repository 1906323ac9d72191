import { describe, expect, test } from "vitest";
import { decode } from "./decode.ts";
import type { CodeBits, Insn, MemOperand } from "./insn.ts";
import { SEG } from "./insn.ts";

function bytesOf(text: string): Uint8Array {
	return Uint8Array.from(text.split(" ").map((byte) => Number.parseInt(byte, 16)));
}

function insn(text: string, bits: CodeBits): Insn {
	const bytes = bytesOf(text);
	const result = decode(bytes, 0, bytes.length, bits);
	if (result.fault !== undefined) throw new Error(`${text}: ${result.fault}`);
	expect(result.lengthBytes, text).toBe(bytes.length);
	return result;
}

function fault(text: string, bits: CodeBits): string | undefined {
	const bytes = bytesOf(text);
	return decode(bytes, 0, bytes.length, bits).fault;
}

function memory(text: string, bits: CodeBits): MemOperand {
	const found = insn(text, bits).operands.find((operand) => operand.kind === "mem");
	if (found === undefined) throw new Error(`${text} has no memory operand`);
	return found;
}

describe("length", () => {
	test("15 bytes pass, 16 are #GP (SDM Vol. 2A §2.3.11)", () => {
		expect(insn(`${"66 ".repeat(14)}90`, 64).lengthBytes).toBe(15);
		expect(fault(`${"66 ".repeat(15)}90`, 64)).toBe("gp-too-long");
		expect(fault(`${"2e ".repeat(10)}81 05 01 02 03 04 05 06 07 08`, 32)).toBe("gp-too-long");
	});

	test("asks for more bytes wherever they end", () => {
		const whole = bytesOf("f2 48 0f 38 f1 84 8d 01 02 03 04");
		for (let limit = 0; limit < whole.length; limit++) expect(decode(whole, 0, limit, 64).fault).toBe("need-more-bytes");
		expect(decode(whole, 0, whole.length, 64).fault).toBeUndefined();
	});

	test("starts anywhere in the buffer", () => {
		expect(decode(bytesOf("cc cc 05 78 56 34 12"), 2, 5, 32)).toMatchObject({ mnemonic: "ADD", lengthBytes: 5 });
	});
});

describe("operand and address size", () => {
	test.each([
		["b8 34 12", 16, 2],
		["66 b8 78 56 34 12", 16, 4],
		["b8 78 56 34 12", 32, 4],
		["66 b8 34 12", 32, 2],
		["b8 78 56 34 12", 64, 4],
		["66 b8 34 12", 64, 2],
		["48 b8 01 00 00 00 00 00 00 80", 64, 8],
		["50", 64, 8],
		["66 50", 64, 2],
		["c3", 64, 8],
		["66 e9 01 00 00 00", 64, 8],
		["66 e9 01 00", 32, 2],
		["cf", 64, 4],
		["48 cf", 64, 8],
		["66 48 98", 64, 8],
	] as const)("%s in %i-bit code works on %i bytes", (text, bits, opBytes) => {
		expect(insn(text, bits).opBytes).toBe(opBytes);
	});

	test("67 picks the other address size", () => {
		expect(memory("67 8b 00", 16)).toMatchObject({ base: 0, index: -1, addrBits: 32 });
		expect(memory("67 8b 00", 32)).toMatchObject({ base: 3, index: 6, addrBits: 16 });
		expect(memory("67 8b 00", 64)).toMatchObject({ base: 0, index: -1, addrBits: 32 });
	});
});

describe("REX", () => {
	test("counts only right before the opcode (SDM Vol. 2A §2.2.1)", () => {
		expect(insn("48 66 89 c8", 64)).toMatchObject({ opBytes: 2, hasRex: false });
		expect(insn("66 48 89 c8", 64)).toMatchObject({ opBytes: 8, hasRex: true, rexW: true });
		expect(insn("49 41 89 c0", 64).operands[0]).toMatchObject({ index: 8, bytes: 4 });
	});

	test("turns AH…BH into SPL…DIL", () => {
		expect(insn("88 e0", 64).operands[1]).toMatchObject({ cls: "gpr8h", index: 0 });
		expect(insn("40 88 e0", 64).operands[1]).toMatchObject({ cls: "gpr", index: 4, bytes: 1 });
	});

	test("40…4F are INC and DEC outside 64-bit mode", () => {
		expect(insn("48", 32).mnemonic).toBe("DEC");
	});
});

describe("memory operands", () => {
	test.each([
		["8b 05 10 00 00 00", { base: -1, index: -1, disp: 16, ripRelative: true, seg: SEG.ds }],
		["8b 04 25 10 00 00 00", { base: -1, index: -1, disp: 16, ripRelative: false }],
		["8b 04 24", { base: 4, index: -1, seg: SEG.ss }],
		["41 8b 04 24", { base: 12, index: -1, seg: SEG.ds }],
		["42 8b 04 a4", { base: 4, index: 12, scale: 2, seg: SEG.ss }],
		["8b 45 ff", { base: 5, disp: -1, seg: SEG.ss }],
		["41 8b 45 00", { base: 13, disp: 0, seg: SEG.ds }],
		["8b 04 c5 00 00 00 80", { base: -1, index: 0, scale: 3, disp: -0x8000_0000, seg: SEG.ds }],
		["41 8b 04 c5 00 00 00 80", { base: -1, index: 0, scale: 3, disp: -0x8000_0000, seg: SEG.ds }],
	] as const)("64-bit: %s", (text, expected) => {
		expect(memory(text, 64)).toMatchObject({ addrBits: 64, bytes: 4, ...expected });
	});

	test.each([
		["8b 06 34 12", { base: -1, index: -1, disp: 0x1234, seg: SEG.ds }],
		["8b 46 fe", { base: 5, index: -1, disp: -2, seg: SEG.ss }],
		["8b 03", { base: 5, index: 7, seg: SEG.ss }],
		["8b 87 00 80", { base: 3, index: -1, disp: -0x8000, seg: SEG.ds }],
		["26 8b 03", { base: 5, index: 7, seg: SEG.es }],
	] as const)("16-bit: %s", (text, expected) => {
		expect(memory(text, 16)).toMatchObject({ addrBits: 16, bytes: 2, ...expected });
	});

	test("64-bit mode heeds FS and GS overrides only", () => {
		expect(insn("2e 8b 00", 64).segOverride).toBe(-1);
		expect(memory("64 2e 8b 00", 64).seg).toBe(SEG.fs);
		expect(memory("65 8b 04 24", 64).seg).toBe(SEG.gs);
		expect(memory("36 8b 00", 32).seg).toBe(SEG.ss);
	});

	test("strings address ES:rDI and an overridable DS:rSI", () => {
		expect(insn("64 f3 a5", 32)).toMatchObject({
			mnemonic: "MOVS",
			rep: 0xf3,
			operands: [
				{ seg: SEG.es, base: 7, bytes: 4, addrBits: 32 },
				{ seg: SEG.fs, base: 6, bytes: 4, addrBits: 32 },
			],
		});
	});

	test("MOV's direct offset is as wide as the address", () => {
		expect(memory("a1 fe ff", 16)).toMatchObject({ disp: 0xfffe, base: -1 });
		expect(memory("a1 00 00 00 80", 32)).toMatchObject({ disp: 0x8000_0000 });
		expect(memory("a1 00 00 00 81 ff ff ff ff", 64)).toMatchObject({ disp: -0x7f00_0000, bytes: 4 });
		expect(memory("67 48 a3 00 00 00 81", 64)).toMatchObject({ disp: 0x8100_0000, bytes: 8, addrBits: 32 });
	});

	test("say how many bytes they access", () => {
		const sizes: readonly (readonly [string, number])[] = [
			["8d 00", 0],
			["0f 01 38", 0],
			["0f 01 10", 10],
			["48 ff 28", 10],
			["ff 28", 6],
			["66 ff 28", 4],
			["f3 0f 10 00", 4],
			["0f 58 00", 16],
			["66 0f 38 22 00", 2],
			["0f ae 00", 512],
			["d9 20", 28],
			["66 dd 30", 94],
			["db 28", 10],
			["df 28", 8],
			["0f c7 08", 8],
			["48 0f c7 08", 16],
		];
		for (const [text, bytes] of sizes) expect(memory(text, 64).bytes, text).toBe(bytes);
	});
});

describe("immediates and targets", () => {
	test("are extended as the instruction means", () => {
		expect(insn("83 c0 ff", 64).operands[1]).toEqual({ kind: "imm", value: -1, bytes: 4 });
		expect(insn("48 81 c0 00 00 00 80", 64).operands[1]).toEqual({ kind: "imm", value: -0x8000_0000, bytes: 8 });
		expect(insn("04 ff", 64).operands[1]).toEqual({ kind: "imm", value: 255, bytes: 1 });
		expect(insn("6a 80", 64).operands[0]).toEqual({ kind: "imm", value: -128, bytes: 8 });
		expect(insn("c8 ff ff 1f", 32).operands).toMatchObject([{ value: 0xffff }, { value: 31 }]);
		expect(insn("48 b8 ff ff ff ff ff ff ff ff", 64).operands[1]).toEqual({ kind: "imm64", value: -1n, bytes: 8 });
		expect(insn("d1 e0", 32).operands[1]).toMatchObject({ kind: "imm", value: 1 });
	});

	test("branches", () => {
		expect(insn("74 fe", 32)).toMatchObject({ mnemonic: "JCC", cc: 4, operands: [{ kind: "rel", disp: -2 }] });
		expect(insn("0f 8f 00 01 00 00", 64)).toMatchObject({ mnemonic: "JCC", cc: 15, operands: [{ disp: 256, bytes: 4 }] });
		expect(insn("ea 00 00 00 f0", 16).operands).toEqual([{ kind: "far", selector: 0xf000, offset: 0, bytes: 4 }]);
		expect(insn("66 ea ff ff ff ff 08 00", 16).operands).toEqual([{ kind: "far", selector: 8, offset: 0xffff_ffff, bytes: 6 }]);
	});
});

describe("prefixes that select", () => {
	test.each([
		["0f 10 c1", "MOVUPS"],
		["66 0f 10 c1", "MOVUPD"],
		["f3 0f 10 c1", "MOVSS"],
		["66 f3 0f 10 c1", "MOVSS"],
		["f3 66 0f 10 c1", "MOVSS"],
		["f3 f2 0f 10 c1", "MOVSD"],
		["f2 f3 0f 10 c1", "MOVSS"],
		["90", "NOP"],
		["f3 90", "PAUSE"],
		["f2 90", "NOP"],
		["66 90", "NOP"],
		["48 90", "NOP"],
		["41 90", "XCHG"],
		["f3 0f b8 c1", "POPCNT"],
		["f3 0f bc c1", "TZCNT"],
		["f2 0f bc c1", "BSF"],
		["66 0f 38 f0 01", "MOVBE"],
		["66 f2 0f 38 f1 c1", "CRC32"],
		["f3 0f 1e fa", "NOP"],
		["f3 0f c7 f8", "RDPID"],
		["0f c7 f8", "RDSEED"],
	] as const)("%s is %s", (text, mnemonic) => {
		expect(insn(text, 64).mnemonic).toBe(mnemonic);
	});
});

describe("#UD", () => {
	test.each([
		["LOCK where no LOCK goes", "f0 8b 00", 64],
		["LOCK with a register destination", "f0 01 c0", 64],
		["LOCK CMP", "f0 39 00", 64],
		["LOCK BT", "f0 0f ba 20 01", 64],
		["VEX in 64-bit mode", "c5 f8 58 c1", 64],
		["VEX elsewhere", "c4 e1 78 58 c1", 32],
		["EVEX", "62 f1 7c 48 58 c1", 64],
		["EVEX elsewhere", "62 f1 7c 48 58 c1", 32],
		["XOP", "8f e8 78 c0 c1 01", 64],
		["PUSH CS in 64-bit mode", "0e", 64],
		["82 in 64-bit mode", "82 c0 01", 64],
		["far JMP to a pointer in 64-bit mode", "ea 00 00 00 00 08 00", 64],
		["MOV to CS", "8e c8", 32],
		["MOV from the seventh segment register", "8c f0", 32],
		["MOV from CR1", "0f 20 c8", 32],
		["MOV to DR8", "44 0f 23 c0", 64],
		["MOV from TR6", "0f 24 f0", 32],
		["LEA of a register", "8d c0", 32],
		["FE /2", "fe d0", 32],
		["FF /7", "ff f8", 32],
		["8F /1", "8f c8", 32],
		["LGDT of a register", "0f 01 d2", 32],
		["SWAPGS outside 64-bit mode", "0f 01 f8", 32],
		["RDFSBASE outside 64-bit mode", "f3 0f ae c0", 32],
		["POPCNT without F3", "0f b8 c1", 64],
		["an MMX operation under F3", "f3 0f fc c1", 64],
		["D9 D1", "d9 d1", 32],
		["0F 0A", "0f 0a", 32],
		["0F 3B", "0f 3b", 32],
	] as const)("%s", (_, text, bits) => {
		expect(fault(text, bits)).toBe("ud");
	});
});

describe("odd encodings that count", () => {
	test("LES, LDS, BOUND and the 82 alias live outside 64-bit mode", () => {
		expect(insn("c4 07", 16)).toMatchObject({ mnemonic: "LES", operands: [{ bytes: 2 }, { bytes: 4 }] });
		expect(insn("c5 38", 32)).toMatchObject({ mnemonic: "LDS", operands: [{ bytes: 4 }, { bytes: 6 }] });
		expect(insn("62 07", 32)).toMatchObject({ mnemonic: "BOUND", operands: [{ bytes: 4 }, { bytes: 8 }] });
		expect(insn("82 c0 01", 32).mnemonic).toBe("ADD");
	});

	test("63 is ARPL or MOVSXD", () => {
		expect(insn("63 c8", 32).mnemonic).toBe("ARPL");
		expect(insn("48 63 c8", 64)).toMatchObject({ mnemonic: "MOVSXD", operands: [{ bytes: 8 }, { bytes: 4 }] });
	});

	test("MOV to and from CR takes registers whatever mod says", () => {
		expect(insn("0f 20 00", 32)).toMatchObject({ operands: [{ kind: "reg", index: 0, bytes: 4 }, { cls: "cr" }] });
		expect(insn("44 0f 22 c0", 64)).toMatchObject({
			operands: [
				{ cls: "cr", index: 8 },
				{ index: 0, bytes: 8 },
			],
		});
		expect(insn("66 0f 22 d8", 16)).toMatchObject({ operands: [{ cls: "cr", index: 3 }, { bytes: 4 }] });
	});

	test("x87: DC swaps FSUB and FSUBR, undocumented twins decode", () => {
		expect(insn("dc e1", 32)).toMatchObject({ mnemonic: "FSUBR", operands: [{ index: 1 }, { index: 0 }] });
		expect(insn("d8 e1", 32)).toMatchObject({ mnemonic: "FSUB", operands: [{ index: 0 }, { index: 1 }] });
		expect(insn("dc d1", 32).mnemonic).toBe("FCOM");
		expect(insn("df c1", 32).mnemonic).toBe("FFREEP");
	});
});
