import { type Expr, i32, i64, isConst, loadOp, op, select } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { OpName, ValueType } from "../../wasm/opcodes.ts";
import type { Insn, MemOperand } from "../../x86/decode/insn.ts";
import { STACK_ACCESS } from "../mmu/mmu.ts";
import type { FlagKind } from "../state/flags.ts";
import { at, EXIT, type FieldName, TLB_ENTRIES, TLB_ENTRY, TLB_ENTRY_BYTES } from "../state/layout.ts";
import type { FlagSource, Width } from "./condition.ts";

/** A general register: by number, or whatever the n-th operand names (the interpreter learns it at run time). */
export type GprRef = { readonly index: number } | { readonly operand: number };
/** A segment: by number, or the one the n-th (memory) operand goes through. */
export type SegRef = { readonly seg: number } | { readonly operand: number };

/** A place in memory that has been probed for reading and writing. */
export interface ModifyPlace {
	readonly bytes: number;
	readonly linear: Expr;
	/** Offset of plain RAM, or -1 where the slow path must do load and store. */
	readonly host: Expr;
}

interface PendingWrite {
	readonly condition: Expr | undefined;
	readonly commit: () => void;
}

/** Functions of the core module and helpers that generated code calls, by name. */
export interface Callables {
	index(name: string): number;
}

/**
 * The abstract machine in which an instruction's meaning is written, once. Values are WebAssembly expressions. What is
 * static is the *shape* of the instruction (mnemonic, sizes, kinds of operands, prefixes, mode); register numbers,
 * immediates and displacements come only through `read`, `address` and friends, so that one meaning serves as an
 * interpreter's handler (operands from a decoded record) and as a piece of a translated region (operands constant).
 *
 * An instruction is a transaction: `write`, `setReg`, `setFlags` take effect together at its end (`commit`), so reads see
 * the state before it and a fault in between leaves nothing half done. Stores to memory happen at once: do them after every
 * check that may fault.
 */
export abstract class Ops {
	readonly f: FunctionBuilder;
	/** i32: offset of the CPU's block in memory. */
	readonly cpu: Expr;
	insn!: Insn;
	/** ES, CS, SS, DS need neither base nor limit. Always so in 64-bit code. */
	readonly isFlat: boolean;
	readonly isStack32: boolean;
	protected readonly calls: Callables;
	/** What is being committed takes effect only on one side of a branch. */
	protected isConditional = false;
	/** Added to every request to the memory helpers. */
	protected readonly accessNotes: number = 0;
	#pending: PendingWrite[] = [];
	#modify: ModifyPlace | undefined;
	readonly #assured = new Set<string>();

	constructor(f: FunctionBuilder, cpu: Expr, calls: Callables, mode: { isFlat: boolean; isStack32: boolean }) {
		this.f = f;
		this.cpu = cpu;
		this.calls = calls;
		this.isFlat = mode.isFlat;
		this.isStack32 = mode.isStack32;
	}

	// ---- what each reading supplies ----

