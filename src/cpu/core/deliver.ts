import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/core-ops.ts";
import { isCode64, isNonCanonical } from "../emit/values.ts";
import { EFER } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { at, EXIT, MODE } from "../state/layout.ts";
import { NO_ERROR_CODE, VECTOR } from "../system/fault.ts";
import { EVENT } from "../system/interrupts.ts";
import { ATTR, SEG } from "../system/mode.ts";
import { TSS64_IST1, TSS64_RSP0 } from "../system/task-stack.ts";
import {
	any,
	FLAT_CODE32,
	FLAT_CODE64,
	FLAT_DATA,
	flatSegment,
	isLegacy,
	isMiddle,
	isStepped,
	KERNEL32,
	KERNEL64,
	load,
	load64,
	place,
	rflags,
	setFlat,
	setNullStack,
	setPrivilege,
	setRflags,
	slow,
} from "./privilege.ts";
import { defineCore } from "./registry.ts";

/**
 * Events that go through an interrupt or trap gate to a flat kernel, from user code or from the kernel itself. Everything else (task gates,
 * 16-bit gates, other segments, faults on the way) is for system/interrupts.ts.
 */

/** P, S and the type but for what tells interrupt gates from trap gates: present, and a gate of the wide kind. */
const GATE_MASK = 0x9e00;
const GATE_WANTED = 0x8e00;
/** A trap gate leaves IF as it is. */
const GATE_TRAP = 0x100;

const TSS32_STACK0 = 4;

interface Event {
	readonly vector: Expr;
	readonly errorCode: Expr;
	readonly kind: Expr;
	readonly cpl: Expr;
}

/** The gate's first quadword; its present bit, type and privilege have been looked at. */
function readGate(f: FunctionBuilder, calls: Callables, { vector, kind, cpl }: Event, bytes: 8 | 16, giveUp: () => void): Expr {
	const cpu = f.param(0);
	const offset = f.let(op("i32Mul", vector, i32(bytes)));
	f.if(op("i32GtU", op("i32Add", offset, i32(bytes - 1)), load(cpu, "idtrLimit")), giveUp);
	const host = place(f, calls, op("i64Add", load64(cpu, "idtrBase"), op("i64ExtendI32U", offset)), bytes, "read", giveUp);
	const high = f.let(loadOp("i32Load", host, 4));
	f.if(op("i32Ne", op("i32And", high, i32(GATE_MASK)), i32(GATE_WANTED)), giveUp);
	const dpl = op("i32And", op("i32ShrU", high, i32(ATTR.dplShift)), i32(3));
	f.if(op("i32And", op("i32Eq", kind, i32(EVENT.software)), op("i32LtU", dpl, cpl)), giveUp);
	return host;
}

const offsetIn = (host: Expr): Expr =>
	op("i32Or", loadOp("i32Load16U", host), op("i32And", loadOp("i32Load", host, 4), i32(0xffff_0000 | 0)));

/** The flags as they go onto the stack: see `flagsImage` of system/interrupts.ts. */
function pushedFlags(f: FunctionBuilder, calls: Callables, { vector, kind }: Event): Expr {
	const flags = rflags(f, calls);
	const isAbort = op("i32Or", op("i32Eq", vector, i32(VECTOR.DF)), op("i32Eq", vector, i32(VECTOR.MC)));
	const isFault = op("i32And", op("i32Eq", kind, i32(EVENT.exception)), op("i32Eqz", isAbort));
	return f.let(op("i32Or", flags, select(isFault, i32(FLAG.RF), i32(0))));
}

const hasErrorCode = ({ errorCode }: Event): Expr => op("i32Ne", errorCode, i32(NO_ERROR_CODE));

/** RFLAGS within the handler, and nothing pending. */
function enter(f: FunctionBuilder, gate: Expr, image: Expr): void {
	const cpu = f.param(0);
	const isTrap = op("i32And", loadOp("i32Load", gate, 4), i32(GATE_TRAP));
	const cleared = FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM;
	setRflags(f, op("i32And", image, select(isTrap, i32(~cleared), i32(~(cleared | FLAG.IF)))));
	f.store("i32Store", cpu, i32(0), at("interruptShadow"));
	f.store("i32Store", cpu, i32(0), at("activity"));
	f.return(i32(1));
}

