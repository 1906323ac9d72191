import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import type { Callables } from "../emit/ops.ts";
import { tlbSlot } from "../emit/values.ts";
import { FLAG } from "../state/flags.ts";
import { at, SINGLE_STEP, TLB_ENTRY } from "../state/layout.ts";
import { defineCore, HANDLER_TYPE } from "./registry.ts";

/**
 * Segment limit check: (cpu, segment, offset, bytes − 1, isWrite) → 0, or 1 with the fault set (#SS(0) for SS, else #GP(0)).
 * The valid offsets of each segment are kept as a range for reading and one for writing.
 */
defineCore("segmentCheck", ["i32", "i32", "i32", "i32", "i32"], "i32", (f) => {
	const [cpu, segment, offset, span, isWrite] = [f.param(0), f.param(1), f.param(2), f.param(3), f.param(4)];
	const slot = f.let(op("i32Add", cpu, op("i32Shl", segment, i32(2))));
	const low = f.let(select(isWrite, loadOp("i32Load", slot, at("segWriteLow")), loadOp("i32Load", slot, at("segReadLow"))));
	const high = f.let(select(isWrite, loadOp("i32Load", slot, at("segWriteHigh")), loadOp("i32Load", slot, at("segReadHigh"))));
	const last = f.let(op("i32Add", offset, span));
	const isWithin = op("i32And", op("i32And", op("i32GeU", offset, low), op("i32LeU", last, high)), op("i32GeU", last, offset));
	f.if(isWithin, () => f.return(i32(0)));
	f.store("i32Store", cpu, select(op("i32Eq", segment, i32(2)), i32(12), i32(13)), at("faultVector"));
	f.store("i32Store", cpu, i32(0), at("faultErrorCode"));
	f.return(i32(1));
	f.unreachable();
});

/** Entry of the TLB in force for the page of `low`, the lower half of a linear address. */
function entryOf(cpu: Expr, low: Expr): Expr {
	return op("i32Add", loadOp("i32Load", cpu, at("tlbBase")), tlbSlot(low));
}

/** Offset of the byte at `linear` by the TLB in force, filled if need be; where that cannot be a core function gives 0, or gives up otherwise. */
export function hostOf(
	f: FunctionBuilder,
	calls: Callables,
	cpu: Expr,
	linear: Expr,
	isWrite: boolean,
	giveUp: () => void = () => f.return(i32(0)),
): Expr {
	const low = f.let(op("i32WrapI64", linear));
	const entry = f.let(entryOf(cpu, low));
	const host = f.local("i32");
	f.set(host, op("i32Add", low, loadOp("i32Load", entry, TLB_ENTRY.addend)));
	const tag = loadOp("i64Load", entry, isWrite ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag);
	f.if(op("i64Ne", op("i64And", linear, i64(-4096)), tag), () => {
		f.set(host, f.callLet(calls.index("fillTlb"), "i32", [cpu, linear, i32(isWrite ? 1 : 0)]));
		f.if(op("i32Eqz", f.get(host)), giveUp);
	});
	return f.get(host);
}

/** Bytes from `linear` to the end of its page. */
const toPageEnd = (linear: Expr): Expr => op("i32Sub", i32(4096), op("i32And", op("i32WrapI64", linear), i32(4095)));

const min = (f: FunctionBuilder, a: Expr, b: Expr): Expr => {
	const x = f.let(a);
	const y = f.let(b);
	return f.let(select(op("i32LtU", x, y), x, y));
};

/** Downwards, or with a trap after every element. */
const goesSingly = (cpu: Expr): Expr => op("i32And", loadOp("i32Load", cpu, at("flags")), i32(FLAG.DF | FLAG.TF));

/** Elements (≤ 4096) as i32 from a 64-bit count. */
const cap = (f: FunctionBuilder, count: Expr): Expr => f.let(select(op("i64GtU", count, i64(4096)), i32(4096), op("i32WrapI64", count)));

/**
 * Copies upwards, and fills. Our memory is shared, for which engines' `memory.copy` and `memory.fill` go word by word with atomic
 * accesses; vectors are several times as fast.
 */
function copyUp(f: FunctionBuilder, to: Expr, from: Expr, bytes: Expr): void {
	const done = f.local("i32");
	f.set(done, i32(0));
	const piece = (load: OpName, store: OpName, size: number, unroll: number) => {
		const step = size * unroll;
		f.loop((again) => {
			f.if(op("i32LeU", op("i32Add", f.get(done), i32(step)), bytes), () => {
				const source = f.let(op("i32Add", from, f.get(done)));
				const target = f.let(op("i32Add", to, f.get(done)));
				// All loads before the first store: the two may overlap by less than a step.
				const values = Array.from({ length: unroll }, (_, n) => f.let(loadOp(load, source, n * size)));
				for (const [n, value] of values.entries()) f.store(store, target, value, n * size);
				f.set(done, op("i32Add", f.get(done), i32(step)));
				f.br(again);
			});
		});
	};
	piece("v128Load", "v128Store", 16, 4);
	piece("i64Load", "i64Store", 8, 1);
	piece("i32Load8U", "i32Store8", 1, 1);
}

function fillUp(f: FunctionBuilder, to: Expr, byte: Expr, bytes: Expr): void {
	const done = f.local("i32");
	f.set(done, i32(0));
	const vector = f.let(op("i8x16Splat", byte));
	f.loop((again) => {
		f.if(op("i32LeU", op("i32Add", f.get(done), i32(64)), bytes), () => {
			const target = f.let(op("i32Add", to, f.get(done)));
			for (const offset of [0, 16, 32, 48]) f.store("v128Store", target, vector, offset);
			f.set(done, op("i32Add", f.get(done), i32(64)));
			f.br(again);
		});
	});
	f.loop((again) => {
		f.if(op("i32LtU", f.get(done), bytes), () => {
			f.store("i32Store8", op("i32Add", to, f.get(done)), byte);
			f.set(done, op("i32Add", f.get(done), i32(1)));
			f.br(again);
		});
	});
}

