import { type Expr, i32, i64, isConst, localOf, op } from "../../wasm/expr.ts";
import { OP } from "../../wasm/opcodes.ts";
import { condition, type FlagSource, flagImage, type Width } from "../emit/condition.ts";
import type { QueuedWrite } from "../emit/ops.ts";
import { ccOp } from "../state/flags.ts";
import { type FlagKnowledge, inputCount, inputOf, wide } from "./region-locals.ts";
import { FIRST_FORM, TURNED_LEFT, TURNED_RIGHT } from "./region-sites.ts";
import { flagsImage, RegionWays } from "./region-ways.ts";

/** How a region sets flags and looks at them; and that an instruction's writes do not get in each other's way. */
export abstract class RegionFlags extends RegionWays {
	get knowledge(): FlagKnowledge {
		return this.known;
	}

	protected applyFlags(source: FlagSource): void {
		const { f, state } = this;
		if (this.isInMemory) {
			this.storeSource(source);
			return;
		}
		const count = inputCount(source.kind);
		this.hasCarry = false;
		if (this.isConditional) {
			if (this.areFlagsDead) {
				this.#setSometimes();
				return;
			}
			// On the other side of the branch the locals hold what they held: `beforeConditionalFlags` has seen to that.
			f.set(this.ccOp, i32(ccOp(source.kind, source.width)));
			this.#setInputs(this.cc, [this.#general(source.x), this.#general(source.y), this.#general(source.z)], count);
			this.#setSometimes();
			return;
		}
		this.effects.flags = "always";
		state.flags = "locals";
		const isWide = source.x.type === "i64";
		const locals = isWide ? this.cc : this.cc32;
		const none = isWide ? i64(0) : i32(0);
		if (!this.areFlagsDead) this.#setInputs(locals, [source.x, source.y, source.z], count);
		const x = f.get(locals[0] as number);
		const y = count > 1 ? f.get(locals[1] as number) : none;
		const z = count > 2 ? f.get(locals[2] as number) : none;
		this.known = { kind: source.kind, width: source.width, x, y, z, form: FIRST_FORM + ccOp(source.kind, source.width) };
	}

