import type { Expr } from "../../wasm/expr.ts";
import { i32, i64, op, select } from "../../wasm/expr.ts";
import type { Width } from "../emit/condition.ts";
import { alu, constant, type Ops, signExtendTo, truncate } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { define } from "./registry.ts";

// Logic, shifts, rotates and bits: SDM Vol. 1 §5.1.4–5.1.6.

for (const [mnemonic, name] of [
	["AND", "And"],
	["OR", "Or"],
	["XOR", "Xor"],
] as const)
	define(mnemonic, (o) => {
		const width = o.widthOf(0);
		const result = o.f.let(alu(width, name, o.readModify(0), o.read(1)));
		o.setFlags("logic", width, result);
		o.write(0, result);
	});

define("TEST", (o) => {
	const width = o.widthOf(0);
	o.setFlags("logic", width, alu(width, "And", o.read(0), o.read(1)));
});

define("NOT", (o) => {
	const width = o.widthOf(0);
	o.write(0, alu(width, "Xor", o.readModify(0), constant(width, -1)));
});

/** The masked count of a shift, in the type of `width`; and whether it is not 0. */
function shiftCount(o: Ops, width: Width, n: number): { count: Expr; isSome: Expr; count32: Expr } {
	const raw = o.insn.operands[n]?.kind === "imm" ? o.imm32(n) : o.read(n);
	const count32 = o.f.let(op("i32And", raw, i32(width === 64 ? 63 : 31)));
	const isSome = o.f.let(op("i32Ne", count32, i32(0)));
	return { count: width === 64 ? o.f.let(op("i64ExtendI32U", count32)) : count32, isSome, count32 };
}

const bit = (width: Width, value: Expr, at: number): Expr => {
	const low = width === 64 ? op("i32WrapI64", op("i64ShrU", value, i64(at))) : op("i32ShrU", value, i32(at));
	return op("i32And", low, i32(1));
};

/** CF and OF at their places in RFLAGS. */
const carryOverflow = (carry: Expr, overflow: Expr): Expr => op("i32Or", carry, op("i32Shl", overflow, i32(11)));

const low32 = (e: Expr): Expr => (e.type === "i64" ? op("i32WrapI64", e) : e);

define("SHL", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const { count, isSome } = shiftCount(o, width, 1);
	const result = o.f.let(truncate(width, alu(width, "Shl", a, count)));
	// Counts up to 31 push everything out.
	o.setFlags("shl", width, result, signExtendTo(width, width, shiftedByLess(width, "Shl", a, count)), undefined, isSome);
	o.write(0, result);
});

define("SHR", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const { count, isSome } = shiftCount(o, width, 1);
	const result = o.f.let(alu(width, "ShrU", a, count));
	if (width >= 32) o.setFlags("shr", width, result, shiftedByLess(width, "ShrS", a, count), undefined, isSome);
	else {
		// Beyond the operand's width the sign must not take part.
		const carry = op("i32And", shiftedByLess(width, "ShrU", a, count), i32(1));
		o.setFlags("bits", width, result, carryOverflow(carry, bit(width, a, width - 1)), undefined, isSome);
	}
	o.write(0, result);
});

define("SAR", (o) => {
	const width = o.widthOf(0);
	const a = o.f.let(signExtendTo(width, width, o.readModify(0)));
	const { count, isSome } = shiftCount(o, width, 1);
	const result = o.f.let(alu(width, "ShrS", a, count));
	o.setFlags("sar", width, result, shiftedByLess(width, "ShrS", a, count), undefined, isSome);
	o.write(0, truncate(width, result));
});

/** The operand shifted by one place less than the count. */
function shiftedByLess(width: Width, shift: "Shl" | "ShrU" | "ShrS", a: Expr, count: Expr): Expr {
	return alu(width, shift, a, alu(width, "Sub", count, constant(width, 1)));
}

/** Rotates change CF and OF alone. */
function setRotateFlags(o: Ops, carry: Expr, overflow: Expr, isSome: Expr): void {
	const others = op("i32And", o.flagsToKeep(), i32(~(FLAG.CF | FLAG.OF)));
	o.setFlags("image", 32, op("i32Or", others, carryOverflow(carry, overflow)), undefined, undefined, isSome);
}

