import { type Expr, i32, i64, op, select } from "../../wasm/expr.ts";
import { isCode64 } from "../emit/values.ts";
import { CR0 } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { ATTR, SEG } from "../system/mode.ts";
import { any, load, load64, readDescriptor, slow } from "./privilege.ts";
import { defineCore } from "./registry.ts";

/**
 * Loads of ES, DS, FS and GS in protected mode: a null selector, or a segment of the GDT with data that do not expand downwards, marked as
 * accessed already, which the present privilege may use. Everything else is the TypeScript helper's (system/segments.ts).
 */

/** Base of a descriptor, and its limit in bytes. */
function baseOf(low: Expr, high: Expr): Expr {
	const upper = op("i32Or", op("i32And", high, i32(0xff00_0000 | 0)), op("i32Shl", op("i32And", high, i32(0xff)), i32(16)));
	return op("i32Or", op("i32ShrU", low, i32(16)), upper);
}

function limitOf(low: Expr, high: Expr): Expr {
	const raw = op("i32Or", op("i32And", low, i32(0xffff)), op("i32And", high, i32(0xf_0000)));
	const pages = op("i32Or", op("i32Shl", raw, i32(12)), i32(0xfff));
	return select(op("i32And", high, i32(ATTR.G)), pages, raw);
}

/** (cpu, segment register, selector, –) → 0, or as `segmentHelpers.segmentLoad`. */
defineCore("segmentLoad", ["i32", "i32", "i32", "i32"], "i32", (f, calls) => {
	const [cpu, seg] = [f.param(0), f.param(1)];
	const giveUp = () => slow(f, calls, "segmentLoad");
	const selector = f.let(op("i32And", f.param(2), i32(0xffff)));
	const isReal = op("i32Eqz", op("i32And", load(cpu, "cr0"), i32(CR0.PE)));
	const isVirtual = op("i32And", load(cpu, "flags"), i32(FLAG.VM));
	const isStack = op("i32Or", op("i32Eq", seg, i32(SEG.CS)), op("i32Eq", seg, i32(SEG.SS)));
	f.if(any(isReal, isVirtual, isStack), giveUp);
	const values = { base: f.local("i32"), limit: f.local("i32"), attr: f.local("i32"), high: f.local("i32"), writeLow: f.local("i32") };
	const isNull = op("i32Eqz", op("i32And", selector, i32(0xfffc)));
	f.if(
		isNull,
		() => {
			for (const local of [values.base, values.limit, values.attr, values.high]) f.set(local, i32(0));
			f.set(values.writeLow, i32(-1));
		},
		() => {
			const entry = readDescriptor(f, calls, selector, giveUp);
			const low = f.let(op("i32WrapI64", entry));
			const high = f.let(op("i32WrapI64", op("i64ShrU", entry, i64(32))));
			const kind = op("i32And", high, i32(ATTR.P | ATTR.S | ATTR.code | ATTR.expandDown | ATTR.accessed));
			const dpl = f.let(op("i32And", op("i32ShrU", high, i32(ATTR.dplShift)), i32(3)));
			const isAbove = op("i32Or", op("i32GtU", op("i32And", selector, i32(3)), dpl), op("i32GtU", load(cpu, "cpl"), dpl));
			f.if(op("i32Or", op("i32Ne", kind, i32(ATTR.P | ATTR.S | ATTR.accessed)), isAbove), giveUp);
			f.set(values.base, baseOf(low, high));
			f.set(values.limit, limitOf(low, high));
			f.set(values.attr, op("i32And", high, i32(ATTR.all)));
			f.set(values.high, f.get(values.limit));
			f.set(values.writeLow, select(op("i32And", high, i32(ATTR.writable)), i32(0), i32(-1)));
		},
	);
	const isPresent = f.let(op("i32Ne", f.get(values.attr), i32(0)));
	const isWritable = op("i32Eqz", f.get(values.writeLow));
	const word = f.let(op("i32Add", cpu, op("i32Shl", seg, i32(2))));
	const quad = f.let(op("i32Add", cpu, op("i32Shl", seg, i32(3))));
	// DS and ES count for `MODE.flat`; FS and GS do not.
	const counts = op("i32And", op("i32LtU", seg, i32(SEG.FS)), op("i32Eqz", isCode64(load(cpu, "modeKey"))));
	f.if(counts, () => {
		const wasBased = op("i64Ne", load64(quad, "segBase"), i64(0));
		const wasCut = op("i32Or", load(word, "segReadLow"), op("i32Xor", load(word, "segReadHigh"), i32(-1)));
		const wasReadOnly = op("i32Or", load(word, "segWriteLow"), op("i32Xor", load(word, "segWriteHigh"), i32(-1)));
		const isBased = op("i32Or", f.get(values.base), op("i32Xor", f.get(values.limit), i32(-1)));
		const was = op("i32Ne", any(wasBased, wasCut, wasReadOnly), i32(0));
		const is = op("i32Or", op("i32Ne", isBased, i32(0)), op("i32Eqz", op("i32And", isPresent, isWritable)));
		f.if(op("i32Ne", was, is), giveUp);
	});
	f.store("i32Store", word, selector, at("segSelector"));
	f.store("i64Store", quad, op("i64ExtendI32U", f.get(values.base)), at("segBase"));
	f.store("i32Store", word, f.get(values.limit), at("segLimit"));
	f.store("i32Store", word, f.get(values.attr), at("segAttr"));
	f.store("i32Store", word, op("i32Sub", isPresent, i32(1)), at("segReadLow"));
	f.store("i32Store", word, f.get(values.high), at("segReadHigh"));
	f.store("i32Store", word, f.get(values.writeLow), at("segWriteLow"));
	f.store("i32Store", word, select(f.get(values.writeLow), i32(0), f.get(values.high)), at("segWriteHigh"));
	f.return(i32(0));
	f.unreachable();
});
