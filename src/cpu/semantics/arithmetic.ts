import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import { alu, constant, type Ops, truncate } from "../emit/ops.ts";
import { define } from "./registry.ts";

// Binary integer arithmetic and comparison: SDM Vol. 1 §5.1.2, "Binary Arithmetic Instructions".

define("ADD", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const b = o.read(1);
	o.setFlags("add", width, a, b);
	o.write(0, alu(width, "Add", a, b));
});

define("SUB", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const b = o.read(1);
	o.setFlags("sub", width, a, b);
	o.write(0, alu(width, "Sub", a, b));
});

define("CMP", (o) => {
	const a = o.read(0);
	const b = o.read(1);
	o.setFlags("sub", o.widthOf(0), a, b);
});

define("ADC", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const b = o.read(1);
	const carry = width === 64 ? o.f.let(op("i64ExtendI32U", o.carry())) : o.carry();
	o.setFlags("adc", width, a, b, carry);
	o.write(0, alu(width, "Add", alu(width, "Add", a, b), carry));
});

define("SBB", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const b = o.read(1);
	const borrow = width === 64 ? o.f.let(op("i64ExtendI32U", o.carry())) : o.carry();
	o.setFlags("sbb", width, a, b, borrow);
	o.write(0, alu(width, "Sub", alu(width, "Sub", a, b), borrow));
});

define("INC", (o) => {
	const width = o.widthOf(0);
	const result = o.f.let(alu(width, "Add", o.readModify(0), constant(width, 1)));
	o.setFlags("inc", width, result, o.carryToKeep());
	o.write(0, result);
});

define("DEC", (o) => {
	const width = o.widthOf(0);
	const result = o.f.let(alu(width, "Sub", o.readModify(0), constant(width, 1)));
	o.setFlags("dec", width, result, o.carryToKeep());
	o.write(0, result);
});

define("NEG", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	o.setFlags("sub", width, constant(width, 0), a);
	o.write(0, alu(width, "Sub", constant(width, 0), a));
});

define("XADD", (o) => {
	const width = o.widthOf(0);
	const a = o.readModify(0);
	const b = o.read(1);
	o.setFlags("add", width, a, b);
	// The register first: with one register for both operands the sum wins.
	o.write(1, a);
	o.write(0, alu(width, "Add", a, b));
});

define("CMPXCHG", (o) => {
	const width = o.widthOf(0);
	const destination = o.readModify(0);
	const accumulator = o.reg(0, width);
	const source = o.read(1);
	const isEqual = o.f.let(alu(width, "Eq", destination, accumulator));
	o.setFlags("sub", width, accumulator, destination);
	o.setReg(0, width, destination, op("i32Eqz", isEqual));
	// Memory is written in any case; a register that was not equal keeps its upper half too.
	if (o.isMem(0)) o.write(0, select(isEqual, source, destination));
	else o.write(0, source, isEqual);
});

/** ZF alone; the other flags stay. */
function setZeroFlag(o: Ops, isSet: Expr): void {
	const others = op("i32And", o.arithmeticFlags(), i32(~0x40));
	o.setFlags("image", 32, op("i32Or", others, op("i32Shl", isSet, i32(6))));
}

/** Memory is written in any case, as with CMPXCHG. */
define("CMPXCHG8B", (o) => {
	const pair = (high: number, low: number): Expr =>
		o.f.let(op("i64Or", op("i64Shl", op("i64ExtendI32U", o.reg(high, 32)), i64(32)), op("i64ExtendI32U", o.reg(low, 32))));
	const old = o.readModify(0);
	const isEqual = o.f.let(op("i64Eq", old, pair(2, 0)));
	o.write(0, select(isEqual, pair(1, 3), old));
	const differs = o.f.let(op("i32Eqz", isEqual));
	o.setReg(0, 32, op("i32WrapI64", old), differs);
	o.setReg(2, 32, op("i32WrapI64", op("i64ShrU", old, i64(32))), differs);
	setZeroFlag(o, isEqual);
});