define(["ROL", "ROR"], (o) => {
	const width = o.widthOf(0);
	const isLeft = o.insn.mnemonic === "ROL";
	const a = o.readModify(0);
	const { count, isSome } = shiftCount(o, width, 1);
	let result: Expr;
	if (width >= 32) result = o.f.let(alu(width, isLeft ? "Rotl" : "Rotr", a, count));
	else {
		const by = o.f.let(op("i32And", count, i32(width - 1)));
		const back = op("i32Sub", i32(width), by);
		const [left, right] = isLeft ? [by, back] : [back, by];
		result = o.f.let(truncate(width, op("i32Or", op("i32Shl", a, left), op("i32ShrU", a, right))));
	}
	const top = bit(width, result, width - 1);
	const carry = isLeft ? bit(width, result, 0) : top;
	const overflow = op("i32Xor", top, isLeft ? carry : bit(width, result, width - 2));
	if (!o.turnFlags(isLeft, width, result, isSome)) setRotateFlags(o, carry, overflow, isSome);
	o.write(0, result);
});

define(["RCL", "RCR"], (o) => {
	const width = o.widthOf(0);
	const isLeft = o.insn.mnemonic === "RCL";
	const a = o.readModify(0);
	const masked = shiftCount(o, width, 1);
	const carryIn = o.carry();
	let result: Expr;
	let carry: Expr;
	let isSome = masked.isSome;
	if (width === 64) {
		const count = masked.count;
		const rest = o.f.let(op("i64Sub", i64(64), count));
		const cin = o.f.let(op("i64ExtendI32U", carryIn));
		const rotated = isLeft
			? op(
					"i64Or",
					op("i64Or", op("i64Shl", a, count), op("i64Shl", cin, op("i64Sub", count, i64(1)))),
					op("i64ShrU", op("i64ShrU", a, i64(1)), rest),
				)
			: op("i64Or", op("i64Or", op("i64ShrU", a, count), op("i64Shl", cin, rest)), op("i64Shl", op("i64Shl", a, i64(1)), rest));
		const out = isLeft ? op("i64ShrU", a, rest) : op("i64ShrU", a, op("i64Sub", count, i64(1)));
		result = o.f.let(select(isSome, rotated, a));
		carry = o.f.let(op("i32WrapI64", op("i64And", out, i64(1))));
	} else {
		// The carry is one more bit of the number that turns, so 8- and 16-bit counts go round at 9 and 17.
		const turns = width === 32 ? masked.count32 : o.f.let(op("i32RemU", masked.count32, i32(width + 1)));
		isSome = o.f.let(op("i32Ne", turns, i32(0)));
		const by = o.f.let(op("i64ExtendI32U", turns));
		const back = o.f.let(op("i64Sub", i64(width + 1), by));
		const whole = o.f.let(op("i64Or", op("i64ExtendI32U", a), op("i64Shl", op("i64ExtendI32U", carryIn), i64(width))));
		const [left, right] = isLeft ? [by, back] : [back, by];
		const turned = o.f.let(op("i64Or", op("i64Shl", whole, left), op("i64ShrU", whole, right)));
		result = o.f.let(truncate(width, op("i32WrapI64", turned)));
		carry = o.f.let(op("i32And", op("i32WrapI64", op("i64ShrU", turned, i64(width))), i32(1)));
	}
	const top = bit(width, result, width - 1);
	setRotateFlags(o, carry, op("i32Xor", top, isLeft ? carry : bit(width, result, width - 2)), isSome);
	o.write(0, result);
});

