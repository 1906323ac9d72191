/**
 * The comparisons of PCMPxSTRx (SDM Vol. 2B §4.1.3, "Aggregation Operation", and §4.1.6, "Valid/Invalid Override of
 * Comparisons"): (a, b, elements valid in a, in b) → IntRes1, bit j for element j of b.
 */
import { type Expr, i32, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { defineCore } from "./registry.ts";

const AGGREGATIONS = ["EqualAny", "Ranges", "EqualEach", "EqualOrdered"] as const;

interface Elements {
	readonly shape: "i8x16" | "i16x8";
	readonly count: 8 | 16;
}

const BYTES: Elements = { shape: "i8x16", count: 16 };
const WORDS: Elements = { shape: "i16x8", count: 8 };

/** Element `index` (an i32) in every place. */
function spread(e: Elements, vector: Expr, index: Expr): Expr {
	if (e.count === 16) return op("i8x16Swizzle", vector, op("i8x16Splat", index));
	// Bytes 2i and 2i + 1 by turns.
	const bytes = op("i32Add", op("i32Mul", index, i32(0x202)), i32(0x100));
	return op("i8x16Swizzle", vector, op("i16x8Splat", bytes));
}

/** The lowest `length` bits. */
const lowest = (length: Expr): Expr => op("i32Sub", op("i32Shl", i32(1), length), i32(1));

/** Runs `body` for element numbers 0, `step` … while the last one the step takes in is below `end`. */
function eachElement(f: FunctionBuilder, end: Expr, step: 1 | 2, body: (i: Expr) => void): void {
	const i = f.local("i32");
	f.block((done) => {
		f.loop((again) => {
			f.brIf(done, op("i32GeS", op("i32Add", f.get(i), i32(step - 1)), end));
			body(f.get(i));
			f.set(i, op("i32Add", f.get(i), i32(step)));
			f.br(again);
		});
	});
}

function aggregate(f: FunctionBuilder, e: Elements, name: (typeof AGGREGATIONS)[number], sign: "S" | "U"): Expr {
	const [a, b, lengthA, lengthB] = [f.param(0), f.param(1), f.param(2), f.param(3)];
	const all = 2 ** e.count - 1;
	const validB = f.let(lowest(lengthB));
	const bits = (mask: Expr): Expr => op(`${e.shape}Bitmask`, mask);
	switch (name) {
		case "EqualAny": {
			const found = f.local("v128");
			eachElement(f, lengthA, 1, (i) => f.set(found, op("v128Or", f.get(found), op(`${e.shape}Eq`, b, spread(e, a, i)))));
			return op("i32And", bits(f.get(found)), validB);
		}
		case "Ranges": {
			const found = f.local("v128");
			eachElement(f, lengthA, 2, (i) => {
				const from = op(`${e.shape}Ge${sign}`, b, spread(e, a, i));
				const to = op(`${e.shape}Le${sign}`, b, spread(e, a, op("i32Add", i, i32(1))));
				f.set(found, op("v128Or", f.get(found), op("v128And", from, to)));
			});
			return op("i32And", bits(f.get(found)), validB);
		}
		case "EqualEach": {
			const validA = f.let(lowest(lengthA));
			const same = op("i32And", op("i32And", bits(op(`${e.shape}Eq`, a, b)), validA), validB);
			return op("i32Or", same, op("i32Xor", op("i32Or", validA, validB), i32(all)));
		}
		case "EqualOrdered": {
			const found = f.local("i32");
			f.set(found, i32(all));
			eachElement(f, lengthA, 1, (i) => {
				const same = op("i32And", bits(op(`${e.shape}Eq`, b, spread(e, a, i))), validB);
				// What would be compared beyond the end of b counts as equal.
				const beyond = op("i32Xor", op("i32ShrU", i32(all), i), i32(-1));
				f.set(found, op("i32And", f.get(found), op("i32Or", op("i32ShrU", same, i), beyond)));
			});
			return f.get(found);
		}
	}
}

/** Name of the comparison an immediate asks for. */
export function comparisonOf(imm: number): string {
	return `pcmpstr${AGGREGATIONS[(imm >> 2) & 3]}${imm & 1 ? "W" : "B"}${imm & 2 ? "S" : "U"}`;
}

for (const [letter, elements] of [
	["B", BYTES],
	["W", WORDS],
] as const)
	for (const sign of ["S", "U"] as const)
		for (const name of AGGREGATIONS)
			defineCore(`pcmpstr${name}${letter}${sign}`, ["v128", "v128", "i32", "i32"], "i32", (f) => {
				f.return(aggregate(f, elements, name, sign));
				f.unreachable();
			});

/** Elements before the first 0: (vector, 1 for words) → length. */
defineCore("pcmpstrLength", ["v128", "i32"], "i32", (f) => {
	const zero = op("v128Xor", f.param(0), f.param(0));
	const words = op("i32Or", op("i16x8Bitmask", op("i16x8Eq", f.param(0), zero)), i32(1 << 8));
	const bytes = op("i32Or", op("i8x16Bitmask", op("i8x16Eq", f.param(0), zero)), i32(1 << 16));
	f.return(op("i32Ctz", select(f.param(1), words, bytes)));
	f.unreachable();
});
