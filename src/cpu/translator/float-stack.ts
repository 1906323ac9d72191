import { type Expr, i32, loadOp, op } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import type { Insn } from "../../x86/decode/insn.ts";
import { add, and, FSW, or, shl, shr, sub, xor } from "../core/f80-emit.ts";
import { SIMPLE, SIMPLE_MASK } from "../core/f80-round.ts";
import type { Operand, Place } from "../core/f80-short.ts";
import { coreFunctions } from "../core/registry.ts";
import type { Callables } from "../emit/ops.ts";
import { at, type FieldName } from "../state/layout.ts";

type Tag = "unknown" | "valid" | "empty";

/** A register of the stack, by its distance from the top that the block began with. */
export interface Register {
	/** A local for its slot, from the CPU's block. */
	readonly slot: number;
	hasSlot: boolean;
	/** Locals that hold its value, where they do; the state block may not know it yet. */
	value: Place;
	isHeld: boolean;
	isDirty: boolean;
	/** What it is, and what the state block has it as. */
	tag: Tag;
	tagStored: Tag;
}

/** Past these in the status word, an instruction may have left something else than it would have otherwise. */
const TROUBLE = FSW.ES | FSW.SF;

/** FOP: the opcode's low three bits and the ModRM byte (SDM Vol. 1 §8.1.9). */
const lastOpcode = ({ row, modrm }: Insn): number => ((row.opcode & 7) << 8) | modrm;

/** What the region's other parts do for this one. */
export interface FloatHost {
	readonly f: FunctionBuilder;
	readonly cpu: Expr;
	readonly calls: Callables;
	/** The running instruction, and its offset. */
	readonly insn: Insn;
	readonly delta: number;
	ripAt(delta: Expr): Expr;
	leaveBehind(): void;
}

/**
 * What is known of the x87's stack within a block of a region: the top is where it was at the first instruction, moved by what has been
 * pushed and popped since; values and status word live in locals. The state block learns of it where somebody else may look: at the
 * block's end, before other instructions that may leave, and where an instruction of the x87 leaves or takes the long way.
 */
export abstract class FloatStack {
	readonly #host: FloatHost;
	protected readonly f: FunctionBuilder;
	readonly #cpu: Expr;
	/** Locals, made when the first x87 instruction turns up: the top, the tags from it on, and words of the state block. */
	#top = -1;
	#tags = -1;
	#status = -1;
	#control = -1;
	/** Address of the last memory operand. */
	#dataPointer = -1;
	/** What a memory operand holds. */
	protected operand!: Place;
	readonly #registers: Register[] = [];
	/** Somebody has called `forget` since this was false. */
	hasForgotten = false;

	// What is known at this point of the block.
	isGuarded = false;
	#isOpen = false;
	/** The state block does not know everything. */
	hasNews = false;
	#hasControl = false;
	#isC1Clear = false;
	#isStatusDirty = false;
	/** The top's distance from the first one, here and in the state block. */
	#delta = 0;
	#deltaStored = 0;
	/** The last instruction's whereabouts, which the state block does not know: its offset and opcode. */
	#last: { readonly delta: number; readonly opcode: number } | undefined;
	#isPointerDirty = false;

	constructor(host: FloatHost) {
		this.#host = host;
		this.f = host.f;
		this.#cpu = host.cpu;
	}

	mustGuard(): boolean {
		const must = !this.isGuarded;
		this.isGuarded = true;
		return must;
	}

	forget(): void {
		this.hasForgotten = true;
		this.flush();
		this.startBlock();
	}

	/** Nothing is known, and the state block knows everything. */
	startBlock(): void {
		this.isGuarded = this.#isOpen = this.#hasControl = this.#isC1Clear = this.#isStatusDirty = this.#isPointerDirty = false;
		this.hasNews = false;
		this.#delta = this.#deltaStored = 0;
		this.#last = undefined;
		for (const register of this.#registers) {
			register.hasSlot = register.isHeld = register.isDirty = false;
			register.tag = register.tagStored = "unknown";
		}
	}

	// ---- the state block ----

	/** Tells the state block everything. */
	flush(): void {
		if (!this.hasNews) return;
		this.copyOut();
		this.hasNews = false;
		this.#isStatusDirty = this.#isPointerDirty = false;
		this.#deltaStored = this.#delta;
		this.#last = undefined;
		for (const register of this.#registers) {
			if (register.isDirty) register.hasSlot = true;
			register.isDirty = false;
			register.tagStored = register.tag;
		}
	}

