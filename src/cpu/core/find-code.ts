import { CODE_INDEX, DECODED } from "../../machine/memory.ts";
import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import { isUser } from "../emit/values.ts";
import { CODE_INDEX_ENTRY, CODE_INDEX_ENTRY_BYTES, CODE_INDEX_WAYS, CODE_KEY_MARK, CODE_KEY_SHIFT } from "../interpreter/code-index.ts";
import { REGION_PAGES, REGION_PAGES_ENTRIES, REGION_PAGES_ENTRY } from "../interpreter/decoded-area.ts";
import { enterBlock } from "../interpreter/enter-block.ts";
import { HEAD, HEAD_SLOT } from "../interpreter/record.ts";
import {
	at,
	CODE_TLB,
	CODE_TLB_ENTRY,
	EXIT,
	GOLDEN_RATIO,
	JUMP_CACHE,
	JUMP_ENTRIES,
	JUMP_ENTRY,
	JUMP_ENTRY_BYTES,
	MODE,
} from "../state/layout.ts";
import { codeIndexSet } from "./decode-block.ts";
import { codeTlbSlot } from "./page-walk.ts";
import { defineCore, HANDLER_TYPE } from "./registry.ts";

/** The jump cache's entry for rip; fields of it stand at JUMP_CACHE + JUMP_ENTRY. Needs the low half of rip alone. */
function jumpEntry(f: FunctionBuilder, cpu: Expr, rip: Expr): Expr {
	const product = op("i32Mul", op("i32WrapI64", rip), i32(GOLDEN_RATIO));
	const unused = 32 - Math.log2(JUMP_ENTRIES) - Math.log2(JUMP_ENTRY_BYTES);
	return f.let(op("i32Add", cpu, op("i32And", op("i32ShrU", product, i32(unused)), i32((JUMP_ENTRIES - 1) * JUMP_ENTRY_BYTES))));
}

/** Goes to the code for rip if the jump cache has it; else falls through. */
function goTo(f: FunctionBuilder, cpu: Expr, rip: Expr, mayInterpret: boolean): void {
	const entry = jumpEntry(f, cpu, rip);
	const isOther = op("i32Xor", loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.tag), loadOp("i32Load", cpu, at("jumpTag")));
	const isElsewhere = op("i64Xor", loadOp("i64Load", entry, JUMP_CACHE + JUMP_ENTRY.rip), rip);
	f.if(op("i64Eqz", op("i64Or", isElsewhere, op("i64ExtendI32U", isOther))), () => {
		const code = f.let(loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.code));
		const isBlock = op("i32GeU", code, i32(DECODED));
		// From the interpreter it is mostly one block more of it, which spares a call.
		if (mayInterpret) f.if(isBlock, () => enterBlock(f, cpu, code));
		f.returnCallIndirect(HANDLER_TYPE, [cpu, code], mayInterpret ? code : select(isBlock, i32(HEAD_SLOT), code));
	});
}

/** Goes to the code for rip, known to the state block too, wherever it is. `onMiss` writes what comes before looking further than the jump cache. */
export function dispatchTo(f: FunctionBuilder, calls: Callables, cpu: Expr, rip: Expr, onMiss?: () => void): void {
	goTo(f, cpu, rip, onMiss === undefined);
	onMiss?.();
	f.returnCall(calls.index("findCode"), [cpu, i32(0)]);
}

/** Goes to the code for rip in the present mode: (cpu, unused) → exit. */
defineCore("dispatch", ["i32", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	dispatchTo(f, calls, cpu, f.let(loadOp("i64Load", cpu, at("rip"))));
	f.unreachable();
});

/**
 * A region's computed transfer leads to an address that is not canonical: it has never happened, and faults. (cpu, twice what it moved
 * RSP by, plus 1) → exit; rip is that of the instruction, whose charge is given back.
 */
defineCore("takeBack", ["i32", "i32"], "i32", (f) => {
	const cpu = f.param(0);
	const moved = op("i64ExtendI32S", op("i32ShrS", f.param(1), i32(1)));
	f.store("i64Store", cpu, op("i64Sub", loadOp("i64Load", cpu, at("gpr", 4)), moved), at("gpr", 4));
	f.store("i32Store", cpu, op("i32Add", loadOp("i32Load", cpu, at("budget")), i32(1)), at("budget"));
	f.store("i32Store", cpu, i32(0), at("exitRecord"));
	f.store("i32Store", cpu, i32(13), at("faultVector"));
	f.store("i32Store", cpu, i32(0), at("faultErrorCode"));
	f.return(i32(EXIT.fault));
	f.unreachable();
});

const leaveToRunLoop = (f: FunctionBuilder) => f.return(i32(EXIT.lookup));

/** Number of the physical page that `linear`'s page is fetched from. `user`: 1 at CPL 3. Leaves where that takes more than a simple walk. */
function codePage(f: FunctionBuilder, calls: Callables, cpu: Expr, linear: Expr, user: Expr): Expr {
	const tag = f.let(op("i64Or", op("i64And", linear, i64(-4096)), op("i64ExtendI32U", user)));
	const entry = f.let(op("i32Add", cpu, codeTlbSlot(op("i32WrapI64", op("i64ShrU", linear, i64(12))))));
	const stamp = f.let(loadOp("i32Load", entry, CODE_TLB + CODE_TLB_ENTRY.stamp));
	const isFresh = op(
		"i32Or",
		op("i32Eq", stamp, loadOp("i32Load", cpu, at("codeLocalStamp"))),
		op("i32Eq", stamp, loadOp("i32Load", cpu, at("codeGlobalStamp"))),
	);
	const isIt = op("i64Eq", loadOp("i64Load", entry, CODE_TLB + CODE_TLB_ENTRY.tag), tag);
	f.if(op("i32Eqz", op("i32And", isFresh, isIt)), () => {
		f.if(op("i32Eqz", f.callLet(calls.index("fillCodeTlb"), "i32", [cpu, linear, tag])), () => leaveToRunLoop(f));
	});
	return f.let(loadOp("i32Load", entry, CODE_TLB + CODE_TLB_ENTRY.physPage));
}

