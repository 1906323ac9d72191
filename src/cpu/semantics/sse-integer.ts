/** Packed integers, lane by lane: SDM Vol. 1 §5.4.3–5.4.5, §5.5.2, §5.6.3, §5.8.1, §5.10.1, §5.10.5. */
import { type Expr, i32, i64, laneOp, op, select } from "../../wasm/expr.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import type { Ops } from "../emit/ops.ts";
import { define } from "./registry.ts";
import { constantVector, defineBinary, defineSimple, immediateOf, isMmx, low64, pick, readMmxVector } from "./sse-operands.ts";
import { enterMmx, guardMmx, guardSse } from "./x87-state.ts";

const ONE_INSTRUCTION: Readonly<Record<string, OpName>> = {
	PADDB: "i8x16Add",
	PADDW: "i16x8Add",
	PADDD: "i32x4Add",
	PADDQ: "i64x2Add",
	PSUBB: "i8x16Sub",
	PSUBW: "i16x8Sub",
	PSUBD: "i32x4Sub",
	PSUBQ: "i64x2Sub",
	PADDSB: "i8x16AddSatS",
	PADDSW: "i16x8AddSatS",
	PADDUSB: "i8x16AddSatU",
	PADDUSW: "i16x8AddSatU",
	PSUBSB: "i8x16SubSatS",
	PSUBSW: "i16x8SubSatS",
	PSUBUSB: "i8x16SubSatU",
	PSUBUSW: "i16x8SubSatU",
	PCMPEQB: "i8x16Eq",
	PCMPEQW: "i16x8Eq",
	PCMPEQD: "i32x4Eq",
	PCMPEQQ: "i64x2Eq",
	PCMPGTB: "i8x16GtS",
	PCMPGTW: "i16x8GtS",
	PCMPGTD: "i32x4GtS",
	PCMPGTQ: "i64x2GtS",
	PMINUB: "i8x16MinU",
	PMAXUB: "i8x16MaxU",
	PMINSB: "i8x16MinS",
	PMAXSB: "i8x16MaxS",
	PMINSW: "i16x8MinS",
	PMAXSW: "i16x8MaxS",
	PMINUW: "i16x8MinU",
	PMAXUW: "i16x8MaxU",
	PMINSD: "i32x4MinS",
	PMAXSD: "i32x4MaxS",
	PMINUD: "i32x4MinU",
	PMAXUD: "i32x4MaxU",
	PAVGB: "i8x16AvgrU",
	PAVGW: "i16x8AvgrU",
	PMULLW: "i16x8Mul",
	PMULLD: "i32x4Mul",
	PMADDWD: "i32x4DotI16x8S",
};

for (const [mnemonic, name] of Object.entries(ONE_INSTRUCTION)) defineSimple(mnemonic, name);

// Logic: the three names of each differ only in what they say about the data.
for (const [names, name] of [
	[["PAND", "ANDPS", "ANDPD"], "v128And"],
	[["POR", "ORPS", "ORPD"], "v128Or"],
	[["PXOR", "XORPS", "XORPD"], "v128Xor"],
] as const)
	defineBinary(names, (_o, a, b) => op(name, a, b));

defineBinary(["PANDN", "ANDNPS", "ANDNPD"], (_o, a, b) => op("v128Andnot", b, a));

/** The upper halves of eight 16 × 16 → 32-bit products. */
const highHalves = (low: Expr, high: Expr): Expr => pick(2, low, high, [1, 3, 5, 7, 9, 11, 13, 15]);

defineBinary("PMULHW", (_o, a, b) => highHalves(op("i32x4ExtmulLowI16x8S", a, b), op("i32x4ExtmulHighI16x8S", a, b)));
defineBinary("PMULHUW", (_o, a, b) => highHalves(op("i32x4ExtmulLowI16x8U", a, b), op("i32x4ExtmulHighI16x8U", a, b)));

/** The doublewords that count: 0 and 2. */
const evenDoublewords = (a: Expr): Expr => pick(4, a, a, [0, 2, 0, 2]);

defineBinary("PMULUDQ", (_o, a, b) => op("i64x2ExtmulLowI32x4U", evenDoublewords(a), evenDoublewords(b)));
defineBinary("PMULDQ", (_o, a, b) => op("i64x2ExtmulLowI32x4S", evenDoublewords(a), evenDoublewords(b)));

