/**
 * Opcode rows, parsed once into lookup arrays. A line of `rows/` reads
 *
 *     [prefix.]opcode[+ | +cc][/reg][m | r[rm]][.W0 | .W1 | .B0 | .B1] MNEMONIC operands attributes
 *
 * prefix     NP, 66, F3 or F2 where it selects the row; without one the row takes whatever prefix no other row claims
 * +, +cc     the opcode's low three bits are a register; low four bits are a condition
 * /reg, m, r ModRM.reg, and ModRM.mod memory or register (with a digit: and this ModRM.rm)
 * W, B       REX.W, REX.B
 * operands   the manual's letters, comma-separated, "-" for none
 * attributes lock   LOCK allowed          d64/f64 64-bit operand size by default / always, in 64-bit mode
 *            i64    not in 64-bit mode    o64     only in 64-bit mode      unaligned  16-byte memory operand may lie anywhere
 *            cpl0, a `Flow`, or =`Feature` (a "[feature]" line sets it for the lines that follow)
 *
 * Added to the manual's letters: Z register in the opcode; size n, 4 bytes or 8 in 64-bit mode; sIb sign-extended byte;
 * BA, BB, BD memory at DS:rAX, DS:rBX+AL, DS:rDI; STi ST(i).
 */
import { assert, InternalError } from "../../base/assert.ts";
import type { Feature, Flow, OpcodeMap, Row, Unit } from "./insn.ts";
import type { OperandSpec } from "./operand-spec.ts";
import { KIND, needsModrm, parseOperand } from "./operand-spec.ts";
import { oneByteRows } from "./rows/one-byte.ts";
import { threeByte3ARows } from "./rows/three-byte-3a.ts";
import { threeByte38Rows } from "./rows/three-byte-38.ts";
import { twoByteRows } from "./rows/two-byte.ts";
import { twoByteVectorRows } from "./rows/two-byte-vector.ts";
import { x87Rows } from "./rows/x87.ts";

/** Which ModRM, prefix or REX bits tell an opcode's rows apart; `hasModrm` and `isDefined` ride along. */
export const DIM = { prefix: 1, reg: 2, mod: 4, rm: 8, w: 16, b: 32, hasModrm: 64, isDefined: 128 } as const;

/** Operand size rule in 64-bit mode. */
export const SIZING = { plain: 0, d64: 1, f64: 2 } as const;

export interface CompiledRow {
	readonly row: Row;
	readonly specs: readonly OperandSpec[];
	readonly sizing: number;
}

/** One opcode map in one mode: for each opcode its `DIM` bits and the first of its cells. */
export interface Lookup {
	readonly dims: Uint8Array;
	readonly first: Uint16Array;
	/** `undefined`: #UD. */
	readonly cells: (CompiledRow | undefined)[];
}

/** A row's conditions; -1 for "any". */
interface Selector {
	readonly prefix: number;
	readonly reg: number;
	readonly mod: number;
	readonly rm: number;
	readonly w: number;
	readonly b: number;
}

interface ParsedRow extends CompiledRow {
	readonly selector: Selector;
	readonly in64: boolean;
	readonly inLegacy: boolean;
	readonly hasModrm: boolean;
}

const maps: readonly OpcodeMap[] = ["1", "0F", "0F38", "0F3A"];
const sources: readonly (readonly [OpcodeMap, string])[] = [
	["1", oneByteRows],
	["1", x87Rows],
	["0F", twoByteRows],
	["0F", twoByteVectorRows],
	["0F38", threeByte38Rows],
	["0F3A", threeByte3ARows],
];

/** Column of a mandatory prefix in the cells: also what the decoder computes. */
const prefixColumns: Readonly<Record<string, number>> = { NP: 0, "66": 1, F3: 2, F2: 3 };
const flows: ReadonlySet<string> = new Set(["jcc", "jmp", "call", "ret", "far", "int", "sys"]);
const opcodePattern = /^(?:(NP|66|F3|F2)\.)?([0-9A-F]{2})(\+cc|\+)?(?:\/([0-7]))?(m|r([0-7])?)?(?:\.(W|B)([01]))?$/;

const digit = (text: string | undefined): number => (text === undefined ? -1 : Number(text));

function unitOf(map: OpcodeMap, opcode: number, mnemonic: string, specs: readonly OperandSpec[]): Unit {
	if (map === "1" && opcode >= 0xd8 && opcode <= 0xdf) return "x87";
	const has = (...kinds: number[]) => specs.some((spec) => kinds.includes(spec.kind));
	if (has(KIND.xmmReg, KIND.xmmRm) || mnemonic === "LDMXCSR" || mnemonic === "STMXCSR") return "sse";
	return has(KIND.mmxReg, KIND.mmxRm) || mnemonic === "EMMS" ? "mmx" : "int";
}

