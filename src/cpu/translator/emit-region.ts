import { type Expr, i32, op } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import { dispatchTo } from "../core/find-code.ts";
import { type Callables, isNonCanonical } from "../emit/ops.ts";
import { EXIT, MODE } from "../state/layout.ts";
import { dominates } from "./dominators.ts";
import { areEqual, forget, noEffects } from "./effects.ts";
import { noteTarget } from "./jump-targets.ts";
import { RegionFlow } from "./region-flow.ts";
import type { RegionBlock, RegionGraph, RegionInsn } from "./region-graph.ts";
import type { FlagKnowledge } from "./region-locals.ts";
import { RegionOps } from "./region-ops.ts";
import type { GrowingExitSites } from "./region-sites.ts";
import type { Shape, ShapeTable } from "./shapes.ts";

/** How often a region is emitted again because instructions did other things than expected. */
const MAX_ATTEMPTS = 3;

export interface EmittedRegion {
	readonly code: FunctionBuilder;
	/** What the numbers in `exitSite` mean. */
	readonly sites: GrowingExitSites;
}

/** One region as a function (cpu, record) → exit, for `slot` of the function table. undefined: its instructions never did what was expected of them. */
export function emitRegion(graph: RegionGraph, calls: Callables, table: ShapeTable, slot: number): EmittedRegion | undefined {
	for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
		const emitter = new RegionEmitter(graph, calls, table, slot);
		const f = emitter.emit();
		if (emitter.isAsExpected) return { code: f, sites: emitter.sites };
	}
	return undefined;
}

/** By instruction: whether the flags after it are overwritten before anybody can see them. */
function findDeadFlags(shapes: readonly Shape[]): boolean[] {
	const found = shapes.map(() => false);
	let isDead = false;
	for (let n = shapes.length - 1; n >= 0; n--) {
		found[n] = isDead;
		const { flagUse } = shapes[n] as Shape;
		if (flagUse !== "passes" && flagUse !== "keeps") isDead = flagUse === "sets";
	}
	return found;
}

/** The first instruction that sets flags leaves the carry, or adds it, and somebody may look at that. */
function keepsCarry(shapes: readonly Shape[], { insns }: RegionBlock): boolean {
	const first = shapes.findIndex(({ effects }) => effects.flags !== "none" || effects.isInMemory);
	if (first < 0 || !CARRY_KEEPERS.has((insns[first] as RegionInsn).insn.mnemonic)) return false;
	return !findDeadFlags(shapes)[first];
}

const CARRY_KEEPERS: ReadonlySet<string> = new Set(["INC", "DEC", "ADC", "SBB"]);

class RegionEmitter {
	readonly #graph: RegionGraph;
	readonly #calls: Callables;
	readonly #ops: RegionOps;
	readonly #f: FunctionBuilder;
	/** By order of block: the labels that lead to it, where it is a loop's header or a merge point whose code is under way. */
	readonly #headers: (Label | undefined)[] = [];
	readonly #merges: (Label | undefined)[] = [];
	/** By order of block: ways come together there; a loop begins there. */
	readonly #isMerge: boolean[] = [];
	readonly #isHeader: boolean[] = [];
	/** By order of block: nothing is known of the flags at its start, and the carry is what it asks first. */
	readonly #wantsCarry: boolean[] = [];
	/** The code segment has a limit to heed. */
	readonly #isLimited: boolean;
	/** By order of block. */
	readonly #flagsAfter: FlagKnowledge[] = [];
	readonly #flow: RegionFlow;
	readonly #table: ShapeTable;
	readonly #slot: number;
	/** The analysis before emitting saw what was then emitted. */
	isAsExpected = true;
	/** The block and the instruction under way; it has branched, and what it leads to has been emitted inside it. */
	#block!: RegionBlock;
	#n = 0;
	#hasBranched = false;