define(["SHLD", "SHRD"], (o) => {
	const width = o.widthOf(0);
	const isLeft = o.insn.mnemonic === "SHLD";
	const a = o.readModify(0);
	const b = o.read(1);
	const { count, isSome } = shiftCount(o, width, 2);
	let result: Expr;
	let carry: Expr;
	if (width === 64) {
		const rest = o.f.let(op("i64Sub", i64(64), count));
		const shifted = isLeft
			? op("i64Or", op("i64Shl", a, count), op("i64ShrU", b, rest))
			: op("i64Or", op("i64ShrU", a, count), op("i64Shl", b, rest));
		const out = isLeft ? op("i64ShrU", a, rest) : op("i64ShrU", a, op("i64Sub", count, i64(1)));
		result = o.f.let(select(isSome, shifted, a));
		carry = op("i32WrapI64", op("i64And", out, i64(1)));
	} else {
		const by = o.f.let(op("i64ExtendI32U", count));
		const wideA = op("i64ExtendI32U", a);
		const wideB = op("i64ExtendI32U", b);
		// The manuals leave 16-bit counts above 16 open; AMD's processors go on with the source once more, and clear CF.
		const bits = isLeft
			? width === 32
				? op("i64Or", op("i64Shl", wideA, i64(32)), wideB)
				: op("i64Or", op("i64Or", op("i64Shl", wideA, i64(32)), op("i64Shl", wideB, i64(16))), wideB)
			: width === 32
				? op("i64Or", op("i64Shl", wideB, i64(32)), wideA)
				: op("i64Or", op("i64Or", op("i64Shl", wideB, i64(32)), op("i64Shl", wideB, i64(16))), wideA);
		const whole = o.f.let(bits);
		const moved = isLeft ? op("i64ShrU", op("i64Shl", whole, by), i64(32)) : op("i64ShrU", whole, by);
		result = o.f.let(truncate(width, op("i32WrapI64", moved)));
		const out = isLeft ? op("i64ShrU", whole, op("i64Sub", i64(32 + width), by)) : op("i64ShrU", whole, op("i64Sub", by, i64(1)));
		carry = op("i32And", op("i32WrapI64", out), width === 16 ? op("i32LeU", op("i32WrapI64", by), i32(16)) : i32(1));
	}
	const overflow = op("i32Xor", bit(width, result, width - 1), bit(width, a, width - 1));
	o.setFlags("bits", width, result, carryOverflow(carry, overflow), undefined, isSome);
	o.write(0, result);
});

/** BT and its kin with a register offset reach beyond the operand in memory: SDM Vol. 2A §3.1.1.9, "Operation Section", Bit(). */
define(["BT", "BTS", "BTR", "BTC"], (o) => {
	const width = o.widthOf(0);
	const mnemonic = o.insn.mnemonic;
	const offset = o.insn.operands[1]?.kind === "imm" ? (width === 64 ? o.immediate(1, "i64") : o.imm32(1)) : o.read(1);
	const within = o.f.let(alu(width, "And", offset, constant(width, width - 1)));
	const isFar = o.isMem(0) && o.insn.operands[1]?.kind === "reg";
	const modifies = mnemonic !== "BT";
	const change = (a: Expr): Expr => {
		const mask = o.f.let(alu(width, "Shl", constant(width, 1), within));
		if (mnemonic === "BTS") return alu(width, "Or", a, mask);
		if (mnemonic === "BTC") return alu(width, "Xor", a, mask);
		return alu(width, "And", a, alu(width, "Xor", mask, constant(width, -1)));
	};
	const finish = (a: Expr) => {
		const found = op("i32And", low32(alu(width, "ShrU", a, within)), i32(1));
		o.setFlags("image", 32, op("i32Or", op("i32And", o.flagsToKeep(), i32(~FLAG.CF)), found));
	};
	if (!isFar) {
		const a = modifies ? o.readModify(0) : o.read(0);
		finish(a);
		if (modifies) o.write(0, change(a));
		return;
	}
	const bytes = (width / 8) as 2 | 4 | 8;
	const signed = signExtendTo(width, width, offset);
	const units = alu(width, "ShrS", signed, constant(width, Math.log2(width)));
	const step = alu(width, "Shl", units, constant(width, Math.log2(bytes)));
	const address = o.address(0);
	const moved =
		address.type === "i64"
			? op("i64Add", address, width === 64 ? step : op("i64ExtendI32S", step))
			: op("i32Add", address, width === 64 ? op("i32WrapI64", step) : step);
	const addrBits = o.insn.addrBits;
	const cut =
		addrBits === 16
			? op("i32And", moved, i32(0xffff))
			: addrBits === 32 && moved.type === "i64"
				? op("i64And", moved, i64(0xffff_ffff))
				: moved;
	const place = o.f.let(cut);
	if (modifies) {
		const probed = o.probe({ operand: 0 }, place, bytes);
		const a = o.loadPlace(probed);
		finish(a);
		o.storePlace(probed, change(a));
	} else finish(o.load({ operand: 0 }, place, bytes));
});

