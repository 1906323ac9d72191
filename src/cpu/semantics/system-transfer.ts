import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { Ops } from "../emit/ops.ts";
import { zeroExtendTo } from "../emit/ops.ts";
import { FLAG } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { define } from "./registry.ts";

// Far transfers, segment registers and the flags register: mostly the long helpers of src/cpu/system.

/** Offset and selector of a far pointer operand. */
function farPointer(o: Ops, n: number): { offset: Expr; selector: Expr } {
	if (o.insn.operands[n]?.kind === "far") return { offset: o.f.let(o.immediate(n, "i64")), selector: o.f.let(o.secondImmediate(n)) };
	const bytes = o.insn.opBytes;
	const address = o.address(n);
	const { addrBits } = o.insn;
	const behind = address.type === "i64" ? op("i64Add", address, i64(bytes)) : op("i32Add", address, i32(bytes));
	const place = o.f.let(addrBits === 16 ? op("i32And", behind, i32(0xffff)) : behind);
	const offset = o.load({ operand: n }, address, bytes);
	return { offset, selector: o.load({ operand: n }, place, 2) };
}

define("JMPF", (o) => {
	const { offset, selector } = farPointer(o, 0);
	o.pass(0, offset);
	o.system("jumpFar", o.length(), selector, i32(o.insn.opBytes));
});

define("CALLF", (o) => {
	const { offset, selector } = farPointer(o, 0);
	o.pass(0, offset);
	o.system("callFar", o.length(), selector, i32(o.insn.opBytes));
});

define("RETF", (o) => {
	const released = o.insn.operands.length === 0 ? i32(0) : o.imm32(0);
	o.system("returnFar", o.length(), i32(o.insn.opBytes), released);
});

define("IRET", (o) => o.system("iret", o.length(), i32(o.insn.opBytes)));

define("SYSCALL", (o) => o.system("syscall", o.length()));
define("SYSRET", (o) => o.system("sysret", o.length(), i32(o.insn.rexW ? 1 : 0)));
define("SYSENTER", (o) => o.system("sysenter", o.length()));
define("SYSEXIT", (o) => o.system("sysexit", o.length(), i32(o.insn.rexW ? 1 : 0)));

// ---- segment registers ----

function selectorOf(o: Ops, n: number): Expr {
	return o.f.let(loadOp("i32Load", op("i32Add", o.cpu, op("i32Shl", o.index(n), i32(2))), at("segSelector")));
}

/**
 * Loads ES, DS, FS or GS; the block goes on unless the mode is another now. The instruction's other writes take effect before that is looked at: nothing can
 * fail any more.
 */
function loadDataSegment(o: Ops, selector: Expr): void {
	const mode = o.field32("modeKey");
	o.query("segmentLoad", o.index(0), selector);
	o.commit();
	o.f.if(op("i32Ne", o.field32("modeKey"), mode), () => o.leaveBehind());
}

define("MOV.seg", (o) => {
	const [destination] = o.insn.operands;
	if (destination?.kind === "reg" && destination.cls === "seg") {
		const source = o.read(1);
		const selector = source.type === "i64" ? op("i32WrapI64", source) : source;
		if (o.insn.row.flow === "none") loadDataSegment(o, selector);
		else o.system("loadSegment", o.length(), o.index(0), selector);
		return;
	}
	o.write(0, zeroExtendTo(32, o.widthOf(0), selectorOf(o, 1)));
});

define("PUSH.seg", (o) => o.push(o.insn.opBytes, zeroExtendTo(32, o.width, selectorOf(o, 0))));

// POP and LxS load the segment first, so that a bad selector leaves the other registers alone; then, for SS and LxS, the block ends.
define("POP.seg", (o) => {
	const value = o.pop(o.insn.opBytes);
	const selector = value.type === "i64" ? op("i32WrapI64", value) : value;
	if (o.insn.row.flow === "none") {
		loadDataSegment(o, selector);
		return;
	}
	o.query("segmentLoad", o.index(0), selector);
	o.system("next", o.length());
});

const LOADED_BY: Readonly<Record<string, number>> = { LES: 0, LSS: 2, LDS: 3, LFS: 4, LGS: 5 };

define(Object.keys(LOADED_BY), (o) => {
	const { offset, selector } = farPointer(o, 1);
	o.query("segmentLoad", i32(LOADED_BY[o.insn.mnemonic] as number), selector, i32(1));
	o.write(0, offset);
	o.system("next", o.length());
});

define("SWAPGS", (o) => {
	const base = o.field64("segBase", 5);
	const other = o.field64("kernelGsBase");
	o.setField64("segBase", other, 5);
	o.setField64("kernelGsBase", base);
});

