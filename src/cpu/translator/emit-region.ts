import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import type { Operand } from "../../x86/decode/insn.ts";
import { goTo } from "../core/memory.ts";
import { type Callables, isNonCanonical } from "../emit/ops.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { at, EXIT, jumpTagHigh, MODE } from "../state/layout.ts";
import { dominates } from "./dominators.ts";
import { areEqual, type Effects, type EffectsTable, noEffects } from "./effects.ts";
import { RegionFlow } from "./region-flow.ts";
import type { RegionBlock, RegionGraph, RegionInsn } from "./region-graph.ts";
import type { FlagKnowledge } from "./region-locals.ts";
import { RegionOps } from "./region-ops.ts";
import type { ExitSite } from "./region-sites.ts";

/** How often a region is emitted again because instructions did other things than expected. */
const MAX_ATTEMPTS = 3;

export interface EmittedRegion {
	readonly code: FunctionBuilder;
	/** What the numbers in `exitSite` mean. */
	readonly sites: readonly ExitSite[];
}

/** One region as a function (cpu, record) → exit, for `slot` of the function table. undefined: its instructions never did what was expected of them. */
export function emitRegion(graph: RegionGraph, calls: Callables, table: EffectsTable, slot: number): EmittedRegion | undefined {
	for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
		const emitter = new RegionEmitter(graph, calls, table, slot);
		const f = emitter.emit();
		if (emitter.isAsExpected) return { code: f, sites: emitter.sites };
	}
	return undefined;
}

/** Set all six flags and read none, whatever their operands. */
const SETS_ALL_FLAGS: ReadonlySet<string> = new Set(["ADD", "SUB", "CMP", "AND", "OR", "XOR", "TEST", "NEG", "IMUL", "MUL"]);
/** Neither read nor write flags. */
const NO_FLAGS: ReadonlySet<string> = new Set(["MOV", "MOVZX", "MOVSX", "MOVSXD", "LEA", "NOT", "BSWAP", "NOP", "XCHG", "CBW", "CWD"]);

/**
 * By instruction: whether the flags after it are overwritten before anybody can see them. An instruction with a memory operand may
 * fault, and then they are seen.
 */
function findDeadFlags({ insns }: RegionBlock): boolean[] {
	const found = new Array<boolean>(insns.length);
	let isDead = false;
	for (let n = insns.length - 1; n >= 0; n--) {
		found[n] = isDead;
		const { mnemonic, operands } = (insns[n] as RegionInsn).insn;
		const isPlain = mnemonic === "LEA" || operands.every(isPlainOperand);
		if (!isPlain) isDead = false;
		else if (SETS_ALL_FLAGS.has(mnemonic)) isDead = true;
		else if (!NO_FLAGS.has(mnemonic)) isDead = false;
	}
	return found;
}

function isPlainOperand(operand: Operand): boolean {
	return (operand.kind === "reg" && (operand.cls === "gpr" || operand.cls === "gpr8h")) || operand.kind === "imm";
}

class RegionEmitter {
	readonly #graph: RegionGraph;
	readonly #ops: RegionOps;
	readonly #f: FunctionBuilder;
	readonly #headers = new Map<RegionBlock, Label>();
	readonly #merges = new Map<RegionBlock, Label>();
	/** The code segment has a limit to heed. */
	readonly #isLimited: boolean;
	readonly #flagsAfter = new Map<RegionBlock, FlagKnowledge>();
	readonly #flow: RegionFlow;
	readonly #table: EffectsTable;
	readonly #slot: number;
	/** The analysis before emitting saw what was then emitted. */
	isAsExpected = true;

	constructor(graph: RegionGraph, calls: Callables, table: EffectsTable, slot: number) {
		this.#graph = graph;
		this.#slot = slot;
		this.#table = table;
		this.#flow = new RegionFlow(graph, table);
		this.#ops = new RegionOps(calls, graph.modeKey, this.#flow.use, this.#flow.before(graph.entry));
		this.#f = this.#ops.f;
		this.#isLimited = (graph.modeKey & MODE.flat) === 0;
	}

