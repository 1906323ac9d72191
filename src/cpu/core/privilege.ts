import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/core-ops.ts";
import { isCode64, tlbSlot } from "../emit/values.ts";
import { CR0, EFER } from "../mmu/access.ts";
import { ARITHMETIC_FLAGS, CC, FLAG } from "../state/flags.ts";
import { at, EXIT, type FieldName, jumpTagOf, MODE, TLB_ENTRY, TLB_KERNEL, TLB_USER } from "../state/layout.ts";
import { FAST_CODE64, FAST_DATA } from "../system/fast-calls.ts";
import { ATTR, SEG } from "../system/mode.ts";
import { defineCore } from "./registry.ts";

/**
 * What transfers between privilege levels are made of where nothing about them is unusual: flat segments, everything present, CPL 0 and
 * CPL 3. The functions that use this look at everything first and change the state when nothing can go wrong any more; whatever is
 * not as expected they leave to the helpers in TypeScript (src/cpu/system), which know all the rules.
 */

/** Flat 64-bit and 32-bit code at CPL 0; at CPL 3 `MODE.user` is set too. */
export const KERNEL64 = MODE.code64 | MODE.stack32 | MODE.flat;
export const KERNEL32 = MODE.code32 | MODE.stack32 | MODE.flat;

/** High halves of descriptors of flat segments for CPL 0, already accessed, and the bits that count: all but AVL. */
const LIMIT = 0xf_0000;
export const FLAT_CODE64 = FAST_CODE64 | LIMIT;
export const FLAT_CODE32 = (FAST_CODE64 & ~ATTR.L) | ATTR.DB | LIMIT;
export const FLAT_DATA = FAST_DATA | LIMIT;
const FLAT_MASK = ~(1 << 20);

export const load = (cpu: Expr, name: FieldName, index = 0): Expr => loadOp("i32Load", cpu, at(name, index));
export const load64 = (cpu: Expr, name: FieldName, index = 0): Expr => loadOp("i64Load", cpu, at(name, index));

/** Goes on to the helper in TypeScript of the function that is being written. */
export const slow = (f: FunctionBuilder, calls: Callables, name: string): void =>
	f.returnCall(
		calls.index(`slow_${name}`),
		[0, 1, 2, 3].map((n) => f.param(n)),
	);

export const any = (first: Expr, ...rest: Expr[]): Expr => rest.reduce((sum, e) => op("i32Or", sum, e), first);

/** Whether a privilege level is neither 0 nor 3. */
export const isMiddle = (level: Expr): Expr => op("i32And", op("i32Add", level, i32(1)), i32(2));

/** Whether 32-bit code that looks flat runs in legacy protected mode (not in compatibility mode, nor behind PE's back). */
export const isLegacy = (cpu: Expr): Expr => op("i32And", load(cpu, "cr0"), op("i32Eqz", op("i32And", load(cpu, "efer"), i32(EFER.LMA))));

if (CR0.PE !== 1) throw new Error("isLegacy takes PE for 1");

/**
 * Where the `bytes` at `linear` lie, for the processor itself to read or write at CPL 0: (cpu, linear, bytes, isWrite) → offset; 0 where that takes
 * more than a simple walk, or they lie in two pages.
 */
