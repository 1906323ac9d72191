import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import { FunctionBuilder, type Label } from "../../wasm/function-builder.ts";
import { jumpSlot } from "../core/memory.ts";
import { HANDLER_PARAMS, HANDLER_TYPE } from "../core/registry.ts";
import { type Callables, isNonCanonical } from "../emit/ops.ts";
import { meaningOf } from "../semantics/meaning.ts";
import { at, EXIT, JUMP_CACHE, JUMP_ENTRY, MODE } from "../state/layout.ts";
import { dominates, type RegionBlock, type RegionGraph, type RegionInsn } from "./region-graph.ts";
import { type FlagKnowledge, RegionOps, type RegisterUse } from "./region-ops.ts";

/** One region as a function (cpu, record) → exit. */
export function emitRegion(graph: RegionGraph, calls: Callables): FunctionBuilder {
	const use: RegisterUse = { gprRead: new Set(), gprWritten: new Set(), xmmRead: new Set(), xmmWritten: new Set() };
	// Most regions are right at once; those that spill in the middle are emitted again when all registers are known.
	for (;;) {
		const before = use.gprRead.size + use.gprWritten.size + use.xmmRead.size + use.xmmWritten.size;
		const emitter = new RegionEmitter(graph, calls, use);
		const f = emitter.emit();
		const after = use.gprRead.size + use.gprWritten.size + use.xmmRead.size + use.xmmWritten.size;
		if (!emitter.hasSpilled || after === before) return f;
	}
}

/** Set all six flags and read none, whatever their operands. */
const SETS_ALL_FLAGS: ReadonlySet<string> = new Set(["ADD", "SUB", "CMP", "AND", "OR", "XOR", "TEST", "NEG", "IMUL", "MUL"]);
/** Neither read nor write flags. */
const NO_FLAGS: ReadonlySet<string> = new Set(["MOV", "MOVZX", "MOVSX", "MOVSXD", "LEA", "NOT", "BSWAP", "NOP", "XCHG", "CBW", "CWD"]);

/**
 * Whether the flags after the n-th instruction are overwritten before anybody can see them. An instruction with a memory
 * operand may fault, and then they are seen.
 */
function areFlagsDeadAfter(block: RegionBlock, n: number): boolean {
	for (const { insn } of block.insns.slice(n + 1)) {
		const isPlain = insn.operands.every((operand) => (operand.kind === "reg" && operand.cls.startsWith("gpr")) || operand.kind === "imm");
		if (!isPlain && insn.mnemonic !== "LEA") return false;
		if (SETS_ALL_FLAGS.has(insn.mnemonic)) return true;
		if (!NO_FLAGS.has(insn.mnemonic)) return false;
	}
	return false;
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

	constructor(graph: RegionGraph, calls: Callables, use: RegisterUse) {
		this.#graph = graph;
		this.#ops = new RegionOps(calls, graph.modeKey, use);
		this.#f = this.#ops.f;
		this.#isLimited = (graph.modeKey & MODE.flat) === 0;
	}

	get hasSpilled(): boolean {
		return this.#ops.hasSpilled;
	}

	emit(): FunctionBuilder {
		const f = this.#f;
		const ops = this.#ops;
		f.block((leave) => {
			f.block((indirect) => {
				f.block((dispatch) => {
					ops.exits = { dispatch, indirect, leave };
					this.#tree(this.#graph.entry);
					f.unreachable();
				});
				f.set(ops.exitTarget, ops.ripAt(f.get(ops.exitDelta)));
			});
			ops.emitStores(f);
			ops.storeRip(f, f.get(ops.exitTarget));
			this.#goOn(f.get(ops.exitTarget));
		});
		f.set(ops.budget, op("i32Add", f.get(ops.budget), f.get(ops.exitRefund)));
		ops.emitStores(f);
		ops.storeRip(f, ops.ripAt(f.get(ops.exitDelta)));
		f.store("i32Store", ops.cpu, i32(0), at("exitRecord"));
		f.return(f.get(ops.exitCode));
		f.unreachable();
		return this.#withPrologue();
	}

	/** The dispatcher in place: one lookup, then a tail call. */
	#goOn(target: Expr): void {
		const f = this.#f;
		const { cpu } = this.#ops;
		const rip = f.let(target.type === "i64" ? target : op("i64ExtendI32U", target));
		const entry = f.let(op("i32Add", cpu, jumpSlot(rip)));
		const isKnown = op(
			"i32And",
			op("i64Eq", loadOp("i64Load", entry, JUMP_CACHE + JUMP_ENTRY.rip), rip),
			op("i32Eq", loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.mode), loadOp("i32Load", cpu, at("jumpKey"))),
		);
		f.if(isKnown, () =>
			f.returnCallIndirect(
				HANDLER_TYPE,
				[cpu, loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.record)],
				loadOp("i32Load", entry, JUMP_CACHE + JUMP_ENTRY.callee),
			),
		);
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

	/** The same function with the loads at entry put before the body. */
	#withPrologue(): FunctionBuilder {
		const whole = new FunctionBuilder(HANDLER_PARAMS, "i32");
		whole.adoptLocals(this.#f);
		this.#ops.emitPrologue(whole);
		whole.code.append(this.#f.code);
		return whole;
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
		const only = block.predecessors.length === 1 && !this.#isHeader(block) ? block.predecessors[0] : undefined;
		ops.startBlock(only === undefined ? undefined : this.#flagsAfter.get(only));
		const count = block.insns.length;
		const end = block.insns.at(-1) as RegionInsn;
		if (this.#isLimited) ops.stayWithin(block.delta, end.delta + end.insn.lengthBytes);
		ops.charge(block.delta, count);
		for (const [i, { insn, delta }] of block.insns.entries()) {
			ops.insn = insn;
			ops.delta = delta;
			ops.left = count - i;
			ops.areFlagsDead = areFlagsDeadAfter(block, i);
			ops.isEnded = false;
			// What a branch leads to is emitted inside it, by the same `ops`: afterwards its fields tell of other instructions.
			let hasBranched = false;
			ops.onBranch = (condition) => {
				hasBranched = true;
				this.#branch(block, condition);
			};
			this.#f.beginScope();
			meaningOf(insn)?.emit(ops);
			if (hasBranched) return;
			if (!ops.isEnded) ops.commit();
			this.#f.endScope();
			if (ops.isEnded) return;
		}
		this.#flagsAfter.set(block, ops.knowledge);
		this.#go(block, block.fallThrough as number);
	}

	#branch(block: RegionBlock, condition: Expr | undefined): void {
		this.#flagsAfter.set(block, this.#ops.knowledge);
		// What is emitted inside belongs to other instructions: the condition has been consumed by then.
		this.#f.endScope();
		// A branch to the next instruction goes one way only: emitting both sides would double everything behind it.
		if (condition === undefined || block.taken === block.fallThrough) this.#go(block, block.taken as number);
		else
			this.#f.if(
				condition,
				() => this.#go(block, block.taken as number),
				() => this.#go(block, block.fallThrough as number),
			);
	}

	#go(from: RegionBlock, delta: number): void {
		const to = from.successors.find((successor) => successor.delta === delta);
		if (to === undefined) {
			this.#ops.exitTo(delta);
			return;
		}
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