	/** The register's low `width` bits, zero-extended (i32 up to 32 bits, else i64). Unpinned. */
	protected abstract gprGet(ref: GprRef, width: Width): Expr;
	/** 32-bit writes clear the upper half; narrower ones merge. */
	protected abstract gprSet(ref: GprRef, width: Width, value: Expr): void;
	protected abstract xmmGet(ref: GprRef): Expr;
	protected abstract xmmSet(ref: GprRef, value: Expr): void;
	/** The n-th operand's register number (0–15) as i32: segment, control, debug, x87 registers. */
	abstract index(n: number): Expr;
	/** The n-th operand, an immediate, as i32 or (64-bit) i64. */
	abstract immediate(n: number, type: "i32" | "i64"): Expr;
	/** The second part of a far pointer (selector) or of ENTER's pair. */
	abstract secondImmediate(n: number): Expr;
	/** Effective address of the n-th operand: i64 in 64-bit code, else i32; cut to the address size. */
	protected abstract effectiveAddress(n: number): Expr;
	/** 1 when the n-th operand's base register is the stack pointer. */
	abstract baseIsStackPointer(n: number): Expr;
	/**
	 * Runs `body` with every register and flag in the state block, so that it may loop and commit as it likes. `iterate`
	 * charges one more instruction and, when the slice is over, gives up with rip at this instruction.
	 */
	abstract inMemory(body: (iterate: (count?: Expr) => void) => void): void;
	/** Base of a segment: i64 in 64-bit code, else i32. */
	protected abstract segBase(ref: SegRef): Expr;
	/** Number of a segment register, i32. */
	protected abstract segIndex(ref: SegRef): Expr;
	protected abstract applyFlags(source: FlagSource): void;
	/** Condition 0–15 of the current flags, as 0 or 1. */
	abstract condition(cc: number): Expr;
	/** The six arithmetic flags as they stand in RFLAGS. */
	abstract arithmeticFlags(): Expr;
	/**
	 * The flags that the instruction leaves as they were, as an image to merge its own into. Where the next instructions set all
	 * flags before anything can look at them, a reading may give 0 for them.
	 */
	flagsToKeep(): Expr {
		return this.arithmeticFlags();
	}
	/** Offset of this instruction, and of the next one: i64 in 64-bit code, else i32 (cut to 16 bits in 16-bit code). */
	abstract rip(): Expr;
	abstract nextRip(): Expr;
	/** Gives the instruction up; faultVector and faultErrorCode are set (SINGLE_STEP: it is to be run by single step). */
	protected abstract exitFault(): void;
	/** Gives the instruction up: it must be single-stepped. */
	protected abstract exitSingle(): void;
	/** TLB in force, i32. */
	protected abstract tlb(): Expr;
	/** Where the n-th operand, relative, leads: an offset in CS, cut to the operand size. */
	protected abstract branchTarget(n: number): Expr;
	/** Ends the block: goes to the n-th operand (a relative target), with `condition` or always. */
	abstract branch(n: number, condition?: Expr): void;
	/** Ends the block: goes to an offset in CS (i64 in 64-bit code, else i32). `kind` helps to predict. */
	abstract jump(target: Expr, kind?: "call" | "return"): void;
	/**
	 * Calls a system helper and ends the block; rip is this instruction and the helper moves it. Queued writes take effect
	 * only if it succeeds.
	 */
	abstract system(name: string, ...args: Expr[]): void;
	/** Puts the flags into the state block, for a helper that reads them. */
	abstract syncFlags(): void;
	/** Bytes of the instruction, i32. */
	abstract length(): Expr;
	/** The ModRM byte of an x87 instruction, i32. */
	abstract modrm(): Expr;
	/** The meaning has sent control elsewhere: nothing follows it in the block. */
	isEnded = false;
	/** Around a helper, which may look at the clock or change `budget`. */
	protected abstract beforeHelper(): void;
	protected abstract afterHelper(): void;

	// ---- static facts ----

	get is64(): boolean {
		return this.insn.codeBits === 64;
	}

	get addressType(): "i32" | "i64" {
		return this.is64 ? "i64" : "i32";
	}

	/** Operand size in bits. */
	get width(): 16 | 32 | 64 {
		return (this.insn.opBytes * 8) as 16 | 32 | 64;
	}

	widthOf(n: number): Width {
		const bytes = (this.insn.operands[n] as { bytes: number }).bytes;
		return (bytes * 8) as Width;
	}

	isMem(n: number): boolean {
		return this.insn.operands[n]?.kind === "mem";
	}

