/** Packing, unpacking, shuffling, blending, inserting: SDM Vol. 1 §5.4.2, §5.5.1.4, §5.6.1.4, §5.9, §5.10.3–5.10.9. */
import { type Expr, i32, laneOp, op } from "../../wasm/expr.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import type { Ops } from "../emit/ops.ts";
import { define } from "./registry.ts";
import { constantVector, defineBinary, immediateOf, isMmx, joinLow, low64, pick, readMmxVector, ZERO } from "./sse-operands.ts";
import { enterMmx, guardMmx, guardSse } from "./x87-state.ts";

// Packing takes all lanes of a, then all of b; an MMX pair fits into one vector.
for (const [mnemonic, name] of [
	["PACKSSWB", "i8x16NarrowI16x8S"],
	["PACKUSWB", "i8x16NarrowI16x8U"],
	["PACKSSDW", "i16x8NarrowI32x4S"],
	["PACKUSDW", "i16x8NarrowI32x4U"],
] as const)
	defineBinary(
		mnemonic,
		(_o, a, b) => op(name, a, b),
		(o, a, b) => {
			const both = o.f.let(joinLow(a, b));
			return op(name, both, both);
		},
	);

/** Lanes of a and b in turn, beginning with lane `first`. */
function interleave(bytes: 1 | 2 | 4 | 8, a: Expr, b: Expr, first: number): Expr {
	const count = 16 / bytes;
	return pick(
		bytes,
		a,
		b,
		Array.from({ length: count }, (_, i) => first + (i >> 1) + (i & 1) * count),
	);
}

for (const [names, bytes] of [
	[["PUNPCKLBW", "PUNPCKHBW"], 1],
	[["PUNPCKLWD", "PUNPCKHWD"], 2],
	[["PUNPCKLDQ", "PUNPCKHDQ"], 4],
	[["PUNPCKLQDQ", "PUNPCKHQDQ"], 8],
	[["UNPCKLPS", "UNPCKHPS"], 4],
	[["UNPCKLPD", "UNPCKHPD"], 8],
] as const) {
	defineBinary(names[0], (_o, a, b) => interleave(bytes, a, b, 0));
	// An MMX register's upper half begins at its fourth byte.
	defineBinary(
		names[1],
		(_o, a, b) => interleave(bytes, a, b, 8 / bytes),
		(_o, a, b) => interleave(bytes, a, b, 4 / bytes),
	);
}

/** The 2-bit fields of an immediate. */
const fields = (imm: number): [number, number, number, number] => [imm & 3, (imm >> 2) & 3, (imm >> 4) & 3, (imm >> 6) & 3];

defineBinary("PSHUFD", (o, _a, b) => pick(4, b, b, fields(immediateOf(o))), undefined, "imm");

defineBinary("PSHUFLW", (o, _a, b) => pick(2, b, b, [...fields(immediateOf(o)), 4, 5, 6, 7]), undefined, "imm");

defineBinary("PSHUFHW", (o, _a, b) => pick(2, b, b, [0, 1, 2, 3, ...fields(immediateOf(o)).map((lane) => lane + 4)]), undefined, "imm");

defineBinary("PSHUFW", (o, _a, b) => pick(2, b, b, [...fields(immediateOf(o)), 4, 5, 6, 7]), undefined, "imm");

defineBinary(
	"SHUFPS",
	(o, a, b) => {
		const [x, y, z, w] = fields(immediateOf(o));
		return pick(4, a, b, [x, y, z + 4, w + 4]);
	},
	undefined,
	"imm",
);

defineBinary(
	"SHUFPD",
	(o, a, b) => {
		const imm = immediateOf(o);
		return pick(8, a, b, [imm & 1, 2 + ((imm >> 1) & 1)]);
	},
	undefined,
	"imm",
);

// A set top bit clears the byte; swizzle clears for any index beyond 15.
defineBinary(
	"PSHUFB",
	(_o, a, b) => op("i8x16Swizzle", a, op("v128And", b, constantVector(1, 0x8f))),
	(_o, a, b) => op("i8x16Swizzle", a, op("v128And", b, constantVector(1, 0x87))),
);

/** `width` bytes from place `imm` on of b followed by a, followed by zeros. */
function align(o: Ops, a: Expr, b: Expr, imm: number, width: 8 | 16): Expr {
	if (width === 8) {
		const both = o.f.let(joinLow(b, a));
		return pick(
			1,
			both,
			ZERO,
			Array.from({ length: 16 }, (_, i) => Math.min(i + imm, 16)),
		);
	}
	if (imm < 16)
		return pick(
			1,
			b,
			a,
			Array.from({ length: 16 }, (_, i) => i + imm),
		);
	return pick(
		1,
		a,
		ZERO,
		Array.from({ length: 16 }, (_, i) => Math.min(i + imm - 16, 16)),
	);
}

defineBinary(
	"PALIGNR",
	(o, a, b) => align(o, a, b, immediateOf(o), 16),
	(o, a, b) => align(o, a, b, immediateOf(o), 8),
	"imm",
);

/** Bit i of the immediate: lane i comes from the source. */
for (const [mnemonic, bytes] of [
	["PBLENDW", 2],
	["BLENDPS", 4],
	["BLENDPD", 8],
] as const)
	defineBinary(
		mnemonic,
		(o, a, b) => {
			const imm = immediateOf(o);
			const count = 16 / bytes;
			return pick(
				bytes,
				a,
				b,
				Array.from({ length: count }, (_, i) => ((imm >> i) & 1 ? i + count : i)),
			);
		},
		undefined,
		"imm",
	);

