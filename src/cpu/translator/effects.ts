import type { Insn } from "../../x86/decode/insn.ts";
import { memoryOperand } from "../interpreter/record.ts";
import { MODE } from "../state/layout.ts";

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
	readonly #known = new Map<string, Effects>();

	/** undefined: never seen. */
	expect(insn: Insn, modeKey: number): Effects | undefined {
		return this.#known.get(keyOf(insn, modeKey));
	}

	learn(insn: Insn, modeKey: number, effects: Effects): void {
		this.#known.set(keyOf(insn, modeKey), effects);
	}
}

/** Everything that register use may hang on: registers by number, immediates where they are counts. */
function keyOf(insn: Insn, modeKey: number): string {
	let key = `${insn.row.id},${insn.cc},${insn.opBytes},${insn.addrBits},${insn.rep},${modeKey & (MODE.codeMask | MODE.stack32 | MODE.flat)}`;
	for (const operand of insn.operands) {
		if (operand.kind === "reg") key += `r${operand.cls}${operand.index}`;
		else if (operand.kind === "imm") key += `i${operand.value & 0x3f}`;
		else key += operand.kind;
	}
	const mem = memoryOperand(insn);
	return mem === undefined ? key : `${key},${mem.base},${mem.index},${mem.seg}`;
}