	/** Whether a check that nothing within a block can undo has yet to be made; asking is promising to make it now. */
	mustAssure(what: string): boolean {
		if (this.#assured.has(what)) return false;
		this.#assured.add(what);
		return true;
	}

	/** From here on nothing is known to have been checked. */
	protected forgetAssured(): void {
		this.#assured.clear();
	}

	// ---- state fields ----

	field32(name: FieldName, index = 0): Expr {
		return this.f.let(loadOp("i32Load", this.cpu, at(name, index)));
	}

	field64(name: FieldName, index = 0): Expr {
		return this.f.let(loadOp("i64Load", this.cpu, at(name, index)));
	}

	setField32(name: FieldName, value: Expr, index = 0): void {
		this.f.store("i32Store", this.cpu, value, at(name, index));
	}

	setField64(name: FieldName, value: Expr, index = 0): void {
		this.f.store("i64Store", this.cpu, value, at(name, index));
	}

	// ---- registers and operands ----

	/** A register named by the instruction's meaning (RAX, RSP …). Pinned, zero-extended. */
	reg(index: number, width: Width): Expr {
		return this.f.let(this.gprGet({ index }, width));
	}

	/** AH. */
	regHigh(index: number): Expr {
		return this.f.let(op("i32And", op("i32ShrU", this.gprGet({ index }, 32), i32(8)), i32(0xff)));
	}

	setReg(index: number, width: Width, value: Expr, condition?: Expr): void {
		const pinned = this.f.let(value);
		this.#later(() => this.gprSet({ index }, width, pinned), condition);
	}

	setRegHigh(index: number, value: Expr): void {
		const merged = this.f.let(
			op("i32Or", op("i32And", this.gprGet({ index }, 32), i32(0xffff00ff)), op("i32Shl", op("i32And", value, i32(0xff)), i32(8))),
		);
		this.#later(() => this.gprSet({ index }, 16, op("i32And", merged, i32(0xffff))));
	}

	#later(commit: () => void, condition?: Expr): void {
		this.#pending.push({ condition: condition === undefined ? undefined : this.f.let(condition), commit });
	}

	/** The next write takes effect only on one side of a branch. */
	protected beforeConditional(): void {}

	/** Makes the instruction's writes take effect. Called by the reading after the meaning; by hand only in loops. */
	commit(): void {
		const pending = this.#pending;
		this.#pending = [];
		for (const { condition, commit } of pending) {
			if (condition === undefined || isConst(condition)) {
				if (condition === undefined || condition.imm !== 0) commit();
			} else {
				this.beforeConditional();
				this.isConditional = true;
				this.f.if(condition, commit);
				this.isConditional = false;
			}
		}
	}

	/** A general register, memory or immediate operand at its own width, zero-extended. Pinned. */
	read(n: number): Expr {
		const operand = this.insn.operands[n];
		const width = this.widthOf(n);
		switch (operand?.kind) {
			case "reg":
				if (operand.cls === "xmm" || operand.cls === "mmx") return this.readLow(n);
				return this.f.let(this.gprGet({ operand: n }, width));
			case "mem":
				return this.load({ operand: n }, this.address(n), operand.bytes as 1 | 2 | 4 | 8);
			case "imm64":
				return this.immediate(n, "i64");
			case "imm": {
				// Immediates are read at the width of the operation they belong to.
				const first = this.insn.operands[0] as { bytes: number };
				return this.immediate(n, n > 0 && first.bytes === 8 ? "i64" : "i32");
			}
			default:
				throw new Error(`${this.insn.mnemonic}: operand ${n} cannot be read`);
		}
	}

	/** An immediate as i32, whatever the operand size. */
	imm32(n: number): Expr {
		return this.immediate(n, "i32");
	}

	/** Writes a register operand (later, if `condition` holds) or a memory operand (now; `condition` does not apply). */
	write(n: number, value: Expr, condition?: Expr): void {
		const operand = this.insn.operands[n];
		if (operand?.kind === "mem") {
			const modify = this.#modify;
			if (modify !== undefined) {
				this.#modify = undefined;
				this.#storePlace(modify, value);
			} else this.store({ operand: n }, this.address(n), operand.bytes as 1 | 2 | 4 | 8, value);
			return;
		}
		const width = this.widthOf(n);
		const pinned = this.f.let(value);
		this.#later(() => this.gprSet({ operand: n }, width, pinned), condition);
	}

	/** Reads an operand that `write(n)` will write afterwards (in every case): memory is checked for both first. */
	readModify(n: number): Expr {
		if (!this.isMem(n)) return this.read(n);
		const operand = this.insn.operands[n] as MemOperand;
		const place = this.probe({ operand: n }, this.address(n), operand.bytes);
		this.#modify = place;
		return this.loadPlace(place);
	}

	/** Effective address (offset in its segment) of a memory operand. Pinned. */
	address(n: number): Expr {
		return this.f.let(this.effectiveAddress(n));
	}

	// ---- vectors ----

