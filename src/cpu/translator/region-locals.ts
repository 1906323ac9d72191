import { type Expr, i32, i64, loadOp, op, openConst, roleGet, varying } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { RegOperand } from "../../x86/decode/insn.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import type { FlagSource, Width } from "../emit/condition.ts";
import type { StackPage } from "../emit/memory-ops.ts";
import { type Callables, type GprRef, Ops } from "../emit/ops.ts";
import { memoryOperand } from "../interpreter/record.ts";
import type { FlagKind } from "../state/flags.ts";
import { at, codeBitsOf, MODE, TLB_ENTRY } from "../state/layout.ts";
import { type Effects, noEffects, resolve, type Touched } from "./effects.ts";
import { mayMove, PLACE } from "./open-places.ts";
import { RegionFloats } from "./region-floats.ts";
import { copyState, type FlowState, type RegionUse } from "./region-flow.ts";
import { GrowingExitSites, type KnownFlags } from "./region-sites.ts";
import { DISPLACEMENT } from "./templates.ts";

/** Where the flags' inputs are at a point of the code: known statically (in the flag locals), or anybody's guess. */
export type FlagKnowledge = KnownFlags | undefined;

export interface RegionPoint {
	readonly known: FlagKnowledge;
	readonly hasCarry: boolean;
	readonly state: FlowState;
}

/**
 * A region's registers and flags: they live in locals. `state` says at each point which of them the state block does not know,
 * so that a way out stores those and no others.
 */
export abstract class RegionLocals extends Ops {
	/** What holds at this point; the emitter sets it at each block's start. */
	readonly state: FlowState;
	/** What the running instruction has done so far. */
	effects: Effects = noEffects();
	/** Offset of the instruction from the region's entry; instructions of its block not yet run, itself included. */
	delta = 0;
	left = 0;
	/** The instruction is being recorded as a template; it looks at what is known of the flags; it writes a register and then reads more. */
	protected isRecording = false;
	protected looksAtFlags = false;
	protected needsDistinct = false;
	readonly #touched: Touched = { gprRead: 0, gprWritten: 0, gprAlways: 0, xmmRead: 0, xmmWritten: 0, xmmAlways: 0 };
	readonly budget: number;
	readonly exitTarget: number;
	/** Of a computed transfer in 64-bit code, which may turn out to lead nowhere: twice what RSP has moved by, plus 1. */
	readonly exitUndo: number;
	/** Offset of the instruction that made it. */
	readonly exitDelta: number;
	protected readonly codeBits: number;
	protected readonly isSupervisor: boolean;
	protected readonly registerType: "i32" | "i64";
	protected isInMemory = false;
	/** The places where the region leaves in the middle, by the number that it leaves with. */
	readonly sites = new GrowingExitSites();
	protected readonly exitSite: number;
	override readonly floats: RegionFloats;
	protected readonly use: RegionUse;
	protected readonly gprLocals: number[] = [];
	readonly #xmmLocals = new Map<number, number>();
	protected readonly ripBase: number;
	readonly #tlb: number;
	readonly #stackPage: StackPage;
	/** Something looks for the stack's page. */
	protected usesStackPage = false;
	/**
	 * The flags' operation and inputs in the form that every way to a place can have; inputs of operations no wider than 32 bits, which
	 * are all there are but in 64-bit code: there the two are the same.
	 */
	protected readonly ccOp: number;
	protected readonly cc: readonly number[];
	protected readonly cc32: readonly number[];
	/** CF, at the start of blocks that want it, until flags are set. */
	protected readonly keptCarry: number;
	protected hasCarry = false;
	/** What the last rotate left, if that has set CF and OF since. */
	protected readonly turned: number;
	/**
	 * While it is defined and the flags are in locals, its inputs are all there is: the state block's form is worked out where it is
	 * wanted.
	 */
	protected known: FlagKnowledge;
	/** Registers, and whether the flags, that must be loaded at the region's entry. */
	protected gprWanted = 0;
	protected xmmWanted = 0;
	protected areFlagsWanted = false;

