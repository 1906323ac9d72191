/** Moves between vector registers, memory and general registers: SDM Vol. 1 §5.4.1, §5.5.1.1, §5.6.1.1, §5.7.1. */
import { type Expr, i32, i64, laneOp, op } from "../../wasm/expr.ts";
import type { Ops } from "../emit/ops.ts";
import { define } from "./registry.ts";
import { isMmx, low64, pick, readMmxVector, ZERO } from "./sse-operands.ts";
import { enterMmx, guardMmx, guardSse } from "./x87-state.ts";

define(["MOVAPS", "MOVAPD", "MOVDQA", "MOVUPS", "MOVUPD", "MOVDQU", "LDDQU", "MOVNTPS", "MOVNTPD", "MOVNTDQ", "MOVNTDQA"], (o) => {
	guardSse(o);
	o.writeVector(0, o.readVector(1));
});

/** Stores the low 4 or 8 bytes of the register that is operand 1. */
function storeLow(o: Ops, bytes: 4 | 8, value: Expr): void {
	o.store({ operand: 0 }, o.address(0), bytes, value);
}

define(["MOVSS", "MOVSD"], (o) => {
	guardSse(o);
	const isDouble = o.insn.mnemonic === "MOVSD";
	if (o.isMem(0)) {
		const source = o.readVector(1);
		storeLow(o, isDouble ? 8 : 4, laneOp(isDouble ? "i64x2ExtractLane" : "i32x4ExtractLane", 0, source));
		return;
	}
	// From memory the rest of the register is cleared, from a register it stays.
	const source = o.readScalar(1);
	if (o.isMem(1)) o.writeVector(0, source);
	else o.writeVector(0, isDouble ? pick(8, source, o.readVector(0), [0, 3]) : pick(4, source, o.readVector(0), [0, 5, 6, 7]));
});

define("MOVQ", (o) => {
	if (isMmx(o)) {
		guardMmx(o);
		const value = o.readMmx(1);
		if (!o.isMem(0)) enterMmx(o);
		o.writeMmx(0, value);
		if (o.isMem(0)) enterMmx(o);
		return;
	}
	guardSse(o);
	if (o.isMem(0)) storeLow(o, 8, low64(o.readVector(1)));
	else if (o.isMem(1)) o.writeVector(0, o.readScalar(1));
	else o.writeVector(0, pick(8, o.readVector(1), ZERO, [0, 2]));
});

define("MOVD", (o) => {
	const isToVector = o.insn.operands[0]?.kind === "reg" && o.insn.operands[0].cls !== "gpr";
	if (isMmx(o)) {
		guardMmx(o);
		if (isToVector) {
			const value = o.read(1);
			enterMmx(o);
			o.writeMmx(0, value.type === "i64" ? value : op("i64ExtendI32U", value));
		} else {
			const value = o.readMmx(1);
			o.write(0, o.widthOf(0) === 64 ? value : op("i32WrapI64", value));
			enterMmx(o);
		}
		return;
	}
	guardSse(o);
	if (isToVector) {
		const value = o.read(1);
		o.writeVector(0, laneOp(value.type === "i64" ? "i64x2ReplaceLane" : "i32x4ReplaceLane", 0, ZERO, value));
	} else o.write(0, laneOp(o.widthOf(0) === 64 ? "i64x2ExtractLane" : "i32x4ExtractLane", 0, o.readVector(1)));
});

/** One half of a register from or to memory. */
for (const [names, half] of [
	[["MOVLPS", "MOVLPD"], 0],
	[["MOVHPS", "MOVHPD"], 1],
] as const)
	define(names, (o) => {
		guardSse(o);
		if (o.isMem(0)) storeLow(o, 8, laneOp("i64x2ExtractLane", half, o.readVector(1)));
		else {
			const loaded = o.readScalar(1);
			const old = o.readVector(0);
			o.writeVector(0, pick(8, old, loaded, half === 0 ? [2, 1] : [0, 2]));
		}
	});

