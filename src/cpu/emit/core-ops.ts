import { type Expr, i32, i64, isConst, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { ValueType } from "../../wasm/opcodes.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import type { FlagKind } from "../state/flags.ts";
import { at, EXIT, type FieldName } from "../state/layout.ts";
import type { FlagSource, Width } from "./condition.ts";
import type { Floats } from "./floats.ts";

/** A general register: by number, or whatever the n-th operand names (the interpreter learns it at run time). */
export type GprRef = { readonly index: number } | { readonly operand: number };
/** A segment: by number, or the one the n-th (memory) operand goes through. */
export type SegRef = { readonly seg: number } | { readonly operand: number };

/** A place in memory that has been probed for reading and writing. */
export interface ModifyPlace {
	readonly bytes: number;
	readonly linear: Expr;
	/** Offset of plain RAM, or -1 (unless such places are left to single steps) where the slow path must do load and store. */
	readonly host: Expr;
}

/** A write of the instruction that takes effect at its end. Its values are worked out there, unless they would be others then. */
export interface QueuedWrite {
	readonly condition: Expr | undefined;
	/** A register and its new value, or … */
	readonly register: GprRef | undefined;
	/** 128: an XMM register. */
	readonly width: Width | 128;
	value: Expr | undefined;
	/** … the flags' inputs, or … */
	source: FlagSource | undefined;
	/** … something else. */
	readonly commit: (() => void) | undefined;
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
export abstract class CoreOps {
	readonly f: FunctionBuilder;
	/** i32: offset of the CPU's block in memory. */
	readonly cpu: Expr;
	insn!: Insn;
	/** ES, CS, SS, DS need neither base nor limit. Always so in 64-bit code. */
	readonly isFlat: boolean;
	readonly isStack32: boolean;
	/** Nothing looks at the flags between this instruction and one that sets them all: what they are need not be worked out. */
	areFlagsDead = false;
	/** x87 instructions in line, where the reading has them so. */
	readonly floats: Floats | undefined = undefined;
	readonly calls: Callables;
	/** What is being committed takes effect only on one side of a branch. */
	protected isConditional = false;
	/** An instruction that would modify anything but plain RAM within a page is run by single step. */
	protected readonly leavesOddPlaces: boolean = false;
	/** Added to every request to the memory helpers. */
	protected readonly accessNotes: number = 0;
	readonly #queue: QueuedWrite[] = [];
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
	/** What `failIf` will leave with is settled here, so that nothing need stand between a call and the look at its status. */
	protected beforeFailing(): void {}
	/** Gives the instruction up, as `exitSingle`, where the condition holds. */
	protected stepIf(condition: Expr): void {
		this.f.if(condition, () => this.exitSingle());
	}
	/** Gives the instruction up, as `exitFault`, where the condition holds. */
	protected failIf(condition: Expr): void {
		this.f.if(condition, () => this.exitFault());
	}
	/** Gives the instruction up; faultVector and faultErrorCode are set (SINGLE_STEP: it is to be run by single step). */
	protected abstract exitFault(): void;
	/** Gives the instruction up: it must be single-stepped. */
	protected abstract exitSingle(): void;
	/** Leaves for the run loop behind the instruction, whose writes have taken effect: what follows in the block has not been run. */
	abstract leaveBehind(): void;
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
		this.f.spoil();
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

	// ---- registers ----

	/** A register named by the instruction's meaning (RAX, RSP …). Pinned, zero-extended. */
	reg(index: number, width: Width): Expr {
		return this.f.let(this.gprGet({ index }, width));
	}

	/** AH. */
	regHigh(index: number): Expr {
		return this.f.let(op("i32And", op("i32ShrU", this.gprGet({ index }, 32), i32(8)), i32(0xff)));
	}

	setReg(index: number, width: Width, value: Expr, condition?: Expr): void {
		this.setLater({ index }, width, value, condition);
	}

	setRegHigh(index: number, value: Expr): void {
		const merged = this.f.let(
			op("i32Or", op("i32And", this.gprGet({ index }, 32), i32(0xffff00ff)), op("i32Shl", op("i32And", value, i32(0xff)), i32(8))),
		);
		this.setLater({ index }, 16, op("i32And", merged, i32(0xffff)));
	}

	/** Queues a register's new value (`width` 128: of an XMM register), to take effect with the others; if `condition` holds. */
	protected setLater(register: GprRef, width: Width | 128, value: Expr, condition?: Expr): void {
		this.#enqueue({ condition: this.#pinned(condition), register, width, value: this.f.hold(value), source: undefined, commit: undefined });
	}

	/** Queues any other write. What it uses must be pinned. */
	protected later(commit: () => void): void {
		this.#enqueue({ condition: undefined, register: undefined, width: 32, value: undefined, source: undefined, commit });
	}

	#pinned(condition: Expr | undefined): Expr | undefined {
		return condition === undefined ? undefined : this.f.let(condition);
	}

	#enqueue(write: QueuedWrite): void {
		this.#queue.push(write);
	}

	/** Whether `commit` has anything to do. */
	protected get hasQueued(): boolean {
		return this.#queue.length > 0;
	}

	/** The next write is of the flags and takes effect only on one side of a branch. */
	protected beforeConditionalFlags(): void {}

	/** Where a write would change what a later one is yet to read, that is read now. */
	protected untangle(_writes: readonly QueuedWrite[]): void {}

	/** Makes the instruction's writes take effect. Called by the reading after the meaning; by hand only in loops. */
	commit(): void {
		const queue = this.#queue;
		if (queue.length > 1) this.untangle(queue);
		for (let n = 0; n < queue.length; n++) {
			const write = queue[n] as QueuedWrite;
			const { condition } = write;
			if (condition === undefined || isConst(condition)) {
				if (condition === undefined || condition.imm !== 0) this.#carryOut(write);
			} else {
				if (write.source !== undefined) this.beforeConditionalFlags();
				this.isConditional = true;
				this.f.if(condition, () => this.#carryOut(write));
				this.isConditional = false;
			}
		}
		queue.length = 0;
	}

	#carryOut({ register, width, value, source, commit }: QueuedWrite): void {
		if (source !== undefined) this.applyFlags(source);
		else if (register === undefined) commit?.();
		else if (width === 128) this.xmmSet(register, value as Expr);
		else this.gprSet(register, width, value as Expr);
	}

	/** Effective address (offset in its segment) of a memory operand. Pinned. */
	address(n: number): Expr {
		return this.f.let(this.effectiveAddress(n));
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
			x: this.f.hold(kind === "image" ? same(x) : this.#extend(width, same(x))),
			y: y === undefined ? none : this.f.hold(isArithmetic ? this.#extend(width, same(y)) : same(y)),
			z: z === undefined ? none : this.f.hold(same(z)),
		};
		this.#enqueue({ condition: this.#pinned(condition), register: undefined, width, value: undefined, source, commit: undefined });
	}

	#extend(width: Width, e: Expr): Expr {
		if (width === 8) return op("i32Extend8S", e);
		return width === 16 ? op("i32Extend16S", e) : e;
	}

	/** A rotate's flags, from its pinned result: CF and OF. false: the reading wants them worked out. */
	turnFlags(_isLeft: boolean, _width: Width, _result: Expr, _isSome: Expr): boolean {
		return false;
	}

	/** CF as 0 or 1. */
	carry(): Expr {
		return this.f.let(this.condition(2));
	}

	/** CF as the instruction leaves it, which changes the other flags. Where nothing looks at its flags, a reading may give 0. */
	carryToKeep(): Expr {
		return this.carry();
	}

	// ---- faults and helpers ----

	raise(vector: number, errorCode = -1): void {
		this.setField32("faultVector", i32(vector));
		this.setField32("faultErrorCode", i32(errorCode));
		this.exitFault();
	}

	raiseIf(condition: Expr, vector: number, errorCode = -1): void {
		this.f.ifRarely(condition, () => this.raise(vector, errorCode));
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
		const status = this.f.callLet(this.calls.index(name), "i32", this.helperArgs(pinned));
		this.afterHelper();
		this.f.if(status, () => {
			this.f.if(op("i32Eq", status, i32(EXIT.single)), () => this.exitSingle());
			this.exitFault();
		});
	}

	protected helperArgs(args: Expr[]): Expr[] {
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