defineCore("systemPlace", ["i32", "i64", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, linear, bytes, isWrite] = [f.param(0), f.param(1), f.param(2), f.param(3)];
	const low = f.let(op("i32WrapI64", linear));
	f.if(op("i32GtU", op("i32Add", op("i32And", low, i32(4095)), bytes), i32(4096)), () => f.return(i32(0)));
	const entry = f.let(op("i32Add", cpu, tlbSlot(low)));
	const write = loadOp("i64Load", entry, TLB_KERNEL + TLB_ENTRY.writeTag);
	const tag = select(isWrite, write, loadOp("i64Load", entry, TLB_KERNEL + TLB_ENTRY.readTag));
	f.if(op("i64Eq", op("i64And", linear, i64(-4096)), tag), () => {
		f.return(op("i32Add", low, loadOp("i32Load", entry, TLB_KERNEL + TLB_ENTRY.addend)));
	});
	// Linear addresses of legacy modes wrap; and 32-bit code must not meet entries above 4 GiB in its TLB.
	const is64 = isCode64(load(cpu, "modeKey"));
	const isUserOfLong = op(
		"i32And",
		op("i32Eq", load(cpu, "cpl"), i32(3)),
		op("i32Ne", op("i32And", load(cpu, "efer"), i32(EFER.LMA)), i32(0)),
	);
	const isHigh = op("i64Ne", op("i64ShrU", linear, i64(32)), i64(0));
	f.if(op("i32And", isHigh, op("i32Eqz", op("i32Or", is64, isUserOfLong))), () => f.return(i32(0)));
	const inForce = f.let(load(cpu, "tlbBase"));
	f.store("i32Store", cpu, op("i32Add", cpu, i32(TLB_KERNEL)), at("tlbBase"));
	const host = f.callLet(calls.index("fillTlb"), "i32", [cpu, linear, isWrite]);
	f.store("i32Store", cpu, inForce, at("tlbBase"));
	f.return(host);
	f.unreachable();
});

/** Offset of `bytes` at `linear`, or `giveUp`. */
export function place(
	f: FunctionBuilder,
	calls: Callables,
	linear: Expr,
	bytes: Expr | number,
	access: "read" | "write",
	giveUp: () => void,
): Expr {
	const count = typeof bytes === "number" ? i32(bytes) : bytes;
	const host = f.callLet(calls.index("systemPlace"), "i32", [f.param(0), linear, count, i32(access === "write" ? 1 : 0)]);
	f.if(op("i32Eqz", host), giveUp);
	return host;
}

/** The descriptor (64 bits) that `selector` names in the GDT, or `giveUp`: null selectors too. */
export function readDescriptor(f: FunctionBuilder, calls: Callables, selector: Expr, giveUp: () => void): Expr {
	const cpu = f.param(0);
	const isNull = op("i32Eqz", op("i32And", selector, i32(0xfffc)));
	const isBeyond = op("i32GtU", op("i32Or", op("i32And", selector, i32(0xffff)), i32(7)), load(cpu, "gdtrLimit"));
	f.if(any(isNull, op("i32And", selector, i32(4)), isBeyond), giveUp);
	const linear = op("i64Add", load64(cpu, "gdtrBase"), op("i64ExtendI32U", op("i32And", selector, i32(0xfff8))));
	return f.let(loadOp("i64Load", place(f, calls, linear, 8, "read", giveUp)));
}

/** Attributes (`segAttr`) of the descriptor that `selector` names, which must be that of a flat segment: `kind` (FLAT_…) at privilege `dpl`. */
export function flatSegment(
	f: FunctionBuilder,
	calls: Callables,
	selector: Expr,
	kind: number,
	dpl: Expr | number,
	giveUp: () => void,
): Expr {
	const entry = readDescriptor(f, calls, selector, giveUp);
	const high = f.let(op("i32WrapI64", op("i64ShrU", entry, i64(32))));
	const wanted =
		typeof dpl === "number" ? i32(kind | (dpl << ATTR.dplShift)) : op("i32Or", i32(kind), op("i32Shl", dpl, i32(ATTR.dplShift)));
	const isOther = op("i32Xor", op("i32And", high, i32(FLAT_MASK)), wanted);
	f.if(op("i32Or", isOther, op("i32Ne", op("i32WrapI64", entry), i32(0xffff))), giveUp);
	return f.let(op("i32And", high, i32(ATTR.all)));
}

/** A flat segment; code segments cannot be written. */
export function setFlat(f: FunctionBuilder, seg: typeof SEG.CS | typeof SEG.SS, selector: Expr, attr: Expr): void {
	const isCode = seg === SEG.CS;
	setSegment(f, seg, selector, attr, i32(-1), [0, -1, isCode ? -1 : 0, isCode ? 0 : -1]);
}