	constructor(graph: RegionGraph, calls: Callables, table: ShapeTable, slot: number) {
		this.#graph = graph;
		this.#calls = calls;
		this.#slot = slot;
		this.#table = table;
		this.#flow = new RegionFlow(graph, table);
		this.#ops = new RegionOps(calls, graph.modeKey, this.#flow.use, this.#flow.before(graph.entry));
		this.#f = this.#ops.f;
		this.#isLimited = (graph.modeKey & MODE.flat) === 0;
		this.#ops.effects = noEffects();
		this.#ops.onBranch = (condition) => this.#onBranch(condition);
		this.#ops.onComputed = () => this.#onComputed();
		this.#ops.onTarget = (distance) => {
			if (graph.notesTargets) noteTarget(this.#f, graph.code.physAt(this.#ops.delta), this.#ops.insn.modrm, distance);
		};
		for (const block of graph.blocks) {
			this.#headers.push(undefined);
			this.#merges.push(undefined);
			this.#flagsAfter.push(undefined);
			this.#classify(block);
			this.#wantsCarry.push(!this.#takesFlags(block) && keepsCarry(this.#flow.shapes(block), block));
		}
	}

	get sites(): GrowingExitSites {
		return this.#ops.sites;
	}

	emit(): FunctionBuilder {
		const f = this.#f;
		const ops = this.#ops;
		if (this.#wantsCarry[this.#graph.entry.order]) ops.keepCarry();
		this.#tree(this.#graph.entry);
		f.unreachable();
		ops.emitWaysOut(this.#slot, () => {
			ops.storeBudget();
			ops.storeRip(f, f.get(ops.exitTarget));
			this.#goOn(f.get(ops.exitTarget));
		});
		f.return(i32(EXIT.region));
		f.unreachable();
		f.atStart(() => ops.emitPrologue(f));
		return f;
	}