define("CMPXCHG16B", (o) => {
	o.checkAligned(0);
	const low = o.address(0);
	const lowPlace = o.probe({ operand: 0 }, low, 8);
	const highPlace = o.probe({ operand: 0 }, o.f.let(op("i64Add", low, i64(8))), 8);
	const oldLow = o.loadPlace(lowPlace);
	const oldHigh = o.loadPlace(highPlace);
	const isEqual = o.f.let(op("i32And", op("i64Eq", oldLow, o.reg(0, 64)), op("i64Eq", oldHigh, o.reg(2, 64))));
	o.storePlace(lowPlace, select(isEqual, o.reg(3, 64), oldLow));
	o.storePlace(highPlace, select(isEqual, o.reg(1, 64), oldHigh));
	const differs = o.f.let(op("i32Eqz", isEqual));
	o.setReg(0, 64, oldLow, differs);
	o.setReg(2, 64, oldHigh, differs);
	setZeroFlag(o, isEqual);
});

define("MUL", (o) => {
	const width = o.widthOf(0);
	const a = o.reg(0, width);
	const b = o.read(0);
	if (width === 8) {
		const product = o.f.let(op("i32Mul", a, b));
		o.setReg(0, 16, product);
		const overflow = op("i32Ne", op("i32ShrU", product, i32(8)), i32(0));
		o.setFlags("bits", 8, product, op("i32Mul", overflow, i32(0x801)));
		return;
	}
	const { low, high } = wideProduct(o, width, a, b, false);
	o.setReg(0, width, low);
	o.setReg(2, width, high);
	o.setFlags("bits", width, low, op("i32Mul", op("i32Eqz", alu(width, "Eqz", high)), i32(0x801)));
});

define("IMUL", (o) => {
	const width = o.widthOf(0);
	if (o.insn.operands.length === 1) {
		const a = o.reg(0, width);
		const b = o.read(0);
		if (width === 8) {
			const product = o.f.let(op("i32Mul", op("i32Extend8S", a), op("i32Extend8S", b)));
			o.setReg(0, 16, op("i32And", product, i32(0xffff)));
			o.setFlags("bits", 8, product, op("i32Mul", op("i32Ne", op("i32Extend8S", product), product), i32(0x801)));
			return;
		}
		const { low, high } = wideProduct(o, width, a, b, true);
		o.setReg(0, width, low);
		o.setReg(2, width, high);
		o.setFlags("bits", width, low, op("i32Mul", op("i32Eqz", isSignOf(width, low, high)), i32(0x801)));
		return;
	}
	const last = o.insn.operands.length - 1;
	const a = o.read(last - 1);
	const b = o.read(last);
	if (o.width === 64) {
		const low = o.f.let(op("i64Mul", a, b));
		o.write(0, low);
		o.setFlags("bits", 64, low, o.areFlagsDead ? i32(0) : op("i32Mul", overflows64(o, a, b, low), i32(0x801)));
		return;
	}
	const { low, high } = wideProduct(o, o.width, a, b, true);
	o.write(0, low);
	o.setFlags("bits", width, low, op("i32Mul", op("i32Eqz", isSignOf(o.width, low, high)), i32(0x801)));
});

/** Whether a signed product leaves 64 bits. Factors are small most of the time, and then there is nothing to work out. */
function overflows64(o: O, a: E, b: E, low: E): E {
	const overflows = o.f.temporary("i32");
	o.f.set(overflows, i32(0));
	const areSmall = op("i32And", op("i64Eq", a, op("i64Extend32S", a)), op("i64Eq", b, op("i64Extend32S", b)));
	o.f.if(op("i32Eqz", areSmall), () => {
		const high = o.core("mulHighS", "i64", a, b);
		o.f.set(overflows, op("i32Eqz", isSignOf(64, low, high)));
	});
	return o.f.get(overflows);
}

type O = Parameters<Parameters<typeof define>[1]>[0];
type E = ReturnType<typeof i32>;

/** Whether `high` is nothing but the sign of `low`. */
function isSignOf(width: 16 | 32 | 64, low: E, high: E): E {
	if (width === 64) return op("i64Eq", high, op("i64ShrS", low, i64(63)));
	if (width === 32) return op("i32Eq", high, op("i32ShrS", low, i32(31)));
	return op("i32Eq", op("i32Extend16S", high), op("i32ShrS", op("i32Extend16S", low), i32(31)));
}

