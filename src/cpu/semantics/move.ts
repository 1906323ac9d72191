import type { Expr } from "../../wasm/expr.ts";
import { i32, i64, op, select } from "../../wasm/expr.ts";
import { alu, constant, type Ops, signExtendTo, truncate, zeroExtendTo } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { define } from "./registry.ts";

// Data transfer: SDM Vol. 1 §5.1.1.

define(["MOV", "MOVNTI"], (o) => o.write(0, o.read(1)));

define("MOVZX", (o) => o.write(0, zeroExtendTo(o.widthOf(1), o.widthOf(0), o.read(1))));

define(["MOVSX", "MOVSXD"], (o) => o.write(0, signExtendTo(o.widthOf(1), o.widthOf(0), o.read(1))));

define("LEA", (o) => {
	const width = o.widthOf(0);
	const address = o.address(1);
	if (width === 64) o.write(0, address);
	else o.write(0, truncate(width, address.type === "i64" ? op("i32WrapI64", address) : address));
});

define("XCHG", (o) => {
	const first = o.readModify(0);
	const second = o.read(1);
	o.write(1, first);
	o.write(0, second);
});

define("CMOVCC", (o) => {
	const source = o.read(1);
	const old = o.read(0);
	o.write(0, select(o.condition(o.insn.cc), source, old));
});

define("SETCC", (o) => o.write(0, o.condition(o.insn.cc)));

define("CBW", (o) => {
	if (o.width === 64) o.setReg(0, 64, op("i64ExtendI32S", o.reg(0, 32)));
	else if (o.width === 32) o.setReg(0, 32, op("i32Extend16S", o.reg(0, 16)));
	else o.setReg(0, 16, truncate(16, op("i32Extend8S", o.reg(0, 8))));
});

define("CWD", (o) => {
	if (o.width === 64) o.setReg(2, 64, op("i64ShrS", o.reg(0, 64), i64(63)));
	else if (o.width === 32) o.setReg(2, 32, op("i32ShrS", o.reg(0, 32), i32(31)));
	else o.setReg(2, 16, truncate(16, op("i32ShrS", op("i32Extend16S", o.reg(0, 16)), i32(31))));
});

define("PUSH", (o) => {
	const bytes = o.insn.opBytes;
	if (o.insn.operands[0]?.kind === "imm") {
		const value = o.immediate(0, bytes === 8 ? "i64" : "i32");
		o.push(bytes, value);
	} else o.push(bytes, o.read(0));
});

define("POP", (o) => {
	const bytes = o.insn.opBytes;
	if (!o.isMem(0)) {
		const value = o.pop(bytes);
		o.write(0, value);
		return;
	}
	// The address of POP's destination counts with the stack pointer already moved (SDM Vol. 2B, POP).
	const sp = o.stackPointer();
	const value = o.load({ seg: 2 }, sp, bytes);
	const moved = o.stackAdd(sp, bytes);
	const before = o.address(0);
	const grown = op("i32Mul", o.baseIsStackPointer(0), i32(bytes));
	const address = o.f.let(before.type === "i64" ? op("i64Add", before, op("i64ExtendI32U", grown)) : op("i32Add", before, grown));
	o.store({ operand: 0 }, address, bytes, value);
	o.setReg(4, o.stackWidth, moved);
});

define("PUSHA", (o) => {
	const bytes = o.insn.opBytes as 2 | 4;
	const sp = o.stackPointer();
	for (let i = 0; i < 8; i++) o.store({ seg: 2 }, o.stackAdd(sp, -bytes * (i + 1)), bytes, o.reg(i, o.width as 16 | 32));
	o.setReg(4, o.stackWidth, o.stackAdd(sp, -8 * bytes));
});

define("POPA", (o) => {
	const bytes = o.insn.opBytes as 2 | 4;
	const sp = o.stackPointer();
	const values: Expr[] = [];
	for (let i = 0; i < 8; i++) values.push(o.load({ seg: 2 }, o.stackAdd(sp, bytes * i), bytes));
	values.forEach((value, i) => {
		if (i !== 3) o.setReg(7 - i, o.width as 16 | 32, value);
	});
	o.setReg(4, o.stackWidth, o.stackAdd(sp, 8 * bytes));
});

define("LEAVE", (o) => {
	const bytes = o.insn.opBytes;
	const frame = o.reg(5, o.stackWidth);
	const value = o.load({ seg: 2 }, frame, bytes);
	o.setReg(4, o.stackWidth, o.stackAdd(frame, bytes));
	o.setReg(5, o.width, value);
});

