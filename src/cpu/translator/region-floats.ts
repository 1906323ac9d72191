import { type Expr, i32, loadOp } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import { add, and, eq, FSW, or, shl, shr, xor } from "../core/f80-emit.ts";
import { SIMPLE, SIMPLE_MASK } from "../core/f80-round.ts";
import { type Operand, type Place, shortDouble, shortProduct, shortSingle, shortStore, shortSum } from "../core/f80-short.ts";
import type { FloatOperation, Floats, RealBytes } from "../emit/floats.ts";
import type { Callables } from "../emit/ops.ts";
import { at } from "../state/layout.ts";

/** A register of the stack, by its distance from the top that the block began with. */
interface Register {
	/** Its physical number and, from the CPU's block, its slot. */
	readonly physical: number;
	readonly slot: number;
	isPlaced: boolean;
	/** Locals that hold its value, where they do. */
	value: Place;
	isHeld: boolean;
	tag: "unknown" | "valid" | "empty";
}

/** Past these in the status word, an instruction may have left something else than it would have otherwise. */
const TROUBLE = FSW.ES | FSW.SF;

/**
 * The x87 in a region: within a block the top of the stack is where it was at the first instruction, moved by what has been pushed and popped
 * since, and values, tags and status word stay in locals for those that follow to read. They are written to the state block at once, so
 * that ways out need not know of them; it is reading back that costs.
 */
export class RegionFloats implements Floats {
	readonly #f: FunctionBuilder;
	readonly #cpu: Expr;
	readonly #calls: Callables;
	readonly #leaveBehind: () => void;
	/** Made when the first x87 instruction turns up: the first top, and words of the state block. */
	#top = -1;
	#tags = -1;
	#status = -1;
	#control = -1;
	/** Of a memory operand. */
	#operand!: Place;
	readonly #registers: Register[] = [];
	/** What is known in this block. */
	#isGuarded = false;
	/** Somebody has called `forget` since this was false. */
	hasForgotten = false;
	#isOpen = false;
	#hasControl = false;
	#isC1Clear = false;
	#delta = 0;

	constructor(f: FunctionBuilder, cpu: Expr, calls: Callables, leaveBehind: () => void) {
		this.#f = f;
		this.#cpu = cpu;
		this.#calls = calls;
		this.#leaveBehind = leaveBehind;
	}

	mustGuard(): boolean {
		const must = !this.#isGuarded;
		this.#isGuarded = true;
		return must;
	}

	forget(): void {
		this.hasForgotten = true;
		this.#isGuarded = this.#isOpen = this.#hasControl = this.#isC1Clear = false;
		this.#delta = 0;
		for (const register of this.#registers) {
			register.isPlaced = register.isHeld = false;
			register.tag = "unknown";
		}
	}

