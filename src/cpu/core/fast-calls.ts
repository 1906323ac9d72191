import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/core-ops.ts";
import { isNonCanonical } from "../emit/values.ts";
import { EFER } from "../mmu/access.ts";
import { ARITHMETIC_FLAGS, CC, FLAG } from "../state/flags.ts";
import { at, EXIT, jumpTagOf, MODE, TLB_KERNEL, TLB_USER } from "../state/layout.ts";
import { FAST_CODE64, FAST_DATA } from "../system/fast-calls.ts";
import { RFLAGS_MASK } from "../system/rflags.ts";
import { defineCore } from "./registry.ts";

/**
 * SYSCALL and SYSRET between 64-bit user and 64-bit kernel code with nothing unusual about it, as they happen a million times a second;
 * everything else is the TypeScript helper's (system/fast-calls.ts), under the same name with "slow_" before it.
 */

const KERNEL_MODE = MODE.code64 | MODE.stack32 | MODE.flat;
const USER_MODE = KERNEL_MODE | MODE.user;
const CS = 1;
const SS = 2;

const load = (cpu: Expr, name: Parameters<typeof at>[0], index = 0): Expr => loadOp("i32Load", cpu, at(name, index));

/** A flat segment; code segments cannot be written. */
function setFlat(f: FunctionBuilder, cpu: Expr, seg: number, selector: Expr, attr: number, isCode: boolean): void {
	const set = (name: Parameters<typeof at>[0], value: Expr) => f.store("i32Store", cpu, value, at(name, seg));
	set("segSelector", selector);
	f.store("i64Store", cpu, i64(0), at("segBase", seg));
	set("segLimit", i32(-1));
	set("segAttr", i32(attr));
	set("segReadLow", i32(0));
	set("segReadHigh", i32(-1));
	set("segWriteLow", i32(isCode ? -1 : 0));
	set("segWriteHigh", i32(isCode ? 0 : -1));
}

/** What hangs on the privilege level. @param selector of CS; SS's is 8 more or (for user code) 8 less */
function enter(f: FunctionBuilder, cpu: Expr, cpl: 0 | 3, selector: Expr): void {
	const mode = cpl === 3 ? USER_MODE : KERNEL_MODE;
	setFlat(f, cpu, CS, selector, FAST_CODE64 | (cpl << 13), true);
	setFlat(f, cpu, SS, op("i32Add", selector, i32(cpl === 3 ? -8 : 8)), FAST_DATA | (cpl << 13), false);
	f.store("i32Store", cpu, i32(cpl), at("cpl"));
	f.store("i32Store", cpu, i32(mode), at("modeKey"));
	f.store("i32Store", cpu, op("i32Or", load(cpu, "jumpGeneration", cpl === 3 ? 1 : 0), i32(jumpTagOf(mode, 0, 0))), at("jumpTag"));
	f.store("i32Store", cpu, op("i32Add", cpu, i32(cpl === 3 ? TLB_USER : TLB_KERNEL)), at("tlbBase"));
}

function setRflags(f: FunctionBuilder, cpu: Expr, image: Expr): void {
	f.store("i32Store", cpu, op("i32Or", op("i32And", image, i32(~ARITHMETIC_FLAGS)), i32(2)), at("flags"));
	f.store("i32Store", cpu, i32(CC.image), at("ccOp"));
	f.store("i64Store", cpu, op("i64ExtendI32U", op("i32And", image, i32(ARITHMETIC_FLAGS))), at("ccX"));
}

/** Goes on, or has the run loop look, if an interrupt may be due now. */
function goOn(f: FunctionBuilder, cpu: Expr, rflags: Expr): void {
	const isOpen = op("i32And", op("i32ShrU", rflags, i32(9)), load(cpu, "intrLine"));
	f.if(op("i32Or", isOpen, load(cpu, "nmiPending")), () => f.return(i32(EXIT.resync)));
	f.return(i32(EXIT.lookup));
	f.unreachable();
}

const slow = (f: FunctionBuilder, calls: Callables, name: string) =>
	f.returnCall(
		calls.index(`slow_${name}`),
		[0, 1, 2, 3].map((n) => f.param(n)),
	);

