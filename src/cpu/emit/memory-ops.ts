import { apply, type Expr, i32, i64, loadOp, onStack, op, type Stencil } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { OpName } from "../../wasm/opcodes.ts";
import type { MemOperand } from "../../x86/decode/insn.ts";
import { STACK_ACCESS } from "../mmu/mmu.ts";
import { at, TLB_ENTRY } from "../state/layout.ts";
import { CoreOps, type ModifyPlace, type SegRef } from "./core-ops.ts";
import { tlbSlot } from "./values.ts";

/** Locals that hold a page's write tag (of the type of linear addresses) and addend. */
export interface StackPage {
	readonly tag: number;
	readonly addend: number;
}

/** Addressed by the stack pointer and a displacement, through SS. */
export function isByStackPointer({ base, index, seg }: MemOperand): boolean {
	return base === 4 && index < 0 && seg === 2;
}

/** The abstract machine's memory and stack: every access goes through the TLB in force, inline, and to a helper where that misses. */
export abstract class MemoryOps extends CoreOps {
	// ---- memory ----

	/** Linear address, limits checked in segmented modes (#SS for SS, else #GP). Pinned; i64 in 64-bit code, else i32. */
	linear(ref: SegRef, offset: Expr, bytes: number, isWrite: boolean): Expr {
		const seg = "seg" in ref ? ref.seg : (this.insn.operands[ref.operand] as MemOperand).seg;
		// FS and GS have bases; and code segments cannot be written, flat or not.
		const usesBase = seg >= 4 || (seg === 1 && isWrite && !this.is64);
		if (this.is64) return usesBase ? this.f.let(op("i64Add", offset, this.segBase(ref))) : offset;
		if (this.isFlat && !usesBase) return offset;
		const checked = this.f.callLet(this.calls.index("segmentCheck"), "i32", [
			this.cpu,
			this.segIndex(ref),
			offset,
			i32(bytes === 0 ? 0 : bytes - 1),
			i32(isWrite ? 1 : 0),
		]);
		this.f.if(checked, () => this.exitFault());
		return this.f.let(op("i32Add", offset, this.segBase(ref)));
	}

	/** Loads 1–8 or 16 bytes: i32 up to 4 bytes (zero-extended), i64 for 8, v128 for 16. Pinned. */
	load(ref: SegRef, offset: Expr, bytes: 1 | 2 | 4 | 8 | 16): Expr {
		const linear = this.linear(ref, offset, bytes, false);
		const page = this.#pageOf(ref, bytes);
		if (page !== undefined) return this.f.let(loadOp(LOADS[bytes], this.#onStack(page, "loadOnStack", linear, bytes)));
		return this.loadLinear(linear, bytes, this.isStack(ref));
	}

	/**
	 * The page of the stack, where the reading keeps that at hand: a write tag and addend that the TLB in force had since the code was
	 * entered. Frames seldom lie on more than one, and half of what compilers for few registers load and store is there.
	 */
	protected stackPage(): StackPage | undefined {
		return undefined;
	}

	/** `stackPage`, for an access by the stack pointer and a displacement that is likely to be aligned. */
	#pageOf(ref: SegRef, bytes: number): StackPage | undefined {
		if ((!this.is64 && !this.isFlat) || bytes > (this.is64 ? 8 : 4)) return undefined;
		const isOn = "seg" in ref ? ref.seg === 2 : isByStackPointer(this.insn.operands[ref.operand] as MemOperand);
		return isOn ? this.stackPage() : undefined;
	}

	/** Offset of the byte at `linear`, on the stack: for the next expression to use once. */
	#onStack({ tag, addend }: StackPage, core: "loadOnStack" | "probeOnStack", linear: Expr, bytes: number): Expr {
		const { f } = this;
		const isWide = linear.type === "i64";
		// Kept bits: of the page, and those that are 0 where the access is aligned and so lies within it.
		const kept = -4096 | (bytes - 1);
		const page = isWide ? op("i64And", linear, i64(kept)) : op("i32And", linear, i32(kept));
		return f.choose(
			op(isWide ? "i64Ne" : "i32Ne", page, f.get(tag)),
			"i32",
			() => {
				const found = this.#missOrFail(core, linear, request(bytes, true));
				f.set(tag, loadOp(isWide ? "i64Load" : "i32Load", this.cpu, at("stackTag")));
				f.set(addend, loadOp("i32Load", this.cpu, at("stackAddend")));
				return found;
			},
			() => op("i32Add", low(linear), f.get(addend)),
		);
	}

	/** Through SS: a non-canonical address is #SS then, not #GP. */
	protected isStack(ref: SegRef): boolean {
		const seg = "seg" in ref ? ref.seg : (this.insn.operands[ref.operand] as MemOperand).seg;
		return seg === 2;
	}