define("ENTER", (o) => {
	const bytes = o.insn.opBytes;
	const size = o.imm32(0);
	const level = o.f.let(op("i32And", o.secondImmediate(1), i32(31)));
	const type = o.stackWidth === 64 ? "i64" : "i32";
	const sp = o.f.local(type);
	o.f.set(sp, o.stackAdd(o.stackPointer(), -bytes));
	o.store({ seg: 2 }, o.f.get(sp), bytes, o.reg(5, o.width));
	// With a 16-bit stack the frame pointer may still be all of ESP.
	const isMixed = o.stackWidth === 16 && bytes === 4;
	const frame = o.f.let(isMixed ? op("i32Or", op("i32And", o.reg(4, 32), i32(~0xffff)), o.f.get(sp)) : o.f.get(sp));
	const framePointer = o.f.local(type);
	o.f.set(framePointer, o.reg(5, o.stackWidth));
	const left = o.f.local("i32");
	o.f.set(left, level);
	o.f.if(level, () => {
		o.f.loop((again) => {
			o.f.set(left, op("i32Sub", o.f.get(left), i32(1)));
			o.f.if(o.f.get(left), () => {
				o.f.set(framePointer, o.stackAdd(o.f.get(framePointer), -bytes));
				const value = o.load({ seg: 2 }, o.f.get(framePointer), bytes);
				o.f.set(sp, o.stackAdd(o.f.get(sp), -bytes));
				o.store({ seg: 2 }, o.f.get(sp), bytes, value);
				o.f.br(again);
			});
		});
		o.f.set(sp, o.stackAdd(o.f.get(sp), -bytes));
		const pushed = frame.type === "i64" && bytes !== 8 ? op("i32WrapI64", frame) : frame;
		o.store({ seg: 2 }, o.f.get(sp), bytes, pushed);
	});
	const moved = o.stackAdd(o.f.get(sp), type === "i64" ? op("i64Sub", i64(0), op("i64ExtendI32U", size)) : op("i32Sub", i32(0), size));
	// The new top must be writable, or ENTER faults with nothing changed.
	o.probe({ seg: 2 }, moved, bytes);
	o.setReg(5, o.width, o.width === 64 ? frame : frame.type === "i64" ? op("i32WrapI64", frame) : truncate(o.width, frame));
	o.setReg(4, o.stackWidth, moved);
});

define("XLAT", (o) => {
	const al = o.reg(0, 8);
	const base = o.address(o.insn.operands.findIndex((operand) => operand.kind === "mem"));
	const sum = base.type === "i64" ? op("i64Add", base, op("i64ExtendI32U", al)) : op("i32Add", base, al);
	const cut =
		o.insn.addrBits === 16
			? op("i32And", sum, i32(0xffff))
			: o.insn.addrBits === 32 && sum.type === "i64"
				? op("i64And", sum, i64(0xffff_ffff))
				: sum;
	o.setReg(0, 8, o.load({ operand: 0 }, o.f.let(cut), 1));
});

// ---- flags ----

define("LAHF", (o) => o.setRegHigh(0, op("i32Or", op("i32And", o.arithmeticFlags(), i32(0xd5)), i32(2))));

define("SAHF", (o) => {
	const kept = op("i32And", o.arithmeticFlags(), i32(FLAG.OF));
	o.setFlags("image", 32, op("i32Or", kept, op("i32And", o.regHigh(0), i32(0xd5))));
});

define("CLC", (o) => o.setFlags("image", 32, op("i32And", o.arithmeticFlags(), i32(~FLAG.CF))));
define("STC", (o) => o.setFlags("image", 32, op("i32Or", o.arithmeticFlags(), i32(FLAG.CF))));
define("CMC", (o) => o.setFlags("image", 32, op("i32Xor", o.arithmeticFlags(), i32(FLAG.CF))));
define("CLD", (o) => o.setField32("flags", op("i32And", o.field32("flags"), i32(~FLAG.DF))));
define("STD", (o) => o.setField32("flags", op("i32Or", o.field32("flags"), i32(FLAG.DF))));
define("SALC", (o) => o.setReg(0, 8, op("i32And", op("i32Sub", i32(0), o.carry()), i32(0xff))));

// Hints: prefetches, fences and cache lines. One thread of guest execution at a time makes every order right.
define(["NOP", "PREFETCHW", "PREFETCHNTA", "PREFETCHT0", "PREFETCHT1", "PREFETCHT2", "LFENCE", "MFENCE", "SFENCE"], () => {});

// Whoever spins on this thread keeps from running whom it waits for.
define("PAUSE", (o) => o.query("pause"));

define(["CLFLUSH", "CLFLUSHOPT", "CLWB"], (o) => {
	// Faults as a load of one byte would, and does nothing else.
	o.load({ operand: 0 }, o.address(0), 1);
});

// ---- decimal adjustment: SDM Vol. 1 §5.1.3 ----

define(["DAA", "DAS"], (o) => {
	const isAdd = o.insn.mnemonic === "DAA";
	const al = o.reg(0, 8);
	const flags = o.f.let(o.arithmeticFlags());
	const lowAdjust = o.f.let(
		op("i32Or", op("i32GtU", op("i32And", al, i32(15)), i32(9)), op("i32And", op("i32ShrU", flags, i32(4)), i32(1))),
	);
	const highAdjust = o.f.let(op("i32Or", op("i32GtU", al, i32(0x99)), op("i32And", flags, i32(1))));
	const by = op("i32Add", op("i32Mul", lowAdjust, i32(6)), op("i32Mul", highAdjust, i32(0x60)));
	const result = o.f.let(op("i32And", op(isAdd ? "i32Add" : "i32Sub", al, by), i32(0xff)));
	// DAS also borrows when the low correction alone goes below 0.
	const carry = isAdd ? highAdjust : op("i32Or", highAdjust, op("i32And", lowAdjust, op("i32LtU", al, i32(6))));
	o.setReg(0, 8, result);
	o.setFlags("bits", 8, result, op("i32Or", op("i32Shl", lowAdjust, i32(4)), carry));
});