// BSF and BSR leave the destination as it was when the source is 0, on every processor made (AMD documents it).
for (const [mnemonic, isForward] of [
	["BSF", true],
	["BSR", false],
] as const)
	define(mnemonic, (o) => {
		const width = o.widthOf(0);
		const a = o.read(1);
		const isZero = o.f.let(alu(width, "Eqz", a));
		const found = isForward ? alu(width, "Ctz", a) : alu(width, "Sub", constant(width, width === 64 ? 63 : 31), alu(width, "Clz", a));
		o.setFlags("image", 32, op("i32Or", op("i32And", o.flagsToKeep(), i32(~FLAG.ZF)), op("i32Shl", isZero, i32(6))));
		o.write(0, found, op("i32Eqz", isZero));
	});

define("TZCNT", (o) => {
	const width = o.widthOf(0);
	const a = o.read(1);
	const count = width === 16 ? op("i32Ctz", op("i32Or", a, i32(0x10000))) : alu(width, "Ctz", a);
	setCountFlags(o, width, a, o.f.let(count));
});

define("LZCNT", (o) => {
	const width = o.widthOf(0);
	const a = o.read(1);
	const count = width === 16 ? op("i32Sub", op("i32Clz", a), i32(16)) : alu(width, "Clz", a);
	setCountFlags(o, width, a, o.f.let(count));
});

function setCountFlags(o: Ops, width: Width, a: Expr, count: Expr): void {
	const others = op("i32And", o.flagsToKeep(), i32(~(FLAG.CF | FLAG.ZF)));
	const zf = op("i32Shl", alu(width, "Eqz", count), i32(6));
	o.setFlags("image", 32, op("i32Or", op("i32Or", others, zf), alu(width, "Eqz", a)));
	o.write(0, count);
}

define("POPCNT", (o) => {
	const width = o.widthOf(0);
	const a = o.read(1);
	o.setFlags("image", 32, op("i32Shl", alu(width, "Eqz", a), i32(6)));
	o.write(0, alu(width, "Popcnt", a));
});

define("BSWAP", (o) => {
	const width = o.widthOf(0);
	o.write(0, swapBytes(o, width, o.read(0)));
});

define("MOVBE", (o) => {
	o.write(0, swapBytes(o, o.widthOf(0), o.read(1)));
});

/** Reverses the bytes of a zero-extended value. A 16-bit BSWAP gives 0, as on every processor that was asked. */
function swapBytes(o: Ops, width: Width, a: Expr): Expr {
	if (width === 16) {
		if (o.insn.mnemonic === "BSWAP") return i32(0);
		return op("i32Or", op("i32ShrU", a, i32(8)), op("i32And", op("i32Shl", a, i32(8)), i32(0xff00)));
	}
	const swap32 = (e: Expr) => {
		const x = o.f.let(e);
		return op("i32Or", op("i32And", op("i32Rotl", x, i32(8)), i32(0x00ff00ff)), op("i32And", op("i32Rotr", x, i32(8)), i32(0xff00ff00)));
	};
	if (width === 32) return swap32(a);
	const high = op("i64ExtendI32U", swap32(op("i32WrapI64", op("i64ShrU", a, i64(32)))));
	return op("i64Or", op("i64Shl", op("i64ExtendI32U", swap32(op("i32WrapI64", a))), i64(32)), high);
}

define("CRC32", (o) => {
	const bytes = (o.insn.operands[1] as { bytes: number }).bytes;
	const source = o.read(1);
	const crc = o.core("crc32c", "i32", low32(o.read(0)), source.type === "i64" ? source : op("i64ExtendI32U", source), i32(bytes));
	o.write(0, o.widthOf(0) === 64 ? op("i64ExtendI32U", crc) : crc);
});
