import type { Ops } from "../emit/ops.ts";

/** What an instruction does: reads operands, computes, queues its writes. */
export type Meaning = (o: Ops) => void;

export interface Semantics {
	readonly mnemonic: string;
	readonly meaning: Meaning;
	/**
	 * Operand values that the meaning may look at in `o.insn` (a shuffle's immediate, say): they become part of the shape, so
	 * the interpreter makes one handler for each value it meets. "imm": immediates; "reg": register numbers.
	 */
	readonly specialise: "none" | "imm" | "reg" | "all";
}

const table = new Map<string, Semantics>();

/** Registers the meaning of one or several mnemonics (the decoder's canonical names). Twice is a mistake. */
export function define(mnemonics: string | readonly string[], meaning: Meaning, specialise: Semantics["specialise"] = "none"): void {
	for (const mnemonic of typeof mnemonics === "string" ? [mnemonics] : mnemonics) {
		if (table.has(mnemonic)) throw new Error(`${mnemonic} is defined twice`);
		table.set(mnemonic, { mnemonic, meaning, specialise });
	}
}

export function semanticsOf(mnemonic: string): Semantics | undefined {
	return table.get(mnemonic);
}

export function definedMnemonics(): readonly string[] {
	return [...table.keys()].sort();
}