	/** A 128-bit operand. Memory must be aligned (else #GP(0)) if the instruction's row says so. */
	readVector(n: number): Expr {
		if (this.isMem(n)) {
			const linear = this.#vectorLinear(n, false);
			return this.loadLinear(linear, 16, this.#isStack({ operand: n }), "v128Load", this.insn.row.aligned);
		}
		return this.f.let(this.xmmGet({ operand: n }));
	}

	writeVector(n: number, value: Expr): void {
		if (this.isMem(n)) {
			const linear = this.#vectorLinear(n, true);
			this.storeLinear(linear, 16, value, this.#isStack({ operand: n }), this.insn.row.aligned);
			return;
		}
		const pinned = this.f.let(value);
		this.#later(() => this.xmmSet({ operand: n }, pinned));
	}

	/** Misaligned and beyond the segment's limit: processors tell of the first. */
	#vectorLinear(n: number, isWrite: boolean): Expr {
		const ref = { operand: n };
		const offset = this.address(n);
		if (this.insn.row.aligned && !this.is64 && !this.isFlat) this.#raiseMisaligned(op("i32Add", offset, this.segBase(ref)));
		return this.linear(ref, offset, 16, isWrite);
	}

	/** An XMM register whole, or 4 or 8 bytes of memory with zeros above them. */
	readScalar(n: number): Expr {
		if (!this.isMem(n)) return this.f.let(this.xmmGet({ operand: n }));
		const bytes = (this.insn.operands[n] as MemOperand).bytes as 4 | 8;
		const linear = this.linear({ operand: n }, this.address(n), bytes, false);
		return this.loadLinear(linear, bytes, this.#isStack({ operand: n }), bytes === 8 ? "v128Load64Zero" : "v128Load32Zero");
	}

	/** XMM register by number. */
	xmm(index: number): Expr {
		return this.f.let(this.xmmGet({ index }));
	}

	setXmm(index: number, value: Expr): void {
		const pinned = this.f.let(value);
		this.#later(() => this.xmmSet({ index }, pinned));
	}

	/** The low 1–8 bytes (the operand's size) of an XMM or MMX register or of memory, as i32 or (8 bytes) i64. */
	readLow(n: number): Expr {
		const operand = this.insn.operands[n] as { kind: string; cls?: string; bytes: number };
		if (operand.kind === "mem") return this.load({ operand: n }, this.address(n), operand.bytes as 4 | 8);
		if (operand.cls === "mmx") {
			const mantissa = this.readMmx(n);
			return operand.bytes === 8 ? mantissa : op("i32WrapI64", mantissa);
		}
		const whole = this.f.let(this.xmmGet({ operand: n }));
		return this.f.let(
			operand.bytes === 8
				? { type: "i64", op: 0xfd01d, args: [whole], imm: 0, align: 0 }
				: { type: "i32", op: 0xfd01b, args: [whole], imm: 0, align: 0 },
		);
	}

	/** An MMX operand (register or 8-byte memory) as i64. */
	readMmx(n: number): Expr {
		if (this.isMem(n)) return this.load({ operand: n }, this.address(n), 8);
		return this.f.let(loadOp("i64Load", this.#fprAddress(n), at("fpr")));
	}

	/** Writes an MMX register (later): exponent and sign become all ones, as the register aliasing has it (SDM Vol. 1 §9.6.2). */
	writeMmx(n: number, value: Expr): void {
		if (this.isMem(n)) {
			this.store({ operand: n }, this.address(n), 8, value);
			return;
		}
		const pinned = this.f.let(value);
		const address = this.#fprAddress(n);
		this.#later(() => {
			this.f.store("i64Store", address, pinned, at("fpr"));
			this.f.store("i32Store", address, i32(0xffff), at("fpr") + 8);
		});
	}

	#fprAddress(n: number): Expr {
		return this.f.let(op("i32Add", this.cpu, op("i32Shl", this.index(n), i32(4))));
	}

	/** #GP(0) unless the n-th operand's linear address is a multiple of 16; vectors check it themselves. */
	checkAligned(n: number): void {
		if (!this.isMem(n)) return;
		this.#raiseMisaligned(this.linear({ operand: n }, this.address(n), 16, false));
	}

	#raiseMisaligned(linear: Expr): void {
		const low = linear.type === "i64" ? op("i32WrapI64", linear) : linear;
		this.raiseIf(op("i32And", low, i32(15)), 13, 0);
	}

	// ---- flags ----