for (const [mnemonic, name, bits] of [
	["PBLENDVB", "i8x16ShrS", 7],
	["BLENDVPS", "i32x4ShrS", 31],
	["BLENDVPD", "i64x2ShrS", 63],
] as const)
	defineBinary(mnemonic, (o, a, b) => op("v128Bitselect", b, a, op(name, o.xmm(0), i32(bits))));

// ---- widening ----

for (const [mnemonic, ...names] of [
	["PMOVSXBW", "i16x8ExtendLowI8x16S"],
	["PMOVSXBD", "i16x8ExtendLowI8x16S", "i32x4ExtendLowI16x8S"],
	["PMOVSXBQ", "i16x8ExtendLowI8x16S", "i32x4ExtendLowI16x8S", "i64x2ExtendLowI32x4S"],
	["PMOVSXWD", "i32x4ExtendLowI16x8S"],
	["PMOVSXWQ", "i32x4ExtendLowI16x8S", "i64x2ExtendLowI32x4S"],
	["PMOVSXDQ", "i64x2ExtendLowI32x4S"],
	["PMOVZXBW", "i16x8ExtendLowI8x16U"],
	["PMOVZXBD", "i16x8ExtendLowI8x16U", "i32x4ExtendLowI16x8U"],
	["PMOVZXBQ", "i16x8ExtendLowI8x16U", "i32x4ExtendLowI16x8U", "i64x2ExtendLowI32x4U"],
	["PMOVZXWD", "i32x4ExtendLowI16x8U"],
	["PMOVZXWQ", "i32x4ExtendLowI16x8U", "i64x2ExtendLowI32x4U"],
	["PMOVZXDQ", "i64x2ExtendLowI32x4U"],
] as const)
	define(mnemonic, (o) => {
		guardSse(o);
		const isWord = o.isMem(1) && (o.insn.operands[1] as { bytes: number }).bytes === 2;
		let value = isWord ? o.f.let(op("i32x4Splat", o.load({ operand: 1 }, o.address(1), 2))) : o.readScalar(1);
		for (const name of names as readonly OpName[]) value = op(name, value);
		o.writeVector(0, value);
	});

// ---- single lanes ----

const INSERT = { 1: "i8x16ReplaceLane", 2: "i16x8ReplaceLane", 4: "i32x4ReplaceLane", 8: "i64x2ReplaceLane" } as const;
const EXTRACT = { 1: "i8x16ExtractLaneU", 2: "i16x8ExtractLaneU", 4: "i32x4ExtractLane", 8: "i64x2ExtractLane" } as const;

/** Bytes per lane by mnemonic; the doubleword forms have their width in the general operand. */
function laneBytes(o: Ops, n: number): 1 | 2 | 4 | 8 {
	const letter = o.insn.mnemonic.at(-1);
	if (letter === "B") return 1;
	return letter === "W" ? 2 : ((o.insn.operands[n] as { bytes: number }).bytes as 4 | 8);
}

define(
	["PINSRB", "PINSRW", "PINSRD"],
	(o) => {
		const mmx = isMmx(o);
		if (mmx) guardMmx(o);
		else guardSse(o);
		const bytes = laneBytes(o, 1);
		const value = o.read(1);
		const narrow = bytes !== 8 && value.type === "i64" ? op("i32WrapI64", value) : value;
		const lane = immediateOf(o) & ((mmx ? 8 : 16) / bytes - 1);
		if (mmx) {
			const old = readMmxVector(o, 0);
			enterMmx(o);
			o.writeMmx(0, low64(laneOp(INSERT[bytes], lane, old, narrow)));
		} else o.writeVector(0, laneOp(INSERT[bytes], lane, o.readVector(0), narrow));
	},
	"imm",
);

define(
	["PEXTRB", "PEXTRW", "PEXTRD", "EXTRACTPS"],
	(o) => {
		const mmx = isMmx(o);
		if (mmx) guardMmx(o);
		else guardSse(o);
		const bytes = o.insn.mnemonic === "EXTRACTPS" ? 4 : laneBytes(o, 0);
		const source = mmx ? readMmxVector(o, 1) : o.readVector(1);
		const lane = immediateOf(o) & ((mmx ? 8 : 16) / bytes - 1);
		if (mmx) enterMmx(o);
		const value = laneOp(EXTRACT[bytes], lane, source);
		o.write(0, bytes !== 8 && o.widthOf(0) === 64 ? op("i64ExtendI32U", value) : value);
	},
	"imm",
);

define(
	"INSERTPS",
	(o) => {
		guardSse(o);
		const imm = immediateOf(o);
		const source = o.readScalar(1);
		const from = o.isMem(1) ? 0 : imm >> 6;
		const lanes = [0, 1, 2, 3].map((lane) => (lane === ((imm >> 4) & 3) ? from + 4 : lane));
		const inserted = pick(4, o.readVector(0), source, lanes);
		o.writeVector(
			0,
			(imm & 15) === 0
				? inserted
				: pick(
						4,
						o.f.let(inserted),
						ZERO,
						[0, 1, 2, 3].map((i) => ((imm >> i) & 1 ? 4 : i)),
					),
		);
	},
	"imm",
);