	constructor(calls: Callables, modeKey: number, use: RegionUse, state: FlowState) {
		const f = new FunctionBuilder(HANDLER_PARAMS, "i32");
		super(f, f.param(0), calls, { isFlat: (modeKey & MODE.flat) !== 0, isStack32: (modeKey & MODE.stack32) !== 0 });
		this.use = use;
		this.state = { ...state };
		this.codeBits = codeBitsOf(modeKey);
		this.isSupervisor = (modeKey & MODE.user) === 0;
		this.registerType = this.codeBits === 64 ? "i64" : "i32";
		for (let i = 0; i < 16; i++) this.gprLocals.push(f.register(this.registerType));
		this.budget = f.local("i32");
		this.ripBase = f.local(this.registerType);
		this.#tlb = f.local("i32");
		this.exitDelta = f.local("i32");
		this.exitTarget = f.local(this.registerType);
		this.exitUndo = f.local("i32");
		this.exitSite = f.local("i32");
		this.ccOp = f.register("i32");
		const inputs = (type: "i32" | "i64") => [f.register(type), f.register(type), f.register(type)];
		this.cc = inputs(this.registerType);
		this.cc32 = this.registerType === "i64" ? inputs("i32") : this.cc;
		this.keptCarry = f.register("i32");
		this.turned = f.register("i32");
		this.floats = new RegionFloats(this);
		this.#stackPage = { tag: f.local(this.registerType), addend: f.local("i32") };
		f.provideTemporaries("i32", 8);
		f.provideTemporaries("i64", 6);
	}

	// ---- entry ----