	#open(): void {
		this.#prepare();
		if (this.#isOpen) return;
		const f = this.#f;
		this.#isOpen = true;
		f.set(this.#top, this.#field("ftop"));
		f.set(this.#tags, this.#field("ftagValid"));
		f.set(this.#status, this.#field("fsw"));
	}

	#prepare(): void {
		const f = this.#f;
		f.spoil();
		if (this.#top >= 0) return;
		this.#top = f.register("i32");
		this.#tags = f.register("i32");
		this.#status = f.register("i32");
		this.#control = f.register("i32");
		this.#operand = this.#place();
		for (let n = 0; n < 8; n++) {
			const [physical, slot, value] = [f.register("i32"), f.register("i32"), this.#place()];
			this.#registers.push({ physical, slot, value, isPlaced: false, isHeld: false, tag: "unknown" });
		}
	}

	#place(): Place {
		return { se: this.#f.register("i32"), mantissa: this.#f.register("i64") };
	}

	#field(name: "ftop" | "ftagValid" | "fsw" | "fcw"): Expr {
		return loadOp("i32Load", this.#cpu, at(name));
	}

	#setField(name: "ftop" | "ftagValid" | "fsw", value: Expr): void {
		this.#f.store("i32Store", this.#cpu, value, at(name));
	}

	/** ST(i), and where it is. */
	#register(i: number): Register {
		const f = this.#f;
		const distance = (this.#delta + i) & 7;
		const register = this.#registers[distance] as Register;
		if (!register.isPlaced) {
			register.isPlaced = true;
			f.set(register.physical, and(add(f.get(this.#top), distance), 7));
			f.set(register.slot, add(this.#cpu, shl(f.get(register.physical), 4)));
		}
		return register;
	}

	/** Its value in locals. */
	#hold(register: Register): void {
		if (register.isHeld) return;
		register.isHeld = true;
		this.#reload(register);
	}

	#reload({ value, slot }: Register): void {
		const f = this.#f;
		f.set(value.se, loadOp("i32Load16U", f.get(slot), at("fpr") + 8));
		f.set(value.mantissa, loadOp("i64Load", f.get(slot), at("fpr")));
	}

	#operandOf({ value }: Register, flips = false): Operand {
		const se = this.#f.get(value.se);
		return { se: flips ? xor(se, 0x8000) : se, mantissa: this.#f.get(value.mantissa), isShort: false };
	}

	/** What its locals hold goes to its slot. */
	#keep({ value, slot }: Register): void {
		const f = this.#f;
		f.store("i64Store", f.get(slot), f.get(value.mantissa), at("fpr"));
		f.store("i32Store", f.get(slot), f.get(value.se), at("fpr") + 8);
	}

	#expect(otherwise: Label, register: Register, tag: "valid" | "empty"): void {
		if (register.tag === tag) return;
		const f = this.#f;
		const isValid = and(shr(f.get(this.#tags), f.get(register.physical)), 1);
		f.brIfRarely(otherwise, tag === "empty" ? isValid : eq(isValid, 0));
	}

	/** The tag as it is from here on. */
	#setTag(register: Register, tag: "valid" | "empty"): void {
		if (register.tag === tag) return;
		const f = this.#f;
		const bit = shl(i32(1), f.get(register.physical));
		f.set(this.#tags, tag === "valid" ? or(f.get(this.#tags), bit) : and(f.get(this.#tags), xor(bit, -1)));
		this.#setField("ftagValid", f.get(this.#tags));
	}

	#setFlags(flags?: Expr): void {
		if (flags === undefined && this.#isC1Clear) return;
		const f = this.#f;
		const status = this.#isC1Clear ? f.get(this.#status) : and(f.get(this.#status), ~FSW.C1);
		f.set(this.#status, flags === undefined ? status : or(status, flags));
		this.#setField("fsw", f.get(this.#status));
	}

	/** Branches unless precision and rounding are those of the short way. */
	#expectControl(otherwise: Label): void {
		this.#f.brIfRarely(otherwise, this.#f.get(this.#control));
	}

	#readControl(): void {
		if (this.#hasControl) return;
		this.#hasControl = true;
		this.#f.set(this.#control, xor(and(this.#field("fcw"), SIMPLE_MASK), SIMPLE));
	}

	/**
	 * `short` in line, else the core's function, which finds everything in the state block and leaves it there: what changes is taken from
	 * there again.
	 */
	#either(short: (otherwise: Label) => void, core: string, args: readonly Expr[], changed: readonly Register[]): void {
		const f = this.#f;
		f.block((done) => {
			f.block((otherwise) => {
				short(otherwise);
				f.br(done);
			});
			f.call(this.#calls.index(core), [this.#cpu, ...args]);
			f.set(this.#status, this.#field("fsw"));
			f.set(this.#tags, this.#field("ftagValid"));
			f.ifRarely(and(f.get(this.#status), TROUBLE), this.#leaveBehind);
			for (const register of changed) this.#reload(register);
		});
	}

	#push(register: Register): void {
		this.#setTag(register, "valid");
		this.#setTop(-1);
	}

	#pop(register: Register): void {
		this.#setTag(register, "empty");
		this.#setTop(1);
	}

	/** In the state block; `#moved` takes note of it. */
	#setTop(by: number): void {
		this.#setField("ftop", and(add(this.#f.get(this.#top), (this.#delta + by) & 7), 7));
	}

	#moved(by: number): void {
		this.#delta = (this.#delta + by) & 7;
	}

	load(bits: Expr, bytes: RealBytes): void {
		this.#open();
		const register = this.#register(-1);
		const f = this.#f;
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, register, "empty");
				(bytes === 8 ? shortDouble : shortSingle)(f, otherwise, bits, register.value);
				this.#keep(register);
				this.#push(register);
				this.#setFlags();
			},
			bytes === 8 ? "x87LoadDouble" : "x87LoadSingle",
			[bits],
			[register],
		);
		this.#isC1Clear = true;
		this.#hasPushed(register);
	}

	#hasPushed(register: Register): void {
		register.tag = "valid";
		register.isHeld = true;
		this.#moved(-1);
	}

	#hasPopped(register: Register): void {
		register.tag = "empty";
		register.isHeld = false;
		this.#moved(1);
	}

	loadRegister(i: number): void {
		this.#open();
		const from = this.#register(i);
		const to = this.#register(-1);
		this.#hold(from);
		const f = this.#f;
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, from, "valid");
				this.#expect(otherwise, to, "empty");
				f.set(to.value.se, f.get(from.value.se));
				f.set(to.value.mantissa, f.get(from.value.mantissa));
				this.#keep(to);
				this.#push(to);
				this.#setFlags();
			},
			"x87LoadRegister",
			[i32(i)],
			[to],
		);
		from.tag = "valid";
		this.#isC1Clear = true;
		this.#hasPushed(to);
	}

	store(host: Expr, bytes: RealBytes, pops: boolean): void {
		this.#open();
		const register = this.#register(0);
		this.#hold(register);
		this.#readControl();
		const f = this.#f;
		f.block((done) => {
			f.block((otherwise) => {
				this.#expectControl(otherwise);
				this.#expect(otherwise, register, "valid");
				const { bits, flags } = shortStore(f, otherwise, this.#operandOf(register), bytes);
				f.store(bytes === 8 ? "i64Store" : "i64Store32", host, bits);
				this.#setFlags(flags);
				if (pops) this.#pop(register);
				f.br(done);
			});
			f.call(this.#calls.index(bytes === 8 ? "x87StoreDouble" : "x87StoreSingle"), [this.#cpu, host, i32(pops ? 1 : 0)], true);
			this.#catchUp();
		});
		register.tag = "valid";
		this.#isC1Clear = false;
		if (pops) this.#hasPopped(register);
	}

	/** After a core function. */
	#catchUp(): void {
		const f = this.#f;
		f.set(this.#status, this.#field("fsw"));
		f.set(this.#tags, this.#field("ftagValid"));
		f.ifRarely(and(f.get(this.#status), TROUBLE), this.#leaveBehind);
	}

	storeRegister(i: number, pops: boolean): void {
		this.#open();
		const from = this.#register(0);
		const to = this.#register(i);
		this.#hold(from);
		const f = this.#f;
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, from, "valid");
				if (to !== from) {
					f.set(to.value.se, f.get(from.value.se));
					f.set(to.value.mantissa, f.get(from.value.mantissa));
					this.#keep(to);
					this.#setTag(to, "valid");
				}
				if (pops) this.#pop(from);
				this.#setFlags();
			},
			"x87StoreRegister",
			[i32(i), i32(pops ? 1 : 0)],
			[to],
		);
		from.tag = to.tag = "valid";
		to.isHeld = true;
		this.#isC1Clear = true;
		if (pops) this.#hasPopped(from);
	}

	exchange(i: number): void {
		this.#open();
		const a = this.#register(0);
		const b = this.#register(i);
		this.#hold(a);
		this.#hold(b);
		// The locals change places, on either way.
		if (a !== b) [a.value, b.value] = [b.value, a.value];
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, a, "valid");
				this.#expect(otherwise, b, "valid");
				this.#keep(a);
				if (a !== b) this.#keep(b);
				this.#setFlags();
			},
			"x87Exchange",
			[i32(i)],
			[a, b],
		);
		a.tag = b.tag = "valid";
		this.#isC1Clear = true;
	}

	sign(keep: number, flip: number): void {
		this.#open();
		const register = this.#register(0);
		this.#hold(register);
		const f = this.#f;
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, register, "valid");
				f.set(register.value.se, xor(and(f.get(register.value.se), keep), flip));
				this.#keep(register);
				this.#setFlags();
			},
			"x87Sign",
			[i32(keep), i32(flip)],
			[register],
		);
		register.tag = "valid";
		this.#isC1Clear = true;
	}

	/** d ← d and s as the operation has it. */
	#short(name: FloatOperation, otherwise: Label, d: Register, s: Operand): void {
		const f = this.#f;
		this.#expectControl(otherwise);
		const flip = (operand: Operand): Operand => ({ ...operand, se: xor(operand.se, 0x8000) });
		const a = this.#operandOf(d);
		const flags =
			name === "Mul"
				? shortProduct(f, otherwise, a, s, d.value)
				: shortSum(f, otherwise, name === "Subr" ? flip(a) : a, name === "Sub" ? flip(s) : s, d.value);
		this.#keep(d);
		this.#setFlags(flags);
	}

	compute(name: FloatOperation, to: number, from: number, pops: boolean): void {
		this.#open();
		const d = this.#register(to);
		const s = this.#register(from);
		this.#hold(d);
		this.#hold(s);
		this.#readControl();
		const top = this.#register(0);
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, d, "valid");
				if (s !== d) this.#expect(otherwise, s, "valid");
				this.#short(name, otherwise, d, this.#operandOf(s));
				if (pops) this.#pop(top);
			},
			`x87${name}`,
			[i32(to), i32(from), i32(pops ? 1 : 0)],
			[d],
		);
		d.tag = s.tag = "valid";
		this.#isC1Clear = false;
		if (pops) this.#hasPopped(top);
	}

	computeWith(name: FloatOperation, bits: Expr, bytes: RealBytes): void {
		this.#open();
		const d = this.#register(0);
		this.#hold(d);
		this.#readControl();
		const f = this.#f;
		this.#either(
			(otherwise) => {
				this.#expect(otherwise, d, "valid");
				(bytes === 8 ? shortDouble : shortSingle)(f, otherwise, bits, this.#operand);
				const { se, mantissa } = this.#operand;
				this.#short(name, otherwise, d, { se: f.get(se), mantissa: f.get(mantissa), isShort: true });
			},
			`x87${name}${bytes === 8 ? "Double" : "Single"}`,
			[bits],
			[d],
		);
		d.tag = "valid";
		this.#isC1Clear = false;
	}
}