	#setSometimes(): void {
		const { effects, state } = this;
		if (effects.flags === "none") effects.flags = "sometimes";
		if (state.flags === "memory") state.flags = "either";
		if (state.flags === "either") this.areFlagsWanted = true;
		this.known = undefined;
	}

	/** Of the flags that a rotate replaces, its result says enough, which is looked at when somebody asks. */
	override turnFlags(isLeft: boolean, width: Width, result: Expr, isSome: Expr): boolean {
		this.looksAtFlags = true;
		const { known } = this;
		if (known === undefined || this.isInMemory || this.areFlagsDead) return false;
		if (!isConst(isSome) || isSome.imm === 0 || width < 32 || (isLeft && width === 64)) return false;
		const value = width === 64 ? op("i32WrapI64", op("i64ShrU", result, i64(32))) : result;
		this.later(() => {
			this.f.set(this.turned, value);
			this.effects.flags = "always";
			this.state.flags = "locals";
			const form = FIRST_FORM + ccOp(known.kind, known.width) + (isLeft ? TURNED_LEFT : TURNED_RIGHT);
			this.known = { ...known, turn: { isLeft, value: this.f.get(this.turned) }, form };
		});
		return true;
	}

	/** An input as `cc` has it. */
	#general(input: Expr): Expr {
		return this.registerType === "i64" ? wide(input) : input;
	}

	#setInputs(locals: readonly number[], inputs: Expr[], count: number): void {
		// The inputs may hang on what they replace (the carry that INC keeps).
		for (let n = 1; n < count; n++) if (this.#readsFlags(inputs[n] as Expr)) inputs[n] = this.f.pin(inputs[n] as Expr);
		for (let n = 0; n < count; n++) this.f.set(locals[n] as number, inputs[n] as Expr);
	}

	#readsFlags(e: Expr): boolean {
		return readsLocals(e, this.ccOp, this.cc32[2] as number);
	}

	protected override untangle(writes: readonly QueuedWrite[]): void {
		if (this.isInMemory) return;
		for (let n = 0; n < writes.length - 1; n++) if (writes[n]?.register !== undefined) this.needsDistinct = true;
		for (let n = 1; n < writes.length; n++) {
			const write = writes[n] as QueuedWrite;
			for (let earlier = 0; earlier < n; earlier++) {
				const { register, width, source } = writes[earlier] as QueuedWrite;
				if (source !== undefined) this.#readNow(write, this.ccOp, this.cc32[2] as number);
				else if (register !== undefined) {
					const number = this.numberOf(register);
					const local = width === 128 ? this.xmmLocal(number) : (this.gprLocals[number] as number);
					this.#readNow(write, local, local);
				}
			}
		}
	}

	/** Pins what the write is made of and reads one of these locals. */
	#readNow(write: QueuedWrite, first: number, last: number): void {
		const now = (e: Expr): Expr => (readsLocals(e, first, last) ? this.f.pin(e) : e);
		const { value, source } = write;
		if (value !== undefined) write.value = now(value);
		if (source !== undefined)
			write.source = { kind: source.kind, width: source.width, x: now(source.x), y: now(source.y), z: now(source.z) };
	}

	protected override beforeConditionalFlags(): void {
		if (!this.areFlagsDead) this.generaliseFlags();
	}

	/** Puts known flags into the form that every way to a place can have: before ways come together. */
	generaliseFlags(): void {
		this.looksAtFlags = true;
		if (this.known === undefined || this.state.flags === "memory" || this.isInMemory) return;
		const isTurned = this.known.turn !== undefined;
		const source = isTurned ? flagsImage(this.known) : this.known;
		this.f.set(this.ccOp, i32(ccOp(source.kind, source.width)));
		if (!isTurned && source.x.type === this.registerType) return;
		for (let i = 0; i < inputCount(source.kind); i++) this.f.set(this.cc[i] as number, this.#general(inputOf(source, i)));
		// Its inputs may have been replaced.
		if (isTurned) this.known = undefined;
	}

	/**
	 * On the way to a block that wants it. There, in its general form, it could be had by a call only; and a loop that counts by INC or
	 * DEC would make it again in every round to keep what none of them changes.
	 */
	keepCarry(): void {
		this.f.set(this.keptCarry, this.condition(2));
	}

	override flagsToKeep(): Expr {
		return this.areFlagsDead ? i32(0) : this.arithmeticFlags();
	}

	override carryToKeep(): Expr {
		return this.areFlagsDead ? i32(0) : this.carry();
	}

	condition(cc: number): Expr {
		this.looksAtFlags = true;
		if (!this.isInMemory && this.known !== undefined) return condition(this.known, cc);
		if (this.hasCarry && cc >> 1 === 1) {
			const carry = this.f.get(this.keptCarry);
			return cc & 1 ? op("i32Eqz", carry) : carry;
		}
		this.spillFlags();
		const even = this.core(`condition${cc & ~1}`, "i32", this.cpu);
		return cc & 1 ? this.f.let(op("i32Eqz", even)) : even;
	}

	arithmeticFlags(): Expr {
		this.looksAtFlags = true;
		if (!this.isInMemory && this.known !== undefined) return this.f.let(flagImage(this.known));
		this.spillFlags();
		return this.core("arithmeticFlags", "i32", this.cpu);
	}
}

function readsLocals(e: Expr, first: number, last: number): boolean {
	if (e.op === OP.localGet) return localOf(e) >= first && localOf(e) <= last;
	return (
		(e.a !== undefined && readsLocals(e.a, first, last)) ||
		(e.b !== undefined && readsLocals(e.b, first, last)) ||
		(e.c !== undefined && readsLocals(e.c, first, last))
	);
}