const isOdd = (cpu: Expr, wantedMode: number): Expr =>
	op(
		"i32Or",
		op("i32Or", op("i32Ne", load(cpu, "modeKey"), i32(wantedMode)), op("i32Eqz", op("i32And", load(cpu, "efer"), i32(EFER.SCE)))),
		op("i32Or", op("i32And", load(cpu, "flags"), i32(FLAG.TF | FLAG.AC)), load(cpu, "debugPending")),
	);

/** (cpu, length of the instruction, –, –) → status; see `fastCallHelpers`. */
defineCore("syscall", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length] = [f.param(0), f.param(1)];
	f.if(isOdd(cpu, USER_MODE), () => slow(f, calls, "syscall"));
	const arithmetic = f.callLet(calls.index("arithmeticFlags"), "i32", [cpu]);
	const old = f.let(op("i32Or", op("i32And", load(cpu, "flags"), i32(~ARITHMETIC_FLAGS)), arithmetic));
	const next = op("i64Add", loadOp("i64Load", cpu, at("rip")), op("i64ExtendI32U", length));
	f.store("i64Store", cpu, next, at("gpr", 1));
	f.store("i64Store", cpu, op("i64ExtendI32U", op("i32And", op("i32Or", old, i32(2)), i32(~FLAG.RF))), at("gpr", 11));
	f.store("i64Store", cpu, loadOp("i64Load", cpu, at("lstar")), at("rip"));
	const now = f.let(op("i32And", old, op("i32Xor", op("i32Or", load(cpu, "sfmask"), i32(FLAG.RF)), i32(-1))));
	setRflags(f, cpu, now);
	const selector = f.let(op("i32And", loadOp("i32Load", cpu, at("star") + 4), i32(0xfffc)));
	enter(f, cpu, 0, selector);
	goOn(f, cpu, now);
});

/** (cpu, length, 1 with REX.W, –) → status. */
defineCore("sysret", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, isWide] = [f.param(0), f.param(2)];
	f.if(op("i32Or", isOdd(cpu, KERNEL_MODE), op("i32Eqz", isWide)), () => slow(f, calls, "sysret"));
	const to = f.let(loadOp("i64Load", cpu, at("gpr", 1)));
	f.if(isNonCanonical(to), () => slow(f, calls, "sysret"));
	const now = f.let(op("i32And", loadOp("i32Load", cpu, at("gpr", 11)), i32(RFLAGS_MASK & ~FLAG.VM)));
	f.if(op("i32And", now, i32(FLAG.TF | FLAG.AC)), () => slow(f, calls, "sysret"));
	f.store("i64Store", cpu, to, at("rip"));
	setRflags(f, cpu, now);
	const base = op("i32Or", op("i32ShrU", loadOp("i32Load", cpu, at("star") + 4), i32(16)), i32(3));
	enter(f, cpu, 3, f.let(op("i32And", op("i32Add", base, i32(16)), i32(0xffff))));
	goOn(f, cpu, now);
});

/** STI at CPL 0: (cpu, length, –, –) → status. */
defineCore("sti", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length] = [f.param(0), f.param(1)];
	const flags = f.let(load(cpu, "flags"));
	const isOther = op("i32Or", op("i32Ne", load(cpu, "modeKey"), i32(KERNEL_MODE)), op("i32And", flags, i32(FLAG.TF)));
	f.if(op("i32Or", isOther, op("i32Or", load(cpu, "debugPending"), load(cpu, "nmiPending"))), () => slow(f, calls, "sti"));
	f.store("i64Store", cpu, op("i64Add", loadOp("i64Load", cpu, at("rip")), op("i64ExtendI32U", length)), at("rip"));
	f.if(op("i32And", flags, i32(FLAG.IF)), () => f.return(i32(EXIT.lookup)));
	f.store("i32Store", cpu, op("i32Or", flags, i32(FLAG.IF)), at("flags"));
	f.store("i32Store", cpu, i32(1), at("interruptShadow"));
	f.if(load(cpu, "intrLine"), () => f.return(i32(EXIT.resync)));
	f.return(i32(EXIT.lookup));
	f.unreachable();
});