/** Where the 64-bit stack of the handler starts, not yet aligned. */
function stackOf(f: FunctionBuilder, calls: Callables, gate: Expr, cpl: Expr, giveUp: () => void): Expr {
	const cpu = f.param(0);
	const ist = f.let(op("i32And", loadOp("i32Load", gate, 4), i32(7)));
	const pointer = f.local("i64");
	f.if(
		op("i32Or", ist, cpl),
		() => {
			const offset = f.let(select(ist, op("i32Add", op("i32Shl", ist, i32(3)), i32(TSS64_IST1 - 8)), i32(TSS64_RSP0)));
			f.if(op("i32GtU", op("i32Add", offset, i32(7)), load(cpu, "segLimit", 7)), giveUp);
			const linear = op("i64Add", load64(cpu, "segBase", 7), op("i64ExtendI32U", offset));
			f.set(pointer, loadOp("i64Load", place(f, calls, linear, 8, "read", giveUp)));
			f.if(isNonCanonical(f.get(pointer)), giveUp);
		},
		() => f.set(pointer, load64(cpu, "gpr", 4)),
	);
	return f.get(pointer);
}

function deliverLong(f: FunctionBuilder, calls: Callables, event: Event, giveUp: () => void): void {
	const cpu = f.param(0);
	const { cpl } = event;
	f.if(op("i32And", op("i32Eqz", cpl), op("i32Ne", load(cpu, "modeKey"), i32(KERNEL64))), giveUp);
	const gate = readGate(f, calls, event, 16, giveUp);
	const selector = f.let(loadOp("i32Load16U", gate, 2));
	const attr = flatSegment(f, calls, selector, FLAT_CODE64, 0, giveUp);
	const low = op("i64ExtendI32U", offsetIn(gate));
	const offset = f.let(op("i64Or", op("i64Shl", loadOp("i64Load32U", gate, 8), i64(32)), low));
	f.if(isNonCanonical(offset), giveUp);
	const top = op("i64And", stackOf(f, calls, gate, cpl, giveUp), i64(-16));
	const bytes = f.let(op("i32Add", i32(40), op("i32Shl", hasErrorCode(event), i32(3))));
	const rsp = f.let(op("i64Sub", top, op("i64ExtendI32U", bytes)));
	const frame = place(f, calls, rsp, bytes, "write", giveUp);
	const image = pushedFlags(f, calls, event);
	f.if(hasErrorCode(event), () => f.store("i64Store", frame, op("i64ExtendI32U", event.errorCode)));
	const upper = f.let(op("i32Sub", op("i32Add", frame, bytes), i32(40)));
	f.store("i64Store", upper, load64(cpu, "arg0"));
	f.store("i64Store", upper, loadOp("i64Load32U", cpu, at("segSelector", SEG.CS)), 8);
	f.store("i64Store", upper, op("i64ExtendI32U", image), 16);
	f.store("i64Store", upper, load64(cpu, "gpr", 4), 24);
	f.store("i64Store", upper, loadOp("i64Load32U", cpu, at("segSelector", SEG.SS)), 32);
	f.store("i64Store", cpu, rsp, at("gpr", 4));
	f.store("i64Store", cpu, offset, at("rip"));
	setFlat(f, SEG.CS, op("i32And", selector, i32(0xfffc)), attr);
	f.if(cpl, () => {
		setNullStack(f, i32(0));
		setPrivilege(f, KERNEL64, 0);
	});
	enter(f, gate, image);
}

