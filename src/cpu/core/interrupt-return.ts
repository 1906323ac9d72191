import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/core-ops.ts";
import { isNonCanonical } from "../emit/values.ts";
import { FLAG } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { ATTR, SEG } from "../system/mode.ts";
import { RFLAGS_MASK } from "../system/rflags.ts";
import {
	any,
	FLAT_CODE32,
	FLAT_CODE64,
	FLAT_DATA,
	flatSegment,
	goOn,
	isLegacy,
	isMiddle,
	isStepped,
	KERNEL32,
	KERNEL64,
	load,
	load64,
	place,
	setFlat,
	setNullStack,
	setPrivilege,
	setRflags,
	slow,
} from "./privilege.ts";
import { defineCore } from "./registry.ts";

/**
 * IRET from flat kernel code to kernel or user code that is as flat and as wide. Everything else is the TypeScript helper's
 * (system/far-return.ts).
 */

/** What RFLAGS become at CPL 0, where no instruction breakpoint wants RF. */
const LOADED = RFLAGS_MASK & ~(FLAG.VM | FLAG.RF);

/** Leaves if a data segment would have to be made null, which a null selector's hardly changes: see `dropInaccessibleSegments`. */
function keepSegments(f: FunctionBuilder, giveUp: () => void): void {
	const cpu = f.param(0);
	for (const seg of [SEG.ES, SEG.DS, SEG.FS, SEG.GS]) {
		const attr = f.let(load(cpu, "segAttr", seg));
		const isUsers = op("i32Eq", op("i32And", attr, i32(ATTR.dplMask)), i32(ATTR.dplMask));
		const isNull = op("i32Eqz", op("i32Or", op("i32And", attr, i32(ATTR.P)), load(cpu, "segSelector", seg)));
		f.if(op("i32Eqz", op("i32Or", isUsers, isNull)), giveUp);
	}
}

/** CS as popped: its RPL, 0 or 3. */
function levelOf(f: FunctionBuilder, selector: Expr, giveUp: () => void): Expr {
	const level = f.let(op("i32And", selector, i32(3)));
	f.if(isMiddle(level), giveUp);
	return level;
}

function finish(f: FunctionBuilder, kernel: number, level: Expr, rip: Expr, image: Expr): void {
	const cpu = f.param(0);
	f.store("i64Store", cpu, rip, at("rip"));
	f.store("i32Store", cpu, i32(0), at("nmiBlocked"));
	setRflags(f, op("i32And", image, i32(LOADED)));
	f.if(level, () => setPrivilege(f, kernel, 3));
	goOn(f, image);
}

/** In 64-bit code five quadwords are popped, wherever it goes. */
function returnLong(f: FunctionBuilder, calls: Callables, giveUp: () => void): void {
	const cpu = f.param(0);
	const frame = place(f, calls, load64(cpu, "gpr", 4), 40, "read", giveUp);
	const rip = f.let(loadOp("i64Load", frame));
	const cs = f.let(loadOp("i32Load16U", frame, 8));
	const image = f.let(loadOp("i32Load", frame, 16));
	const rsp = f.let(loadOp("i64Load", frame, 24));
	const ss = f.let(loadOp("i32Load16U", frame, 32));
	const level = levelOf(f, cs, giveUp);
	const isElsewhere = op("i32Ne", op("i32And", ss, i32(3)), level);
	f.if(any(isNonCanonical(rip), op("i32And", image, i32(FLAG.TF | FLAG.AC)), isElsewhere), giveUp);
	const csAttr = flatSegment(f, calls, cs, FLAT_CODE64, level, giveUp);
	const ssAttr = f.local("i32");
	f.set(ssAttr, i32(0));
	// Code above CPL 3 may have a null SS; it is what interrupts leave behind.
	f.if(op("i32Or", level, op("i32And", ss, i32(0xfffc))), () => f.set(ssAttr, flatSegment(f, calls, ss, FLAT_DATA, level, giveUp)));
	f.if(level, () => keepSegments(f, giveUp));
	setFlat(f, SEG.CS, cs, csAttr);
	f.if(
		f.get(ssAttr),
		() => setFlat(f, SEG.SS, ss, f.get(ssAttr)),
		() => setNullStack(f, ss),
	);
	f.store("i64Store", cpu, rsp, at("gpr", 4));
	finish(f, KERNEL64, level, rip, image);
}

/** In legacy mode ESP and SS are popped only where the privilege changes. */
function returnLegacy(f: FunctionBuilder, calls: Callables, giveUp: () => void): void {
	const cpu = f.param(0);
	const esp = f.let(load(cpu, "gpr", 4));
	const frame = place(f, calls, op("i64ExtendI32U", esp), 12, "read", giveUp);
	const rip = f.let(loadOp("i64Load32U", frame));
	const cs = f.let(loadOp("i32Load16U", frame, 4));
	const image = f.let(loadOp("i32Load", frame, 8));
	const level = levelOf(f, cs, giveUp);
	f.if(op("i32And", image, i32(FLAG.TF | FLAG.AC | FLAG.VM)), giveUp);
	const csAttr = flatSegment(f, calls, cs, FLAT_CODE32, level, giveUp);
	f.if(
		level,
		() => {
			const outer = place(f, calls, op("i64ExtendI32U", op("i32Add", esp, i32(12))), 8, "read", giveUp);
			const newEsp = f.let(loadOp("i64Load32U", outer));
			const ss = f.let(loadOp("i32Load16U", outer, 4));
			f.if(op("i32Ne", op("i32And", ss, i32(3)), i32(3)), giveUp);
			const ssAttr = flatSegment(f, calls, ss, FLAT_DATA, 3, giveUp);
			keepSegments(f, giveUp);
			setFlat(f, SEG.SS, ss, ssAttr);
			f.store("i64Store", cpu, newEsp, at("gpr", 4));
		},
		() => f.store("i64Store", cpu, op("i64ExtendI32U", op("i32Add", esp, i32(12))), at("gpr", 4)),
	);
	setFlat(f, SEG.CS, cs, csAttr);
	finish(f, KERNEL32, level, rip, image);
}

/** (cpu, length, operand bytes, –) → status. */
defineCore("iret", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, opBytes] = [f.param(0), f.param(2)];
	const giveUp = () => slow(f, calls, "iret");
	const isOdd = op("i32And", load(cpu, "flags"), i32(FLAG.NT | FLAG.AC | FLAG.VM));
	const hasBreakpoints = op("i32And", load(cpu, "dr", 7), i32(0xff));
	f.if(any(isOdd, isStepped(cpu), hasBreakpoints, load(cpu, "cpl")), giveUp);
	const mode = f.let(load(cpu, "modeKey"));
	f.if(op("i32And", op("i32Eq", mode, i32(KERNEL64)), op("i32Eq", opBytes, i32(8))), () => returnLong(f, calls, giveUp));
	const is32 = op("i32And", op("i32Eq", mode, i32(KERNEL32)), op("i32Eq", opBytes, i32(4)));
	f.if(op("i32Eqz", op("i32And", is32, isLegacy(cpu))), giveUp);
	returnLegacy(f, calls, giveUp);
});