	/** What the function starts with; emitted last, when it is known what the body wants. */
	emitPrologue(f: FunctionBuilder): void {
		this.loadRegisters(f, this.gprWanted, this.xmmWanted);
		f.set(this.budget, loadOp("i32Load", this.cpu, at("budget")));
		f.set(this.ripBase, loadOp(this.#gprLoad, this.cpu, at("rip")));
		f.set(this.#tlb, loadOp("i32Load", this.cpu, at("tlbBase")));
		if (this.areFlagsWanted) this.loadFlags(f);
		if (!this.usesStackPage) return;
		// Whatever the TLB has where the page that the stack pointer points to would be.
		const entry = f.let(this.entryOf(loadOp("i32Load", this.cpu, at("gpr", 4))));
		f.set(this.#stackPage.tag, loadOp(this.#gprLoad, entry, TLB_ENTRY.writeTag));
		f.set(this.#stackPage.addend, loadOp("i32Load", entry, TLB_ENTRY.addend));
	}

	protected override stackPage(): StackPage {
		this.usesStackPage = true;
		return this.#stackPage;
	}

	/** A helper may have had the TLB flushed. */
	protected forgetStackPage(): void {
		this.f.set(this.#stackPage.tag, this.registerType === "i64" ? i64(-1) : i32(-1));
	}

	get #gprLoad(): "i32Load" | "i64Load" {
		return this.registerType === "i64" ? "i64Load" : "i32Load";
	}

	protected loadRegisters(f: FunctionBuilder, gpr: number, xmm: number): void {
		for (let rest = gpr; rest !== 0; rest &= rest - 1) {
			const i = lowest(rest);
			f.set(this.gprLocals[i] as number, loadOp(this.#gprLoad, this.cpu, at("gpr", i)));
		}
		for (let rest = xmm; rest !== 0; rest &= rest - 1) {
			const i = lowest(rest);
			f.set(this.xmmLocal(i), loadOp("v128Load", this.cpu, at("xmm", i)));
		}
	}

	protected loadFlags(f: FunctionBuilder): void {
		f.set(this.ccOp, loadOp("i32Load", this.cpu, at("ccOp")));
		for (let i = 0; i < 3; i++) f.set(this.cc[i] as number, loadOp(this.#gprLoad, this.cpu, at(FLAG_INPUTS[i] as "ccX")));
	}

	/** At the start of a block: what its only predecessor left, or nothing but perhaps the carry. */
	startBlock(known: FlagKnowledge, state: FlowState, hasCarry: boolean): void {
		this.known = known;
		this.hasCarry = hasCarry;
		copyState(state, this.state);
		this.forgetAssured();
		this.floats.startBlock();
	}

	/** What holds here, to be gone back to when other blocks have been emitted in between. */
	get point(): RegionPoint {
		return { known: this.known, hasCarry: this.hasCarry, state: { ...this.state } };
	}

	goBackTo({ known, hasCarry, state }: RegionPoint): void {
		this.known = known;
		this.hasCarry = hasCarry;
		copyState(state, this.state);
	}

	protected tlb(): Expr {
		return this.f.get(this.#tlb);
	}

	/** ripBase + a run-time offset. */
	ripAt(delta: Expr): Expr {
		const base = this.f.get(this.ripBase);
		if (base.type === "i64") return op("i64Add", base, op("i64ExtendI32S", delta));
		return op("i32Add", base, delta);
	}

	/** The same with a constant, which may lie further off than 32 bits reach. */
	protected ripPlus(delta: number): Expr {
		if (!this.is64 || delta === (delta | 0)) return this.ripAt(i32(delta));
		return op("i64Add", this.ripAt(i32(0)), i64(delta));
	}

	// ---- registers ----

	protected numberOf(ref: GprRef): number {
		return "index" in ref ? ref.index : (this.insn.operands[ref.operand] as RegOperand).index;
	}

	/** The role of the register in a template; −1: none, it is this one everywhere. */
	#role(ref: GprRef): number {
		return this.isRecording && "operand" in ref ? ref.operand : -1;
	}

	#isHigh(ref: GprRef): boolean {
		return "operand" in ref && (this.insn.operands[ref.operand] as RegOperand).cls === "gpr8h";
	}

	protected gprGet(ref: GprRef, width: Width): Expr {
		if (!this.isInMemory) {
			if ("index" in ref) this.effects.gprRead |= 1 << ref.index;
			else this.effects.operandsRead |= 1 << ref.operand;
		}
		return this.#part(this.#gpr(this.numberOf(ref), this.#role(ref)), width, this.#isHigh(ref));
	}

	/** A part of the memory operand's address. */
	protected addressPart(index: number, width: 32 | 64, role: number): Expr {
		return this.#part(this.#gpr(index, this.isRecording ? role : -1), width, false);
	}

	/** The memory operand's displacement, or the like. */
	protected displacement(type: "i32" | "i64", value: number): Expr {
		if (this.isSupervisor && mayMove(value) && memoryOperand(this.insn)?.ripRelative === false)
			return openConst(type, value, { kind: PLACE.displacement, argument: this.delta });
		return this.openConstant(type, DISPLACEMENT, value);
	}

	/** A constant that templates leave open, unless it is 0: that folds away. */
	protected openConstant(type: "i32" | "i64", which: number, value: number): Expr {
		if (this.isRecording && value !== 0) return varying(type, which, value);
		return type === "i64" ? i64(value) : i32(value);
	}

	#part(whole: Expr, width: Width, isHigh: boolean): Expr {
		if (width === 64) return whole;
		const low = whole.type === "i64" ? op("i32WrapI64", whole) : whole;
		if (width === 32) return low;
		if (width === 16) return op("i32And", low, i32(0xffff));
		return op("i32And", isHigh ? op("i32ShrU", low, i32(8)) : low, i32(0xff));
	}

	/** A whole register, of `registerType`. */
	#gpr(index: number, role: number): Expr {
		if (this.isInMemory) return loadOp(this.#gprLoad, this.cpu, at("gpr", index));
		const bit = 1 << index;
		if ((this.state.gprHeld & bit) === 0) this.gprWanted |= bit;
		const local = this.gprLocals[index] as number;
		return role < 0 ? this.f.get(local) : roleGet(this.registerType, local, role);
	}

	protected gprSet(ref: GprRef, width: Width, value: Expr): void {
		const index = this.numberOf(ref);
		const isWide = this.registerType === "i64";
		const f = this.f;
		let whole: Expr;
		if (width === 64) whole = value;
		else if (width === 32) whole = isWide ? op("i64ExtendI32U", value) : value;
		else {
			const isHigh = this.#isHigh(ref);
			const mask = width === 16 ? 0xffff : isHigh ? 0xff00 : 0xff;
			const kept = op("i32And", value, i32(width === 16 ? 0xffff : 0xff));
			const placed = isHigh ? op("i32Shl", kept, i32(8)) : kept;
			const old = this.gprGet("index" in ref ? ref : { operand: ref.operand }, isWide ? 64 : 32);
			whole = isWide
				? op("i64Or", op("i64And", old, i64(~mask)), op("i64ExtendI32U", placed))
				: op("i32Or", op("i32And", old, i32(~mask)), placed);
		}
		if (this.isInMemory) {
			f.store("i64Store", this.cpu, whole.type === "i64" ? whole : op("i64ExtendI32U", whole), at("gpr", index));
			return;
		}
		f.set(this.gprLocals[index] as number, whole, this.#role(ref));
		const bit = 1 << index;
		if ("index" in ref) this.effects.gprWritten |= bit;
		else this.effects.operandsWritten |= 1 << ref.operand;
		this.state.gprDirty |= bit;
		if (this.isConditional) {
			if ((this.state.gprHeld & bit) === 0) this.gprWanted |= bit;
			return;
		}
		if ("index" in ref) this.effects.gprAlways |= bit;
		else this.effects.operandsAlways |= 1 << ref.operand;
		this.state.gprHeld |= bit;
	}

	protected xmmLocal(i: number): number {
		let local = this.#xmmLocals.get(i);
		if (local === undefined) {
			local = this.f.register("v128");
			this.#xmmLocals.set(i, local);
		}
		return local;
	}

	protected xmmGet(ref: GprRef): Expr {
		const index = this.numberOf(ref);
		if (this.isInMemory) return loadOp("v128Load", this.cpu, at("xmm", index));
		const bit = 1 << index;
		if ("index" in ref) this.effects.xmmRead |= bit;
		else this.effects.operandsRead |= 1 << ref.operand;
		if ((this.state.xmmHeld & bit) === 0) this.xmmWanted |= bit;
		const role = this.#role(ref);
		if (role >= 0) return roleGet("v128", this.xmmLocal(index), role);
		// Its local may be another one in another region.
		this.f.spoil();
		return this.f.get(this.xmmLocal(index));
	}

	protected xmmSet(ref: GprRef, value: Expr): void {
		const index = this.numberOf(ref);
		if (this.isInMemory) {
			this.f.store("v128Store", this.cpu, value, at("xmm", index));
			return;
		}
		const role = this.#role(ref);
		if (role < 0) this.f.spoil();
		this.f.set(this.xmmLocal(index), value, role);
		const bit = 1 << index;
		if ("index" in ref) this.effects.xmmWritten |= bit;
		else this.effects.operandsWritten |= 1 << ref.operand;
		this.state.xmmDirty |= bit;
		if (this.isConditional) {
			if ((this.state.xmmHeld & bit) === 0) this.xmmWanted |= bit;
			return;
		}
		if ("index" in ref) this.effects.xmmAlways |= bit;
		else this.effects.operandsAlways |= 1 << ref.operand;
		this.state.xmmHeld |= bit;
	}

	/** What an instruction of these effects leaves behind. */
	protected applyEffects(effects: Effects, known: FlagKnowledge): void {
		const { state } = this;
		const touched = this.#touched;
		resolve(effects, this.insn, touched);
		this.gprWanted |= (touched.gprRead | (touched.gprWritten & ~touched.gprAlways)) & ~state.gprHeld;
		this.xmmWanted |= (touched.xmmRead | (touched.xmmWritten & ~touched.xmmAlways)) & ~state.xmmHeld;
		state.gprDirty |= touched.gprWritten;
		state.gprHeld |= touched.gprAlways;
		state.xmmDirty |= touched.xmmWritten;
		state.xmmHeld |= touched.xmmAlways;
		if (effects.flags === "none") return;
		this.known = known;
		this.hasCarry = false;
		if (effects.flags === "always") state.flags = "locals";
		else {
			if (state.flags === "memory") state.flags = "either";
			if (state.flags === "either") this.areFlagsWanted = true;
		}
	}
}

export const GPR_AT = at("gpr");
export const FLAG_INPUTS = ["ccX", "ccY", "ccZ"] as const;

export const wide = (e: Expr): Expr => (e.type === "i64" ? e : op("i64ExtendI32S", e));

/** Inputs that an operation's flags hang on (state/flags.ts). */
export function inputCount(kind: FlagKind): number {
	if (kind === "image" || kind === "logic") return 1;
	return kind === "adc" || kind === "sbb" ? 3 : 2;
}

export function inputOf(source: FlagSource, n: number): Expr {
	return n === 0 ? source.x : n === 1 ? source.y : source.z;
}

/** Number of the lowest bit that is set. */
export function lowest(mask: number): number {
	return 31 - Math.clz32(mask & -mask);
}