const CR4_FSGSBASE = 1 << 16;
const BASE_OF: Readonly<Record<string, number>> = { RDFSBASE: 4, RDGSBASE: 5, WRFSBASE: 4, WRGSBASE: 5 };

define(["RDFSBASE", "RDGSBASE"], (o) => {
	o.raiseIf(op("i32Eqz", op("i32And", o.field32("cr4"), i32(CR4_FSGSBASE))), 6);
	const base = o.field64("segBase", BASE_OF[o.insn.mnemonic] as number);
	o.write(0, o.widthOf(0) === 64 ? base : op("i32WrapI64", base));
});

define(["WRFSBASE", "WRGSBASE"], (o) => {
	o.raiseIf(op("i32Eqz", op("i32And", o.field32("cr4"), i32(CR4_FSGSBASE))), 6);
	const value = zeroExtendTo(o.widthOf(0), 64, o.read(0));
	const top = o.f.let(op("i64ShrS", value, i64(47)));
	o.raiseIf(op("i32Eqz", op("i32Or", op("i64Eqz", top), op("i64Eq", top, i64(-1)))), 13, 0);
	o.setField64("segBase", value, BASE_OF[o.insn.mnemonic] as number);
});

// ---- flags ----

/** CPL above IOPL: the instruction is the helper's affair (virtual-8086 extensions, or #GP). In virtual-8086 mode CPL is 3. */
function lacksIopl(o: Ops): Expr {
	const iopl = op("i32And", op("i32ShrU", o.field32("flags"), i32(12)), i32(3));
	return op("i32GtU", o.field32("cpl"), iopl);
}

define("CLI", (o) => {
	o.f.if(lacksIopl(o), () => o.system("cli", o.length()));
	o.isEnded = false;
	o.setField32("flags", op("i32And", o.field32("flags"), i32(~FLAG.IF)));
});

define("STI", (o) => o.system("sti", o.length()));

define("PUSHF", (o) => {
	const image = o.f.temporary("i32");
	const flags = o.field32("flags");
	o.f.if(
		op("i32And", flags, i32(FLAG.VM)),
		() => {
			o.syncFlags();
			o.query("pushf", i32(o.insn.opBytes));
			o.f.set(image, o.result(0, 32));
		},
		() => o.f.set(image, op("i32Or", o.arithmeticFlags(), op("i32And", flags, i32(~(FLAG.VM | FLAG.RF))))),
	);
	const value = o.f.get(image);
	o.push(o.insn.opBytes, zeroExtendTo(32, o.width, value));
});

define("POPF", (o) => {
	o.query("checkPopf", i32(o.insn.opBytes));
	const value = o.pop(o.insn.opBytes);
	o.pass(0, value);
	o.system("popf", o.length(), i32(o.insn.opBytes));
});

define("STAC", (o) => o.system("setAc", o.length(), i32(1)));
define("CLAC", (o) => o.system("setAc", o.length(), i32(0)));

// ---- control and debug registers, tables ----

const asWord = (e: Expr): Expr => (e.type === "i64" ? op("i32WrapI64", e) : e);

for (const [mnemonic, cls, write, read] of [
	["MOV.cr", "cr", "writeCr", "readCr"],
	["MOV.dr", "dr", "writeDr", "readDr"],
] as const)
	define(mnemonic, (o) => {
		const [destination] = o.insn.operands;
		if (destination?.kind === "reg" && destination.cls === cls) {
			o.pass(0, o.read(1));
			o.system(write, o.length(), o.index(0));
			return;
		}
		o.query(read, o.index(1));
		o.write(0, o.result(0, o.widthOf(0)));
	});

define("CLTS", (o) => o.system("clts", o.length()));
define("LMSW", (o) => o.system("lmsw", o.length(), asWord(o.read(0))));
define("SMSW", (o) => {
	o.query("smsw");
	o.write(0, o.result(0, o.widthOf(0)));
});
define("XSETBV", (o) => o.system("xsetbv", o.length()));
define("XGETBV", (o) => {
	o.pass(0, o.reg(1, 32));
	o.query("xgetbv");
	const value = o.field64("arg0");
	o.setReg(0, 32, op("i32WrapI64", value));
	o.setReg(2, 32, op("i32WrapI64", op("i64ShrU", value, i64(32))));
});
define("LLDT", (o) => o.system("lldt", o.length(), asWord(o.read(0))));
define("LTR", (o) => o.system("ltr", o.length(), asWord(o.read(0))));
