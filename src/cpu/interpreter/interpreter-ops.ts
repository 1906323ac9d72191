import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { MemOperand } from "../../x86/decode/insn.ts";
import { HANDLER_PARAMS, HANDLER_TYPE } from "../core/registry.ts";
import type { FlagSource, Width } from "../emit/condition.ts";
import { both, type Callables, type GprRef, gaveUp, isNonCanonical, Ops, type SegRef } from "../emit/ops.ts";
import { ccOp } from "../state/flags.ts";
import { at, EXIT, MODE } from "../state/layout.ts";
import { DELTA_BITS, isFarAddress, isUnindexed, memoryOperand, REC, RECORD_BYTES, SEG_SHIFT } from "./record.ts";

/**
 * The interpreter's reading: a handler (cpu, record) that takes its operands from the record, keeps all state in the CPU's
 * block, and tail-calls the next record's handler.
 */
export class InterpreterOps extends Ops {
	readonly record: Expr;

	constructor(calls: Callables, modeKey: number) {
		const f = new FunctionBuilder(HANDLER_PARAMS, "i32");
		super(f, f.param(0), calls, { isFlat: (modeKey & MODE.flat) !== 0, isStack32: (modeKey & MODE.stack32) !== 0 });
		this.record = f.param(1);
	}

	/** After the meaning: writes take effect, and on to the next record unless the instruction went elsewhere. */
	finish(): FunctionBuilder {
		if (!this.isEnded) {
			this.commit();
			const callee = loadOp("i32Load", this.record, RECORD_BYTES + REC.callee);
			this.f.returnCallIndirect(HANDLER_TYPE, [this.cpu, op("i32Add", this.record, i32(RECORD_BYTES))], callee);
		}
		this.f.unreachable();
		return this.f;
	}

