import type { Insn, Operand } from "../../x86/decode/insn.ts";
import { operandKinds, shapeBase } from "../interpreter/record.ts";
import { type BoundMeaning, meaningOf } from "../semantics/meaning.ts";
import { areEqual, type Effects, noEffects } from "./effects.ts";
import { atEntry } from "./region-flow.ts";
import { RegionOps } from "./region-ops.ts";

/** What holds of all instructions of one shape. */
export interface Shape {
	readonly meaning: BoundMeaning;
	effects: Effects;
	readonly flagUse: FlagUse;
}

/**
 * Whether flags that are set before the instruction can be seen after it: it "sets" all six and reads none, has nothing to do with
 * them ("passes"), or "sees" them. One with a memory operand may fault, and then they are seen.
 */
export type FlagUse = "sets" | "passes" | "sees";

/** Set all six flags and read none, whatever their operands. */
const SETTERS: ReadonlySet<string> = new Set(["ADD", "SUB", "CMP", "AND", "OR", "XOR", "TEST", "NEG", "IMUL", "MUL"]);
/** Neither read nor write flags. */
const PASSERS: ReadonlySet<string> = new Set(["MOV", "MOVZX", "MOVSX", "MOVSXD", "LEA", "NOT", "BSWAP", "NOP", "XCHG", "CBW", "CWD"]);

function flagUse({ mnemonic, operands }: Insn): FlagUse {
	if (mnemonic !== "LEA" && !operands.every(isPlainOperand)) return "sees";
	return SETTERS.has(mnemonic) ? "sets" : PASSERS.has(mnemonic) ? "passes" : "sees";
}

function isPlainOperand(operand: Operand): boolean {
	return (operand.kind === "reg" && (operand.cls === "gpr" || operand.cls === "gpr8h")) || operand.kind === "imm";
}

/** Immediates are part of the shape as far as they are counts, or choose among forms of an instruction. */
const IMMEDIATE_MASK = 0xff;

/** What the translator has found out about instructions, by shape. */
export class ShapeTable {
	readonly #shapes = new Map<number, Map<number, Shape>>();

	of(insn: Insn, modeKey: number): Shape {
		const base = shapeBase(insn, modeKey);
		let byOperands = this.#shapes.get(base);
		if (byOperands === undefined) {
			byOperands = new Map();
			this.#shapes.set(base, byOperands);
		}
		let key = operandKinds(insn);
		const last = insn.operands.at(-1);
		if (last?.kind === "imm") key = key * (IMMEDIATE_MASK + 1) + (last.value & IMMEDIATE_MASK);
		const known = byOperands.get(key);
		if (known !== undefined) return known;
		const meaning = meaningOf(insn) as BoundMeaning;
		const shape: Shape = { meaning, effects: observe(insn, modeKey, meaning), flagUse: flagUse(insn) };
		byOperands.set(key, shape);
		return shape;
	}

	/** The instruction, emitted where it stands, has had other effects than expected. */
	correct(shape: Shape, effects: Effects): void {
		if (!areEqual(shape.effects, effects)) shape.effects = { ...effects };
	}
}

/** Effects of an instruction, from emitting it for nobody. */
function observe(insn: Insn, modeKey: number, meaning: BoundMeaning): Effects {
	const effects = noEffects();
	const ops = new RegionOps({ index: () => 0 }, modeKey, { gpr: 0, xmm: 0 }, atEntry());
	ops.effects = effects;
	ops.insn = insn;
	meaning.emit(ops);
	if (!ops.isEnded) ops.commit();
	ops.f.discard();
	return effects;
}