function deliverLegacy(f: FunctionBuilder, calls: Callables, event: Event, giveUp: () => void): void {
	const cpu = f.param(0);
	const { cpl } = event;
	const mode = op("i32And", load(cpu, "modeKey"), i32(~MODE.user));
	f.if(op("i32Or", op("i32Ne", mode, i32(KERNEL32)), op("i32Eqz", isLegacy(cpu))), giveUp);
	const gate = readGate(f, calls, event, 8, giveUp);
	const selector = f.let(loadOp("i32Load16U", gate, 2));
	const attr = flatSegment(f, calls, selector, FLAT_CODE32, 0, giveUp);
	const [top, ss, ssAttr] = [f.local("i32"), f.local("i32"), f.local("i32")];
	f.set(ssAttr, i32(0));
	f.if(
		cpl,
		() => {
			const isNarrow = op("i32Eqz", op("i32And", load(cpu, "segAttr", 7), i32(ATTR.code)));
			f.if(op("i32Or", isNarrow, op("i32LtU", load(cpu, "segLimit", 7), i32(TSS32_STACK0 + 5))), giveUp);
			const linear = op("i64Add", load64(cpu, "segBase", 7), i64(TSS32_STACK0));
			const stack = place(f, calls, linear, 6, "read", giveUp);
			f.set(top, loadOp("i32Load", stack));
			f.set(ss, loadOp("i32Load16U", stack, 4));
			f.if(op("i32And", f.get(ss), i32(3)), giveUp);
			f.set(ssAttr, flatSegment(f, calls, f.get(ss), FLAT_DATA, 0, giveUp));
		},
		() => f.set(top, load(cpu, "gpr", 4)),
	);
	const codeBytes = f.let(op("i32Shl", hasErrorCode(event), i32(2)));
	const bytes = f.let(op("i32Add", op("i32Add", i32(12), codeBytes), select(cpl, i32(8), i32(0))));
	const esp = f.let(op("i32Sub", f.get(top), bytes));
	const frame = place(f, calls, op("i64ExtendI32U", esp), bytes, "write", giveUp);
	const image = pushedFlags(f, calls, event);
	f.if(codeBytes, () => f.store("i32Store", frame, event.errorCode));
	const upper = f.let(op("i32Add", frame, codeBytes));
	f.store("i32Store", upper, load(cpu, "arg0"));
	f.store("i32Store", upper, load(cpu, "segSelector", SEG.CS), 4);
	f.store("i32Store", upper, image, 8);
	f.if(cpl, () => {
		f.store("i32Store", upper, load(cpu, "gpr", 4), 12);
		f.store("i32Store", upper, load(cpu, "segSelector", SEG.SS), 16);
		setFlat(f, SEG.SS, f.get(ss), f.get(ssAttr));
		setPrivilege(f, KERNEL32, 0);
	});
	f.store("i64Store", cpu, op("i64ExtendI32U", esp), at("gpr", 4));
	f.store("i64Store", cpu, op("i64ExtendI32U", offsetIn(gate)), at("rip"));
	setFlat(f, SEG.CS, op("i32And", selector, i32(0xfffc)), attr);
	enter(f, gate, image);
}

/** (cpu, vector, error code or NO_ERROR_CODE, an EVENT), the offset to return to in arg0 → 1; 0: not for here, nothing has happened. */
defineCore("deliver", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	const giveUp = () => f.return(i32(0));
	const cpl = f.let(load(cpu, "cpl"));
	const event: Event = { vector: f.param(1), errorCode: f.param(2), kind: f.param(3), cpl };
	const flags = f.let(load(cpu, "flags"));
	const isDebug = op("i32Eq", event.vector, i32(VECTOR.DB));
	f.if(any(isMiddle(cpl), isDebug, isStepped(cpu), op("i32And", flags, i32(FLAG.VM))), giveUp);
	f.if(op("i32And", op("i32Ne", cpl, i32(0)), op("i32Ne", op("i32And", flags, i32(FLAG.AC)), i32(0))), giveUp);
	f.if(op("i32And", load(cpu, "efer"), i32(EFER.LMA)), () => deliverLong(f, calls, event, giveUp));
	deliverLegacy(f, calls, event, giveUp);
	f.unreachable();
});

/** INT n: (cpu, length, vector, –) → status. */
defineCore("interrupt", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length, vector] = [f.param(0), f.param(1), f.param(2)];
	const next = f.let(op("i64Add", load64(cpu, "rip"), op("i64ExtendI32U", length)));
	f.store("i64Store", cpu, select(isCode64(load(cpu, "modeKey")), next, op("i64And", next, i64(0xffff_ffff))), at("arg0"));
	const isDone = f.callLet(calls.index("deliver"), "i32", [cpu, vector, i32(NO_ERROR_CODE), i32(EVENT.software)]);
	f.if(isDone, () => f.return(i32(EXIT.lookup)));
	slow(f, calls, "interrupt");
	f.unreachable();
});
