import type { Insn } from "./insn.ts";

/**
 * Canonical mnemonics. `Insn.mnemonic` is the manual's, except that one name stands for a family whose members differ in what
 * `Insn` already says in numbers:
 *
 * | canonical                    | the manual's                                        | told apart by                        |
 * |------------------------------|-----------------------------------------------------|--------------------------------------|
 * | JCC, SETCC, CMOVCC           | JO … JG, SETO … SETG, CMOVO … CMOVG                 | `cc` 0..15                           |
 * | MOVS CMPS STOS LODS SCAS INS OUTS | MOVSB/W/D/Q …                                  | `operands[n].bytes` of the memory; `rep` |
 * | CBW                          | CBW, CWDE, CDQE                                     | `opBytes` 2, 4, 8                    |
 * | CWD                          | CWD, CDQ, CQO                                       | `opBytes` 2, 4, 8                    |
 * | PUSHA POPA PUSHF POPF IRET   | PUSHA/PUSHAD, …/PUSHFQ, IRET/IRETD/IRETQ            | `opBytes`                            |
 * | JCXZ                         | JCXZ, JECXZ, JRCXZ                                  | `addrBits`; LOOPcc counts in it too  |
 * | CALLF JMPF                   | CALL, JMP far                                       | never near; far RET is RETF          |
 * | INT3 INT1 INTO INT           | INT3, INT1, INTO, INT n                             | never each other                     |
 * | SHL                          | SAL, SHL                                            | the same                             |
 * | MOVD                         | MOVD, MOVQ with a general register or memory operand| `bytes` 4, 8                         |
 * | MOVQ                         | MOVQ of 0F 6F/7F, F3 0F 7E, 66 0F D6                | between vector registers and memory  |
 * | PEXTRD PINSRD                | PEXTRD/Q, PINSRD/Q                                  | `bytes` of the general operand       |
 * | MOVSD CMPSD                  | the SSE2 ones; never the string ones                |                                      |
 * | MOVSXD                       | MOVSXD; source 4 bytes (2 with 66)                  | `bytes`                              |
 * | NOP                          | NOP, 0F 0D (but /1), 0F 18..1F hints, ENDBR         | operands mean nothing                |
 * | FXSAVE FXRSTOR XSAVE XRSTOR XSAVEOPT XSAVEC XSAVES XRSTORS | and their …64 forms   | `rexW`                               |
 * | SYSRET SYSEXIT               | to 32-bit or 64-bit code                            | `rexW`                               |
 * | FN…                          | FNINIT, FNSTSW, FNSTCW, FNSTENV, FNSAVE, FNCLEX     | FWAIT before is an instruction of its own |
 * | FSTPNCE                      | undocumented D9 D8+i: FSTP ST(i)                    | does not raise stack underflow       |
 * | FFREEP                       | undocumented DF C0+i                                | FFREE, then pop                      |
 *
 * Operands follow the manual's rows, with these additions: strings list both memory operands (or memory and accumulator, destination
 * first); XLAT, MASKMOVQ, MASKMOVDQU and MONITOR list the memory they address as operand 0; two-operand x87 arithmetic lists
 * ST(0) and ST(i), its memory forms the memory only; one-operand MUL, DIV … list just that operand; shifts by one list the
 * constant 1.
 */
const conditions = ["O", "NO", "B", "AE", "E", "NE", "BE", "A", "S", "NS", "P", "NP", "L", "GE", "LE", "G"] as const;

const byOperandSize: Readonly<Record<string, readonly [w: string, d: string, q: string]>> = {
	CBW: ["CBW", "CWDE", "CDQE"],
	CWD: ["CWD", "CDQ", "CQO"],
	PUSHA: ["PUSHA", "PUSHAD", "PUSHA"],
	POPA: ["POPA", "POPAD", "POPA"],
	PUSHF: ["PUSHF", "PUSHFD", "PUSHFQ"],
	POPF: ["POPF", "POPFD", "POPFQ"],
	IRET: ["IRET", "IRETD", "IRETQ"],
};

const strings: ReadonlySet<string> = new Set(["MOVS", "CMPS", "STOS", "LODS", "SCAS", "INS", "OUTS"]);
const with64Forms: ReadonlySet<string> = new Set(["FXSAVE", "FXRSTOR", "XSAVE", "XRSTOR", "XSAVEOPT", "XSAVEC", "XSAVES", "XRSTORS"]);

/** The manual's mnemonic for this very instruction: "JNE", "MOVSB", "CDQE", "IRETQ", "CALL". */
export function manualMnemonic(insn: Insn): string {
	const name = insn.mnemonic;
	if (insn.cc >= 0) return name.slice(0, -2) + conditions[insn.cc];
	const sized = byOperandSize[name];
	if (sized !== undefined) return sized[insn.opBytes === 2 ? 0 : insn.opBytes === 4 ? 1 : 2];
	if (strings.has(name)) {
		const memory = insn.operands.find((operand) => operand.kind === "mem");
		return name + (memory?.bytes === 1 ? "B" : memory?.bytes === 2 ? "W" : memory?.bytes === 4 ? "D" : "Q");
	}
	if (with64Forms.has(name)) return insn.rexW ? `${name}64` : name;
	switch (name) {
		case "JCXZ":
			return insn.addrBits === 16 ? "JCXZ" : insn.addrBits === 32 ? "JECXZ" : "JRCXZ";
		case "CALLF":
		case "JMPF":
			return name.slice(0, -1);
		case "MOVD":
			return insn.rexW ? "MOVQ" : "MOVD";
		case "PEXTRD":
			return insn.rexW ? "PEXTRQ" : name;
		case "PINSRD":
			return insn.rexW ? "PINSRQ" : name;
		default:
			return name;
	}
}