	/** The same on a way that leaves or comes back: what is known stays as it is on the others. */
	copyOut(): void {
		if (!this.hasNews) return;
		const f = this.f;
		for (const register of this.#registers) {
			if (!register.isDirty) continue;
			this.#placeSlot(register);
			const slot = f.get(register.slot);
			f.store("i64Store", slot, f.get(register.value.mantissa), at("fpr"));
			f.store("i32Store", slot, f.get(register.value.se), at("fpr") + 8);
		}
		if (this.#isStatusDirty) this.#setField("fsw", f.get(this.#status));
		if (this.#delta !== this.#deltaStored) this.#setField("ftop", and(add(f.get(this.#top), this.#delta), 7));
		this.#storeTags(({ tag }) => tag);
		if (this.#last !== undefined) {
			const rip = this.#host.ripAt(i32(this.#last.delta));
			f.store("i64Store", this.#cpu, rip.type === "i64" ? rip : op("i64ExtendI32U", rip), at("fip"));
			this.#setField("fop", i32(this.#last.opcode));
		}
		if (this.#isPointerDirty) {
			const pointer = f.get(this.#dataPointer);
			f.store("i64Store", this.#cpu, pointer.type === "i64" ? pointer : op("i64ExtendI32U", pointer), at("fdp"));
		}
	}

	/** After a core function: top and tags in the state block are again as they would be if it had not been called. */
	#restoreStored(): void {
		if (this.#delta !== this.#deltaStored) this.#setField("ftop", and(add(this.f.get(this.#top), this.#deltaStored), 7));
		this.#storeTags(({ tag, tagStored }) => (tagStored === "unknown" ? tag : tagStored));
	}

	/** If the state block has others than are known here; those that are not known stay as they are. */
	#storeTags(tagOf: (register: Register) => Tag): void {
		if (this.#registers.every(({ tag, tagStored }) => tag === tagStored)) return;
		let valid = 0;
		let empty = 0;
		for (const [n, register] of this.#registers.entries()) {
			const tag = tagOf(register);
			if (tag === "valid") valid |= 1 << n;
			else if (tag === "empty") empty |= 1 << n;
		}
		const f = this.f;
		f.set(this.#tags, or(and(f.get(this.#tags), 0xff & ~empty), valid));
		const twice = or(f.get(this.#tags), shl(f.get(this.#tags), 8));
		this.#setField("ftagValid", and(shr(twice, sub(i32(8), f.get(this.#top))), 0xff));
	}

	#placeSlot(register: Register): void {
		if (register.hasSlot) return;
		const f = this.f;
		const physical = and(add(f.get(this.#top), this.#registers.indexOf(register)), 7);
		f.set(register.slot, add(this.#cpu, shl(physical, 4)));
	}

	#field(name: FieldName): Expr {
		return loadOp("i32Load", this.#cpu, at(name));
	}

	#setField(name: FieldName, value: Expr): void {
		this.f.store("i32Store", this.#cpu, value, at(name));
	}

	#open(): void {
		const f = this.f;
		f.spoil();
		if (this.#top < 0) this.#makeLocals();
		if (this.#isOpen) return;
		this.#isOpen = true;
		f.set(this.#top, this.#field("ftop"));
		f.set(this.#tags, this.#field("ftagValid"));
		f.set(this.#tags, and(shr(or(f.get(this.#tags), shl(f.get(this.#tags), 8)), f.get(this.#top)), 0xff));
		f.set(this.#status, this.#field("fsw"));
	}

	#makeLocals(): void {
		const f = this.f;
		this.#top = f.register("i32");
		this.#tags = f.register("i32");
		this.#status = f.register("i32");
		this.#control = f.register("i32");
		this.#dataPointer = f.register(this.#host.ripAt(i32(0)).type);
		const place = (): Place => ({ se: f.register("i32"), mantissa: f.register("i64") });
		this.operand = place();
		for (let n = 0; n < 8; n++) {
			const known = { hasSlot: false, isHeld: false, isDirty: false, tag: "unknown", tagStored: "unknown" } as const;
			this.#registers.push({ slot: f.register("i32"), value: place(), ...known });
		}
	}

	// ---- what instructions are made of ----

	record(address?: Expr): void {
		this.#open();
		this.hasNews = true;
		const { delta, insn } = this.#host;
		this.#last = { delta, opcode: lastOpcode(insn) };
		if (address === undefined) return;
		this.f.set(this.#dataPointer, address);
		this.#isPointerDirty = true;
	}

	protected register(i: number): Register {
		return this.#registers[(this.#delta + i) & 7] as Register;
	}

	/** ST(i), with its value in locals. */
	protected held(i: number): Register {
		const register = this.register(i);
		if (register.isHeld) return register;
		this.#reload(register);
		register.isHeld = true;
		return register;
	}

	#reload(register: Register): void {
		const f = this.f;
		this.#placeSlot(register);
		register.hasSlot = true;
		f.set(register.value.se, loadOp("i32Load16U", f.get(register.slot), at("fpr") + 8));
		f.set(register.value.mantissa, loadOp("i64Load", f.get(register.slot), at("fpr")));
	}

	protected operandOf({ value }: Register): Operand {
		return { se: this.f.get(value.se), mantissa: this.f.get(value.mantissa), isShort: false };
	}

	protected set({ value }: Register, from: Place): void {
		const f = this.f;
		f.set(value.se, f.get(from.se));
		f.set(value.mantissa, f.get(from.mantissa));
	}

	protected expect(otherwise: Label, register: Register, tag: "valid" | "empty"): void {
		if (register.tag === tag) return;
		if (register.tag !== "unknown") {
			this.f.br(otherwise);
			return;
		}
		const bit = and(this.f.get(this.#tags), 1 << this.#registers.indexOf(register));
		this.f.brIfRarely(otherwise, tag === "empty" ? bit : xor(shr(bit, this.#registers.indexOf(register)), 1));
	}

	/** It has been found to be so, or has become so. */
	protected is(register: Register, tag: "valid" | "empty", isFound = false): void {
		if (isFound && register.tag !== tag) register.tagStored = tag;
		register.tag = tag;
	}

	protected setFlags(flags?: Expr): void {
		if (flags === undefined && this.#isC1Clear) return;
		const f = this.f;
		const status = this.#isC1Clear ? f.get(this.#status) : and(f.get(this.#status), ~FSW.C1);
		f.set(this.#status, flags === undefined ? status : or(status, flags));
	}

	/** What `setFlags` has done is known; C1 may be set since. */
	protected hasFlags(isC1Clear: boolean): void {
		this.#isStatusDirty ||= !(isC1Clear && this.#isC1Clear);
		this.#isC1Clear = isC1Clear;
	}

	/** Precision and rounding, from which `expectControl` tells whether they are those of the short way. */
	protected readControl(): void {
		if (this.#hasControl) return;
		this.#hasControl = true;
		this.f.set(this.#control, xor(and(this.#field("fcw"), SIMPLE_MASK), SIMPLE));
	}

	protected expectControl(otherwise: Label): void {
		this.f.brIfRarely(otherwise, this.f.get(this.#control));
	}

	/**
	 * `short` in line, which changes locals only when nothing can come between any more; else the core's function, which finds everything in
	 * the state block. What it leaves there in `changed` registers is taken up again. `settle`: what is known from here on.
	 */
	protected either(short: (otherwise: Label) => void, core: string, args: readonly Expr[], settle: () => readonly Register[]): void {
		const f = this.f;
		f.block((done) => {
			f.block((otherwise) => {
				short(otherwise);
				f.br(done);
			});
			this.copyOut();
			const leavesResult = coreFunctions().get(core)?.result !== undefined;
			f.call(this.#host.calls.index(core), [this.#cpu, ...args], leavesResult);
			f.set(this.#status, this.#field("fsw"));
			f.ifRarely(and(f.get(this.#status), TROUBLE), () => this.#host.leaveBehind());
			const changed = settle();
			this.#restoreStored();
			for (const register of changed) {
				const { hasSlot } = register;
				this.#reload(register);
				register.hasSlot = hasSlot;
			}
		});
	}

	protected push(): void {
		const register = this.register(-1);
		this.is(register, "empty", true);
		this.is(register, "valid");
		register.isHeld = register.isDirty = true;
		this.#delta = (this.#delta - 1) & 7;
	}

	protected pop(): void {
		this.is(this.register(0), "empty");
		this.#delta = (this.#delta + 1) & 7;
	}
}
