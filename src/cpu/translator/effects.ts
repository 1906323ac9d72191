import type { Insn } from "../../x86/decode/insn.ts";
import { memoryOperand, shapeBase } from "../interpreter/record.ts";

/** Which registers (bit i: register i) and flags an instruction touches. */
export interface Effects {
	gprRead: number;
	gprWritten: number;
	/** Written whatever happens, short of a fault. */
	gprAlways: number;
	xmmRead: number;
	xmmWritten: number;
	xmmAlways: number;
	flags: FlagEffect;
	/** It puts everything into the state block, works there, and takes everything out again. */
	isInMemory: boolean;
}

export type FlagEffect = "none" | "sometimes" | "always";

export const noEffects = (): Effects => ({
	...{ gprRead: 0, gprWritten: 0, gprAlways: 0, xmmRead: 0, xmmWritten: 0, xmmAlways: 0 },
	...{ flags: "none", isInMemory: false },
});

export function areEqual(a: Effects, b: Effects): boolean {
	return (
		a.gprRead === b.gprRead &&
		a.gprWritten === b.gprWritten &&
		a.gprAlways === b.gprAlways &&
		a.xmmRead === b.xmmRead &&
		a.xmmWritten === b.xmmWritten &&
		a.xmmAlways === b.xmmAlways &&
		a.flags === b.flags &&
		a.isInMemory === b.isInMemory
	);
}

/**
 * What instructions do, as far as it has been seen: an expectation, by shape, for the analysis that comes before emitting. The emitter
 * watches what really happens and corrects the expectation when it was wrong.
 */
export class EffectsTable {
	readonly #known = new Map<number, Map<number, Effects>>();

	/** undefined: never seen. */
	expect(insn: Insn, modeKey: number): Effects | undefined {
		return this.#known.get(shapeBase(insn, modeKey))?.get(operandKey(insn));
	}

	learn(insn: Insn, modeKey: number, effects: Effects): void {
		const key = shapeBase(insn, modeKey);
		let byOperands = this.#known.get(key);
		if (byOperands === undefined) {
			byOperands = new Map();
			this.#known.set(key, byOperands);
		}
		byOperands.set(operandKey(insn), effects);
	}
}

const CLASSES = ["gpr", "gpr8h", "seg", "cr", "dr", "mmx", "xmm", "st"];

/** Registers by number, immediates as far as they are counts; below 2⁵³. */
function operandKey(insn: Insn): number {
	let key = 0;
	for (const operand of insn.operands) {
		let code = 0;
		if (operand.kind === "reg") code = CLASSES.indexOf(operand.cls) * 16 + operand.index;
		else if (operand.kind === "imm") code = 128 + (operand.value & 63);
		else code = operand.kind === "mem" ? 192 : operand.kind === "rel" ? 193 : 194;
		key = key * 256 + code;
	}
	const mem = memoryOperand(insn);
	return mem === undefined ? key : ((key * 32 + mem.base + 1) * 32 + mem.index + 1) * 8 + mem.seg;
}
