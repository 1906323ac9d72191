import { type Expr, i32, i64, op } from "../../wasm/expr.ts";
import type { MemOperand } from "../../x86/decode/insn.ts";
import { type Ops, zeroExtendTo } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { define } from "./registry.ts";
import { advance, repeat, stringPointer } from "./string.ts";

// Descriptor tables, ports, software interrupts, and what only an operating system does.

const asWord = (e: Expr): Expr => (e.type === "i64" ? op("i32WrapI64", e) : e);

/** A place `bytes` behind a memory operand's start. */
function behind(o: Ops, address: Expr, bytes: number): Expr {
	const sum = address.type === "i64" ? op("i64Add", address, i64(bytes)) : op("i32Add", address, i32(bytes));
	return o.f.let(o.insn.addrBits === 16 ? op("i32And", sum, i32(0xffff)) : sum);
}

define(["LGDT", "LIDT"], (o) => {
	const address = o.address(0);
	const limit = o.load({ operand: 0 }, address, 2);
	const base = o.load({ operand: 0 }, behind(o, address, 2), o.is64 ? 8 : 4);
	// With a 16-bit operand size the base has 24 bits (SDM Vol. 2A, LGDT/LIDT).
	o.pass(0, !o.is64 && o.insn.opBytes === 2 ? op("i32And", base, i32(0xff_ffff)) : base);
	o.system(o.insn.mnemonic === "LGDT" ? "lgdt" : "lidt", o.length(), limit);
});

define(["SGDT", "SIDT"], (o) => {
	o.query(o.insn.mnemonic === "SGDT" ? "sgdt" : "sidt");
	const base = o.is64 ? o.field64("arg0") : o.result(0, 32);
	const limit = o.result(1, 32);
	const address = o.address(0);
	const ref = { operand: 0 };
	// Both parts are written, or none.
	const limitPlace = o.probe(ref, address, 2);
	const basePlace = o.probe(ref, behind(o, address, 2), o.is64 ? 8 : 4);
	o.storePlace(limitPlace, limit);
	o.storePlace(basePlace, base);
});

define(["SLDT", "STR"], (o) => {
	o.query(o.insn.mnemonic === "SLDT" ? "sldt" : "str");
	o.write(0, zeroExtendTo(32, o.widthOf(0), o.result(0, 32)));
});

/** The other flags stay. */
function setZeroFlag(o: Ops, isSet: Expr): void {
	o.setFlags("image", 32, op("i32Or", op("i32And", o.arithmeticFlags(), i32(~FLAG.ZF)), op("i32Shl", isSet, i32(6))));
}

define(["LAR", "LSL"], (o) => {
	o.query("checkSegmentation");
	o.query(o.insn.mnemonic === "LAR" ? "lar" : "lsl", asWord(o.read(1)));
	const isFound = o.result(1, 32);
	const value = o.result(0, 32);
	setZeroFlag(o, isFound);
	o.write(0, zeroExtendTo(32, o.widthOf(0), value), isFound);
});

define(["VERR", "VERW"], (o) => {
	o.query("checkSegmentation");
	o.query("verify", o.read(0), i32(o.insn.mnemonic === "VERW" ? 1 : 0));
	setZeroFlag(o, o.result(1, 32));
});

define("ARPL", (o) => {
	o.query("checkSegmentation");
	const destination = o.read(0);
	const source = o.read(1);
	const requested = op("i32And", source, i32(3));
	const isLower = o.f.let(op("i32LtU", op("i32And", destination, i32(3)), requested));
	const raised = o.f.let(op("i32Or", op("i32And", destination, i32(0xfffc)), requested));
	// Memory that need not change is not written, nor checked for it.
	if (o.isMem(0)) o.f.if(isLower, () => o.write(0, raised));
	else o.write(0, raised, isLower);
	setZeroFlag(o, isLower);
});

// ---- ports ----

define("IN", (o) => {
	const bytes = (o.insn.operands[0] as { bytes: number }).bytes;
	const port = o.insn.operands[1]?.kind === "imm" ? o.imm32(1) : o.reg(2, 16);
	o.query("portRead", port, i32(bytes));
	o.write(0, o.result(0, 32));
});

