import type { Insn, Operand } from "../../x86/decode/insn.ts";
import { shapeKey } from "../interpreter/record.ts";
import { type BoundMeaning, meaningOf } from "../semantics/meaning.ts";
import { type Effects, noEffects } from "./effects.ts";
import { atEntry } from "./region-flow.ts";
import { RegionOps } from "./region-ops.ts";
import { type InsnTemplate, MAX_TEMPLATES } from "./templates.ts";

/** What holds of all instructions of one shape. */
export interface Shape {
	readonly meaning: BoundMeaning;
	effects: Effects;
	readonly flagUse: FlagUse;
	/** By `templateKey`. */
	readonly templates: Map<number, InsnTemplate | "spoilt">;
	/** Of all shapes together. */
	readonly templateRoom: { left: number };
	/** The code hangs on what is known of the flags. */
	looksAtFlags: boolean;
	/** Where the immediate decides: by its value. */
	byImmediate: Map<number, Shape> | undefined;
}

/**
 * Whether flags that are set before the instruction can be seen after it: it "sets" all six and reads none, has nothing to do with
 * them ("passes"), sets some and "keeps" the others, or "sees" them. One with a memory operand may fault, and then they are seen.
 */
export type FlagUse = "sets" | "passes" | "keeps" | "sees";

/** Set all six flags and read none, whatever their operands. */
const SETTERS: ReadonlySet<string> = new Set(["ADD", "SUB", "CMP", "AND", "OR", "XOR", "TEST", "NEG", "IMUL", "MUL"]);
/** Leave some flags as they are, and set the others: what they read is dead if what they set is. */
const KEEPERS: ReadonlySet<string> = new Set([
	...["INC", "DEC", "SHL", "SHR", "SAR", "ROL", "ROR", "SHLD", "SHRD", "BT", "BTS", "BTR", "BTC", "BSF", "BSR"],
]);
/** Neither read nor write flags. */
const PASSERS: ReadonlySet<string> = new Set(["MOV", "MOVZX", "MOVSX", "MOVSXD", "LEA", "NOT", "BSWAP", "NOP", "XCHG", "CBW", "CWD"]);

function flagUse({ mnemonic, operands }: Insn): FlagUse {
	if (mnemonic !== "LEA" && !operands.every(isPlainOperand)) return "sees";
	if (SETTERS.has(mnemonic)) return "sets";
	return PASSERS.has(mnemonic) ? "passes" : KEEPERS.has(mnemonic) ? "keeps" : "sees";
}

function isPlainOperand(operand: Operand): boolean {
	return (operand.kind === "reg" && (operand.cls === "gpr" || operand.cls === "gpr8h")) || operand.kind === "imm";
}

/** Immediates matter as far as they are counts, or choose among forms of an instruction. */
const IMMEDIATE_MASK = 0xff;

/** What the translator has found out about instructions, by shape. */
export class ShapeTable {
	/** By number of the row: shapes by `shapeKey`. */
	readonly #byRow: (Map<number, Shape> | undefined)[] = [];
	readonly #templateRoom = { left: MAX_TEMPLATES };

	of(insn: Insn, modeKey: number): Shape {
		const { id } = insn.row;
		let shapes = this.#byRow[id];
		if (shapes === undefined) {
			shapes = new Map();
			while (this.#byRow.length < id) this.#byRow.push(undefined);
			this.#byRow[id] = shapes;
		}
		const key = shapeKey(insn, modeKey);
		let shape = shapes.get(key);
		if (shape === undefined) {
			const meaning = meaningOf(insn) as BoundMeaning;
			const effects = observe(insn, modeKey, meaning);
			shape = {
				meaning,
				flagUse: flagUse(insn),
				effects,
				templates: new Map(),
				templateRoom: this.#templateRoom,
				looksAtFlags: false,
				byImmediate: undefined,
			};
			shapes.set(key, shape);
		}
		if (shape.byImmediate === undefined) return shape;
		const immediate = lastImmediate(insn) as number;
		let variant = shape.byImmediate.get(immediate);
		if (variant === undefined) {
			variant = { ...shape, effects: observe(insn, modeKey, shape.meaning), templates: new Map(), byImmediate: undefined };
			shape.byImmediate.set(immediate, variant);
		}
		return variant;
	}

	/** An instruction of that shape, emitted where it stands, has had other effects than expected: its immediate makes the difference. */
	correct(shape: Shape, insn: Insn, effects: Effects): void {
		shape.templates.clear();
		if (lastImmediate(insn) === undefined) shape.effects = { ...effects };
		else shape.byImmediate ??= new Map();
	}
}

function lastImmediate({ operands }: Insn): number | undefined {
	const last = operands[operands.length - 1];
	return last?.kind === "imm" ? last.value & IMMEDIATE_MASK : undefined;
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
