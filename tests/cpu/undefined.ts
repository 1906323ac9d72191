import { type Instruction, MemorySizeExt, Mnemonic, RflagsBits } from "iced-x86";

/**
 * What the architecture leaves open, and so is not compared: Intel SDM Vol. 2, "Flags Affected" of each instruction, and
 * AMD APM Vol. 3, the same section; a flag is open when either says so.
 */
export const CF = 1 << 0;
export const PF = 1 << 2;
export const AF = 1 << 4;
export const ZF = 1 << 6;
export const SF = 1 << 7;
export const TF = 1 << 8;
export const DF = 1 << 10;
export const OF = 1 << 11;
export const NT = 1 << 14;
export const AC = 1 << 18;
export const ID = 1 << 21;
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;
/** RF is left out: what a handler sees of it says how the fault was delivered, not what the code did. */
export const COMPARED_FLAGS = ARITHMETIC | TF | DF | NT | AC | ID;

const name = (mnemonic: number): string => Mnemonic[mnemonic] as string;

const ALWAYS = new Map<string, number>([
	["Aaa", PF | ZF | SF | OF],
	["Aas", PF | ZF | SF | OF],
	["Aam", CF | AF | OF],
	["Aad", CF | AF | OF],
	["Daa", OF],
	["Das", OF],
	["And", AF],
	["Or", AF],
	["Xor", AF],
	["Test", AF],
	["Mul", PF | AF | ZF | SF],
	["Imul", PF | AF | ZF | SF],
	["Div", ARITHMETIC],
	["Idiv", ARITHMETIC],
	["Bsf", CF | PF | AF | SF | OF],
	["Bsr", CF | PF | AF | SF | OF],
	["Bt", PF | AF | SF | OF],
	["Bts", PF | AF | SF | OF],
	["Btr", PF | AF | SF | OF],
	["Btc", PF | AF | SF | OF],
]);

const SHIFTS = new Set(["Shl", "Sal", "Shr", "Sar"]);
const ROTATES = new Set(["Rol", "Ror", "Rcl", "Rcr"]);
const DOUBLE_SHIFTS = new Set(["Shld", "Shrd"]);

export interface FlagEffects {
	/** Open after the instruction, if it does anything. */
	readonly undefined: number;
	/** Certainly given a defined value: a flag that was open before is not any more. */
	readonly defined: number;
}

/** The count of a shift by an immediate (the decoder shows a shift by one so, too); undefined for CL. */
function shiftCount(instruction: Instruction): number | undefined {
	const last = instruction.opCount - 1;
	// OpKind: 0 is a register, 6 and up are immediates.
	if (instruction.opKind(last) === 0) return undefined;
	return instruction.immediate8;
}

export function flagEffects(instruction: Instruction): FlagEffects {
	const text = name(instruction.mnemonic);
	if (SHIFTS.has(text) || ROTATES.has(text) || DOUBLE_SHIFTS.has(text)) return shiftEffects(instruction, text);
	const open = ALWAYS.get(text) ?? 0;
	let defined = fromIced(instruction.rflagsWritten | instruction.rflagsCleared | instruction.rflagsSet) & ~open;
	// A repeated comparison with a count of zero changes nothing.
	if (instruction.hasRepePrefix || instruction.hasRepnePrefix) defined = 0;
	// Protected-mode POPF and IRET may fault before; the flags are then as they were, and so are the open ones.
	return { undefined: open, defined };
}

function shiftEffects(instruction: Instruction, text: string): FlagEffects {
	const count = shiftCount(instruction);
	const own = ROTATES.has(text) ? CF : CF | PF | ZF | SF;
	if (count === undefined) {
		// By CL: perhaps nothing, perhaps OF undefined; a shift beyond a narrow operand leaves CF open too.
		return { undefined: openBeyond(instruction, text, undefined), defined: 0 };
	}
	const masked = count & (operandBits(instruction) === 64 ? 0x3f : 0x1f);
	if (masked === 0) return { undefined: 0, defined: 0 };
	// All the way round through the carry: nothing has changed.
	if ((text === "Rcl" || text === "Rcr") && masked % (operandBits(instruction) + 1) === 0) return { undefined: OF, defined: 0 };
	const open = masked === 1 ? (ROTATES.has(text) ? 0 : AF) : openBeyond(instruction, text, masked);
	return { undefined: open, defined: (own | (masked === 1 ? OF : 0)) & ~open };
}

function openBeyond(instruction: Instruction, text: string, count: number | undefined): number {
	if (ROTATES.has(text)) return OF;
	const width = operandBits(instruction);
	const isBeyond = count === undefined ? width < 32 : count >= width;
	if (DOUBLE_SHIFTS.has(text)) return isBeyond && width < 32 ? ARITHMETIC : AF | OF;
	return isBeyond && text !== "Sar" ? CF | AF | OF : AF | OF;
}

/** Width of operand 0 in bits. */
export function operandBits(instruction: Instruction): number {
	if (instruction.opKind(0) !== 0) return MemorySizeExt.size(instruction.memorySize) * 8;
	const register = instruction.op0Register;
	// Register numbering of the decoder: AL… 1–20, AX… 21–36, EAX… 37–52, RAX… 53–68.
	return register <= 20 ? 8 : register <= 36 ? 16 : register <= 52 ? 32 : 64;
}

/** From the decoder's numbering of flags to EFLAGS positions. */
export function fromIced(bits: number): number {
	let flags = 0;
	if ((bits & RflagsBits.OF) !== 0) flags |= OF;
	if ((bits & RflagsBits.SF) !== 0) flags |= SF;
	if ((bits & RflagsBits.ZF) !== 0) flags |= ZF;
	if ((bits & RflagsBits.AF) !== 0) flags |= AF;
	if ((bits & RflagsBits.CF) !== 0) flags |= CF;
	if ((bits & RflagsBits.PF) !== 0) flags |= PF;
	return flags;
}
