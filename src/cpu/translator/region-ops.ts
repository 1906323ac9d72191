import { type Expr, i32, i64, loadOp, op, openConst } from "../../wasm/expr.ts";
import type { Template } from "../../wasm/template.ts";
import type { FarOperand, Imm64Operand, ImmOperand, RegOperand, RelOperand } from "../../x86/decode/insn.ts";
import { gaveUp, type SegRef } from "../emit/ops.ts";
import { memoryOperand } from "../interpreter/record.ts";
import { FROM_REGION } from "../mmu/mmu.ts";
import { at, EXIT } from "../state/layout.ts";
import { mayMove, PLACE, TAKES_ADDRESSES } from "./open-places.ts";
import { RegionTemplates } from "./region-templates.ts";
import { BASE_ROLE, type Ending, INDEX_ROLE, NEXT } from "./templates.ts";

/** The translator's reading: operands are constants, registers and flags live in locals from the region's entry to its exits. */
export class RegionOps extends RegionTemplates {
	/** Where a block's last instruction branches: set by the emitter of the region's structure. */
	onBranch: (condition: Expr | undefined) => void = () => {};
	/** Devices are left to single steps: they may look at the clock, which hangs on `budget`. */
	protected override readonly accessNotes = FROM_REGION;
	protected override readonly leavesOddPlaces = true;
	/** The running call's callee is in the region. */
	isCalleeInside = false;
	/** Before a computed transfer leaves: the places in the region that it may go on at are tried, with the target in `exitTarget`. */
	onComputed: () => void = () => {};

	/** A computed jump or call is about to go this far. */
	onTarget: (distance: Expr) => void = () => {};

	// ---- operands ----

	index(n: number): Expr {
		this.f.spoil();
		return i32((this.insn.operands[n] as RegOperand).index);
	}

