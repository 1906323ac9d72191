import { unimplemented } from "../../machine/device.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import type { Ops } from "../emit/ops.ts";
import { type Semantics, semanticsOf } from "./registry.ts";
import "./arithmetic.ts";
import "./logic.ts";
import "./move.ts";
import "./sse.ts";
import "./string.ts";
import "./system-identity.ts";
import "./system-privileged.ts";
import "./system-transfer.ts";
import "./x87.ts";

export interface BoundMeaning {
	readonly specialise: Semantics["specialise"];
	/** Emits the privilege check and the meaning; the reading commits. */
	emit(o: Ops): void;
}

/** Moves to and from segment, control and debug registers are instructions of their own kind: "MOV.seg", "POP.seg" … */
function keyOf(insn: Insn): string {
	for (const operand of insn.operands)
		if (operand.kind === "reg" && (operand.cls === "seg" || operand.cls === "cr" || operand.cls === "dr"))
			return `${insn.mnemonic}.${operand.cls}`;
	return insn.mnemonic;
}

/** Instructions the CPU does not offer (CPUID says so): they raise #UD. */
const NOT_OFFERED: ReadonlySet<string> = new Set(["vmx", "svm", "smx", "monitor", "lzcnt", "bmi1", "xsaves", "xsavec", "rdpid"]);

/** By number of the row, which settles it; `undefined` as "none". */
const byRow: (BoundMeaning | "none" | undefined)[] = [];

/** What an instruction does, or undefined when it is an undefined opcode on this CPU. */
export function meaningOf(insn: Insn): BoundMeaning | undefined {
	const { id } = insn.row;
	while (byRow.length <= id) byRow.push(undefined);
	const found = (byRow[id] ??= find(insn) ?? "none");
	return found === "none" ? undefined : found;
}

function find(insn: Insn): BoundMeaning | undefined {
	if (!NOT_OFFERED.has(insn.row.feature)) return bound(keyOf(insn));
	// Without LZCNT and BMI1 their F3 prefix is ignored, and they are BSR and BSF.
	const older = insn.mnemonic === "LZCNT" ? "BSR" : insn.mnemonic === "TZCNT" ? "BSF" : undefined;
	return older === undefined ? undefined : bound(older);
}

const known = new Map<string, BoundMeaning>();

function bound(key: string): BoundMeaning | undefined {
	const made = known.get(key);
	if (made !== undefined) return made;
	const semantics = semanticsOf(key);
	if (semantics === undefined) {
		unimplemented("cpu", key);
		return undefined;
	}
	const meaning: BoundMeaning = {
		specialise: semantics.specialise,
		emit(o) {
			if (o.insn.row.cpl0) o.raiseIf(o.field32("cpl"), 13, 0);
			semantics.meaning(o);
		},
	};
	known.set(key, meaning);
	return meaning;
}