	/** The first thing the dispatcher does, in place: a look into the jump cache, and a tail call. */
	#goOn(target: Expr): void {
		const f = this.#f;
		const rip = f.let(target.type === "i64" ? target : op("i64ExtendI32U", target));
		dispatchTo(f, this.#calls, this.#ops.cpu, rip, () => {
			if (target.type === "i64") this.#takeBack(target);
		});
	}

	/** A computed transfer to an address that is not canonical faults itself: it has never happened. */
	#takeBack(target: Expr): void {
		const ops = this.#ops;
		const f = this.#f;
		const undo = f.get(ops.exitUndo);
		f.ifRarely(op("i32And", isNonCanonical(target), undo), () => {
			ops.storeRip(f, ops.ripAt(f.get(ops.exitDelta)));
			f.returnCall(this.#calls.index("takeBack"), [ops.cpu, undo]);
		});
	}

	// Structured control flow from the dominator tree: N. Ramsey, "Beyond Relooper" (ICFP 2022).

	#isBackward(from: RegionBlock, to: RegionBlock): boolean {
		return to.order <= from.order;
	}

	#classify(block: RegionBlock): void {
		let forward = 0;
		let isHeader = false;
		for (const from of block.predecessors) {
			if (!this.#isBackward(from, block)) forward++;
			else if (dominates(block, from)) isHeader = true;
		}
		this.#isMerge.push(forward > 1);
		this.#isHeader.push(isHeader);
	}

	/** It has one way in, and what is known of the flags there. */
	#takesFlags(block: RegionBlock): boolean {
		return block.predecessors.length === 1 && block !== this.#graph.entry;
	}

	#tree(block: RegionBlock): void {
		// In their order, as they were numbered.
		const merges = block.dominated.filter((child) => this.#isMerge[child.order]);
		if (!this.#isHeader[block.order]) {
			this.#within(block, merges, merges.length);
			return;
		}
		this.#f.loop((again) => {
			this.#headers[block.order] = again;
			this.#within(block, merges, merges.length);
			this.#headers[block.order] = undefined;
		});
	}

	/** The block's code inside one wasm block for each of the first `count` merge points that it dominates, the earliest innermost. */
	#within(block: RegionBlock, merges: readonly RegionBlock[], count: number): void {
		if (count === 0) {
			this.#emitBlock(block);
			return;
		}
		const last = merges[count - 1] as RegionBlock;
		this.#f.block((label) => {
			this.#merges[last.order] = label;
			this.#within(block, merges, count - 1);
		});
		this.#merges[last.order] = undefined;
		this.#tree(last);
	}

	#emitBlock(block: RegionBlock): void {
		const ops = this.#ops;
		ops.startBlock(
			this.#takesFlags(block) ? this.#flagsAfter[(block.predecessors[0] as RegionBlock).order] : undefined,
			this.#flow.before(block),
			this.#wantsCarry[block.order] as boolean,
		);
		const { insns } = block;
		const count = insns.length;
		const end = insns[count - 1] as RegionInsn;
		if (this.#isLimited) ops.stayWithin(block.delta, end.delta + end.insn.lengthBytes);
		ops.delta = block.delta;
		ops.left = count;
		ops.charge();
		const shapes = this.#flow.shapes(block);
		const deadFlags = findDeadFlags(shapes);
		this.#block = block;
		for (let n = 0; n < count; n++) {
			const { insn, delta } = insns[n] as RegionInsn;
			forget(ops.effects);
			ops.insn = insn;
			ops.delta = delta;
			ops.left = count - n;
			ops.areFlagsDead = deadFlags[n] as boolean;
			ops.isEnded = false;
			ops.isCalleeInside = insn.row.flow === "call" && block.taken !== undefined && block.successors.length > 0;
			this.#n = n;
			this.#hasBranched = false;
			this.#f.beginScope();
			const shape = shapes[n] as Shape;
			ops.emitInsn(shape);
			this.#f.endScope();
			// What a branch leads to has been emitted inside it, by the same `ops`: by now its fields tell of other instructions.
			if (this.#hasBranched) return;
			this.#check(shape);
			if (ops.isEnded) return;
		}
		ops.floats.flush();
		this.#flagsAfter[block.order] = ops.knowledge;
		this.#go(block, block.fallThrough as number);
	}

	/** Has the instruction done what the analysis expected? */
	#check(shape: Shape): void {
		const { effects, isReplayed } = this.#ops;
		if (isReplayed || areEqual(effects, shape.effects)) return;
		this.isAsExpected = false;
		this.#table.correct(shape, (this.#block.insns[this.#n] as RegionInsn).insn, effects);
	}

	#onBranch(condition: Expr | undefined): void {
		this.#check(this.#flow.shapes(this.#block)[this.#n] as Shape);
		this.#branch(this.#block, condition);
		this.#hasBranched = true;
	}

	#branch(block: RegionBlock, condition: Expr | undefined): void {
		const ops = this.#ops;
		this.#flagsAfter[block.order] = ops.knowledge;
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

	#onComputed(): void {
		const block = this.#block;
		if (block.successors.length === 0) return;
		this.#check(this.#flow.shapes(block)[this.#n] as Shape);
		this.#goOnWithin(block);
		this.#hasBranched = true;
	}

	/** Goes on within the region if `exitTarget` is a place in it. */
	#goOnWithin(block: RegionBlock): void {
		const ops = this.#ops;
		const f = this.#f;
		this.#flagsAfter[block.order] = ops.knowledge;
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
		const to = successorAt(from, delta);
		if (to === undefined) {
			this.#ops.exitTo(delta);
			return;
		}
		if (!this.#takesFlags(to)) {
			if (this.#wantsCarry[to.order]) this.#ops.keepCarry();
			this.#ops.generaliseFlags();
		}
		if (this.#isBackward(from, to)) {
			const again = this.#headers[to.order];
			// A way into the middle of a loop has no structured form: it leaves and comes back by the front door.
			if (again === undefined) this.#ops.exitTo(delta);
			else this.#f.br(again);
			return;
		}
		const merge = this.#merges[to.order];
		if (merge !== undefined) this.#f.br(merge);
		else if (to.immediateDominator === from) this.#tree(to);
		else this.#ops.exitTo(delta);
	}
}

function successorAt({ successors }: RegionBlock, delta: number): RegionBlock | undefined {
	for (let n = 0; n < successors.length; n++) if ((successors[n] as RegionBlock).delta === delta) return successors[n];
	return undefined;
}