	get sites(): readonly ExitSite[] {
		return this.#ops.sites;
	}

	emit(): FunctionBuilder {
		const f = this.#f;
		const ops = this.#ops;
		f.block((leave) => {
			f.block((indirect) => {
				ops.exits = { indirect, leave };
				this.#tree(this.#graph.entry);
				f.unreachable();
			});
			ops.storeBudget();
			ops.storeRip(f, f.get(ops.exitTarget));
			this.#goOn(f.get(ops.exitTarget));
		});
		ops.emitLeaving(this.#slot);
		f.return(i32(EXIT.region));
		f.unreachable();
		f.atStart(() => ops.emitPrologue(f));
		return f;
	}

	/** The dispatcher in place: one lookup, then a tail call. */
	#goOn(target: Expr): void {
		const f = this.#f;
		const { cpu } = this.#ops;
		const rip = f.let(target.type === "i64" ? target : op("i64ExtendI32U", target));
		const { modeKey } = this.#graph;
		const tag = this.#isLimited ? loadOp("i64Load", cpu, at("jumpTag")) : i64(BigInt(jumpTagHigh(modeKey, 0)) << 32n);
		goTo(f, cpu, rip, tag);
		if (target.type === "i64") this.#takeBack(target);
		f.return(i32(EXIT.lookup));
	}

