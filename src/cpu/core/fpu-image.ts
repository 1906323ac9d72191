import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/core-ops.ts";
import { isCode64 } from "../emit/values.ts";
import { CR0, CR4 } from "../mmu/access.ts";
import { at, EXIT } from "../state/layout.ts";
import { XCR0_MASK } from "../system/control-registers.ts";
import { FCW_RESET, LEGACY_XMM, MXCSR_MASK, XSAVE_HEADER } from "../system/fpu-image.ts";
import { hostOf } from "./memory.ts";
import { advance, any, load, load64, slow } from "./privilege.ts";
import { defineCore } from "./registry.ts";

/**
 * XSAVE and XRSTOR of an area within one page of RAM, as kernels do at every switch of tasks and every signal. Everything else is the TypeScript
 * helper's (system/fpu-image.ts), where the layout of the area is told.
 */

const X87 = 1;
const SSE = 2;
const HEADER_BYTES = 64;
const AREA_BYTES = XSAVE_HEADER + HEADER_BYTES;
const REGISTERS = 32;
/** Bytes of an x87 register's place that hold sign and exponent; the rest is 0. */
const EXPONENT = 8;

/** Offset of the area in the memory. */
function areaOf(f: FunctionBuilder, calls: Callables, isWrite: boolean, giveUp: () => void): Expr {
	const cpu = f.param(0);
	const linear = f.let(load64(cpu, "arg0"));
	const low = op("i32WrapI64", linear);
	const isOff = op("i32Eqz", op("i32And", load(cpu, "cr4"), i32(CR4.OSXSAVE)));
	const isCut = op("i32GtU", op("i32And", low, i32(4095)), i32(4096 - AREA_BYTES));
	f.if(any(isOff, op("i32And", load(cpu, "cr0"), i32(CR0.TS)), op("i32And", low, i32(63)), isCut), giveUp);
	return hostOf(f, calls, cpu, linear, isWrite, giveUp);
}

/** The state block's place of the i-th x87 register from the top. */
const register = (cpu: Expr, top: Expr, i: number): Expr =>
	op("i32Add", cpu, op("i32Shl", op("i32And", op("i32Add", top, i32(i)), i32(7)), i32(4)));

function storeX87(f: FunctionBuilder, area: Expr, isWide: Expr): void {
	const cpu = f.param(0);
	const top = f.let(op("i32And", load(cpu, "ftop"), i32(7)));
	const status = op("i32And", load(cpu, "fsw"), i32(0xc7ff));
	f.store("i32Store16", area, load(cpu, "fcw"), 0);
	f.store("i32Store16", area, op("i32Or", status, op("i32Shl", top, i32(11))), 2);
	f.store("i32Store16", area, op("i32And", load(cpu, "ftagValid"), i32(0xff)), 4);
	f.store("i32Store16", area, op("i32And", load(cpu, "fop"), i32(0x7ff)), 6);
	f.store("i64Store", area, load64(cpu, "fip"), 8);
	f.store("i64Store", area, load64(cpu, "fdp"), 16);
	f.if(op("i32Eqz", isWide), () => {
		f.store("i32Store", area, op("i32And", load(cpu, "fipSelector"), i32(0xffff)), 12);
		f.store("i32Store", area, op("i32And", load(cpu, "fdpSelector"), i32(0xffff)), 20);
	});
	for (let i = 0; i < 8; i++) {
		const from = f.let(register(cpu, top, i));
		f.store("i64Store", area, loadOp("i64Load", from, at("fpr")), REGISTERS + 16 * i);
		f.store("i64Store", area, loadOp("i64Load16U", from, at("fpr") + EXPONENT), REGISTERS + 16 * i + EXPONENT);
	}
}

function loadX87(f: FunctionBuilder, area: Expr, isWide: Expr): void {
	const cpu = f.param(0);
	const status = f.let(loadOp("i32Load16U", area, 2));
	const control = f.let(op("i32Or", op("i32And", loadOp("i32Load16U", area, 0), i32(0x1f7f)), i32(0x40)));
	const pending = op("i32And", op("i32And", status, op("i32Xor", control, i32(-1))), i32(0x3f));
	const summary = select(pending, i32(0x8080), i32(0));
	const top = f.let(op("i32And", op("i32ShrU", status, i32(11)), i32(7)));
	f.store("i32Store", cpu, control, at("fcw"));
	f.store("i32Store", cpu, op("i32Or", op("i32And", status, i32(~0xb880)), summary), at("fsw"));
	f.store("i32Store", cpu, top, at("ftop"));
	f.store("i32Store", cpu, loadOp("i32Load8U", area, 4), at("ftagValid"));
	f.store("i32Store", cpu, op("i32And", loadOp("i32Load16U", area, 6), i32(0x7ff)), at("fop"));
	const mask = f.let(select(isWide, i64(-1), i64(0xffff_ffff)));
	f.store("i64Store", cpu, op("i64And", loadOp("i64Load", area, 8), mask), at("fip"));
	f.store("i64Store", cpu, op("i64And", loadOp("i64Load", area, 16), mask), at("fdp"));
	for (const name of ["fipSelector", "fdpSelector"] as const) f.store("i32Store", cpu, i32(0), at(name));
	for (let i = 0; i < 8; i++) {
		const to = f.let(register(cpu, top, i));
		f.store("i64Store", to, loadOp("i64Load", area, REGISTERS + 16 * i), at("fpr"));
		f.store("i64Store", to, loadOp("i64Load16U", area, REGISTERS + 16 * i + EXPONENT), at("fpr") + EXPONENT);
	}
}

