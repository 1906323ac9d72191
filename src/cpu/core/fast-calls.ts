import { type Expr, i32, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { isNonCanonical } from "../emit/values.ts";
import { CR4, EFER } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { at, EXIT, MODE, TLB_KERNEL, TLB_KERNEL_AC } from "../state/layout.ts";
import { FAST_CODE64, FAST_DATA } from "../system/fast-calls.ts";
import { ATTR, SEG } from "../system/mode.ts";
import { RFLAGS_MASK } from "../system/rflags.ts";
import {
	advance,
	any,
	goOn,
	isLegacy,
	KERNEL32,
	KERNEL64,
	load,
	load64,
	rflags,
	setFlat,
	setPrivilege,
	setRflags,
	slow,
} from "./privilege.ts";
import { defineCore } from "./registry.ts";

/**
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT between flat user and kernel code with nothing unusual about it, as they happen a million times
 * a second, and the instructions that open and close interrupts around them; everything else is the TypeScript helper's
 * (system/fast-calls.ts, system/flag-instructions.ts), under the same name with "slow_" before it.
 */

/** The segments that these instructions make up. @param selector of CS; SS's is 8 more or (where SYSRET goes) 8 less */
function enter(f: FunctionBuilder, kernel: number, cpl: 0 | 3, selector: Expr, ssDistance = 8): void {
	const code = kernel === KERNEL64 ? FAST_CODE64 : (FAST_CODE64 & ~ATTR.L) | ATTR.DB;
	setFlat(f, SEG.CS, selector, i32(code | (cpl << ATTR.dplShift)));
	const stack = op("i32And", op("i32Add", selector, i32(ssDistance)), i32(0xffff));
	setFlat(f, SEG.SS, stack, i32(FAST_DATA | (cpl << ATTR.dplShift)));
	setPrivilege(f, kernel, cpl);
}

const isOdd = (cpu: Expr, wantedMode: number): Expr =>
	any(
		op("i32Ne", load(cpu, "modeKey"), i32(wantedMode)),
		op("i32Eqz", op("i32And", load(cpu, "efer"), i32(EFER.SCE))),
		op("i32And", load(cpu, "flags"), i32(FLAG.TF | FLAG.AC)),
		load(cpu, "debugPending"),
	);

/** (cpu, length of the instruction, –, –) → status; see `fastCallHelpers`. */
defineCore("syscall", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length] = [f.param(0), f.param(1)];
	f.if(isOdd(cpu, KERNEL64 | MODE.user), () => slow(f, calls, "syscall"));
	const old = rflags(f, calls);
	const next = op("i64Add", load64(cpu, "rip"), op("i64ExtendI32U", length));
	f.store("i64Store", cpu, next, at("gpr", 1));
	f.store("i64Store", cpu, op("i64ExtendI32U", op("i32And", old, i32(~FLAG.RF))), at("gpr", 11));
	f.store("i64Store", cpu, load64(cpu, "lstar"), at("rip"));
	const now = f.let(op("i32And", old, op("i32Xor", op("i32Or", load(cpu, "sfmask"), i32(FLAG.RF)), i32(-1))));
	setRflags(f, now);
	enter(f, KERNEL64, 0, f.let(op("i32And", loadOp("i32Load", cpu, at("star") + 4), i32(0xfffc))));
	goOn(f, now);
});

/** (cpu, length, 1 with REX.W, –) → status. */
defineCore("sysret", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, isWide] = [f.param(0), f.param(2)];
	f.if(any(isOdd(cpu, KERNEL64), op("i32Eqz", isWide), load(cpu, "cpl")), () => slow(f, calls, "sysret"));
	const to = f.let(load64(cpu, "gpr", 1));
	f.if(isNonCanonical(to), () => slow(f, calls, "sysret"));
	const now = f.let(op("i32And", loadOp("i32Load", cpu, at("gpr", 11)), i32(RFLAGS_MASK & ~FLAG.VM)));
	f.if(op("i32And", now, i32(FLAG.TF | FLAG.AC)), () => slow(f, calls, "sysret"));
	f.store("i64Store", cpu, to, at("rip"));
	setRflags(f, now);
	const base = op("i32Or", op("i32ShrU", loadOp("i32Load", cpu, at("star") + 4), i32(16)), i32(3));
	enter(f, KERNEL64, 3, f.let(op("i32And", op("i32Add", base, i32(16)), i32(0xffff))), -8);
	goOn(f, now);
});

/** What SYSENTER and SYSEXIT want alike: flat 32-bit code of legacy mode. */
const isOdd32 = (cpu: Expr, mode: Expr): Expr =>
	any(
		op("i32Ne", mode, i32(KERNEL32)),
		op("i32Eqz", isLegacy(cpu)),
		op("i32And", load(cpu, "flags"), i32(FLAG.TF | FLAG.AC | FLAG.VM)),
		op("i32Eqz", op("i32And", load(cpu, "sysenterCs"), i32(0xfffc))),
	);

const zeroExtended = (cpu: Expr, name: "sysenterEsp" | "sysenterEip" | "gpr", index = 0): Expr =>
	loadOp("i64Load32U", cpu, at(name, index));

/** (cpu, –, –, –) → status. */
defineCore("sysenter", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	const mode = op("i32And", load(cpu, "modeKey"), i32(~MODE.user));
	f.if(isOdd32(cpu, mode), () => slow(f, calls, "sysenter"));
	f.store("i32Store", cpu, op("i32And", load(cpu, "flags"), i32(~FLAG.IF)), at("flags"));
	enter(f, KERNEL32, 0, f.let(op("i32And", load(cpu, "sysenterCs"), i32(0xfffc))));
	f.store("i64Store", cpu, zeroExtended(cpu, "sysenterEsp"), at("gpr", 4));
	f.store("i64Store", cpu, zeroExtended(cpu, "sysenterEip"), at("rip"));
	f.return(i32(EXIT.lookup));
	f.unreachable();
});