/**
 * The jump cache does not know rip: goes to its code, which it enters there, decoded if it has to be; leaves to the run loop where that is
 * not simple. (cpu, unused) → exit. Only in modes whose offsets in CS are linear addresses.
 */
defineCore("findCode", ["i32", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	const mode = f.let(op("i32And", loadOp("i32Load", cpu, at("modeKey")), i32(~MODE.step)));
	// What `isLinearMode` says.
	f.if(op("i32Eqz", op("i32And", mode, i32(MODE.flat))), () => leaveToRunLoop(f));
	f.if(op("i32Eqz", op("i32And", mode, i32(MODE.codeMask))), () => leaveToRunLoop(f));
	const rip = f.let(loadOp("i64Load", cpu, at("rip")));
	const user = f.let(isUser(mode));
	const page = codePage(f, calls, cpu, rip, user);
	const phys = f.let(op("i64Or", op("i64Shl", op("i64ExtendI32U", page), i64(12)), op("i64And", rip, i64(4095))));
	const key = f.let(op("i64Or", phys, op("i64Shl", op("i64ExtendI32U", op("i32Or", mode, i32(CODE_KEY_MARK))), i64(CODE_KEY_SHIFT))));
	const block = f.local("i32");
	f.set(block, indexed(f, f.let(op("i32WrapI64", phys)), key));
	f.if(op("i32Eqz", f.get(block)), () => {
		f.set(block, f.callLet(calls.index("lookUpBlock"), "i32", [phys, mode, key]));
		f.if(op("i32Eqz", f.get(block)), () => {
			f.set(block, f.callLet(calls.index("decodeBlock"), "i32", [cpu, phys, mode, key]));
			f.if(op("i32Eqz", f.get(block)), () => leaveToRunLoop(f));
		});
	});
	const record = f.get(block);
	const slot = f.let(loadOp("i32Load", record, HEAD.region));
	f.if(slot, () => stayMapped(f, calls, cpu, rip, user, slot));
	const entry = jumpEntry(f, cpu, rip);
	f.store("i64Store", entry, rip, JUMP_CACHE + JUMP_ENTRY.rip);
	f.store("i32Store", entry, loadOp("i32Load", cpu, at("jumpTag")), JUMP_CACHE + JUMP_ENTRY.tag);
	f.store("i32Store", entry, select(slot, slot, record), JUMP_CACHE + JUMP_ENTRY.code);
	f.if(slot, () => f.returnCallIndirect(HANDLER_TYPE, [cpu, record], slot));
	enterBlock(f, cpu, record);
	f.unreachable();
});

/** The head record that the code index has for `key`; 0: none. */
function indexed(f: FunctionBuilder, low: Expr, key: Expr): Expr {
	const first = codeIndexSet(f, low);
	const record = f.local("i32");
	f.set(record, i32(0));
	f.block((found) => {
		for (let way = 0; way < CODE_INDEX_WAYS; way++) {
			const at = CODE_INDEX + way * CODE_INDEX_ENTRY_BYTES;
			f.if(op("i64Eq", loadOp("i64Load", first, at + CODE_INDEX_ENTRY.key), key), () => {
				f.set(record, loadOp("i32Load", first, at + CODE_INDEX_ENTRY.record));
				f.br(found);
			});
		}
	});
	return f.get(record);
}

/** Leaves unless the pages that the region in a slot was made from, besides the block's own, are mapped as they were then. */
function stayMapped(f: FunctionBuilder, calls: Callables, cpu: Expr, rip: Expr, user: Expr, slot: Expr): void {
	const last = i32(REGION_PAGES_ENTRIES - 1);
	const number = f.let(select(op("i32LtU", slot, last), slot, last));
	const at = f.local("i32");
	f.set(at, op("i32Mul", number, i32(REGION_PAGES_ENTRY.bytes)));
	const left = f.local("i32");
	f.set(left, loadOp("i32Load", f.get(at), REGION_PAGES + REGION_PAGES_ENTRY.count));
	f.if(op("i32LtS", f.get(left), i32(0)), () => leaveToRunLoop(f));
	const pages = REGION_PAGES + REGION_PAGES_ENTRY.pages;
	f.block((done) => {
		f.loop((again) => {
			f.brIf(done, op("i32Eqz", f.get(left)));
			const distance = op("i64Shl", loadOp("i64Load32S", f.get(at), pages), i64(12));
			const linear = f.let(op("i64Add", op("i64And", rip, i64(-4096)), distance));
			const page = codePage(f, calls, cpu, linear, user);
			f.if(op("i32Ne", page, loadOp("i32Load", f.get(at), pages + 4)), () => leaveToRunLoop(f));
			f.set(at, op("i32Add", f.get(at), i32(8)));
			f.set(left, op("i32Sub", f.get(left), i32(1)));
			f.br(again);
		});
	});
}