/** REP MOVS within one page of each side: (cpu, to, from, count, log2 bytes) → elements moved, 0 if it must go one by one. */
defineCore("bulkMove", ["i32", "i64", "i64", "i64", "i32"], "i32", (f, calls) => {
	const [cpu, to, from, count, log2] = [f.param(0), f.param(1), f.param(2), f.param(3), f.param(4)];
	f.if(goesSingly(cpu), () => f.return(i32(0)));
	const room = min(f, toPageEnd(to), toPageEnd(from));
	const elements = f.local("i32");
	f.set(elements, min(f, op("i32ShrU", room, log2), cap(f, count)));
	f.if(op("i32Eqz", f.get(elements)), () => f.return(i32(0)));
	const source = hostOf(f, calls, cpu, from, false);
	const target = hostOf(f, calls, cpu, to, true);
	// Copying forward onto itself repeats a pattern; only as far as the two runs are apart is it a plain copy.
	const apart = f.let(op("i32Sub", target, source));
	f.if(op("i32LtU", apart, op("i32Shl", f.get(elements), log2)), () => f.set(elements, op("i32ShrU", apart, log2)));
	copyUp(f, target, source, f.let(op("i32Shl", f.get(elements), log2)));
	f.return(f.get(elements));
	f.unreachable();
});

/** REP STOS within a page: (cpu, to, value, count, log2 bytes) → elements stored, 0 if it must go one by one. */
defineCore("bulkFill", ["i32", "i64", "i64", "i64", "i32"], "i32", (f, calls) => {
	const [cpu, to, value, count, log2] = [f.param(0), f.param(1), f.param(2), f.param(3), f.param(4)];
	f.if(goesSingly(cpu), () => f.return(i32(0)));
	const elements = min(f, op("i32ShrU", toPageEnd(to), log2), cap(f, count));
	f.if(op("i32Eqz", elements), () => f.return(i32(0)));
	const target = hostOf(f, calls, cpu, to, true);
	const bytes = f.let(op("i32Shl", elements, log2));
	// A value whose bytes are all alike (0, mostly) is a fill whatever its size.
	const splat = op("i64Mul", op("i64And", value, i64(0xff)), i64(0x0101_0101_0101_0101n));
	const width = f.let(op("i64ShrU", i64(-1), op("i64ExtendI32U", op("i32Sub", i32(64), op("i32Shl", i32(8), log2)))));
	f.if(op("i64Eqz", op("i64And", op("i64Xor", value, splat), width)), () => {
		fillUp(f, target, f.let(op("i32WrapI64", value)), bytes);
		f.return(elements);
	});
	const at = f.local("i32");
	const end = f.let(op("i32Add", target, bytes));
	f.set(at, target);
	f.loop((again) => {
		f.if(op("i32Eq", log2, i32(1)), () => f.store("i64Store16", f.get(at), value));
		f.if(op("i32Eq", log2, i32(2)), () => f.store("i64Store32", f.get(at), value));
		f.if(op("i32Eq", log2, i32(3)), () => f.store("i64Store", f.get(at), value));
		f.set(at, op("i32Add", f.get(at), op("i32Shl", i32(1), log2)));
		f.brIf(again, op("i32LtU", f.get(at), end));
	});
	f.return(elements);
	f.unreachable();
});

/**
 * What a region's own page of the stack does not hold: as missLoad and missProbe, if the TLB does not have it either; what is no plain RAM
 * within a page is not to be written by a region, but by single step. The page's write tag and addend go to `stackTag` and `stackAddend`.
 */
for (const [name, miss, tagAt] of [
	["loadOnStack", "missLoad", TLB_ENTRY.readTag],
	["probeOnStack", "missProbe", TLB_ENTRY.writeTag],
] as const)
	defineCore(name, ["i32", "i64", "i32"], "i32", (f, calls) => {
		const [cpu, linear, request] = [f.param(0), f.param(1), f.param(2)];
		const low = f.let(op("i32WrapI64", linear));
		const entry = f.let(entryOf(cpu, low));
		const last = op("i64Add", linear, op("i64ExtendI32U", op("i32Sub", op("i32And", request, i32(0xff)), i32(1))));
		const host = f.local("i32");
		f.if(
			op("i64Eq", op("i64And", last, i64(-4096)), loadOp("i64Load", entry, tagAt)),
			() => f.set(host, op("i32Add", low, loadOp("i32Load", entry, TLB_ENTRY.addend))),
			() => f.set(host, f.callLet(calls.index(miss), "i32", [cpu, linear, request])),
		);
		f.if(op("i32Eq", f.get(host), i32(-1)), () => {
			f.store("i32Store", cpu, i32(SINGLE_STEP), at("faultVector"));
			f.return(i32(0));
		});
		f.store("i64Store", cpu, loadOp("i64Load", entry, TLB_ENTRY.writeTag), at("stackTag"));
		f.store("i32Store", cpu, loadOp("i32Load", entry, TLB_ENTRY.addend), at("stackAddend"));
		f.return(f.get(host));
		f.unreachable();
	});

/** Runs a block that no jump cache need know: (cpu, record) → exit. */
defineCore("enterBlock", ["i32", "i32"], "i32", (f) => {
	const [cpu, record] = [f.param(0), f.param(1)];
	f.returnCallIndirect(HANDLER_TYPE, [cpu, record], loadOp("i32Load", record));
	f.unreachable();
});