function parseLine(line: string, map: OpcodeMap, sectionFeature: Feature, out: ParsedRow[]): void {
	const [encoding, mnemonic, operandText, ...attributes] = line.split(" ") as [string, string, string, ...string[]];
	const match = opcodePattern.exec(encoding);
	if (match === null || operandText === undefined) throw new InternalError(`opcode rows: cannot read "${line}"`);
	const [, prefix, opcodeText, plus, reg, mod, rm, rexBit, rexValue] = match;
	let feature = sectionFeature;
	let flow: Flow = "none";
	const set = new Set<string>();
	for (const attribute of attributes) {
		if (attribute.startsWith("=")) feature = attribute.slice(1) as Feature;
		else if (flows.has(attribute)) flow = attribute as Flow;
		else set.add(attribute);
	}
	const operands = operandText === "-" ? [] : operandText.split(",");
	const specs = operands.map(parseOperand);
	const first = Number.parseInt(opcodeText!, 16);
	const count = plus === "+cc" ? 16 : plus === "+" ? 8 : 1;
	for (let i = 0; i < count; i++) {
		const row: Row = {
			id: out.length,
			map,
			opcode: first + i,
			mnemonic,
			cc: plus === "+cc" ? i : -1,
			operands,
			feature,
			unit: unitOf(map, first, mnemonic, specs),
			flow,
			lockable: set.has("lock"),
			aligned: !set.has("unaligned") && specs.some((spec) => spec.memSize === 16 || spec.memSize === 512),
			cpl0: set.has("cpl0"),
		};
		out.push({
			row,
			specs,
			sizing: set.has("d64") ? SIZING.d64 : set.has("f64") ? SIZING.f64 : SIZING.plain,
			selector: {
				prefix: prefix === undefined ? -1 : prefixColumns[prefix]!,
				reg: digit(reg),
				mod: mod === undefined ? -1 : mod === "m" ? 0 : 1,
				rm: digit(rm),
				w: rexBit === "W" ? digit(rexValue) : -1,
				b: rexBit === "B" ? digit(rexValue) : -1,
			},
			in64: !set.has("i64"),
			inLegacy: !set.has("o64"),
			hasModrm: reg !== undefined || mod !== undefined || specs.some((spec) => needsModrm(spec.kind)),
		});
	}
}

function parseAll(): readonly ParsedRow[] {
	const out: ParsedRow[] = [];
	for (const [map, text] of sources) {
		let feature: Feature = "base";
		for (const line of text.trim().split("\n")) {
			if (line.startsWith("[")) feature = line.slice(1, -1) as Feature;
			else parseLine(line, map, feature, out);
		}
	}
	return out;
}

function dimsOf(rows: readonly ParsedRow[]): number {
	let dims = DIM.isDefined as number;
	for (const { selector, hasModrm } of rows) {
		if (selector.prefix >= 0) dims |= DIM.prefix;
		if (selector.reg >= 0) dims |= DIM.reg;
		if (selector.mod >= 0) dims |= DIM.mod;
		if (selector.rm >= 0) dims |= DIM.rm;
		if (selector.w >= 0) dims |= DIM.w;
		if (selector.b >= 0) dims |= DIM.b;
		if (hasModrm) dims |= DIM.hasModrm;
	}
	return dims;
}

const fits = (condition: number, value: number): boolean => condition < 0 || condition === value;

/** The row of one cell: one that names the prefix wins over one that takes any. */
function choose(rows: readonly ParsedRow[], at: Selector): ParsedRow | undefined {
	const fitting = rows.filter(
		({ selector: s }) =>
			fits(s.prefix, at.prefix) && fits(s.reg, at.reg) && fits(s.mod, at.mod) && fits(s.rm, at.rm) && fits(s.w, at.w) && fits(s.b, at.b),
	);
	const named = fitting.filter(({ selector }) => selector.prefix >= 0);
	const chosen = named.length > 0 ? named : fitting;
	assert(chosen.length <= 1, `opcode rows: ${chosen.map((c) => c.row.mnemonic).join(" and ")} claim the same encoding`);
	return chosen[0];
}

/** Cells in the order the decoder indexes them: prefix, reg, mod, rm, W, B, the last varying fastest. */
function fill(lookup: Lookup, opcode: number, rows: readonly ParsedRow[]): void {
	const dims = dimsOf(rows);
	lookup.dims[opcode] = dims;
	lookup.first[opcode] = lookup.cells.length;
	const range = (dim: number, count: number) => Array.from({ length: (dims & dim) !== 0 ? count : 1 }, (_, i) => i);
	for (const prefix of range(DIM.prefix, 4))
		for (const reg of range(DIM.reg, 8))
			for (const mod of range(DIM.mod, 2))
				for (const rm of range(DIM.rm, 8))
					for (const w of range(DIM.w, 2)) for (const b of range(DIM.b, 2)) lookup.cells.push(choose(rows, { prefix, reg, mod, rm, w, b }));
}

const parsed = parseAll();

/** All rows; `rows[id].id === id`. */
export const rows: readonly Row[] = parsed.map(({ row }) => row);

function build(is64: boolean): readonly Lookup[] {
	return maps.map((map) => {
		const lookup: Lookup = { dims: new Uint8Array(256), first: new Uint16Array(256), cells: [] };
		const byOpcode = new Map<number, ParsedRow[]>();
		for (const entry of parsed) {
			if (entry.row.map !== map || !(is64 ? entry.in64 : entry.inLegacy)) continue;
			const list = byOpcode.get(entry.row.opcode);
			if (list === undefined) byOpcode.set(entry.row.opcode, [entry]);
			else list.push(entry);
		}
		for (const [opcode, list] of byOpcode) fill(lookup, opcode, list);
		return lookup;
	});
}

/** Lookups of the maps 1, 0F, 0F38, 0F3A. */
export const lookups64: readonly Lookup[] = build(true);
export const lookupsLegacy: readonly Lookup[] = build(false);