// Rounding and saturating differ only where both are −1: SSSE3's product there wraps to −1.
defineBinary("PMULHRSW", (o, a, b) => {
	const lowest = constantVector(2, 0x8000);
	const overflows = op("v128And", op("i16x8Eq", a, lowest), op("i16x8Eq", b, lowest));
	return o.f.let(op("v128Xor", op("i16x8Q15mulrSatS", a, b), overflows));
});

defineBinary("PSADBW", (o, a, b) => {
	const difference = op("v128Or", op("i8x16SubSatU", a, b), op("i8x16SubSatU", b, a));
	const sums = o.f.let(op("i32x4ExtaddPairwiseI16x8U", op("i16x8ExtaddPairwiseI8x16U", difference)));
	return op("i64x2Add", op("v128And", sums, constantVector(8, 0xffff_ffff)), op("i64x2ShrU", sums, i32(32)));
});

// Unsigned bytes of the destination times signed bytes of the source: a single product fits 16 bits, the sum may not.
defineBinary("PMADDUBSW", (_o, a, b) => {
	const even = op("i16x8Mul", op("v128And", a, constantVector(2, 0xff)), op("i16x8ShrS", op("i16x8Shl", b, i32(8)), i32(8)));
	const odd = op("i16x8Mul", op("i16x8ShrU", a, i32(8)), op("i16x8ShrS", b, i32(8)));
	return op("i16x8AddSatS", even, odd);
});

for (const [mnemonic, name] of [
	["PABSB", "i8x16Abs"],
	["PABSW", "i16x8Abs"],
	["PABSD", "i32x4Abs"],
] as const)
	defineBinary(mnemonic, (_o, _a, b) => op(name, b));

for (const [mnemonic, shape] of [
	["PSIGNB", "i8x16"],
	["PSIGNW", "i16x8"],
	["PSIGND", "i32x4"],
] as const)
	defineBinary(mnemonic, (o, a, b) => {
		const bits = shape === "i8x16" ? 7 : shape === "i16x8" ? 15 : 31;
		const sign = o.f.let(op(`${shape}ShrS`, b, i32(bits)));
		const negated = op(`${shape}Sub`, op("v128Xor", a, sign), sign);
		return op("v128Andnot", negated, op(`${shape}Eq`, b, constantVector(8, 0)));
	});

// ---- horizontal: neighbours added or subtracted ----

const EVEN = { 2: [0, 2, 4, 6, 8, 10, 12, 14], 4: [0, 2, 4, 6] } as const;
const ODD = { 2: [1, 3, 5, 7, 9, 11, 13, 15], 4: [1, 3, 5, 7] } as const;

for (const [mnemonic, bytes, name] of [
	["PHADDW", 2, "i16x8Add"],
	["PHADDD", 4, "i32x4Add"],
	["PHADDSW", 2, "i16x8AddSatS"],
	["PHSUBW", 2, "i16x8Sub"],
	["PHSUBD", 4, "i32x4Sub"],
	["PHSUBSW", 2, "i16x8SubSatS"],
] as const) {
	const horizontal = (a: Expr, b: Expr): Expr => op(name, pick(bytes, a, b, EVEN[bytes]), pick(bytes, a, b, ODD[bytes]));
	defineBinary(
		mnemonic,
		(_o, a, b) => horizontal(a, b),
		(o, a, b) => {
			const both = o.f.let(pick(8, a, b, [0, 2]));
			return horizontal(both, both);
		},
	);
}

// ---- shifts ----

/** By an immediate: what a count beyond the lane leaves is nothing, or (arithmetic) only signs. */
function shiftByImmediate(o: Ops, name: OpName, bits: number, count: number, a: Expr): Expr {
	const isArithmetic = name.endsWith("ShrS");
	if (count >= bits && !isArithmetic) return constantVector(8, 0);
	return o.f.let(op(name, a, i32(Math.min(count, bits - 1))));
}