	/** X, Y, Z as `flags.ts` describes each kind, any extension: only the low `width` bits of arithmetic inputs count. */
	setFlags(kind: FlagKind, width: Width, x: Expr, y?: Expr, z?: Expr, condition?: Expr): void {
		const type = width === 64 ? "i64" : "i32";
		const none = type === "i64" ? i64(0) : i32(0);
		const same = (e: Expr | undefined): Expr => {
			if (e === undefined) return none;
			if (e.type === type) return e;
			return type === "i64" ? op("i64ExtendI32U", e) : op("i32WrapI64", e);
		};
		const isArithmetic = kind === "add" || kind === "sub" || kind === "adc" || kind === "sbb";
		const source: FlagSource = {
			kind,
			width,
			x: this.f.let(kind === "image" ? same(x) : this.#extend(width, same(x))),
			y: y === undefined ? none : this.f.let(isArithmetic ? this.#extend(width, same(y)) : same(y)),
			z: z === undefined ? none : this.f.let(same(z)),
		};
		this.#later(() => this.applyFlags(source), condition);
	}

	#extend(width: Width, e: Expr): Expr {
		if (width === 8) return op("i32Extend8S", e);
		return width === 16 ? op("i32Extend16S", e) : e;
	}

	/** CF as 0 or 1. */
	carry(): Expr {
		return this.f.let(this.condition(2));
	}

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
		return this.loadLinear(this.linear(ref, offset, bytes, false), bytes, this.#isStack(ref));
	}

	/** Through SS: a non-canonical address is #SS then, not #GP. */
	#isStack(ref: SegRef): boolean {
		const seg = "seg" in ref ? ref.seg : (this.insn.operands[ref.operand] as MemOperand).seg;
		return seg === 2;
	}