/** The double-width product as two halves, each zero-extended from `width`. */
function wideProduct(o: O, width: 16 | 32 | 64, a: E, b: E, isSigned: boolean): { low: E; high: E } {
	if (width === 64) {
		const low = o.f.let(op("i64Mul", a, b));
		return { low, high: o.core(isSigned ? "mulHighS" : "mulHighU", "i64", a, b) };
	}
	if (width === 32) {
		const extend = isSigned ? "i64ExtendI32S" : "i64ExtendI32U";
		const product = o.f.let(op("i64Mul", op(extend, a), op(extend, b)));
		return { low: o.f.let(op("i32WrapI64", product)), high: o.f.let(op("i32WrapI64", op("i64ShrU", product, i64(32)))) };
	}
	const extend = (e: E) => (isSigned ? op("i32Extend16S", e) : e);
	const product = o.f.let(op("i32Mul", extend(a), extend(b)));
	return { low: o.f.let(op("i32And", product, i32(0xffff))), high: o.f.let(op("i32ShrU", product, i32(16))) };
}

const DIVIDE_ERROR = 0;

define(["DIV", "IDIV"], (o) => {
	const isSigned = o.insn.mnemonic === "IDIV";
	const width = o.widthOf(0);
	const divisor = o.read(0);
	o.raiseIf(alu(width, "Eqz", divisor), DIVIDE_ERROR);
	if (width === 64) {
		const low = o.reg(0, 64);
		const high = o.reg(2, 64);
		o.raiseIf(o.core(isSigned ? "divide128S" : "divide128U", "i32", o.cpu, low, high, divisor), DIVIDE_ERROR);
		o.setReg(0, 64, o.field64("arg0"));
		o.setReg(2, 64, o.field64("arg1"));
		return;
	}
	if (width === 32) {
		const dividend = o.f.let(op("i64Or", op("i64Shl", op("i64ExtendI32U", o.reg(2, 32)), i64(32)), op("i64ExtendI32U", o.reg(0, 32))));
		const by = o.f.let(op(isSigned ? "i64ExtendI32S" : "i64ExtendI32U", divisor));
		if (isSigned) {
			const isWorst = op("i32And", op("i64Eq", by, i64(-1)), op("i64Eq", dividend, i64(-(1n << 63n))));
			o.raiseIf(isWorst, DIVIDE_ERROR);
		}
		const quotient = o.f.let(op(isSigned ? "i64DivS" : "i64DivU", dividend, by));
		const tooWide = isSigned ? op("i64Ne", op("i64Extend32S", quotient), quotient) : op("i64Ne", op("i64ShrU", quotient, i64(32)), i64(0));
		o.raiseIf(tooWide, DIVIDE_ERROR);
		o.setReg(0, 32, op("i32WrapI64", quotient));
		o.setReg(2, 32, op("i32WrapI64", op(isSigned ? "i64RemS" : "i64RemU", dividend, by)));
		return;
	}
	const dividend = width === 8 ? o.reg(0, 16) : o.f.let(op("i32Or", op("i32Shl", o.reg(2, 16), i32(16)), o.reg(0, 16)));
	const extend = width === 8 ? "i32Extend8S" : "i32Extend16S";
	const wide = isSigned && width === 8 ? o.f.let(op("i32Extend16S", dividend)) : dividend;
	const by = isSigned ? o.f.let(op(extend, divisor)) : divisor;
	if (isSigned && width === 16) o.raiseIf(op("i32And", op("i32Eq", by, i32(-1)), op("i32Eq", wide, i32(-0x8000_0000))), DIVIDE_ERROR);
	const quotient = o.f.let(op(isSigned ? "i32DivS" : "i32DivU", wide, by));
	const remainder = op(isSigned ? "i32RemS" : "i32RemU", wide, by);
	const tooWide = isSigned ? op("i32Ne", op(extend, quotient), quotient) : op("i32Ne", op("i32ShrU", quotient, i32(width)), i32(0));
	o.raiseIf(tooWide, DIVIDE_ERROR);
	if (width === 8) o.setReg(0, 16, op("i32Or", truncate(8, quotient), op("i32Shl", truncate(8, remainder), i32(8))));
	else {
		o.setReg(0, 16, truncate(16, quotient));
		o.setReg(2, 16, truncate(16, remainder));
	}
});