/** By the low 64 bits of a register or of memory. */
function shiftByVector(o: Ops, name: OpName, bits: number, a: Expr, count: Expr): Expr {
	const inRange = o.f.let(op("i64LtU", count, i64(bits)));
	const low = op("i32WrapI64", count);
	if (name.endsWith("ShrS")) return op(name, a, select(inRange, low, i32(bits - 1)));
	return op("v128And", op(name, a, low), op("i32x4Splat", op("i32Sub", i32(0), inRange)));
}

for (const [mnemonic, name, bits] of [
	["PSLLW", "i16x8Shl", 16],
	["PSLLD", "i32x4Shl", 32],
	["PSLLQ", "i64x2Shl", 64],
	["PSRLW", "i16x8ShrU", 16],
	["PSRLD", "i32x4ShrU", 32],
	["PSRLQ", "i64x2ShrU", 64],
	["PSRAW", "i16x8ShrS", 16],
	["PSRAD", "i32x4ShrS", 32],
] as const)
	define(
		mnemonic,
		(o) => {
			const mmx = isMmx(o);
			if (mmx) guardMmx(o);
			else guardSse(o);
			const hasImmediate = o.insn.operands[1]?.kind === "imm";
			const count = hasImmediate ? undefined : mmx ? o.readMmx(1) : o.f.let(low64(o.readVector(1)));
			const a = mmx ? readMmxVector(o, 0) : o.readVector(0);
			const result = count === undefined ? shiftByImmediate(o, name, bits, immediateOf(o), a) : shiftByVector(o, name, bits, a, count);
			if (mmx) {
				enterMmx(o);
				o.writeMmx(0, low64(result));
			} else o.writeVector(0, result);
		},
		"imm",
	);

define(
	["PSLLDQ", "PSRLDQ"],
	(o) => {
		guardSse(o);
		const count = Math.min(immediateOf(o), 16);
		const isLeft = o.insn.mnemonic === "PSLLDQ";
		const lanes = Array.from({ length: 16 }, (_, i) => {
			const from = isLeft ? i - count : i + count;
			return from < 0 || from > 15 ? 16 : from;
		});
		o.writeVector(0, pick(1, o.readVector(0), constantVector(8, 0), lanes));
	},
	"imm",
);

define("PTEST", (o) => {
	guardSse(o);
	const b = o.readVector(1);
	const a = o.readVector(0);
	const zero = op("i32Eqz", op("v128AnyTrue", op("v128And", a, b)));
	const carry = op("i32Eqz", op("v128AnyTrue", op("v128Andnot", b, a)));
	o.setFlags("image", 32, op("i32Or", op("i32Shl", zero, i32(6)), carry));
});

/** The smallest of eight words, and where it stands first. */
define("PHMINPOSUW", (o) => {
	guardSse(o);
	const words = o.readVector(1);
	let least: Expr | undefined;
	for (let i = 0; i < 8; i++) {
		const entry = o.f.let(op("i32Or", op("i32Shl", laneOp("i16x8ExtractLaneU", i, words), i32(3)), i32(i)));
		least = least === undefined ? entry : o.f.let(select(op("i32LtU", entry, least), entry, least));
	}
	const found = least as Expr;
	const image = op("i32Or", op("i32ShrU", found, i32(3)), op("i32Shl", op("i32And", found, i32(7)), i32(16)));
	o.writeVector(0, laneOp("i32x4ReplaceLane", 0, constantVector(8, 0), image));
});

/** Sums of four absolute differences: eight places along the destination, one block of the source. */
define(
	"MPSADBW",
	(o) => {
		guardSse(o);
		const control = immediateOf(o);
		const b = o.readVector(1);
		const a = o.readVector(0);
		const first = control & 4;
		const block = (control & 3) * 4;
		const words = (vector: Expr, lane: (i: number) => number): Expr =>
			pick(
				1,
				vector,
				constantVector(8, 0),
				Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? lane(i / 2) : 16)),
			);
		let sum: Expr | undefined;
		for (let j = 0; j < 4; j++) {
			const difference = op(
				"i16x8Sub",
				words(a, (i) => first + i + j),
				words(b, () => block + j),
			);
			const magnitude = op("i16x8Abs", difference);
			sum = o.f.let(sum === undefined ? magnitude : op("i16x8Add", sum, magnitude));
		}
		o.writeVector(0, sum as Expr);
	},
	"imm",
);
