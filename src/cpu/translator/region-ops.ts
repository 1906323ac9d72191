import { type Expr, i32, i64, loadOp, op } from "../../wasm/expr.ts";
import { FunctionBuilder, type Label } from "../../wasm/function-builder.ts";
import type { FarOperand, Imm64Operand, ImmOperand, RegOperand, RelOperand } from "../../x86/decode/insn.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import { condition, type FlagSource, flagImage, type Width } from "../emit/condition.ts";
import { type Callables, type GprRef, gaveUp, Ops, type SegRef } from "../emit/ops.ts";
import { memoryOperand } from "../interpreter/record.ts";
import { ccOp } from "../state/flags.ts";
import { at, EXIT, MODE } from "../state/layout.ts";
import { type Effects, noEffects } from "./effects.ts";
import { apply, type FlowState, type RegionUse } from "./region-flow.ts";

/** Where the flags' inputs are at a point of the code: known statically (in the `flag…` locals), or anybody's guess. */
export type FlagKnowledge = FlagSource | undefined;

/** The labels of a region's common ways out; each finds its data in the exit locals. */
export interface RegionExits {
	/** Everything but budget and rip is stored: rip = exitTarget; go on by the dispatcher. */
	readonly indirect: Label;
	/** rip = ripBase + exitDelta; what exitDirty says is stored; return exitCode. */
	readonly leave: Label;
}

/**
 * The translator's reading: operands are constants, registers and flags live in locals from the region's entry to its exits,
 * where they go back into the state block together.
 */
export class RegionOps extends Ops {
	/** What holds at this point; the emitter sets it at each block's start. */
	state: FlowState;
	/** What the running instruction has done so far. */
	effects: Effects = noEffects();
	readonly #use: RegionUse;
	/** Registers, and whether the flags, that must be loaded at the region's entry. */
	#gprWanted = 0;
	#xmmWanted = 0;
	#areFlagsWanted = false;
	/** Registers that some way out by `leave` must store; which of them, it finds in `exitDirty`. */
	#gprLeft = 0;
	#xmmLeft = 0;
	readonly #gprLocals: number[] = [];
	readonly #xmmLocals = new Map<number, number>();
	readonly #registerType: "i32" | "i64";
	readonly budget: number;
	readonly #ripBase: number;
	readonly #tlb: number;
	readonly exitDelta: number;
	readonly exitTarget: number;
	readonly exitCode: number;
	readonly exitRefund: number;
	/** Of a computed transfer in 64-bit code, which may turn out to lead nowhere: twice what RSP has moved by, plus 1. */
	readonly exitUndo: number;
	/** General registers in bits 15:0 and the flags in bit 16 that differ from the state block; XMM registers. */
	readonly #exitDirty: number;
	readonly #exitDirtyXmm: number;
	readonly #ccOp: number;
	readonly #cc: readonly number[];
	/** The same inputs as 32-bit values, where the operation is no wider. */
	readonly #cc32: readonly number[];
	#known: FlagKnowledge;
	exits!: RegionExits;
	/** Offset of the instruction from the region's entry; instructions of its block not yet run, itself included. */
	delta = 0;
	left = 0;
	readonly #codeBits: number;
	#isInMemory = false;