/** (cpu, –, –, –) → status. */
defineCore("sysexit", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	f.if(op("i32Or", isOdd32(cpu, load(cpu, "modeKey")), load(cpu, "cpl")), () => slow(f, calls, "sysexit"));
	const base = op("i32And", load(cpu, "sysenterCs"), i32(0xfffc));
	const selector = f.let(op("i32And", op("i32Or", op("i32Add", base, i32(16)), i32(3)), i32(0xffff)));
	enter(f, KERNEL32, 3, selector);
	f.store("i64Store", cpu, zeroExtended(cpu, "gpr", 1), at("gpr", 4));
	f.store("i64Store", cpu, zeroExtended(cpu, "gpr", 2), at("rip"));
	f.return(i32(EXIT.lookup));
	f.unreachable();
});

/** Neither flat 32-bit code nor 64-bit code. */
const isSegmented = (mode: Expr): Expr => op("i32And", op("i32Ne", mode, i32(KERNEL64)), op("i32Ne", mode, i32(KERNEL32)));

/** STI at CPL 0: (cpu, length, –, –) → status. */
defineCore("sti", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length] = [f.param(0), f.param(1)];
	const flags = f.let(load(cpu, "flags"));
	const isOther = op("i32Or", isSegmented(load(cpu, "modeKey")), op("i32And", flags, i32(FLAG.TF)));
	f.if(any(isOther, load(cpu, "cpl"), load(cpu, "debugPending"), load(cpu, "nmiPending")), () => slow(f, calls, "sti"));
	advance(f, length);
	f.if(op("i32And", flags, i32(FLAG.IF)), () => f.return(select(load(cpu, "intrLine"), i32(EXIT.resync), i32(EXIT.lookup))));
	f.store("i32Store", cpu, op("i32Or", flags, i32(FLAG.IF)), at("flags"));
	f.store("i32Store", cpu, i32(1), at("interruptShadow"));
	f.store("i64Store", cpu, load64(cpu, "rip"), at("shadowRip"));
	f.if(load(cpu, "intrLine"), () => f.return(i32(EXIT.resync)));
	f.return(i32(EXIT.lookup));
	f.unreachable();
});

/** Only virtual-8086 mode may refuse POPF: (cpu, operand bytes, –, –) → 0, or EXIT.fault. */
defineCore("checkPopf", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	f.if(op("i32And", load(f.param(0), "flags"), i32(FLAG.VM)), () => slow(f, calls, "checkPopf"));
	f.return(i32(0));
	f.unreachable();
});

/** POPF where neither AC nor TF come into it: (cpu, length, operand bytes, –), the image in arg0 → status. */
defineCore("popf", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length, opBytes] = [f.param(0), f.param(1), f.param(2)];
	const image = f.let(load(cpu, "arg0"));
	const old = f.let(load(cpu, "flags"));
	const cpl = f.let(load(cpu, "cpl"));
	const isOther = any(
		isSegmented(op("i32And", load(cpu, "modeKey"), i32(~MODE.user))),
		op("i32Eqz", op("i32And", load(cpu, "cr0"), i32(1))),
		op("i32Eq", opBytes, i32(2)),
		op("i32And", op("i32Or", image, old), i32(FLAG.TF)),
		op("i32And", op("i32Xor", image, old), i32(FLAG.AC)),
		op("i32And", old, i32(FLAG.VM)),
		load(cpu, "debugPending"),
	);
	// With an IOPL other programs than the kernel may change IF, or those of the levels between.
	const hasIopl = op("i32And", old, i32(FLAG.IOPL));
	f.if(op("i32Or", isOther, op("i32And", op("i32Ne", cpl, i32(0)), op("i32Ne", hasIopl, i32(0)))), () => slow(f, calls, "popf"));
	const all = RFLAGS_MASK & ~(FLAG.VM | FLAG.VIF | FLAG.VIP | FLAG.RF);
	const mask = f.let(select(cpl, i32(all & ~(FLAG.IOPL | FLAG.IF)), i32(all)));
	const kept = op("i32And", old, op("i32Xor", mask, i32(-1)));
	const now = f.let(op("i32Or", kept, op("i32And", image, mask)));
	setRflags(f, now);
	advance(f, length);
	goOn(f, now);
});

/** STAC and CLAC: (cpu, length, 1 for STAC, –) → status. */
defineCore("setAc", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length, isOn] = [f.param(0), f.param(1), f.param(2)];
	const isOther = op("i32And", op("i32Ne", load(cpu, "modeKey"), i32(KERNEL64)), op("i32Eqz", isLegacy(cpu)));
	f.if(any(isOther, isSegmented(load(cpu, "modeKey")), load(cpu, "cpl")), () => slow(f, calls, "setAc"));
	const others = op("i32And", load(cpu, "flags"), i32(~FLAG.AC));
	f.store("i32Store", cpu, op("i32Or", others, select(isOn, i32(FLAG.AC), i32(0))), at("flags"));
	const opensAll = op("i32And", isOn, op("i32Ne", op("i32And", load(cpu, "cr4"), i32(CR4.SMAP)), i32(0)));
	f.store("i32Store", cpu, op("i32Add", cpu, select(opensAll, i32(TLB_KERNEL_AC), i32(TLB_KERNEL))), at("tlbBase"));
	advance(f, length);
	f.return(i32(EXIT.lookup));
	f.unreachable();
});