define(["AAA", "AAS"], (o) => {
	const ax = o.reg(0, 16);
	const flags = o.f.let(o.arithmeticFlags());
	const adjust = o.f.let(op("i32Or", op("i32GtU", op("i32And", ax, i32(15)), i32(9)), op("i32And", op("i32ShrU", flags, i32(4)), i32(1))));
	const by = op("i32Mul", adjust, i32(0x106));
	const moved = o.f.let(op(o.insn.mnemonic === "AAA" ? "i32Add" : "i32Sub", ax, by));
	const result = o.f.let(op("i32And", moved, i32(0xff0f)));
	o.setReg(0, 16, result);
	o.setFlags("bits", 8, op("i32And", result, i32(0xff)), op("i32Or", op("i32Shl", adjust, i32(4)), adjust));
});

define("AAM", (o) => {
	const base = o.imm32(0);
	o.raiseIf(op("i32Eqz", base), 0);
	const al = o.reg(0, 8);
	const low = o.f.let(op("i32RemU", al, base));
	o.setReg(0, 16, op("i32Or", op("i32Shl", op("i32DivU", al, base), i32(8)), low));
	o.setFlags("logic", 8, low);
});

define("AAD", (o) => {
	const ax = o.reg(0, 16);
	const low = o.f.let(
		op("i32And", op("i32Add", op("i32And", ax, i32(0xff)), op("i32Mul", op("i32ShrU", ax, i32(8)), o.imm32(0))), i32(0xff)),
	);
	o.setReg(0, 16, low);
	o.setFlags("logic", 8, low);
});

// ---- near control transfer ----

define("JCC", (o) => o.branch(0, o.condition(o.insn.cc)));

define("JMP", (o) => {
	if (o.insn.operands[0]?.kind === "rel") o.branch(0);
	else o.jump(target(o.read(0), o.is64));
});

/** Room on the stack comes first, then the target; nothing is written if either is amiss. */
function pushReturn(o: Ops, value: Expr, checkTarget: () => void): void {
	const bytes = o.insn.opBytes;
	if (!o.checksTargets) {
		o.push(bytes, value);
		return;
	}
	const sp = o.stackAdd(o.stackPointer(), -bytes);
	const place = o.probe({ seg: 2 }, sp, bytes);
	checkTarget();
	o.storePlace(place, value);
	o.setReg(4, o.stackWidth, sp);
}

define("CALL", (o) => {
	const bytes = o.insn.opBytes;
	const next = (): Expr => {
		const rip = o.nextRip();
		return bytes === 8 || rip.type === "i32" ? rip : op("i32WrapI64", rip);
	};
	if (o.insn.operands[0]?.kind === "rel") {
		pushReturn(o, next(), () => o.checkBranch(0));
		o.branch(0);
		return;
	}
	const to = target(o.read(0), o.is64);
	pushReturn(o, next(), () => o.checkTarget(to));
	o.jump(to, "call");
});

define("RET", (o) => {
	const bytes = o.insn.opBytes;
	const sp = o.stackPointer();
	const to = target(o.load({ seg: 2 }, sp, bytes), o.is64);
	const after = o.stackAdd(sp, bytes);
	const released =
		o.insn.operands.length === 0 ? after : o.stackAdd(after, o.stackWidth === 64 ? op("i64ExtendI32U", o.imm32(0)) : o.imm32(0));
	o.setReg(4, o.stackWidth, released);
	o.jump(to, "return");
});

/** A near target in the type of rip. */
function target(value: Expr, is64: boolean): Expr {
	return is64 && value.type === "i32" ? op("i64ExtendI32U", value) : value;
}

define(["LOOP", "LOOPE", "LOOPNE"], (o) => {
	const width = o.insn.addrBits;
	const count = o.f.let(truncate(width, alu(width, "Sub", o.reg(1, width), constant(width, 1))));
	o.setReg(1, width, count);
	const isLeft = o.f.let(op("i32Eqz", alu(width, "Eqz", count)));
	const { mnemonic, rep } = o.insn;
	if (mnemonic === "LOOP") {
		o.branch(0, isLeft);
		return;
	}
	// A repeat prefix says which of the two it is, whatever the opcode (so AMD's processors do).
	const isEqual = rep === 0 ? mnemonic === "LOOPE" : rep === 0xf3;
	o.branch(0, o.f.let(op("i32And", isLeft, o.condition(isEqual ? 4 : 5))));
});

define("JCXZ", (o) => {
	const width = o.insn.addrBits;
	o.branch(0, o.f.let(alu(width, "Eqz", o.reg(1, width))));
});
