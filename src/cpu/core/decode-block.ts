import { CODE_FLAGS, CODE_INDEX } from "../../machine/memory.ts";
import { type Expr, i32, i64, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import { isCode64, isUser } from "../emit/values.ts";
import { CODE_INDEX_ENTRY, CODE_INDEX_ENTRY_BYTES, CODE_INDEX_SETS, CODE_INDEX_WAYS } from "../interpreter/code-index.ts";
import { BLOCK_COUNTS, CHAIN_COUNT, CHAIN_SHIFT, CHAINS, DECODER, DECODER_FIELD, type DecoderWord } from "../interpreter/decoded-area.ts";
import { mayHaveKept } from "../interpreter/kept-places.ts";
import { IMMEDIATE, NEVER, PATTERN, PATTERN_FLAG, patternMode } from "../interpreter/patterns.ts";
import { DELTA_BITS, HEAD, MAX_BLOCK_BYTES, MAX_BLOCK_INSNS, REC, RECORD_BYTES } from "../interpreter/record.ts";
import { GOLDEN_RATIO } from "../state/layout.ts";
import { giveUp, hostOf } from "./page-walk.ts";
import { defineCore } from "./registry.ts";

/** What a word of the decoder's knowledge says. */
export const decoder = (field: DecoderWord): Expr => loadOp("i32Load", i32(0), DECODER + DECODER_FIELD[field]);

/** Offset of the chain that a physical address's blocks are in. */
const chainOf = (low: Expr): Expr => op("i32Shl", op("i32And", op("i32ShrU", low, i32(CHAIN_SHIFT)), i32(CHAIN_COUNT - 1)), i32(2));

/** Offset, from the code index's start, of the set that a physical address's entry is in. */
export function codeIndexSet(f: FunctionBuilder, low: Expr): Expr {
	const set = op("i32ShrU", op("i32Mul", low, i32(GOLDEN_RATIO)), i32(32 - Math.log2(CODE_INDEX_SETS)));
	return f.let(op("i32Shl", set, i32(Math.log2(CODE_INDEX_WAYS * CODE_INDEX_ENTRY_BYTES))));
}

/**
 * (physical address, mode, its key in the code index) → head record of the block there, which is in the code index now; 0: there is
 * none, or its code goes beyond its page.
 */
defineCore("lookUpBlock", ["i64", "i32", "i64"], "i32", (f) => {
	const [phys, mode, key] = [f.param(0), f.param(1), f.param(2)];
	const low = f.let(op("i32WrapI64", phys));
	const block = f.local("i32");
	f.set(block, loadOp("i32Load", chainOf(low), CHAINS));
	f.loop((again) => {
		f.if(op("i32Eqz", f.get(block)), () => giveUp(f));
		const isThere = op("i64Eq", loadOp("i64Load", f.get(block), HEAD.phys), phys);
		const isInMode = op("i32Eq", loadOp("i32Load8U", f.get(block), HEAD.modeKey), mode);
		f.if(op("i32Eqz", op("i32And", isThere, isInMode)), () => {
			f.set(block, loadOp("i32Load", f.get(block), HEAD.chain));
			f.br(again);
		});
	});
	f.if(loadOp("i32Load", f.get(block), HEAD.tail), () => giveUp(f));
	enterIndex(f, low, key, f.get(block));
	f.return(f.get(block));
	f.unreachable();
});

/** Puts a block into the code index, where there is room in its set, or in the place of another. */
function enterIndex(f: FunctionBuilder, low: Expr, key: Expr, block: Expr): void {
	const set = codeIndexSet(f, low);
	const entry = f.local("i32");
	// Which of them goes is left to chance: the higher bits of where the records happen to lie.
	const chance = op("i32And", op("i32ShrU", block, i32(Math.log2(RECORD_BYTES))), i32(CODE_INDEX_WAYS - 1));
	f.set(entry, op("i32Add", set, op("i32Shl", chance, i32(Math.log2(CODE_INDEX_ENTRY_BYTES)))));
	f.block((found) => {
		for (let way = 0; way < CODE_INDEX_WAYS; way++) {
			const at = way * CODE_INDEX_ENTRY_BYTES;
			f.if(op("i64Eqz", loadOp("i64Load", set, CODE_INDEX + at + CODE_INDEX_ENTRY.key)), () => {
				f.set(entry, op("i32Add", set, i32(at)));
				f.br(found);
			});
		}
	});
	f.store("i64Store", f.get(entry), key, CODE_INDEX + CODE_INDEX_ENTRY.key);
	f.store("i32Store", f.get(entry), block, CODE_INDEX + CODE_INDEX_ENTRY.record);
}

/**
 * (cpu, physical address, mode, its key in the code index) → head record of the block that it has decoded there; 0: that takes the decoder
 * in TypeScript. Only in modes whose offsets in CS are linear addresses, not for single steps.
 */
defineCore("decodeBlock", ["i32", "i64", "i32", "i64"], "i32", (f) => {
	const [cpu, phys, mode, key] = [f.param(0), f.param(1), f.param(2), f.param(3)];
	f.if(op("i32WrapI64", op("i64ShrU", phys, i64(32))), () => giveUp(f));
	const low = f.let(op("i32WrapI64", phys));
	const page = f.let(op("i32ShrU", low, i32(12)));
	// The first code on a page has to be announced.
	f.if(op("i32Eqz", loadOp("i32Load8U", page, CODE_FLAGS)), () => giveUp(f));
	const root = f.let(loadOp("i32Load", op("i32Shl", op("i32And", mode, i32(patternMode(-1))), i32(2)), DECODER + DECODER_FIELD.roots));
	f.if(op("i32Eqz", root), () => giveUp(f));
	const head = f.let(decoder("next"));
	f.if(op("i32GtU", op("i32Add", head, i32(MAX_BLOCK_BYTES)), decoder("end")), () => giveUp(f));
	const host = hostOf(f, cpu, low);
	const room = f.let(op("i32Sub", i32(4096), op("i32And", low, i32(4095))));

	const record = f.local("i32");
	const delta = f.local("i32");
	const count = f.local("i32");
	f.set(record, op("i32Add", head, i32(RECORD_BYTES)));
	f.set(delta, i32(0));
	f.set(count, i32(0));
	f.block((end) => {
		f.loop((again) => decodeOne(f, { host, room, root, record, delta, count }, again, end));
	});
	f.if(op("i32Eqz", f.get(count)), () => giveUp(f));

	f.store("i32Store", f.get(record), decoder("leadOn"), REC.callee);
	f.store("i32Store16", f.get(record), placeIn(f.get(delta), f.get(count)), REC.delta);
	f.store("i64Store", f.get(record), select(isCode64(mode), i64(-1), i64(0xffff_ffff)), REC.imm);
	f.store("i32Store", head, i32(0), HEAD.isStale);
	const modeAndLength = op("i32Or", op("i32Shl", mode, i32(8)), op("i32Shl", f.get(delta), i32(16)));
	f.store("i32Store", head, op("i32Or", f.get(count), modeAndLength), HEAD.count);
	const heat = loadOp("i32Load", op("i32Shl", isUser(mode), i32(2)), DECODER + DECODER_FIELD.heat);
	const mayBeKept = mayHaveKept(low, mode, loadOp("i32Load8U", host));
	f.store("i32Store", head, select(mayBeKept, decoder("firstLook"), heat), HEAD.heat);
	f.store("i32Store", head, i32(0), HEAD.region);
	f.store("i64Store", head, phys, HEAD.phys);
	const chain = f.let(chainOf(low));
	f.store("i32Store", head, loadOp("i32Load", chain, CHAINS), HEAD.chain);
	f.store("i32Store", head, i32(0), HEAD.tail);
	f.store("i32Store", chain, head, CHAINS);
	const twice = f.let(op("i32Shl", page, i32(1)));
	f.store("i32Store16", twice, op("i32Add", loadOp("i32Load16U", twice, BLOCK_COUNTS), i32(1)), BLOCK_COUNTS);
	const all = op("i32Add", decoder("count"), f.get(count));
	f.store("i32Store", i32(0), all, DECODER + DECODER_FIELD.count);
	f.store("i32Store", i32(0), op("i32Add", f.get(record), i32(RECORD_BYTES)), DECODER + DECODER_FIELD.next);
	enterIndex(f, low, key, head);
	f.return(head);
	f.unreachable();
});

/** A record's `delta`: where its instruction begins, and which of the block's it is. */
const placeIn = (delta: Expr, position: Expr): Expr => op("i32Or", delta, op("i32Shl", position, i32(DELTA_BITS)));

/** What decoding works on: expressions, and numbers of i32 locals. */
interface Decoding {
	/** Offset of the block's first byte, and bytes up to the end of its page. */
	readonly host: Expr;
	readonly room: Expr;
	readonly root: Expr;
	readonly record: number;
	readonly delta: number;
	readonly count: number;
}

/** Decodes an instruction; branches to `again` for the next one, to `end` where the block ends before it or behind it. */
function decodeOne(f: FunctionBuilder, { host, room, root, record, delta, count }: Decoding, again: Label, end: Label): void {
	const node = f.local("i32");
	const at = f.local("i32");
	f.set(node, root);
	f.set(at, op("i32Add", host, f.get(delta)));
	f.loop((deeper) => {
		f.set(node, loadOp("i32Load", op("i32Add", f.get(node), op("i32Shl", loadOp("i32Load8U", f.get(at)), i32(2)))));
		f.set(at, op("i32Add", f.get(at), i32(1)));
		f.brIf(deeper, op("i32GtS", f.get(node), i32(NEVER)));
	});
	// A block that ended here would be hot, and be translated, beside the one behind it.
	f.if(op("i32GeS", f.get(node), i32(0)), () => giveUp(f));
	const pattern = f.let(op("i32Sub", i32(0), f.get(node)));
	const next = f.let(op("i32Add", f.get(delta), loadOp("i32Load8U", pattern, PATTERN.lengthBytes)));
	f.brIf(end, op("i32GtU", next, room));
	const to = f.let(f.get(record));
	for (const half of [0, 16]) f.store("v128Store", to, loadOp("v128Load", pattern, PATTERN.record + half), half);
	f.store("i32Store16", to, placeIn(f.get(delta), f.get(count)), REC.delta);
	f.store("i32Store16", to, next, REC.next);
	const flags = f.let(loadOp("i32Load8U", pattern, PATTERN.flags));
	const dispBytes = f.let(loadOp("i32Load8U", pattern, PATTERN.dispBytes));
	f.if(dispBytes, () => {
		f.if(
			op("i32Eq", dispBytes, i32(1)),
			() => f.store("i32Store", to, loadOp("i32Load8S", f.get(at)), REC.disp),
			() => {
				const disp = f.let(loadOp("i32Load", f.get(at)));
				f.store("i32Store", to, disp, REC.disp);
				f.if(op("i32And", flags, i32(PATTERN_FLAG.ripRelative)), () => {
					// Counted from the block's start it may not fit.
					const sum = f.let(op("i64Add", op("i64ExtendI32S", disp), op("i64ExtendI32U", next)));
					const cut = f.let(op("i32WrapI64", sum));
					f.brIf(end, op("i64Ne", sum, op("i64ExtendI32S", cut)));
					f.store("i32Store", to, cut, REC.disp);
				});
			},
		);
	});
	const kind = f.let(loadOp("i32Load8U", pattern, PATTERN.immediate));
	f.if(kind, () => immediate(f, kind, f.let(op("i32Add", f.get(at), dispBytes)), to, flags, next));
	f.set(count, op("i32Add", f.get(count), i32(1)));
	f.set(delta, next);
	f.set(record, op("i32Add", to, i32(RECORD_BYTES)));
	f.brIf(end, op("i32And", flags, i32(PATTERN_FLAG.ends)));
	const isRoom = op("i32And", op("i32LtU", f.get(count), i32(MAX_BLOCK_INSNS)), op("i32LtU", next, room));
	f.brIf(again, isRoom);
}

const READ_IMMEDIATE = [
	[IMMEDIATE.signed8, "i64Load8S"],
	[IMMEDIATE.signed32, "i64Load32S"],
	[IMMEDIATE.unsigned8, "i64Load8U"],
	[IMMEDIATE.signed16, "i64Load16S"],
	[IMMEDIATE.unsigned16, "i64Load16U"],
	[IMMEDIATE.all64, "i64Load"],
] as const;

/** The immediate at offset `from`, read as `kind` says, into the record; of a relative branch, counted from the block's start. */
function immediate(f: FunctionBuilder, kind: Expr, from: Expr, to: Expr, flags: Expr, next: Expr): void {
	const value = f.local("i64");
	f.block((read) => {
		for (const [which, load] of READ_IMMEDIATE)
			f.if(op("i32Eq", kind, i32(which)), () => {
				f.set(value, loadOp(load, from));
				f.br(read);
			});
	});
	f.if(op("i32And", flags, i32(PATTERN_FLAG.relative)), () => f.set(value, op("i64Add", f.get(value), op("i64ExtendI32U", next))));
	f.store("i64Store", to, f.get(value), REC.imm);
}