	/** A computed transfer to an address that is not canonical faults itself: it has never happened. */
	#takeBack(target: Expr): void {
		const ops = this.#ops;
		const f = this.#f;
		const undo = f.get(ops.exitUndo);
		f.if(op("i32And", isNonCanonical(target), undo), () => {
			const moved = op("i64ExtendI32S", op("i32ShrS", undo, i32(1)));
			f.store("i64Store", ops.cpu, op("i64Sub", loadOp("i64Load", ops.cpu, at("gpr", 4)), moved), at("gpr", 4));
			f.store("i32Store", ops.cpu, op("i32Add", f.get(ops.budget), i32(1)), at("budget"));
			ops.storeRip(f, ops.ripAt(f.get(ops.exitDelta)));
			f.store("i32Store", ops.cpu, i32(0), at("exitRecord"));
			ops.setField32("faultVector", i32(13));
			ops.setField32("faultErrorCode", i32(0));
			f.return(i32(EXIT.fault));
		});
	}

	// Structured control flow from the dominator tree: N. Ramsey, "Beyond Relooper" (ICFP 2022).

	#isBackward(from: RegionBlock, to: RegionBlock): boolean {
		return to.order <= from.order;
	}

	#isHeader(block: RegionBlock): boolean {
		return block.predecessors.some((from) => this.#isBackward(from, block) && dominates(block, from));
	}

	#isMerge(block: RegionBlock): boolean {
		return block.predecessors.filter((from) => !this.#isBackward(from, block)).length > 1;
	}

	/** It has one way in, and what is known of the flags there. */
	#takesFlags(block: RegionBlock): boolean {
		return block.predecessors.length === 1 && block !== this.#graph.entry;
	}

	#tree(block: RegionBlock): void {
		const merges = block.dominated.filter((child) => this.#isMerge(child)).sort((a, b) => a.order - b.order);
		if (!this.#isHeader(block)) {
			this.#within(block, merges);
			return;
		}
		this.#f.loop((again) => {
			this.#headers.set(block, again);
			this.#within(block, merges);
			this.#headers.delete(block);
		});
	}

	/** The block's code inside one wasm block per merge point that it dominates, the earliest innermost. */
	#within(block: RegionBlock, merges: readonly RegionBlock[]): void {
		const last = merges.at(-1);
		if (last === undefined) {
			this.#block(block);
			return;
		}
		this.#f.block((label) => {
			this.#merges.set(last, label);
			this.#within(block, merges.slice(0, -1));
		});
		this.#merges.delete(last);
		this.#tree(last);
	}

	#block(block: RegionBlock): void {
		const ops = this.#ops;
		ops.startBlock(
			this.#takesFlags(block) ? this.#flagsAfter.get(block.predecessors[0] as RegionBlock) : undefined,
			this.#flow.before(block),
		);
		const count = block.insns.length;
		const end = block.insns.at(-1) as RegionInsn;
		if (this.#isLimited) ops.stayWithin(block.delta, end.delta + end.insn.lengthBytes);
		ops.charge(block.delta, count);
		const deadFlags = findDeadFlags(block);
		for (const [i, { insn, delta }] of block.insns.entries()) {
			const effects = noEffects();
			ops.effects = effects;
			ops.insn = insn;
			ops.delta = delta;
			ops.left = count - i;
			ops.areFlagsDead = deadFlags[i] as boolean;
			ops.isEnded = false;
			ops.isCalleeInside = insn.row.flow === "call" && block.taken !== undefined && block.successors.length > 0;
			// What a branch leads to is emitted inside it, by the same `ops`: afterwards its fields tell of other instructions.
			let hasBranched = false;
			ops.onBranch = (condition) => {
				hasBranched = true;
				this.#check(block, i, effects);
				this.#branch(block, condition);
			};
			ops.onReturn = () => this.#return(block);
			this.#f.beginScope();
			meaningOf(insn)?.emit(ops);
			if (hasBranched) return;
			if (!ops.isEnded) ops.commit();
			this.#f.endScope();
			this.#check(block, i, effects);
			if (ops.isEnded) return;
		}
		this.#flagsAfter.set(block, ops.knowledge);
		this.#go(block, block.fallThrough as number);
	}

	/** Has the instruction done what the analysis expected? */
	#check(block: RegionBlock, n: number, effects: Effects): void {
		const insn = block.insns[n] as RegionInsn;
		if (areEqual(effects, this.#flow.expected(insn))) return;
		this.isAsExpected = false;
		this.#table.learn(insn.insn, this.#graph.modeKey, effects);
	}

	#branch(block: RegionBlock, condition: Expr | undefined): void {
		const ops = this.#ops;
		this.#flagsAfter.set(block, ops.knowledge);
		// What is emitted inside belongs to other instructions: the condition has been consumed by then.
		this.#f.endScope();
		// A branch to the next instruction goes one way only: emitting both sides would double everything behind it.
		if (condition === undefined || block.taken === block.fallThrough) {
			this.#go(block, block.taken as number);
			return;
		}
		const { point } = ops;
		this.#f.if(
			condition,
			() => this.#go(block, block.taken as number),
			() => {
				ops.goBackTo(point);
				this.#go(block, block.fallThrough as number);
			},
		);
	}

	/** Goes on within the region if `exitTarget` is one of its return sites. */
	#return(block: RegionBlock): void {
		if (block.successors.length === 0) return;
		const ops = this.#ops;
		const f = this.#f;
		this.#flagsAfter.set(block, ops.knowledge);
		f.endScope();
		const { point } = ops;
		const target = f.get(ops.exitTarget);
		for (const site of block.successors) {
			f.if(op(target.type === "i64" ? "i64Eq" : "i32Eq", target, ops.ripAt(i32(site.delta))), () => this.#go(block, site.delta));
			ops.goBackTo(point);
		}
		f.beginScope();
	}

	#go(from: RegionBlock, delta: number): void {
		const to = from.successors.find((successor) => successor.delta === delta);
		if (to === undefined) {
			this.#ops.exitTo(delta);
			return;
		}
		if (!this.#takesFlags(to)) this.#ops.generaliseFlags();
		if (this.#isBackward(from, to)) {
			const again = this.#headers.get(to);
			// A way into the middle of a loop has no structured form: it leaves and comes back by the front door.
			if (again === undefined) this.#ops.exitTo(delta);
			else this.#f.br(again);
			return;
		}
		const merge = this.#merges.get(to);
		if (merge !== undefined) this.#f.br(merge);
		else if (to.immediateDominator === from) this.#tree(to);
		else this.#ops.exitTo(delta);
	}
}