	immediate(n: number, type: "i32" | "i64"): Expr {
		const operand = this.insn.operands[n] as ImmOperand | Imm64Operand | FarOperand;
		const value = operand.kind === "far" ? operand.offset : operand.value;
		if (operand.kind === "imm" && this.isSupervisor && mayMove(operand.value) && TAKES_ADDRESSES.has(this.insn.mnemonic))
			return openConst(type, operand.value, { kind: PLACE.immediate, argument: this.delta });
		return type === "i64" ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));
	}

	secondImmediate(n: number): Expr {
		this.f.spoil();
		const operand = this.insn.operands[n];
		if (operand?.kind === "far") return i32(operand.selector);
		return i32((operand as ImmOperand).value);
	}

	protected effectiveAddress(_n: number): Expr {
		const mem = memoryOperand(this.insn);
		if (mem === undefined) throw new Error(`${this.insn.mnemonic} has no memory operand`);
		if (!this.isInMemory) this.effects.readsAddress = true;
		if (mem.ripRelative) {
			const fromEntry = this.delta + this.insn.lengthBytes + mem.disp;
			// The address of the region's entry needs no addition; others of this form do.
			if (fromEntry === 0) this.f.spoil();
			const sum = op("i64Add", this.ripAt(i32(0)), this.displacement("i64", fromEntry));
			return mem.addrBits === 32 ? op("i64And", sum, i64(0xffff_ffff)) : sum;
		}
		if (mem.addrBits === 64) {
			const base = mem.base < 0 ? i64(0) : this.addressPart(mem.base, 64, BASE_ROLE);
			const sum = mem.index < 0 ? base : op("i64Add", base, op("i64Shl", this.addressPart(mem.index, 64, INDEX_ROLE), i64(mem.scale)));
			return op("i64Add", sum, this.displacement("i64", mem.disp));
		}
		const base = mem.base < 0 ? i32(0) : this.addressPart(mem.base, 32, BASE_ROLE);
		const sum = mem.index < 0 ? base : op("i32Add", base, op("i32Shl", this.addressPart(mem.index, 32, INDEX_ROLE), i32(mem.scale)));
		const offset = op("i32Add", sum, this.displacement("i32", mem.disp | 0));
		const cut = mem.addrBits === 16 ? op("i32And", offset, i32(0xffff)) : offset;
		return this.is64 ? op("i64ExtendI32U", cut) : cut;
	}

	baseIsStackPointer(_n: number): Expr {
		this.f.spoil();
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

	// ---- control ----

	rip(): Expr {
		this.f.spoil();
		return this.f.let(this.ripAt(i32(this.delta)));
	}

	nextRip(): Expr {
		const next = this.delta + this.insn.lengthBytes;
		if (next === 0) this.f.spoil();
		const base = this.ripAt(i32(0));
		return this.f.let(op(base.type === "i64" ? "i64Add" : "i32Add", base, this.openConstant(base.type as "i32" | "i64", NEXT, next)));
	}

	protected beforeHelper(): void {
		this.f.store("i32Store", this.cpu, this.f.get(this.budget), at("budget"));
	}

	protected afterHelper(): void {
		this.f.set(this.budget, loadOp("i32Load", this.cpu, at("budget")));
		this.forgetStackPage();
	}

	protected branchTarget(n: number): Expr {
		this.f.spoil();
		const { disp } = this.insn.operands[n] as RelOperand;
		const distance = this.delta + this.insn.lengthBytes + disp;
		// Modules of a kernel call what lies at another distance after each start.
		if (this.isSupervisor && this.insn.row.flow === "call" && this.insn.opBytes !== 2 && distance === (distance | 0))
			return this.ripAt(openConst("i32", distance, { kind: PLACE.target, argument: this.delta }));
		return this.cut(this.ripPlus(distance));
	}

	branch(n: number, condition?: Expr): void {
		this.checkBranch(n, condition);
		// It is looked at when the registers have been set.
		if (condition !== undefined && this.hasQueued) condition = this.f.pin(condition);
		this.commit();
		this.endWith({ kind: "branch", operand: n, condition });
	}

	protected carryOn(ending: Ending): void {
		if (ending.kind === "branch") this.#carryOnBranch(ending.operand, ending.condition);
		else this.#carryOnJump(ending.moved, ending.isReturn);
	}

	#carryOnBranch(n: number, condition: Expr | undefined): void {
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

	jump(target: Expr, kind?: "call" | "return"): void {
		this.checkTarget(target);
		this.f.set(this.exitTarget, this.cut(target));
		this.commit();
		this.endWith({ kind: "jump", moved: this.#stackMove(), isReturn: kind === "return" });
	}

	#carryOnJump(moved: number, isReturn: boolean): void {
		const { delta } = this;
		if (!isReturn) this.onTarget(op("i32Sub", lowHalf(this.f.get(this.exitTarget)), lowHalf(this.ripAt(i32(delta)))));
		this.onComputed();
		if (this.is64) {
			this.f.set(this.exitDelta, i32(delta));
			this.f.set(this.exitUndo, i32(2 * moved + 1));
		}
		this.exitIndirect();
		this.isEnded = true;
	}

	system(name: string, ...args: Expr[]): void {
		this.f.spoil();
		const f = this.f;
		const pinned = args.map((arg) => f.let(arg));
		this.spill();
		this.storeBudget();
		this.storeRip(f, this.ripAt(i32(this.delta)));
		f.store("i32Store", this.cpu, i32(0), at("exitRecord"));
		const status = f.callLet(this.calls.index(name), "i32", this.helperArgs(pinned));
		f.if(gaveUp(status), () => f.return(status));
		this.isInMemory = true;
		this.commit();
		this.isInMemory = false;
		f.if(status, () => f.return(status));
		f.returnCall(this.calls.index("dispatch"), [this.cpu, i32(0)]);
		this.isEnded = true;
	}

	syncFlags(): void {
		this.spillFlags();
	}

	length(): Expr {
		this.f.spoil();
		return i32(this.insn.lengthBytes);
	}

	modrm(): Expr {
		this.f.spoil();
		return i32(this.insn.modrm);
	}

	inMemory(body: (iterate: (count?: Expr) => void) => void): void {
		this.f.spoil();
		const f = this.f;
		this.throughMemory(() =>
			body((count) => {
				const way = this.prepareLeaving(EXIT.interrupted);
				f.set(this.budget, op("i32Sub", f.get(this.budget), count ?? i32(1)));
				f.brOutIf(way, op("i32LtS", f.get(this.budget), i32(0)));
			}),
		);
	}

	// ---- leaving ----

	protected exitFault(): void {
		this.floats.copyOut();
		this.leave(EXIT.fault);
	}

	#wayToFail = -1;

	protected override beforeFailing(): void {
		this.#wayToFail = this.prepareLeaving(EXIT.fault);
	}

	protected override failIf(condition: Expr): void {
		this.#goOutIf(this.#wayToFail, condition);
	}

	protected override stepIf(condition: Expr): void {
		const way = this.prepareLeaving(EXIT.single);
		this.#goOutIf(way, condition);
	}

	#goOutIf(way: number, condition: Expr): void {
		if (!this.floats.hasNews) {
			this.f.brOutIf(way, condition);
			return;
		}
		this.f.ifRarely(condition, () => {
			this.floats.copyOut();
			this.f.brOut(way);
		});
	}

	protected exitSingle(): void {
		this.floats.copyOut();
		this.leave(EXIT.single);
	}

	leaveBehind(): void {
		this.f.spoil();
		this.leave(EXIT.interrupted, this.delta + this.insn.lengthBytes, this.left - 1);
	}

	/** Where a block's end lies beyond the code segment's, its instructions run by single step. */
	stayWithin(delta: number, end: number): void {
		const last = op("i32Sub", this.ripAt(i32(end)), i32(1));
		const way = this.prepareLeaving(EXIT.single, delta, 0);
		this.f.brOutIf(way, op("i32GtU", last, this.field32("segLimit", 1)));
	}

	/** Charges a block's instructions, all of which are left, at its first; leaves there when the slice cannot hold them. */
	charge(): void {
		if (chargeTemplate === undefined) chargeTemplate = this.recordCharge();
		this.f.replay(chargeTemplate, this);
	}
}

/** The same for all blocks of all regions. */
let chargeTemplate: Template | undefined;

const lowHalf = (value: Expr): Expr => (value.type === "i64" ? op("i32WrapI64", value) : value);