function initX87(f: FunctionBuilder): void {
	const cpu = f.param(0);
	f.store("i32Store", cpu, i32(FCW_RESET), at("fcw"));
	for (const name of ["fsw", "ftop", "ftagValid", "fop", "fipSelector", "fdpSelector"] as const) f.store("i32Store", cpu, i32(0), at(name));
	for (const name of ["fip", "fdp"] as const) f.store("i64Store", cpu, i64(0), at(name));
	for (let half = 0; half < 16; half++) f.store("i64Store", cpu, i64(0), at("fpr") + 8 * half);
}

/** Does something with the XMM registers that the running code can name: eight, and eight more in 64-bit code. */
function eachXmm(f: FunctionBuilder, each: (i: number) => void): void {
	for (let i = 0; i < 8; i++) each(i);
	f.if(isCode64(load(f.param(0), "modeKey")), () => {
		for (let i = 8; i < 16; i++) each(i);
	});
}

/** Components that EAX asks for and XCR0 has. */
const wantedOf = (cpu: Expr): Expr => op("i32And", op("i32And", load(cpu, "gpr"), load(cpu, "xcr0")), i32(XCR0_MASK));

/** XSAVE, XSAVEOPT: (cpu, length, 1 with REX.W, –), linear address in arg0 → status. */
defineCore("xsave", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length, isWide] = [f.param(0), f.param(1), f.param(2)];
	const area = areaOf(f, calls, true, () => slow(f, calls, "xsave"));
	const wanted = f.let(wantedOf(cpu));
	f.if(op("i32And", wanted, i32(X87)), () => storeX87(f, area, isWide));
	f.if(op("i32And", wanted, i32(SSE)), () => {
		f.store("i32Store", area, load(cpu, "mxcsr"), 24);
		f.store("i32Store", area, i32(MXCSR_MASK), 28);
		eachXmm(f, (i) => f.store("v128Store", area, loadOp("v128Load", cpu, at("xmm", i)), LEGACY_XMM + 16 * i));
	});
	f.store("i32Store", area, op("i32Or", loadOp("i32Load", area, XSAVE_HEADER), wanted), XSAVE_HEADER);
	advance(f, length);
	f.return(i32(EXIT.lookup));
	f.unreachable();
});

/** XRSTOR: as `xsave`. */
defineCore("xrstor", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, length, isWide] = [f.param(0), f.param(1), f.param(2)];
	const giveUp = () => slow(f, calls, "xrstor");
	const area = areaOf(f, calls, false, giveUp);
	const bitmap = f.let(loadOp("i32Load", area, XSAVE_HEADER));
	const wanted = f.let(wantedOf(cpu));
	const isUnknown = op("i32And", bitmap, op("i32Xor", op("i32And", load(cpu, "xcr0"), i32(XCR0_MASK)), i32(-1)));
	// The header's bytes 4 to 23 must be 0, and so must MXCSR's upper half.
	const rest = op("i64Or", loadOp("i64Load", area, XSAVE_HEADER + 8), loadOp("i64Load", area, XSAVE_HEADER + 16));
	const isOdd = op("i32Or", loadOp("i32Load", area, XSAVE_HEADER + 4), op("i64Ne", rest, i64(0)));
	const mxcsr = f.let(loadOp("i32Load", area, 24));
	f.if(any(isUnknown, isOdd, op("i32And", mxcsr, i32(~MXCSR_MASK))), giveUp);
	f.if(op("i32And", wanted, i32(X87)), () =>
		f.if(
			op("i32And", bitmap, i32(X87)),
			() => loadX87(f, area, isWide),
			() => initX87(f),
		),
	);
	f.if(op("i32And", wanted, i32(SSE)), () => {
		f.store("i32Store", cpu, mxcsr, at("mxcsr"));
		f.if(
			op("i32And", bitmap, i32(SSE)),
			() => eachXmm(f, (i) => f.store("v128Store", cpu, loadOp("v128Load", area, LEGACY_XMM + 16 * i), at("xmm", i))),
			() =>
				eachXmm(f, (i) => {
					for (const half of [0, 8]) f.store("i64Store", cpu, i64(0), at("xmm", i) + half);
				}),
		);
	});
	advance(f, length);
	f.return(i32(EXIT.lookup));
	f.unreachable();
});
