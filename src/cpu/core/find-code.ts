import { CODE_INDEX } from "../../machine/memory.ts";
import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Callables } from "../emit/ops.ts";
import {
	CODE_INDEX_ENTRY,
	CODE_INDEX_ENTRY_BYTES,
	CODE_INDEX_HASH,
	CODE_INDEX_SETS,
	CODE_INDEX_WAYS,
	CODE_KEY_MARK,
	CODE_KEY_SHIFT,
} from "../interpreter/code-index.ts";
import { REC } from "../interpreter/record.ts";
import {
	at,
	CODE_TLB,
	CODE_TLB_ENTRY,
	EXIT,
	JUMP_CACHE,
	JUMP_ENTRIES,
	JUMP_ENTRY,
	JUMP_ENTRY_BYTES,
	JUMP_HASH,
	MODE,
} from "../state/layout.ts";
import { codeTlbSlot } from "./page-walk.ts";
import { defineCore, HANDLER_TYPE } from "./registry.ts";

/** The jump cache's entry for rip; fields of it stand at JUMP_CACHE + JUMP_ENTRY. Needs the low half of rip alone. */
function jumpEntry(f: FunctionBuilder, cpu: Expr, rip: Expr): Expr {
	const product = op("i32Mul", op("i32WrapI64", rip), i32(JUMP_HASH));
	const unused = 32 - Math.log2(JUMP_ENTRIES) - Math.log2(JUMP_ENTRY_BYTES);
	return f.let(op("i32Add", cpu, op("i32And", op("i32ShrU", product, i32(unused)), i32((JUMP_ENTRIES - 1) * JUMP_ENTRY_BYTES))));
}

/** Goes to the code for rip if the jump cache has it; else falls through. */
function goTo(f: FunctionBuilder, cpu: Expr, rip: Expr): void {
	const entry = jumpEntry(f, cpu, rip);
	const isOther = op("i32Xor", loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.tag), loadOp("i32Load", cpu, at("jumpTag")));
	const isElsewhere = op("i64Xor", loadOp("i64Load", entry, JUMP_CACHE + JUMP_ENTRY.rip), rip);
	f.if(op("i64Eqz", op("i64Or", isElsewhere, op("i64ExtendI32U", isOther))), () => {
		const record = loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.record);
		f.returnCallIndirect(HANDLER_TYPE, [cpu, record], loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.callee));
	});
}

/** Goes to the code for rip, known to the state block too, wherever it is; leaves to the run loop if it is not known. `goOn` in place. */
export function dispatchTo(f: FunctionBuilder, calls: Callables, cpu: Expr, rip: Expr, onMiss: () => void = () => {}): void {
	goTo(f, cpu, rip);
	onMiss();
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
 * The jump cache does not know rip: goes to its code if the code index has it and enters it there, else leaves to the run loop. (cpu, unused) →
 * exit. Only in modes whose offsets in CS are linear addresses.
 */
defineCore("findCode", ["i32", "i32"], "i32", (f, calls) => {
	const cpu = f.param(0);
	const mode = f.let(op("i32And", loadOp("i32Load", cpu, at("modeKey")), i32(~MODE.step)));
	const isPlain = op("i32And", op("i32And", mode, i32(MODE.code32 | MODE.code64)), op("i32ShrU", mode, i32(Math.log2(MODE.flat))));
	const isPlain64 = op("i32Eq", op("i32And", mode, i32(MODE.codeMask)), i32(MODE.code64));
	f.if(op("i32Eqz", op("i32Or", isPlain, isPlain64)), () => leaveToRunLoop(f));
	const rip = f.let(loadOp("i64Load", cpu, at("rip")));
	const user = f.let(op("i32And", op("i32ShrU", mode, i32(Math.log2(MODE.user))), i32(1)));
	const page = codePage(f, calls, cpu, rip, user);
	const phys = f.let(op("i64Or", op("i64Shl", op("i64ExtendI32U", page), i64(12)), op("i64And", rip, i64(4095))));
	const key = op("i64Or", phys, op("i64Shl", op("i64ExtendI32U", op("i32Or", mode, i32(CODE_KEY_MARK))), i64(CODE_KEY_SHIFT)));
	const record = f.let(indexed(f, f.let(op("i32WrapI64", phys)), f.let(key)));
	const callee = f.local("i32");
	f.set(callee, loadOp("i32Load", record, REC.region));
	f.if(
		f.get(callee),
		() => stayMapped(f, calls, cpu, rip, user, record),
		() => f.set(callee, loadOp("i32Load", record, REC.callee)),
	);
	const entry = jumpEntry(f, cpu, rip);
	f.store("i64Store", entry, rip, JUMP_CACHE + JUMP_ENTRY.rip);
	f.store("i32Store", entry, loadOp("i32Load", cpu, at("jumpTag")), JUMP_CACHE + JUMP_ENTRY.tag);
	f.store("i32Store", entry, f.get(callee), JUMP_CACHE + JUMP_ENTRY.callee);
	f.store("i32Store", entry, record, JUMP_CACHE + JUMP_ENTRY.record);
	f.returnCallIndirect(HANDLER_TYPE, [cpu, record], f.get(callee));
	f.unreachable();
});

/** The head record that the code index has for `key`; leaves if it has none. */
function indexed(f: FunctionBuilder, phys: Expr, key: Expr): Expr {
	const setBytes = CODE_INDEX_WAYS * CODE_INDEX_ENTRY_BYTES;
	const set = op("i32ShrU", op("i32Mul", phys, i32(CODE_INDEX_HASH)), i32(32 - Math.log2(CODE_INDEX_SETS)));
	const first = f.let(op("i32Shl", set, i32(Math.log2(setBytes))));
	const record = f.local("i32");
	f.block((found) => {
		for (let way = 0; way < CODE_INDEX_WAYS; way++) {
			const at = CODE_INDEX + way * CODE_INDEX_ENTRY_BYTES;
			f.if(op("i64Eq", loadOp("i64Load", first, at + CODE_INDEX_ENTRY.key), key), () => {
				f.set(record, loadOp("i32Load", first, at + CODE_INDEX_ENTRY.record));
				f.br(found);
			});
		}
		leaveToRunLoop(f);
	});
	return f.get(record);
}

/** Leaves unless the other pages that the record's region was made from are mapped as they were then. */
function stayMapped(f: FunctionBuilder, calls: Callables, cpu: Expr, rip: Expr, user: Expr, record: Expr): void {
	const left = f.local("i32");
	f.set(left, loadOp("i32Load", record, REC.pageCount));
	f.if(op("i32LtS", f.get(left), i32(0)), () => leaveToRunLoop(f));
	const at = f.local("i32");
	f.set(at, record);
	f.block((done) => {
		f.loop((again) => {
			f.brIf(done, op("i32Eqz", f.get(left)));
			const distance = op("i64Shl", loadOp("i64Load32S", f.get(at), REC.pages), i64(12));
			const linear = f.let(op("i64Add", op("i64And", rip, i64(-4096)), distance));
			const page = codePage(f, calls, cpu, linear, user);
			f.if(op("i32Ne", page, loadOp("i32Load", f.get(at), REC.pages + 4)), () => leaveToRunLoop(f));
			f.set(at, op("i32Add", f.get(at), i32(8)));
			f.set(left, op("i32Sub", f.get(left), i32(1)));
			f.br(again);
		});
	});
}