/** SS with a null selector. */
export function setNullStack(f: FunctionBuilder, selector: Expr): void {
	setSegment(f, SEG.SS, selector, i32(0), i32(0), [-1, 0, -1, 0]);
}

function setSegment(f: FunctionBuilder, seg: number, selector: Expr, attr: Expr, limit: Expr, ranges: readonly number[]): void {
	const cpu = f.param(0);
	f.store("i32Store", cpu, selector, at("segSelector", seg));
	f.store("i64Store", cpu, i64(0), at("segBase", seg));
	f.store("i32Store", cpu, limit, at("segLimit", seg));
	f.store("i32Store", cpu, attr, at("segAttr", seg));
	for (const [n, name] of (["segReadLow", "segReadHigh", "segWriteLow", "segWriteHigh"] as const).entries())
		f.store("i32Store", cpu, i32(ranges[n] as number), at(name, seg));
}

/** What hangs on the privilege level, with RFLAGS.AC = 0 before and after. @param kernel KERNEL64 or KERNEL32 */
export function setPrivilege(f: FunctionBuilder, kernel: number, cpl: 0 | 3): void {
	const cpu = f.param(0);
	const mode = cpl === 3 ? kernel | MODE.user : kernel;
	f.store("i32Store", cpu, i32(cpl), at("cpl"));
	f.store("i32Store", cpu, i32(mode), at("modeKey"));
	f.store("i32Store", cpu, op("i32Or", load(cpu, "jumpGeneration", cpl === 3 ? 1 : 0), i32(jumpTagOf(mode, 0, 0))), at("jumpTag"));
	f.store("i32Store", cpu, op("i32Add", cpu, i32(cpl === 3 ? TLB_USER : TLB_KERNEL)), at("tlbBase"));
}

/** RFLAGS whole. */
export function rflags(f: FunctionBuilder, calls: Callables): Expr {
	const cpu = f.param(0);
	const arithmetic = f.callLet(calls.index("arithmeticFlags"), "i32", [cpu]);
	return f.let(any(op("i32And", load(cpu, "flags"), i32(~ARITHMETIC_FLAGS)), arithmetic, i32(2)));
}

export function setRflags(f: FunctionBuilder, image: Expr): void {
	const cpu = f.param(0);
	f.store("i32Store", cpu, op("i32Or", op("i32And", image, i32(~ARITHMETIC_FLAGS)), i32(2)), at("flags"));
	f.store("i32Store", cpu, i32(CC.image), at("ccOp"));
	f.store("i64Store", cpu, op("i64ExtendI32U", op("i32And", image, i32(ARITHMETIC_FLAGS))), at("ccX"));
}

/** Moves rip behind the instruction: see `advance` of system/segments.ts. */
export function advance(f: FunctionBuilder, length: Expr): void {
	const cpu = f.param(0);
	const wide = op("i64Add", load64(cpu, "rip"), op("i64ExtendI32U", length));
	const narrow = op("i64ExtendI32U", op("i32Add", load(cpu, "rip"), length));
	const is64 = isCode64(load(cpu, "modeKey"));
	f.store("i64Store", cpu, select(is64, wide, narrow), at("rip"));
}

/** Debug traps are on their way, or this instruction is run by itself. */
export const isStepped = (cpu: Expr): Expr =>
	any(op("i32And", load(cpu, "flags"), i32(FLAG.TF)), load(cpu, "debugPending"), op("i32And", load(cpu, "modeKey"), i32(MODE.step)));

/** Goes on, or has the run loop look if an interrupt may be due now. @param now RFLAGS, or its upper part */
export function goOn(f: FunctionBuilder, now: Expr): void {
	const cpu = f.param(0);
	const isOpen = op("i32And", op("i32ShrU", now, i32(9)), load(cpu, "intrLine"));
	f.if(op("i32Or", isOpen, load(cpu, "nmiPending")), () => f.return(i32(EXIT.resync)));
	f.return(i32(EXIT.lookup));
	f.unreachable();
}