	/** An unsigned 16-bit field of the record. */
	#short(offset: number): Expr {
		return loadOp("i32Load16U", this.record, offset);
	}

	/** Where in the memory a register operand lies, and the constant part of the offset. */
	#place(ref: GprRef, file: "gpr" | "xmm"): { address: Expr; offset: number } {
		if ("index" in ref) return { address: this.cpu, offset: at(file, ref.index) };
		return { address: op("i32Add", this.cpu, this.#short(REC.operand + 2 * ref.operand)), offset: 0 };
	}

	protected gprGet(ref: GprRef, width: Width): Expr {
		const { address, offset } = this.#place(ref, "gpr");
		switch (width) {
			case 8:
				return loadOp("i32Load8U", address, offset);
			case 16:
				return loadOp("i32Load16U", address, offset);
			case 32:
				return loadOp("i32Load", address, offset);
			case 64:
				return loadOp("i64Load", address, offset);
		}
	}

	protected gprSet(ref: GprRef, width: Width, value: Expr): void {
		const { address, offset } = this.#place(ref, "gpr");
		if (width === 8) this.f.store("i32Store8", address, value, offset);
		else if (width === 16) this.f.store("i32Store16", address, value, offset);
		else this.f.store("i64Store", address, width === 32 ? op("i64ExtendI32U", value) : value, offset);
	}

	protected xmmGet(ref: GprRef): Expr {
		const { address, offset } = this.#place(ref, "xmm");
		return loadOp("v128Load", address, offset);
	}

	protected xmmSet(ref: GprRef, value: Expr): void {
		const { address, offset } = this.#place(ref, "xmm");
		this.f.store("v128Store", address, value, offset);
	}

	index(n: number): Expr {
		return this.f.let(this.#short(REC.operand + 2 * n));
	}

	immediate(n: number, type: "i32" | "i64"): Expr {
		const isSecond =
			this.insn.operands.findIndex((operand) => operand.kind === "imm" || operand.kind === "imm64") < n &&
			this.insn.operands[n]?.kind === "imm";
		if (isSecond) return loadOp(type === "i64" ? "i64Load32S" : "i32Load", this.record, REC.disp);
		return loadOp(type === "i64" ? "i64Load" : "i32Load", this.record, REC.imm);
	}

	secondImmediate(_n: number): Expr {
		return loadOp("i32Load", this.record, REC.disp);
	}

	protected effectiveAddress(_n: number): Expr {
		const { addrBits } = this.insn;
		const mem = memoryOperand(this.insn) as MemOperand;
		const baseSlot = op("i32Add", this.cpu, this.#short(REC.base));
		const indexSlot = op("i32Add", this.cpu, this.#short(REC.index));
		if (addrBits === 64) {
			const isFar = isFarAddress(mem);
			if (isFar && !mem.ripRelative) return loadOp("i64Load", this.record, REC.imm);
			const direct = op("i64Add", loadOp("i64Load", baseSlot), loadOp("i64Load32S", this.record, REC.disp));
			if (isFar) return op("i64Add", direct, loadOp("i64Load16U", this.record, REC.next));
			if (isUnindexed(mem)) return direct;
			return op("i64Add", direct, op("i64Shl", loadOp("i64Load", indexSlot), loadOp("i64Load16U", this.record, REC.scale)));
		}
		const direct = op("i32Add", loadOp("i32Load", baseSlot), loadOp("i32Load", this.record, REC.disp));
		const index = op("i32Shl", loadOp("i32Load", indexSlot), this.#short(REC.scale));
		const sum = isUnindexed(mem) ? direct : op("i32Add", direct, index);
		const cut = addrBits === 16 ? op("i32And", sum, i32(0xffff)) : sum;
		return this.is64 ? op("i64ExtendI32U", cut) : cut;
	}

	baseIsStackPointer(_n: number): Expr {
		return op("i32Eq", this.#short(REC.base), i32(at("gpr", 4)));
	}

	protected segIndex(ref: SegRef): Expr {
		return "seg" in ref ? i32(ref.seg) : op("i32ShrU", this.#short(REC.scale), i32(SEG_SHIFT));
	}

	protected segBase(ref: SegRef): Expr {
		const load = this.is64 ? "i64Load" : "i32Load";
		if ("seg" in ref) return loadOp(load, this.cpu, at("segBase", ref.seg));
		return loadOp(load, op("i32Add", this.cpu, op("i32Shl", this.segIndex(ref), i32(3))), at("segBase"));
	}

	protected applyFlags(source: FlagSource): void {
		storeFlags(this.f, this.cpu, source);
	}

	condition(cc: number): Expr {
		const even = this.core(`condition${cc & ~1}`, "i32", this.cpu);
		return cc & 1 ? this.f.let(op("i32Eqz", even)) : even;
	}

	arithmeticFlags(): Expr {
		return this.core("arithmeticFlags", "i32", this.cpu);
	}

	/** @param offset from the block's start, i32 */
	#ripPlus(offset: Expr): Expr {
		if (this.is64) return op("i64Add", loadOp("i64Load", this.cpu, at("rip")), op("i64ExtendI32U", offset));
		return op("i32Add", loadOp("i32Load", this.cpu, at("rip")), offset);
	}

	rip(): Expr {
		return this.f.let(this.#ripPlus(this.#delta()));
	}

	nextRip(): Expr {
		return this.f.let(this.#nextRip());
	}

	#nextRip(): Expr {
		return this.#ripPlus(this.#short(REC.next));
	}

	#delta(): Expr {
		return deltaOf(this.record);
	}

	#setRip(value: Expr): void {
		this.f.store("i64Store", this.cpu, value.type === "i64" ? value : op("i64ExtendI32U", value), at("rip"));
	}

	#exitAt(code: number): void {
		this.f.store("i32Store", this.cpu, this.record, at("exitRecord"));
		this.f.return(i32(code));
	}

	protected exitFault(): void {
		this.#exitAt(EXIT.fault);
	}

	protected exitSingle(): void {
		this.#exitAt(EXIT.single);
	}

	leaveBehind(): void {
		this.f.store("i32Store", this.cpu, op("i32Add", this.record, i32(RECORD_BYTES)), at("exitRecord"));
		this.f.return(i32(EXIT.interrupted));
	}

	protected tlb(): Expr {
		return loadOp("i32Load", this.cpu, at("tlbBase"));
	}

	protected beforeHelper(): void {
		// Everything is in memory already.
	}

	protected afterHelper(): void {
		// And stays there.
	}

	protected branchTarget(_n: number): Expr {
		const rip = loadOp(this.is64 ? "i64Load" : "i32Load", this.cpu, at("rip"));
		return this.cut(op(this.is64 ? "i64Add" : "i32Add", rip, loadOp(this.is64 ? "i64Load" : "i32Load", this.record, REC.imm)));
	}

	override get checksTargets(): boolean {
		return this.is64 || !this.isFlat;
	}

	override checkTarget(target: Expr, condition?: Expr): void {
		if (!this.is64) super.checkTarget(target, condition);
		else this.raiseIf(both(isNonCanonical(target), condition), 13, 0);
	}

	branch(n: number, condition?: Expr): void {
		this.checkBranch(n, condition);
		this.commit();
		const taken = () => this.#setRip(this.branchTarget(n));
		if (condition === undefined) taken();
		else this.f.if(condition, taken, () => this.#setRip(this.#nextRip()));
		this.#dispatch();
	}

	jump(target: Expr): void {
		this.checkTarget(target);
		this.commit();
		this.#setRip(this.cut(target));
		this.#dispatch();
	}

	#dispatch(): void {
		this.f.returnCall(this.calls.index("dispatch"), [this.cpu, i32(0)]);
		this.isEnded = true;
	}

	system(name: string, ...args: Expr[]): void {
		const pinned = args.map((arg) => this.f.let(arg));
		this.#setRip(this.rip());
		this.f.store("i32Store", this.cpu, i32(0), at("exitRecord"));
		const status = this.f.callLet(this.calls.index(name), "i32", this.helperArgs(pinned));
		this.f.if(gaveUp(status), () => this.f.return(status));
		this.commit();
		this.f.if(status, () => this.f.return(status));
		this.#dispatch();
	}

	syncFlags(): void {
		// They are always there.
	}

	length(): Expr {
		return this.f.let(op("i32Sub", this.#short(REC.next), this.#delta()));
	}

	modrm(): Expr {
		return loadOp("i32Load", this.record, REC.imm);
	}

	inMemory(body: (iterate: (count?: Expr) => void) => void): void {
		body((count) => {
			const left = this.f.let(op("i32Sub", loadOp("i32Load", this.cpu, at("budget")), count ?? i32(1)));
			this.f.store("i32Store", this.cpu, left, at("budget"));
			this.f.if(op("i32LtS", left, i32(0)), () => this.#exitAt(EXIT.interrupted));
		});
	}
}

/** Offset of the record's instruction from its block's start, i32. */
export function deltaOf(record: Expr): Expr {
	return op("i32And", loadOp("i32Load16U", record, REC.delta), i32((1 << DELTA_BITS) - 1));
}

/** Leaves the inputs of the last flag-setting operation in the state block. */
function storeFlags(f: FunctionBuilder, cpu: Expr, source: FlagSource): void {
	const wide = (e: Expr) => (e.type === "i64" ? e : op("i64ExtendI32S", e));
	f.store("i32Store", cpu, i32(ccOp(source.kind, source.width)), at("ccOp"));
	f.store("i64Store", cpu, wide(source.x), at("ccX"));
	if (source.kind !== "image" && source.kind !== "logic") f.store("i64Store", cpu, wide(source.y), at("ccY"));
	if (source.kind === "adc" || source.kind === "sbb") f.store("i64Store", cpu, wide(source.z), at("ccZ"));
}
