/**
 * The AES instructions' steps (FIPS 197 §5.1, §5.3) on a state of four columns in a vector. The S-box is looked up as sixteen
 * rows of sixteen: XOR brings the bytes of one row below 16, and swizzle gives 0 for all others.
 */
import { type Expr, i32, op, shuffle, v128 } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { defineCore } from "./registry.ts";

function double(a: number): number {
	return ((a << 1) ^ (a & 0x80 ? 0x11b : 0)) & 0xff;
}

/** FIPS 197 §5.1.1: the inverse in GF(2⁸), then an affine transformation. */
function substitutions(): { forward: Uint8Array; backward: Uint8Array } {
	const power: number[] = [];
	const log = new Uint8Array(256);
	// 3 generates the multiplicative group.
	for (let i = 0, a = 1; i < 255; i++, a ^= double(a)) {
		power.push(a);
		log[a] = i;
	}
	const forward = new Uint8Array(256);
	const backward = new Uint8Array(256);
	for (let a = 0; a < 256; a++) {
		const inverse = a === 0 ? 0 : (power[(255 - (log[a] as number)) % 255] as number);
		let result = 0x63;
		for (let turn = 0; turn < 5; turn++) result ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xff;
		forward[a] = result;
		backward[result] = a;
	}
	return { forward, backward };
}

const BOXES = substitutions();
const splat = (byte: number): Expr => v128(new Uint8Array(16).fill(byte));
/** Byte i of the result is byte `from(row, column)`. */
const permute = (a: Expr, from: (row: number, column: number) => number): Expr =>
	shuffle(
		a,
		a,
		Uint8Array.from({ length: 16 }, (_, i) => from(i % 4, i >> 2)),
	);

function substitute(f: FunctionBuilder, a: Expr, box: Uint8Array): Expr {
	let result: Expr | undefined;
	for (let row = 0; row < 16; row++) {
		const index = row === 0 ? a : op("v128Xor", a, splat(row << 4));
		const found = op("i8x16Swizzle", v128(box.slice(row * 16, row * 16 + 16)), index);
		result = f.let(result === undefined ? found : op("v128Or", result, found));
	}
	return result as Expr;
}

const shiftRows = (f: FunctionBuilder, a: Expr): Expr => f.let(permute(a, (row, column) => row + 4 * ((column + row) % 4)));
const unshiftRows = (f: FunctionBuilder, a: Expr): Expr => f.let(permute(a, (row, column) => row + 4 * ((column + 4 - row) % 4)));
/** Every column turned up by some rows. */
const turn = (a: Expr, by: number): Expr => permute(a, (row, column) => ((row + by) % 4) + 4 * column);
const doubled = (f: FunctionBuilder, a: Expr): Expr =>
	f.let(op("v128Xor", op("i8x16Add", a, a), op("v128And", op("i8x16ShrS", a, i32(7)), splat(0x1b))));

/** Each byte becomes 2a ⊕ 3b ⊕ c ⊕ d = a ⊕ (a ⊕ b ⊕ c ⊕ d) ⊕ 2(a ⊕ b). */
function mixColumns(f: FunctionBuilder, a: Expr): Expr {
	const pairs = f.let(op("v128Xor", a, turn(a, 1)));
	const all = op("v128Xor", pairs, turn(pairs, 2));
	return f.let(op("v128Xor", op("v128Xor", a, all), doubled(f, pairs)));
}

/** The inverse is the same after adding 4(a ⊕ c) to every byte. */
function unmixColumns(f: FunctionBuilder, a: Expr): Expr {
	const quadrupled = doubled(f, doubled(f, f.let(op("v128Xor", a, turn(a, 2)))));
	return mixColumns(f, f.let(op("v128Xor", a, quadrupled)));
}

const forward = (f: FunctionBuilder, a: Expr): Expr => substitute(f, shiftRows(f, a), BOXES.forward);
const backward = (f: FunctionBuilder, a: Expr): Expr => substitute(f, unshiftRows(f, a), BOXES.backward);

// (state, round key)
for (const [name, step] of [
	["AESENC", (f: FunctionBuilder, a: Expr) => mixColumns(f, forward(f, a))],
	["AESENCLAST", forward],
	["AESDEC", (f: FunctionBuilder, a: Expr) => unmixColumns(f, backward(f, a))],
	["AESDECLAST", backward],
] as const)
	defineCore(name, ["v128", "v128"], "v128", (f) => {
		f.return(op("v128Xor", step(f, f.param(0)), f.param(1)));
		f.unreachable();
	});

defineCore("AESIMC", ["v128"], "v128", (f) => {
	f.return(unmixColumns(f, f.param(0)));
	f.unreachable();
});

/** Of the key's words 1 and 3: substituted; and substituted, turned, with the round constant (a doubleword) added. */
defineCore("AESKEYGENASSIST", ["v128", "i32"], "v128", (f) => {
	const substituted = substitute(f, f.param(0), BOXES.forward);
	const words = shuffle(substituted, substituted, Uint8Array.of(4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12));
	const constant = op(
		"v128And",
		op("i32x4Splat", f.param(1)),
		v128(Uint8Array.of(0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255)),
	);
	f.return(op("v128Xor", words, constant));
	f.unreachable();
});