define("OUT", (o) => {
	const bytes = (o.insn.operands[1] as { bytes: number }).bytes;
	const port = o.insn.operands[0]?.kind === "imm" ? o.imm32(0) : o.reg(2, 16);
	o.system("out", o.length(), op("i32Or", port, i32(bytes << 16)), o.read(1));
});

const stringBytes = (o: Ops): 1 | 2 | 4 => (o.insn.operands.find((operand) => operand.kind === "mem") as MemOperand).bytes as 1 | 2 | 4;

/** Privilege comes first, even where the count is 0. */
function checkRepeatedPort(o: Ops, bytes: number): void {
	if (o.insn.rep !== 0) o.query("checkPort", o.reg(2, 16), i32(bytes));
}

define("INS", (o) => {
	const bytes = stringBytes(o);
	checkRepeatedPort(o, bytes);
	repeat(o, () => {
		const port = o.reg(2, 16);
		o.query("checkPort", port, i32(bytes));
		const place = o.probe({ seg: 0 }, stringPointer(o, 7), bytes);
		o.query("portRead", port, i32(bytes));
		o.storePlace(place, o.result(0, 32));
		advance(o, 7, bytes);
	});
});

define("OUTS", (o) => {
	const bytes = stringBytes(o);
	checkRepeatedPort(o, bytes);
	const source = o.insn.operands.findIndex((operand) => operand.kind === "mem");
	repeat(o, () => {
		const port = o.reg(2, 16);
		o.query("checkPort", port, i32(bytes));
		const value = o.load({ operand: source }, stringPointer(o, 6), bytes);
		o.query("portWrite", port, i32(bytes), value);
		advance(o, 6, bytes);
	});
});

// ---- software interrupts and undefined opcodes ----

define("INT", (o) => o.system("interrupt", o.length(), o.imm32(0)));
define("INT3", (o) => o.system("trap", o.length(), i32(3)));
define("INT1", (o) => o.system("debugInterrupt", o.length()));
define("INTO", (o) => {
	o.f.if(o.condition(0), () => o.system("trap", o.length(), i32(4)));
	o.isEnded = false;
});

define("BOUND", (o) => {
	const bytes = o.insn.opBytes as 2 | 4;
	const signed = (e: Expr) => (bytes === 2 ? op("i32Extend16S", e) : e);
	const index = signed(o.read(0));
	const address = o.address(1);
	const lower = signed(o.load({ operand: 1 }, address, bytes));
	const upper = signed(o.load({ operand: 1 }, behind(o, address, bytes), bytes));
	o.raiseIf(op("i32Or", op("i32LtS", index, lower), op("i32GtS", index, upper)), 5);
});

define(["UD0", "UD1", "UD2", "RSM"], (o) => o.raise(6));

// ---- caches, translation, waiting ----

define("HLT", (o) => o.system("hlt", o.length()));
// There are no caches to write back; the privilege check is the row's.
define(["INVD", "WBINVD"], () => {});

define("INVLPG", (o) => {
	o.pass(0, o.linear({ operand: 0 }, o.address(0), 0, false));
	o.system("invlpg", o.length());
});

define("INVPCID", (o) => {
	const address = o.address(1);
	const context = o.load({ operand: 1 }, address, 8);
	const linear = o.load({ operand: 1 }, behind(o, address, 8), 8);
	o.pass(0, o.read(0));
	o.pass(1, context);
	o.pass(2, linear);
	o.system("invpcid", o.length());
});

// ---- floating-point and extended state images ----

for (const [mnemonics, helper] of [
	[["FXSAVE"], "fxsave"],
	[["FXRSTOR"], "fxrstor"],
	[["XSAVE", "XSAVEOPT"], "xsave"],
	[["XRSTOR"], "xrstor"],
] as const)
	define(mnemonics, (o) => {
		const isSave = helper === "fxsave" || helper === "xsave";
		o.pass(0, o.linear({ operand: 0 }, o.address(0), 512, isSave));
		o.system(helper, o.length(), i32(o.insn.rexW ? 1 : 0));
	});
