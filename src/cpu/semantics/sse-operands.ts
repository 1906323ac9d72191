/** How MMX and SSE meanings get at their operands; shuffles in lanes of any size. */
import { type Expr, laneOp, op, shuffle, v128 } from "../../wasm/expr.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import type { ImmOperand } from "../../x86/decode/insn.ts";
import type { Ops } from "../emit/ops.ts";
import { define, type Semantics } from "./registry.ts";
import { enterMmx, guardMmx, guardSse } from "./x87-state.ts";

/** A result from both operands, each pinned. */
export type Binary = (o: Ops, a: Expr, b: Expr) => Expr;

export const ZERO = v128(new Uint8Array(16));

/** The same little-endian lane in every place; `bytes` per lane. */
export function constantVector(bytes: 1 | 2 | 4 | 8, ...lanes: (number | bigint)[]): Expr {
	const image = new Uint8Array(16);
	for (let i = 0; i < 16; i++) {
		const lane = lanes[Math.floor(i / bytes) % lanes.length] as number | bigint;
		image[i] = Number((BigInt(lane) >> BigInt(8 * (i % bytes))) & 0xffn);
	}
	return v128(image);
}

/** Lanes of `bytes` bytes picked from a's (0 …) and, counted on from them, b's. */
export function pick(bytes: 1 | 2 | 4 | 8, a: Expr, b: Expr, lanes: readonly number[]): Expr {
	return shuffle(
		a,
		b,
		Uint8Array.from({ length: 16 }, (_, i) => (lanes[Math.floor(i / bytes)] as number) * bytes + (i % bytes)),
	);
}

/** The instruction's immediate: only for meanings specialised on it. */
export function immediateOf(o: Ops): number {
	return (o.insn.operands.find((operand) => operand.kind === "imm") as ImmOperand).value;
}

export function isMmx(o: Ops): boolean {
	return o.insn.row.unit === "mmx";
}

/** An MMX register or 4 or 8 bytes of memory as the low half of a vector; the upper half means nothing. */
export function readMmxVector(o: Ops, n: number): Expr {
	const isNarrow = o.isMem(n) && (o.insn.operands[n] as { bytes: number }).bytes === 4;
	const low = isNarrow ? op("i64ExtendI32U", o.readLow(n)) : o.readMmx(n);
	return o.f.let(op("i64x2Splat", low));
}

export const low64 = (vector: Expr): Expr => laneOp("i64x2ExtractLane", 0, vector);

/** a's low half below b's low half: two MMX operands as one vector. */
export const joinLow = (a: Expr, b: Expr): Expr => pick(8, a, b, [0, 2]);

function sseBinary(o: Ops, result: Binary): void {
	guardSse(o);
	const b = o.readVector(1);
	const a = o.readVector(0);
	o.writeVector(0, result(o, a, b));
}

/** The low half of the result is the MMX register's. */
function mmxBinary(o: Ops, result: Binary): void {
	guardMmx(o);
	const b = readMmxVector(o, 1);
	const a = readMmxVector(o, 0);
	enterMmx(o);
	o.writeMmx(0, low64(result(o, a, b)));
}

/** Destination ← destination and source, in XMM and MMX registers; `mmx` where lanes across the whole vector matter. */
export function defineBinary(
	mnemonic: string | readonly string[],
	result: Binary,
	mmx: Binary = result,
	specialise: Semantics["specialise"] = "none",
): void {
	define(mnemonic, (o) => (isMmx(o) ? mmxBinary(o, mmx) : sseBinary(o, result)), specialise);
}

/** As `defineBinary` with one WebAssembly instruction. */
export function defineSimple(mnemonic: string, name: OpName): void {
	defineBinary(mnemonic, (_o, a, b) => op(name, a, b));
}