	loadLinear(linear: Expr, bytes: 1 | 2 | 4 | 8 | 16, isStack = false, instruction: OpName = LOADS[bytes], isAligned = false): Expr {
		const { host, misses } = this.#lookUp(linear, bytes, TLB_ENTRY.readTag, isAligned);
		this.f.if(misses, () => {
			if (isAligned) this.#raiseMisaligned(linear);
			this.f.set(host.imm as number, this.#miss("missLoad", linear, request(bytes, isStack)));
			this.f.if(op("i32Eqz", host), () => this.exitFault());
		});
		return this.f.let(loadOp(instruction, host));
	}

	/** Stores at once. `value` is i32 up to 4 bytes, i64 for 8, v128 for 16. */
	store(ref: SegRef, offset: Expr, bytes: 1 | 2 | 4 | 8 | 16, value: Expr): void {
		this.storeLinear(this.linear(ref, offset, bytes, true), bytes, value, this.#isStack(ref));
	}

	storeLinear(linear: Expr, bytes: 1 | 2 | 4 | 8 | 16, value: Expr, isStack = false, isAligned = false): void {
		const pinned = this.f.let(value);
		const { host, misses } = this.#lookUp(linear, bytes, TLB_ENTRY.writeTag, isAligned);
		this.f.if(
			misses,
			() => {
				if (isAligned) this.#raiseMisaligned(linear);
				this.#slowStore(linear, bytes, pinned, isStack);
			},
			() => this.f.store(STORES[bytes], host, pinned),
		);
	}

	#slowStore(linear: Expr, bytes: number, value: Expr, isStack: boolean): void {
		this.f.store(STORES[bytes as 1], this.cpu, value, at("scratch"));
		const status = this.#miss("missStore", linear, request(bytes, isStack));
		this.f.if(status, () => this.exitFault());
	}

	/** Checks a place for reading and writing, so that the store that follows cannot fault. */
	probe(ref: SegRef, offset: Expr, bytes: number): ModifyPlace {
		const linear = this.linear(ref, offset, bytes, true);
		const { host, misses } = this.#lookUp(linear, bytes, TLB_ENTRY.writeTag);
		this.f.if(misses, () => {
			this.f.set(host.imm as number, this.#miss("missProbe", linear, request(bytes, this.#isStack(ref))));
			this.f.if(op("i32Eqz", host), () => this.exitFault());
		});
		return { bytes, linear, host };
	}

	loadPlace(place: ModifyPlace): Expr {
		const at = this.f.temporary("i32");
		this.f.set(at, place.host);
		this.f.if(op("i32Eq", place.host, i32(-1)), () => {
			this.f.set(at, this.#miss("missLoad", place.linear, place.bytes));
			this.f.if(op("i32Eqz", this.f.get(at)), () => this.exitFault());
		});
		return this.f.let(loadOp(LOADS[place.bytes as 1], this.f.get(at)));
	}

	storePlace(place: ModifyPlace, value: Expr): void {
		this.#storePlace(place, value);
	}

	#storePlace(place: ModifyPlace, value: Expr): void {
		const pinned = this.f.let(value);
		this.f.if(
			op("i32Eq", place.host, i32(-1)),
			() => this.#slowStore(place.linear, place.bytes, pinned, false),
			() => this.f.store(STORES[place.bytes as 1], place.host, pinned),
		);
	}

	/** With `isAligned`, a misaligned address misses: what the tag has no bits for does not match. */
	#lookUp(linear: Expr, bytes: number, tag: number, isAligned = false): { host: Expr; misses: Expr } {
		const wide = linear.type === "i64";
		const low = wide ? op("i32WrapI64", linear) : linear;
		const entry = this.f.let(
			op(
				"i32Add",
				this.tlb(),
				op("i32And", op("i32ShrU", low, i32(12 - Math.log2(TLB_ENTRY_BYTES))), i32((TLB_ENTRIES - 1) * TLB_ENTRY_BYTES)),
			),
		);
		const host = this.f.temporary("i32");
		this.f.set(host, op("i32Add", low, loadOp("i32Load", entry, TLB_ENTRY.addend)));
		const [reach, kept] = isAligned ? [0, -4096 | 15] : [bytes - 1, -4096];
		const misses = wide
			? op("i64Ne", op("i64And", op("i64Add", linear, i64(reach)), i64(kept)), loadOp("i64Load", entry, tag))
			: op("i32Ne", op("i32And", op("i32Add", linear, i32(reach)), i32(kept)), loadOp("i32Load", entry, tag));
		return { host: this.f.get(host), misses };
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

	// ---- near transfers ----

	/** A near transfer's target is cut to the operand size (SDM Vol. 2A, JMP: "tempEIP AND 0000FFFFH"). */
	protected cut(target: Expr): Expr {
		if (this.insn.opBytes !== 2) return target;
		return target.type === "i64" ? op("i64And", target, i64(0xffff)) : op("i32And", target, i32(0xffff));
	}

	/** Whether `checkTarget` has anything to check. */
	get checksTargets(): boolean {
		return !this.is64 && !this.isFlat;
	}

	/**
	 * #GP(0), with nothing changed, where a near transfer would lead out of the code segment. `jump` and `branch` ask this
	 * themselves; CALL asks before it pushes. A region of 64-bit code finds out later, and takes the transfer back.
	 */
	checkTarget(target: Expr, condition?: Expr): void {
		if (!this.checksTargets) return;
		const isBeyond = op("i32GtU", this.cut(target), this.field32("segLimit", 1));
		this.raiseIf(both(isBeyond, condition), 13, 0);
	}

	/** The same for a relative target. */
	checkBranch(n: number, condition?: Expr): void {
		if (!this.is64 && !this.isFlat) this.checkTarget(this.branchTarget(n), condition);
	}

	// ---- faults and helpers ----

	raise(vector: number, errorCode = -1): void {
		this.setField32("faultVector", i32(vector));
		this.setField32("faultErrorCode", i32(errorCode));
		this.exitFault();
	}

	raiseIf(condition: Expr, vector: number, errorCode = -1): void {
		this.f.if(condition, () => this.raise(vector, errorCode));
	}

	/** Passes a 64-bit argument (i32 values are zero-extended) in arg0…arg3. */
	pass(slot: 0 | 1 | 2 | 3, value: Expr): void {
		this.f.store("i64Store", this.cpu, value.type === "i64" ? value : op("i64ExtendI32U", value), at(`arg${slot}`));
	}

	/** What a helper left in arg0…arg3. */
	result(slot: 0 | 1 | 2 | 3, width: Width): Expr {
		return width === 64 ? this.field64(`arg${slot}`) : this.field32(`arg${slot}`);
	}

	/** Calls a helper that touches no register and may fault; the block goes on. */
	query(name: string, ...args: Expr[]): void {
		const pinned = args.map((arg) => this.f.let(arg));
		this.beforeHelper();
		const status = this.f.callLet(this.calls.index(name), "i32", this.#helperArgs(pinned));
		this.afterHelper();
		this.f.if(status, () => {
			this.f.if(op("i32Eq", status, i32(EXIT.single)), () => this.exitSingle());
			this.exitFault();
		});
	}

	protected helperArgs(args: Expr[]): Expr[] {
		return this.#helperArgs(args);
	}

	#helperArgs(args: Expr[]): Expr[] {
		return [this.cpu, args[0] ?? i32(0), args[1] ?? i32(0), args[2] ?? i32(0)];
	}

	/** Calls a function of the core module (no fault, no state but what its arguments point to). */
	core(name: string, type: ValueType, ...args: Expr[]): Expr {
		return this.f.callLet(this.calls.index(name), type, args);
	}

	/** As `core`, for functions that leave nothing. */
	coreVoid(name: string, ...args: Expr[]): void {
		this.f.call(this.calls.index(name), args);
	}
}

/** What the memory helpers take: bytes, and whether the access goes through SS (see `STACK_ACCESS`). */
function request(bytes: number, isStack: boolean): number {
	return isStack ? bytes | STACK_ACCESS : bytes;
}

const LOADS: Record<1 | 2 | 4 | 8 | 16, OpName> = { 1: "i32Load8U", 2: "i32Load16U", 4: "i32Load", 8: "i64Load", 16: "v128Load" };
const STORES: Record<1 | 2 | 4 | 8 | 16, OpName> = { 1: "i32Store8", 2: "i32Store16", 4: "i32Store", 8: "i64Store", 16: "v128Store" };

/** Whether a system helper's status says that the instruction has not happened (other exits come after its success). */
export function gaveUp(status: Expr): Expr {
	return op("i32Or", op("i32Eq", status, i32(EXIT.fault)), op("i32Eq", status, i32(EXIT.single)));
}

export function both(a: Expr, b: Expr | undefined): Expr {
	return b === undefined ? a : op("i32And", a, b);
}

/** Whether bits 63:47 of a 64-bit address are not all alike. */
export function isNonCanonical(address: Expr): Expr {
	return op("i64GtU", op("i64Add", op("i64ShrS", address, i64(47)), i64(1)), i64(1));
}

/** `alu(32, "Add", a, b)`: the i32 instruction up to 32 bits, else the i64 one. */
export function alu(width: Width, name: IntegerOp, ...args: Expr[]): Expr {
	return op(`${width === 64 ? "i64" : "i32"}${name}` as OpName, ...args);
}

type IntegerOp =
	| "Add"
	| "Sub"
	| "Mul"
	| "And"
	| "Or"
	| "Xor"
	| "Shl"
	| "ShrS"
	| "ShrU"
	| "Rotl"
	| "Rotr"
	| "DivS"
	| "DivU"
	| "RemS"
	| "RemU"
	| "Clz"
	| "Ctz"
	| "Popcnt"
	| "Eqz"
	| "Eq"
	| "Ne"
	| "LtS"
	| "LtU"
	| "GtS"
	| "GtU"
	| "LeS"
	| "LeU"
	| "GeS"
	| "GeU";

/** A constant of the width's type. */
export function constant(width: Width, value: number | bigint): Expr {
	return width === 64 ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt(value))));
}

/** Cuts an i32 to 8 or 16 bits; wider values stay. */
export function truncate(width: Width, e: Expr): Expr {
	return width === 8 ? op("i32And", e, i32(0xff)) : width === 16 ? op("i32And", e, i32(0xffff)) : e;
}

/** Sign-extends a zero-extended value of `from` bits to the type of `to`. */
export function signExtendTo(from: Width, to: Width, e: Expr): Expr {
	const narrow = from === 8 ? op("i32Extend8S", e) : from === 16 ? op("i32Extend16S", e) : e;
	return to === 64 && from !== 64 ? op("i64ExtendI32S", narrow) : narrow;
}

/** Zero-extends a value of `from` bits to the type of `to`. */
export function zeroExtendTo(from: Width, to: Width, e: Expr): Expr {
	return to === 64 && from !== 64 ? op("i64ExtendI32U", e) : e;
}

export { select };