	loadLinear(linear: Expr, bytes: 1 | 2 | 4 | 8 | 16, isStack = false, instruction: OpName = LOADS[bytes], isAligned = false): Expr {
		const { entry, misses } = this.#lookUp(linear, bytes, TLB_ENTRY.readTag, isAligned);
		const host = this.f.choose(
			misses,
			"i32",
			() => {
				if (isAligned) this.raiseMisaligned(linear);
				return this.#missOrFail("missLoad", linear, request(bytes, isStack));
			},
			() => hostAt(linear, entry),
		);
		return this.f.let(loadOp(instruction, host));
	}

	protected raiseMisaligned(linear: Expr): void {
		this.raiseIf(op("i32And", low(linear), i32(15)), 13, 0);
	}

	/** Stores at once. `value` is i32 up to 4 bytes, i64 for 8, v128 for 16. */
	store(ref: SegRef, offset: Expr, bytes: 1 | 2 | 4 | 8 | 16, value: Expr): void {
		const linear = this.linear(ref, offset, bytes, true);
		const page = this.#pageOf(ref, bytes);
		if (page === undefined) {
			this.storeLinear(linear, bytes, value, this.isStack(ref));
			return;
		}
		const pinned = this.f.let(value);
		this.f.store(STORES[bytes], this.#onStack(page, "probeOnStack", linear, bytes), pinned);
	}

	storeLinear(linear: Expr, bytes: 1 | 2 | 4 | 8 | 16, value: Expr, isStack = false, isAligned = false): void {
		const pinned = this.f.let(value);
		const { entry, misses } = this.#lookUp(linear, bytes, TLB_ENTRY.writeTag, isAligned);
		this.f.ifRarely(
			misses,
			() => {
				if (isAligned) this.raiseMisaligned(linear);
				this.#slowStore(linear, bytes, pinned, isStack);
			},
			() => this.f.store(STORES[bytes], hostAt(linear, entry), pinned),
		);
	}

	#slowStore(linear: Expr, bytes: number, value: Expr, isStack: boolean): void {
		this.f.store(STORES[bytes as 1], this.cpu, value, at("scratch"));
		this.beforeFailing();
		this.failIf(this.#miss("missStore", linear, request(bytes, isStack)));
	}

	/** Checks a place for reading and writing, so that the store that follows cannot fault. */
	probe(ref: SegRef, offset: Expr, bytes: number): ModifyPlace {
		const linear = this.linear(ref, offset, bytes, true);
		const page = this.#pageOf(ref, bytes);
		if (page !== undefined) return { bytes, linear, host: this.f.let(this.#onStack(page, "probeOnStack", linear, bytes)) };
		const { entry, misses } = this.#lookUp(linear, bytes, TLB_ENTRY.writeTag);
		const host = this.f.choose(
			misses,
			"i32",
			() => {
				const found = this.#missOrFail("missProbe", linear, request(bytes, this.isStack(ref)));
				if (this.leavesOddPlaces) this.stepIf(op("i32Eq", found, i32(-1)));
				return found;
			},
			() => hostAt(linear, entry),
		);
		return { bytes, linear, host: this.f.let(host) };
	}

	loadPlace(place: ModifyPlace): Expr {
		if (this.leavesOddPlaces) return this.f.let(loadOp(LOADS[place.bytes as 1], place.host));
		const host = this.f.choose(
			op("i32Eq", place.host, i32(-1)),
			"i32",
			() => this.#missOrFail("missLoad", place.linear, place.bytes),
			() => place.host,
		);
		return this.f.let(loadOp(LOADS[place.bytes as 1], host));
	}

	storePlace(place: ModifyPlace, value: Expr): void {
		if (this.leavesOddPlaces) {
			this.f.store(STORES[place.bytes as 1], place.host, value, 0);
			return;
		}
		const pinned = this.f.let(value);
		this.f.if(
			op("i32Eq", place.host, i32(-1)),
			() => this.#slowStore(place.linear, place.bytes, pinned, false),
			() => this.f.store(STORES[place.bytes as 1], place.host, pinned),
		);
	}

	/** With `isAligned`, a misaligned address misses: what the tag has no bits for does not match. */
	#lookUp(linear: Expr, bytes: number, tag: number, isAligned = false): { entry: Expr; misses: Expr } {
		const entry = this.f.let(this.entryOf(low(linear)));
		const isWide = linear.type === "i64";
		const page = apply(lastPage(isWide, bytes, isAligned), linear);
		return { entry, misses: isWide ? op("i64Ne", loadOp("i64Load", entry, tag), page) : op("i32Ne", loadOp("i32Load", entry, tag), page) };
	}

	/** The TLB's entry for the page of a linear address, of which it takes the lower half. */
	protected entryOf(address: Expr): Expr {
		return apply(FIND_ENTRY, this.tlb(), address);
	}

	/** Where the core finds what the TLB does not know; or the instruction fails. */
	#missOrFail(name: string, linear: Expr, wanted: number): Expr {
		this.beforeFailing();
		const host = this.#miss(name, linear, wanted);
		this.failIf(op("i32Eqz", host));
		return host;
	}

	/** What the TLB does not know: the core's `missLoad`, `missStore` or `missProbe`. */
	#miss(name: string, linear: Expr, wanted: number): Expr {
		const wide = linear.type === "i64" ? linear : op("i64ExtendI32U", linear);
		return this.f.callLet(this.calls.index(name), "i32", [this.cpu, wide, i32(wanted | this.accessNotes)]);
	}

