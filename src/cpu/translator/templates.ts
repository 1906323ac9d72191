import type { Expr } from "../../wasm/expr.ts";
import { HOLE, type Template } from "../../wasm/template.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import { isByStackPointer } from "../emit/memory-ops.ts";
import { memoryOperand } from "../interpreter/record.ts";
import type { Effects } from "./effects.ts";
import { mayMove } from "./open-places.ts";
import { FORMS, type KnownFlags } from "./region-sites.ts";

/** Roles that registers play in an instruction: operand n (n < 4), base and index of the memory operand. */
export const BASE_ROLE = 4;
export const INDEX_ROLE = 5;

/** Constants that differ between uses of a template: displacement, instructions charged, the next instruction, and what `exitSite` is set to (by EXIT code). */
export const DISPLACEMENT = 0;
export const CHARGE = 1;
/** Offset of the next instruction. */
export const NEXT = 2;
export const SITE = 3;

/** How an instruction that ends its block goes on when its writes have taken effect. */
export type Ending =
	| { readonly kind: "branch"; readonly operand: number; readonly condition: Expr | undefined }
	/** To `exitTarget`. `moved`: bytes that it has moved the stack pointer by. */
	| { readonly kind: "jump"; readonly moved: number; readonly isReturn: boolean };

/** What an instruction became, for all that differ from it in nothing but registers, displacement and place. */
export interface InsnTemplate {
	readonly code: Template;
	/** Functions called, by what the code's holes call them. */
	readonly callees: readonly string[];
	/** Flags' inputs after it, if it sets them whatever happens. */
	readonly known: KnownFlags | undefined;
	/** It writes a register before it has read everything: its registers must all be different. */
	readonly needsDistinct: boolean;
	readonly usesStackPage: boolean;
	/** It touches the x87's state by itself. */
	readonly forgetsFloats: boolean;
	readonly ending: Ending | undefined;
}

/** Beyond so many, new ones would seldom be of use. */
export const MAX_TEMPLATES = 10_000;

const NO_IMMEDIATE = 0x180;

/**
 * What else, besides the shape, decides how an instruction is emitted: its immediate, the form of its address, and what is known of the
 * flags. −1: it is emitted by itself.
 */
export function templateKey(insn: Insn, areFlagsDead: boolean, flagForm: number): number {
	const { operands } = insn;
	let immediate = NO_IMMEDIATE;
	for (let n = 0; n < operands.length; n++) {
		const operand = operands[n] as Insn["operands"][number];
		if (operand.kind === "reg" || operand.kind === "mem" || operand.kind === "rel") continue;
		// Two immediates, far pointers and the like are rare; large immediates hardly ever the same.
		if (operand.kind !== "imm" || immediate !== NO_IMMEDIATE || operand.value < -128 || operand.value > 255) return -1;
		immediate = operand.value + 128;
	}
	const form = addressForm(insn);
	if (form < 0) return -1;
	return ((immediate * ADDRESS_FORMS + form) * 2 + (areFlagsDead ? 1 : 0)) * FORMS + flagForm;
}

const ADDRESS_FORMS = 512;

/** The form of the memory operand's address: which parts it has, and whether it is on the stack. */
function addressForm(insn: Insn): number {
	const mem = memoryOperand(insn);
	if (mem === undefined) return 255;
	const { base, index, scale, disp, seg, ripRelative, addrBits } = mem;
	if (addrBits === 16 || disp !== (disp | 0)) return -1;
	if (!ripRelative && mayMove(disp)) return -1;
	if (ripRelative) return addrBits === 64 ? seg : -1;
	if (base < 0 && index < 0) return -1;
	const parts = (index < 0 ? 0 : 4 + scale) + (base < 0 ? 0 : 8) + (disp === 0 ? 0 : 16);
	return (isByStackPointer(mem) ? 256 : 0) + parts * 8 + seg;
}

/** Whether a register plays two roles, or one that the meaning names itself. */
export function isAliased(insn: Insn, effects: Effects): boolean {
	let gpr = effects.gprRead | effects.gprWritten;
	let xmm = 0;
	let isAliased = false;
	const take = (index: number) => {
		if (index < 0) return;
		if (((gpr >> index) & 1) !== 0) isAliased = true;
		gpr |= 1 << index;
	};
	const { operands } = insn;
	for (let n = 0; n < operands.length; n++) {
		const operand = operands[n] as Insn["operands"][number];
		if (operand.kind !== "reg") continue;
		if (operand.cls === "gpr" || operand.cls === "gpr8h") take(operand.index);
		else if (operand.cls === "xmm") {
			if (((xmm >> operand.index) & 1) !== 0) isAliased = true;
			xmm |= 1 << operand.index;
		}
	}
	const mem = effects.readsAddress ? memoryOperand(insn) : undefined;
	if (mem !== undefined) {
		take(mem.base);
		take(mem.index);
	}
	return isAliased;
}

/** Calls functions by name in the holes of a template that has their numbers. */
export function nameCallees({ bytes, holes }: Template, nameOf: (index: number) => string): { code: Template; callees: string[] } {
	const named = [...holes];
	const callees: string[] = [];
	for (let i = 0; i < named.length; i += 3)
		if (named[i + 1] === HOLE.callee) named[i + 2] = callees.push(nameOf(named[i + 2] as number)) - 1;
	return { code: { bytes, holes: named }, callees };
}
