/** PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: SDM Vol. 2B §4.1, "Imm8 Control Byte Operation for PCMPESTRI …". */
import { type Expr, i32, i64, laneOp, op, select } from "../../wasm/expr.ts";
import { comparisonOf } from "../core/pcmpstr.ts";
import type { Ops } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { define } from "./registry.ts";
import { constantVector, immediateOf, ZERO } from "./sse-operands.ts";
import { guardSse } from "./x87-state.ts";

/** |EAX| or |EDX| (RAX, RDX with REX.W), at most the number of elements. */
function explicitLength(o: Ops, register: number, count: number): Expr {
	if (o.insn.rexW) {
		const length = o.reg(register, 64);
		const size = o.f.let(select(op("i64LtS", length, i64(0)), op("i64Sub", i64(0), length), length));
		return o.f.let(op("i32WrapI64", select(op("i64GtU", size, i64(count)), i64(count), size)));
	}
	const length = o.reg(register, 32);
	const size = o.f.let(select(op("i32LtS", length, i32(0)), op("i32Sub", i32(0), length), length));
	return o.f.let(select(op("i32GtU", size, i32(count)), i32(count), size));
}

/** Bit j of a mask as element j: all ones or all zeros. */
function expand(mask: Expr, isWords: boolean): Expr {
	if (isWords) {
		const places = constantVector(2, 1, 2, 4, 8, 16, 32, 64, 128);
		return op("i16x8Eq", op("v128And", op("i16x8Splat", mask), places), places);
	}
	const halves = op("i8x16Swizzle", op("i16x8Splat", mask), constantVector(8, 0, 0x0101_0101_0101_0101n));
	const places = constantVector(1, 1, 2, 4, 8, 16, 32, 64, 128);
	return op("i8x16Eq", op("v128And", halves, places), places);
}

define(
	["PCMPESTRI", "PCMPESTRM", "PCMPISTRI", "PCMPISTRM"],
	(o) => {
		guardSse(o);
		const imm = immediateOf(o);
		const isWords = (imm & 1) !== 0;
		const count = isWords ? 8 : 16;
		const all = 2 ** count - 1;
		const b = o.readVector(1);
		const a = o.readVector(0);
		const isExplicit = o.insn.mnemonic.startsWith("PCMPE");
		const implicit = (vector: Expr): Expr => o.core("pcmpstrLength", "i32", vector, i32(isWords ? 1 : 0));
		const lengthA = isExplicit ? explicitLength(o, 0, count) : implicit(a);
		const lengthB = isExplicit ? explicitLength(o, 2, count) : implicit(b);
		const compared = o.core(comparisonOf(imm), "i32", a, b, lengthA, lengthB);
		const polarity = (imm >> 4) & 3;
		const validB = op("i32Sub", op("i32Shl", i32(1), lengthB), i32(1));
		const result = o.f.let(polarity === 1 ? op("i32Xor", compared, i32(all)) : polarity === 3 ? op("i32Xor", compared, validB) : compared);
		const isHigh = (imm & 0x40) !== 0;
		if (o.insn.mnemonic.endsWith("I")) {
			// The lowest or the highest bit set; none: the number of elements.
			const none = i32(count);
			const found = isHigh
				? select(op("i32Eqz", result), none, op("i32Sub", i32(31), op("i32Clz", result)))
				: op("i32Ctz", op("i32Or", result, i32(1 << count)));
			o.setReg(1, 32, found);
		} else o.setXmm(0, isHigh ? expand(result, isWords) : laneOp("i32x4ReplaceLane", 0, ZERO, result));
		const flag = (condition: Expr, bit: number): Expr => op("i32Shl", condition, i32(31 - Math.clz32(bit)));
		const image = [
			op("i32Ne", result, i32(0)),
			flag(op("i32LtU", lengthB, i32(count)), FLAG.ZF),
			flag(op("i32LtU", lengthA, i32(count)), FLAG.SF),
			flag(op("i32And", result, i32(1)), FLAG.OF),
		].reduce((sum, term) => op("i32Or", sum, term));
		o.setFlags("image", 32, image);
	},
	"imm",
);