	// ---- the stack ----

	/** Width of the stack pointer in use. */
	get stackWidth(): 16 | 32 | 64 {
		return this.is64 ? 64 : this.isStack32 ? 32 : 16;
	}

	/** SP, ESP or RSP as an address. */
	stackPointer(): Expr {
		return this.reg(4, this.stackWidth);
	}

	/** `sp` + bytes, cut to the stack's width. */
	stackAdd(sp: Expr, bytes: number | Expr): Expr {
		const width = this.stackWidth;
		const delta = typeof bytes === "number" ? (width === 64 ? i64(bytes) : i32(bytes)) : bytes;
		const sum = op(width === 64 ? "i64Add" : "i32Add", sp, delta);
		return this.f.let(width === 16 ? op("i32And", sum, i32(0xffff)) : sum);
	}

	/** Pushes 2, 4 or 8 bytes; the new stack pointer takes effect at commit. */
	push(bytes: 2 | 4 | 8, value: Expr): void {
		const sp = this.stackAdd(this.stackPointer(), -bytes);
		this.store({ seg: 2 }, sp, bytes, value);
		this.setReg(4, this.stackWidth, sp);
	}

	/** Pops; `setReg(4, …)` is queued before whatever the caller queues, so POP ESP ends with the popped value. */
	pop(bytes: 2 | 4 | 8): Expr {
		const sp = this.stackPointer();
		const value = this.load({ seg: 2 }, sp, bytes);
		this.setReg(4, this.stackWidth, this.stackAdd(sp, bytes));
		return value;
	}
}

const low = (linear: Expr): Expr => (linear.type === "i64" ? op("i32WrapI64", linear) : linear);

const onStack32 = onStack("i32");
const onStack64 = onStack("i64");

/** A TLB entry's offset, from the TLB's and the low half of a linear address. */
const FIND_ENTRY = FunctionBuilder.stencil(op("i32Add", onStack32, tlbSlot(onStack32)));

const lastPages = new Map<number, Stencil>();

/** The page of an access's last byte, from its linear address. */
function lastPage(isWide: boolean, bytes: number, isAligned: boolean): Stencil {
	const key = (bytes * 2 + (isAligned ? 1 : 0)) * 2 + (isWide ? 1 : 0);
	const known = lastPages.get(key);
	if (known !== undefined) return known;
	const [reach, kept] = isAligned ? [0, -4096 | 15] : [bytes - 1, -4096];
	const made = FunctionBuilder.stencil(
		isWide ? op("i64And", op("i64Add", onStack64, i64(reach)), i64(kept)) : op("i32And", op("i32Add", onStack32, i32(reach)), i32(kept)),
	);
	lastPages.set(key, made);
	return made;
}

const ADD_ADDEND = FunctionBuilder.stencil(op("i32Add", onStack32, loadOp("i32Load", onStack32, TLB_ENTRY.addend)));

/** Offset of the byte at `linear`, whose page the TLB entry is for. */
function hostAt(linear: Expr, entry: Expr): Expr {
	return apply(ADD_ADDEND, low(linear), entry);
}

/** What the memory helpers take: bytes, and whether the access goes through SS (see `STACK_ACCESS`). */
function request(bytes: number, isStack: boolean): number {
	return isStack ? bytes | STACK_ACCESS : bytes;
}

const LOADS: Record<1 | 2 | 4 | 8 | 16, OpName> = { 1: "i32Load8U", 2: "i32Load16U", 4: "i32Load", 8: "i64Load", 16: "v128Load" };
const STORES: Record<1 | 2 | 4 | 8 | 16, OpName> = { 1: "i32Store8", 2: "i32Store16", 4: "i32Store", 8: "i64Store", 16: "v128Store" };
