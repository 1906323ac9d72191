import { expect, test } from "vitest";
import { decode } from "./decode.ts";
import { disassemble } from "./disassemble.ts";
import type { CodeBits } from "./insn.ts";

function text(hex: string, bits: CodeBits, at?: bigint): string {
	const bytes = Uint8Array.from(hex.split(" ").map((byte) => Number.parseInt(byte, 16)));
	const insn = decode(bytes, 0, bytes.length, bits);
	return insn.fault ?? disassemble(insn, at);
}

test.each([
	["f0 64 01 54 c8 10", 64, "lock add dword ptr fs:[rax+rcx*8+0x10], edx"],
	["8b 45 f8", 32, "mov eax, dword ptr [ebp-8]"],
	["8a 02", 16, "mov al, byte ptr [bp+si]"],
	["8a 07", 16, "mov al, byte ptr [bx]"],
	["26 a0 34 12", 16, "mov al, byte ptr es:[0x1234]"],
	["f3 a4", 64, "rep movsb byte ptr [rdi], byte ptr [rsi]"],
	["f2 ae", 32, "repne scasb al, byte ptr [edi]"],
	["48 98", 64, "cdqe"],
	["66 99", 32, "cwd"],
	["48 cf", 64, "iretq"],
	["0f 94 c4", 32, "sete ah"],
	["41 0f 45 c0", 64, "cmovne eax, r8d"],
	["67 e3 00", 64, "jecxz .+0"],
	["66 0f 6e c0", 64, "movd xmm0, eax"],
	["66 48 0f 6e c0", 64, "movq xmm0, rax"],
	["d8 c1", 32, "fadd st(0), st(1)"],
	["db 28", 32, "fld tbyte ptr [eax]"],
	["0f 22 d8", 64, "mov cr3, rax"],
	["8e d8", 16, "mov ds, ax"],
	["9a 00 00 07 00", 16, "call far 7:0"],
	["cb", 32, "retf"],
	["d7", 64, "xlat byte ptr [rbx+al]"],
	["83 c0 ff", 32, "add eax, -1"],
	["48 b8 ff ff ff ff ff ff ff ff", 64, "mov rax, 0xffffffffffffffff"],
	["8b 05 10 00 00 00", 64, "mov eax, dword ptr [rip+0x10]"],
	["48 0f ae 00", 64, "fxsave64 [rax]"],
] as const)("%s (%i-bit) is %s", (hex, bits, expected) => {
	expect(text(hex, bits)).toBe(expected);
});

test("with an address, targets are absolute", () => {
	expect(text("eb fe", 64, 0x1000n)).toBe("jmp 0x1000");
	expect(text("eb 00", 16, 0xfffen)).toBe("jmp 0x0");
	expect(text("48 8b 05 f9 ff ff ff", 64, 0xffff_ffff_8100_0000n)).toBe("mov rax, qword ptr [0xffffffff81000000]");
});