	constructor(calls: Callables, modeKey: number, use: RegionUse, state: FlowState) {
		const f = new FunctionBuilder(HANDLER_PARAMS, "i32");
		super(f, f.param(0), calls, { isFlat: (modeKey & MODE.flat) !== 0, isStack32: (modeKey & MODE.stack32) !== 0 });
		this.#use = use;
		this.state = state;
		const mode = modeKey & MODE.codeMask;
		this.#codeBits = mode === MODE.code64 ? 64 : mode === MODE.code32 ? 32 : 16;
		this.#registerType = this.#codeBits === 64 ? "i64" : "i32";
		for (let i = 0; i < 16; i++) this.#gprLocals.push(f.local(this.#registerType));
		this.budget = f.local("i32");
		this.#ripBase = f.local(this.#registerType);
		this.#tlb = f.local("i32");
		this.exitDelta = f.local("i32");
		this.exitTarget = f.local(this.#registerType);
		this.exitCode = f.local("i32");
		this.exitRefund = f.local("i32");
		this.#exitDirty = f.local("i32");
		this.#exitDirtyXmm = f.local("i32");
		this.exitUndo = f.local("i32");
		this.#ccOp = f.local("i32");
		this.#cc = [f.local("i64"), f.local("i64"), f.local("i64")];
		this.#cc32 = [f.local("i32"), f.local("i32"), f.local("i32")];
	}

	// ---- entry and exits ----

	/** What the function starts with; emitted last, when it is known what the body wants. */
	emitPrologue(f: FunctionBuilder): void {
		const load = this.#registerType === "i64" ? "i64Load" : "i32Load";
		for (const i of bits(this.#gprWanted)) f.set(this.#gprLocals[i] as number, loadOp(load, this.cpu, at("gpr", i)));
		for (const i of bits(this.#xmmWanted)) f.set(this.#xmmLocal(i), loadOp("v128Load", this.cpu, at("xmm", i)));
		f.set(this.budget, loadOp("i32Load", this.cpu, at("budget")));
		f.set(this.#ripBase, loadOp(load, this.cpu, at("rip")));
		f.set(this.#tlb, loadOp("i32Load", this.cpu, at("tlbBase")));
		if (this.#areFlagsWanted) this.#loadFlags(f);
	}

	#loadFlags(f: FunctionBuilder): void {
		f.set(this.#ccOp, loadOp("i32Load", this.cpu, at("ccOp")));
		for (const [i, name] of FLAG_INPUTS) f.set(this.#cc[i] as number, loadOp("i64Load", this.cpu, at(name)));
	}

	/** Everything that may differ from the state block goes there. The state stays as it is: this is a way out, or a copy. */
	#spill(): void {
		for (const i of bits(this.state.gprDirty)) this.#storeGpr(i);
		for (const i of bits(this.state.xmmDirty)) this.f.store("v128Store", this.cpu, this.f.get(this.#xmmLocal(i)), at("xmm", i));
		// Dirty on one way here only: on the others the local must hold what the state block holds.
		this.#gprWanted |= this.state.gprDirty & ~this.state.gprHeld;
		this.#xmmWanted |= this.state.xmmDirty & ~this.state.xmmHeld;
		this.#spillFlags();
	}

	#spillFlags(): void {
		if (this.state.flags === "memory") return;
		if (this.state.flags === "either") this.#areFlagsWanted = true;
		this.#storeFlags(this.f);
	}

	#storeGpr(i: number): void {
		const value = this.f.get(this.#gprLocals[i] as number);
		this.f.store("i64Store", this.cpu, value.type === "i64" ? value : op("i64ExtendI32U", value), at("gpr", i));
	}

	storeBudget(): void {
		this.f.store("i32Store", this.cpu, this.f.get(this.budget), at("budget"));
	}

	/** At the end of the ways out that are not worth code of their own: stores what `exitDirty` says. */
	emitLeaveStores(): void {
		const f = this.f;
		for (const i of bits(this.#gprLeft)) f.if(op("i32And", f.get(this.#exitDirty), i32(1 << i)), () => this.#storeGpr(i));
		f.if(op("i32And", f.get(this.#exitDirty), i32(FLAGS_DIRTY)), () => this.#storeFlags(f));
		for (const i of bits(this.#xmmLeft))
			f.if(op("i32And", f.get(this.#exitDirtyXmm), i32(1 << i)), () =>
				f.store("v128Store", this.cpu, f.get(this.#xmmLocal(i)), at("xmm", i)),
			);
	}

	#storeFlags(f: FunctionBuilder): void {
		f.store("i32Store", this.cpu, f.get(this.#ccOp), at("ccOp"));
		for (const [i, name] of FLAG_INPUTS) f.store("i64Store", this.cpu, f.get(this.#cc[i] as number), at(name));
	}

	storeRip(f: FunctionBuilder, value: Expr): void {
		f.store("i64Store", this.cpu, value.type === "i64" ? value : op("i64ExtendI32U", value), at("rip"));
	}

	/** ripBase + a run-time offset. */
	ripAt(delta: Expr): Expr {
		const base = this.f.get(this.#ripBase);
		if (base.type === "i64") return op("i64Add", base, op("i64ExtendI32S", delta));
		return op("i32Add", base, delta);
	}

	/** The same with a constant, which may lie further off than 32 bits reach. */
	protected ripPlus(delta: number): Expr {
		if (!this.is64 || delta === (delta | 0)) return this.ripAt(i32(delta));
		return op("i64Add", this.ripAt(i32(0)), i64(delta));
	}

	#xmmLocal(i: number): number {
		let local = this.#xmmLocals.get(i);
		if (local === undefined) {
			local = this.f.local("v128");
			this.#xmmLocals.set(i, local);
		}
		return local;
	}

	/** Leaves for another place of the same code, `delta` bytes from the entry. */
	exitTo(delta: number): void {
		this.f.set(this.exitTarget, this.ripPlus(delta));
		this.exitIndirect();
	}

	/** Leaves for `exitTarget`. */
	exitIndirect(): void {
		this.#spill();
		this.f.br(this.exits.indirect);
	}

	#leave(code: number): void {
		const f = this.f;
		f.set(this.exitDelta, i32(this.delta));
		f.set(this.exitCode, i32(code));
		f.set(this.exitRefund, i32(this.left));
		this.#leaveDirty();
	}

	#leaveDirty(): void {
		const { state, f } = this;
		// In memory nothing is dirty.
		const gpr = this.#isInMemory ? 0 : state.gprDirty;
		const xmm = this.#isInMemory ? 0 : state.xmmDirty;
		const hasFlags = !this.#isInMemory && state.flags !== "memory";
		if (hasFlags && state.flags === "either") this.#areFlagsWanted = true;
		this.#gprLeft |= gpr;
		this.#xmmLeft |= xmm;
		this.#gprWanted |= gpr & ~state.gprHeld;
		this.#xmmWanted |= xmm & ~state.xmmHeld;
		f.set(this.#exitDirty, i32(gpr | (hasFlags ? FLAGS_DIRTY : 0)));
		// Without any XMM register in sight the local keeps its 0.
		if (this.#use.xmm !== 0) f.set(this.#exitDirtyXmm, i32(xmm));
		f.br(this.exits.leave);
	}

	protected exitFault(): void {
		this.#leave(EXIT.fault);
	}

	protected exitSingle(): void {
		this.#leave(EXIT.single);
	}

	/** Where a block's end lies beyond the code segment's, its instructions run by single step. */
	stayWithin(delta: number, end: number): void {
		const last = op("i32Sub", this.ripAt(i32(end)), i32(1));
		this.f.if(op("i32GtU", last, this.field32("segLimit", 1)), () => {
			this.f.set(this.exitDelta, i32(delta));
			this.f.set(this.exitCode, i32(EXIT.single));
			this.f.set(this.exitRefund, i32(0));
			this.#leaveDirty();
		});
	}

	/** Charges a block's instructions; leaves at its start when the slice cannot hold them. */
	charge(delta: number, count: number): void {
		const f = this.f;
		f.set(this.budget, op("i32Sub", f.get(this.budget), i32(count)));
		f.if(op("i32LtS", f.get(this.budget), i32(0)), () => {
			f.set(this.exitDelta, i32(delta));
			f.set(this.exitCode, i32(EXIT.budget));
			f.set(this.exitRefund, i32(count));
			this.#leaveDirty();
		});
	}

	// ---- registers ----

	#number(ref: GprRef): { index: number; isHigh: boolean } {
		if ("index" in ref) return { index: ref.index, isHigh: false };
		const operand = this.insn.operands[ref.operand] as RegOperand;
		return { index: operand.index, isHigh: operand.cls === "gpr8h" };
	}

	protected gprGet(ref: GprRef, width: Width): Expr {
		const { index, isHigh } = this.#number(ref);
		const whole = this.#gpr(index);
		if (width === 64) return whole;
		const low = whole.type === "i64" ? op("i32WrapI64", whole) : whole;
		if (width === 32) return low;
		if (width === 16) return op("i32And", low, i32(0xffff));
		return op("i32And", isHigh ? op("i32ShrU", low, i32(8)) : low, i32(0xff));
	}

	#gpr(index: number): Expr {
		if (this.#isInMemory) return loadOp(this.#registerType === "i64" ? "i64Load" : "i32Load", this.cpu, at("gpr", index));
		const bit = 1 << index;
		this.effects.gprRead |= bit;
		if ((this.state.gprHeld & bit) === 0) this.#gprWanted |= bit;
		return this.f.get(this.#gprLocals[index] as number);
	}

	protected gprSet(ref: GprRef, width: Width, value: Expr): void {
		const { index, isHigh } = this.#number(ref);
		const isWide = this.#registerType === "i64";
		const f = this.f;
		let whole: Expr;
		if (width === 64) whole = value;
		else if (width === 32) whole = isWide ? op("i64ExtendI32U", value) : value;
		else {
			const mask = width === 16 ? 0xffff : isHigh ? 0xff00 : 0xff;
			const kept = op("i32And", value, i32(width === 16 ? 0xffff : 0xff));
			const placed = isHigh ? op("i32Shl", kept, i32(8)) : kept;
			const old = this.#gpr(index);
			whole = isWide
				? op("i64Or", op("i64And", old, i64(~BigInt(mask))), op("i64ExtendI32U", placed))
				: op("i32Or", op("i32And", old, i32(~mask)), placed);
		}
		if (this.#isInMemory) {
			f.store("i64Store", this.cpu, whole.type === "i64" ? whole : op("i64ExtendI32U", whole), at("gpr", index));
			return;
		}
		f.set(this.#gprLocals[index] as number, whole);
		const bit = 1 << index;
		this.effects.gprWritten |= bit;
		this.state.gprDirty |= bit;
		if (this.isConditional) {
			if ((this.state.gprHeld & bit) === 0) this.#gprWanted |= bit;
			return;
		}
		this.effects.gprAlways |= bit;
		this.state.gprHeld |= bit;
	}

	protected xmmGet(ref: GprRef): Expr {
		const { index } = this.#number(ref);
		if (this.#isInMemory) return loadOp("v128Load", this.cpu, at("xmm", index));
		const bit = 1 << index;
		this.effects.xmmRead |= bit;
		if ((this.state.xmmHeld & bit) === 0) this.#xmmWanted |= bit;
		return this.f.get(this.#xmmLocal(index));
	}

	protected xmmSet(ref: GprRef, value: Expr): void {
		const { index } = this.#number(ref);
		if (this.#isInMemory) {
			this.f.store("v128Store", this.cpu, value, at("xmm", index));
			return;
		}
		this.f.set(this.#xmmLocal(index), value);
		const bit = 1 << index;
		this.effects.xmmWritten |= bit;
		this.state.xmmDirty |= bit;
		if (this.isConditional) {
			if ((this.state.xmmHeld & bit) === 0) this.#xmmWanted |= bit;
			return;
		}
		this.effects.xmmAlways |= bit;
		this.state.xmmHeld |= bit;
	}

	// ---- operands ----

	index(n: number): Expr {
		return i32((this.insn.operands[n] as RegOperand).index);
	}

	immediate(n: number, type: "i32" | "i64"): Expr {
		const operand = this.insn.operands[n] as ImmOperand | Imm64Operand | FarOperand;
		const value = operand.kind === "far" ? operand.offset : operand.value;
		return type === "i64" ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));
	}

	secondImmediate(n: number): Expr {
		const operand = this.insn.operands[n];
		if (operand?.kind === "far") return i32(operand.selector);
		return i32((operand as ImmOperand).value);
	}

	protected effectiveAddress(_n: number): Expr {
		const mem = memoryOperand(this.insn);
		if (mem === undefined) throw new Error(`${this.insn.mnemonic} has no memory operand`);
		if (mem.ripRelative) {
			const next = this.ripAt(i32(this.delta + this.insn.lengthBytes));
			const sum = op("i64Add", next, i64(mem.disp));
			return mem.addrBits === 32 ? op("i64And", sum, i64(0xffff_ffff)) : sum;
		}
		if (mem.addrBits === 64) {
			const parts: Expr[] = [];
			if (mem.base >= 0) parts.push(this.#gpr(mem.base));
			if (mem.index >= 0) parts.push(op("i64Shl", this.#gpr(mem.index), i64(mem.scale)));
			const sum = parts.length === 0 ? i64(0) : parts.reduce((a, b) => op("i64Add", a, b));
			return op("i64Add", sum, i64(mem.disp));
		}
		const parts: Expr[] = [];
		if (mem.base >= 0) parts.push(this.gprGet({ index: mem.base }, 32));
		if (mem.index >= 0) parts.push(op("i32Shl", this.gprGet({ index: mem.index }, 32), i32(mem.scale)));
		const sum = parts.length === 0 ? i32(0) : parts.reduce((a, b) => op("i32Add", a, b));
		const offset = op("i32Add", sum, i32(mem.disp | 0));
		const cut = mem.addrBits === 16 ? op("i32And", offset, i32(0xffff)) : offset;
		return this.is64 ? op("i64ExtendI32U", cut) : cut;
	}

	baseIsStackPointer(_n: number): Expr {
		return i32(memoryOperand(this.insn)?.base === 4 ? 1 : 0);
	}

	#seg(ref: SegRef): number {
		return "seg" in ref ? ref.seg : (memoryOperand(this.insn)?.seg ?? 3);
	}

	protected segIndex(ref: SegRef): Expr {
		return i32(this.#seg(ref));
	}

	protected segBase(ref: SegRef): Expr {
		return loadOp(this.is64 ? "i64Load" : "i32Load", this.cpu, at("segBase", this.#seg(ref)));
	}

	protected tlb(): Expr {
		return this.f.get(this.#tlb);
	}

	// ---- flags ----

	get knowledge(): FlagKnowledge {
		return this.#known;
	}

	/** At the start of a block: what its only predecessor left, or nothing. */
	startBlock(known: FlagKnowledge, state: FlowState): void {
		this.#known = known;
		this.state = { ...state };
		this.forgetAssured();
	}

	protected applyFlags(source: FlagSource): void {
		const f = this.f;
		const wide = (e: Expr) => (e.type === "i64" ? e : op("i64ExtendI32S", e));
		if (this.#isInMemory) {
			f.store("i32Store", this.cpu, i32(ccOp(source.kind, source.width)), at("ccOp"));
			f.store("i64Store", this.cpu, wide(source.x), at("ccX"));
			f.store("i64Store", this.cpu, wide(source.y), at("ccY"));
			f.store("i64Store", this.cpu, wide(source.z), at("ccZ"));
			return;
		}
		const locals = source.x.type === "i64" ? this.#cc : this.#cc32;
		const inputs = [source.x, source.y, source.z];
		const used = source.kind === "image" || source.kind === "logic" ? 1 : source.kind === "adc" || source.kind === "sbb" ? 3 : 2;
		for (let i = 0; i < used; i++) {
			f.set(locals[i] as number, inputs[i] as Expr);
			if (locals !== this.#cc) f.set(this.#cc[i] as number, wide(f.get(locals[i] as number)));
		}
		f.set(this.#ccOp, i32(ccOp(source.kind, source.width)));
		if (!this.isConditional) {
			this.effects.flags = "always";
			this.state.flags = "locals";
		} else if (this.effects.flags === "none") {
			this.effects.flags = "sometimes";
			if (this.state.flags === "memory") this.state.flags = "either";
		}
		// Written on one side of a branch: on the other the locals must hold what they held.
		if (this.isConditional && this.state.flags === "either") this.#areFlagsWanted = true;
		const none = source.x.type === "i64" ? i64(0) : i32(0);
		const [x, y, z] = locals.map((local, i) => (i < used ? f.get(local) : none)) as [Expr, Expr, Expr];
		this.#known = this.isConditional ? undefined : { kind: source.kind, width: source.width, x, y, z };
	}

	/** Nothing looks at the flags between this instruction and one that sets them all. */
	areFlagsDead = false;

	override flagsToKeep(): Expr {
		return this.areFlagsDead ? i32(0) : this.arithmeticFlags();
	}

	condition(cc: number): Expr {
		if (this.#isInMemory) {
			const even = this.core(`condition${cc & ~1}`, "i32", this.cpu);
			return cc & 1 ? this.f.let(op("i32Eqz", even)) : even;
		}
		if (this.#known !== undefined) return this.f.let(condition(this.#known, cc));
		this.#spillFlags();
		const even = this.core(`condition${cc & ~1}`, "i32", this.cpu);
		return cc & 1 ? this.f.let(op("i32Eqz", even)) : even;
	}

	arithmeticFlags(): Expr {
		if (!this.#isInMemory) {
			if (this.#known !== undefined) return this.f.let(flagImage(this.#known));
			this.#spillFlags();
		}
		return this.core("arithmeticFlags", "i32", this.cpu);
	}

	// ---- control ----

	rip(): Expr {
		return this.f.let(this.ripAt(i32(this.delta)));
	}

	nextRip(): Expr {
		return this.f.let(this.ripAt(i32(this.delta + this.insn.lengthBytes)));
	}

	protected beforeHelper(): void {
		this.f.store("i32Store", this.cpu, this.f.get(this.budget), at("budget"));
	}

	protected afterHelper(): void {
		this.f.set(this.budget, loadOp("i32Load", this.cpu, at("budget")));
	}

	/** Where a block's last instruction branches: set by the emitter of the region's structure. */
	onBranch: (condition: Expr | undefined) => void = () => {};

	protected branchTarget(n: number): Expr {
		const { disp } = this.insn.operands[n] as RelOperand;
		return this.cut(this.ripPlus(this.delta + this.insn.lengthBytes + disp));
	}

	branch(n: number, condition?: Expr): void {
		this.checkBranch(n, condition);
		this.commit();
		this.isEnded = true;
		if (this.insn.opBytes === 2 || (this.insn.row.flow === "call" && !this.isCalleeInside)) {
			// A target cut to 16 bits, or a call to elsewhere: nobody's successor within the region.
			const go = () => {
				this.f.set(this.exitTarget, this.branchTarget(n));
				this.exitIndirect();
			};
			if (condition === undefined) go();
			else {
				this.f.if(condition, go);
				this.exitTo(this.delta + this.insn.lengthBytes);
			}
			return;
		}
		this.onBranch(condition);
	}

	/** Bytes that a near transfer has moved the stack pointer by. */
	#stackMove(): number {
		const { mnemonic, opBytes, operands } = this.insn;
		if (mnemonic !== "RET") return mnemonic === "CALL" ? -opBytes : 0;
		return opBytes + (operands.length === 0 ? 0 : (operands[0] as ImmOperand).value);
	}

	/** The running call's callee is in the region. */
	isCalleeInside = false;
	/** Before a return leaves: the region's own return sites are tried, with the target in `exitTarget`. */
	onReturn: () => void = () => {};

	jump(target: Expr, kind?: "call" | "return"): void {
		this.checkTarget(target);
		this.f.set(this.exitTarget, this.cut(target));
		this.commit();
		const undo = this.is64 ? { delta: this.delta, moved: this.#stackMove() } : undefined;
		if (kind === "return") this.onReturn();
		if (undo !== undefined) {
			this.f.set(this.exitDelta, i32(undo.delta));
			this.f.set(this.exitUndo, i32(2 * undo.moved + 1));
		}
		this.exitIndirect();
		this.isEnded = true;
	}

	system(name: string, ...args: Expr[]): void {
		const f = this.f;
		const pinned = args.map((arg) => f.let(arg));
		this.#spill();
		this.storeBudget();
		this.storeRip(f, this.ripAt(i32(this.delta)));
		f.store("i32Store", this.cpu, i32(0), at("exitRecord"));
		const status = f.callLet(this.calls.index(name), "i32", this.helperArgs(pinned));
		f.if(gaveUp(status), () => f.return(status));
		this.#isInMemory = true;
		this.commit();
		this.#isInMemory = false;
		f.if(status, () => f.return(status));
		f.returnCall(this.calls.index("dispatch"), [this.cpu, i32(0)]);
		this.isEnded = true;
	}

	syncFlags(): void {
		if (!this.#isInMemory) this.#spillFlags();
	}

	length(): Expr {
		return i32(this.insn.lengthBytes);
	}

	modrm(): Expr {
		return i32(this.insn.modrm);
	}

	inMemory(body: (iterate: (count?: Expr) => void) => void): void {
		const f = this.f;
		this.#spill();
		this.#isInMemory = true;
		body((count) => {
			f.set(this.budget, op("i32Sub", f.get(this.budget), count ?? i32(1)));
			f.if(op("i32LtS", f.get(this.budget), i32(0)), () => this.#leave(EXIT.interrupted));
		});
		this.#isInMemory = false;
		const load = this.#registerType === "i64" ? "i64Load" : "i32Load";
		for (const i of bits(this.#use.gpr)) f.set(this.#gprLocals[i] as number, loadOp(load, this.cpu, at("gpr", i)));
		for (const i of bits(this.#use.xmm)) f.set(this.#xmmLocal(i), loadOp("v128Load", this.cpu, at("xmm", i)));
		this.#loadFlags(f);
		this.effects.isInMemory = true;
		apply(this.state, this.effects, this.#use);
		this.#known = undefined;
	}
}

/** Bit of `exitDirty` that stands for the flags. */
const FLAGS_DIRTY = 1 << 16;

const FLAG_INPUTS = [
	[0, "ccX"],
	[1, "ccY"],
	[2, "ccZ"],
] as const;

/** Numbers of the bits that are set. */
function* bits(mask: number): Generator<number> {
	for (let rest = mask; rest !== 0; rest &= rest - 1) yield 31 - Math.clz32(rest & -rest);
}