define("MOVHLPS", (o) => {
	guardSse(o);
	o.writeVector(0, pick(8, o.readVector(0), o.readVector(1), [3, 1]));
});

define("MOVLHPS", (o) => {
	guardSse(o);
	o.writeVector(0, pick(8, o.readVector(0), o.readVector(1), [0, 2]));
});

define("MOVDDUP", (o) => {
	guardSse(o);
	const source = o.readScalar(1);
	o.writeVector(0, pick(8, source, source, [0, 0]));
});

for (const [mnemonic, lanes] of [
	["MOVSLDUP", [0, 0, 2, 2]],
	["MOVSHDUP", [1, 1, 3, 3]],
] as const)
	define(mnemonic, (o) => {
		guardSse(o);
		const source = o.readVector(1);
		o.writeVector(0, pick(4, source, source, lanes));
	});

/** Writes an i32 to a general register, zero-extended. */
const writeGpr = (o: Ops, value: Expr): void => o.write(0, o.widthOf(0) === 64 ? op("i64ExtendI32U", value) : value);

for (const [mnemonic, name] of [
	["MOVMSKPS", "i32x4Bitmask"],
	["MOVMSKPD", "i64x2Bitmask"],
] as const)
	define(mnemonic, (o) => {
		guardSse(o);
		writeGpr(o, op(name, o.readVector(1)));
	});

define("PMOVMSKB", (o) => {
	if (isMmx(o)) {
		guardMmx(o);
		const source = readMmxVector(o, 1);
		enterMmx(o);
		writeGpr(o, op("i32And", op("i8x16Bitmask", source), i32(0xff)));
		return;
	}
	guardSse(o);
	writeGpr(o, op("i8x16Bitmask", o.readVector(1)));
});

define("MOVNTQ", (o) => {
	guardMmx(o);
	o.writeMmx(0, o.readMmx(1));
	enterMmx(o);
});

define("MOVDQ2Q", (o) => {
	guardSse(o);
	guardMmx(o);
	const source = low64(o.readVector(1));
	enterMmx(o);
	o.writeMmx(0, source);
});

define("MOVQ2DQ", (o) => {
	guardSse(o);
	guardMmx(o);
	const source = o.readMmx(1);
	enterMmx(o);
	o.writeVector(0, laneOp("i64x2ReplaceLane", 0, ZERO, source));
});

/** Stores the bytes whose mask byte has its top bit set. All of the destination must be writable, whatever the mask. */
define(["MASKMOVQ", "MASKMOVDQU"], (o) => {
	const mmx = isMmx(o);
	if (mmx) guardMmx(o);
	else guardSse(o);
	const bytes = mmx ? 8 : 16;
	const value = mmx ? readMmxVector(o, 1) : o.readVector(1);
	const mask = mmx ? readMmxVector(o, 2) : o.readVector(2);
	const bits = o.f.let(op("i8x16Bitmask", mask));
	// Unlike the other MMX stores, it enters MMX mode even if it faults.
	if (mmx) enterMmx(o);
	const { linear } = o.probe({ operand: 0 }, o.address(0), bytes);
	for (let i = 0; i < bytes; i++)
		o.f.if(op("i32And", bits, i32(1 << i)), () => {
			const place = linear.type === "i64" ? op("i64Add", linear, i64(i)) : op("i32Add", linear, i32(i));
			o.storeLinear(o.f.let(place), 1, laneOp("i8x16ExtractLaneU", i, value));
		});
});

const MXCSR_RESERVED = ~0xffff;

define("LDMXCSR", (o) => {
	guardSse(o);
	const value = o.read(0);
	o.raiseIf(op("i32And", value, i32(MXCSR_RESERVED)), 13, 0);
	o.setField32("mxcsr", value);
});

define("STMXCSR", (o) => {
	guardSse(o);
	o.write(0, o.field32("mxcsr"));
});
