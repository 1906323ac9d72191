import { i32, op, varying } from "../../wasm/expr.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import type { Filling, Template } from "../../wasm/template.ts";
import type { MemOperand, RegOperand } from "../../x86/decode/insn.ts";
import { FLOATS } from "../emit/floats.ts";
import type { Callables } from "../emit/ops.ts";
import { memoryOperand } from "../interpreter/record.ts";
import { EXIT } from "../state/layout.ts";
import type { Effects } from "./effects.ts";
import { RegionFlags } from "./region-flags.ts";
import type { FlowState, RegionUse } from "./region-flow.ts";
import { FORM_WITH_CARRY, formOf } from "./region-sites.ts";
import type { Shape } from "./shapes.ts";
import { BASE_ROLE, CHARGE, type Ending, type InsnTemplate, isAliased, NEXT, nameCallees, SITE, templateKey } from "./templates.ts";

/** Callables that know what they have been asked for. */
class NamedCalls implements Callables {
	readonly #calls: Callables;
	readonly names: string[] = [];

	constructor(calls: Callables) {
		this.#calls = calls;
	}

	index(name: string): number {
		const index = this.#calls.index(name);
		this.names[index] = name;
		return index;
	}
}

/** Instructions are emitted by what others of their shape became: only the first is worked out from its meaning. */
export abstract class RegionTemplates extends RegionFlags implements Filling {
	/** The template that is being written. */
	#replayed!: InsnTemplate;
	readonly #calls: NamedCalls;

	constructor(calls: Callables, modeKey: number, use: RegionUse, state: FlowState) {
		const named = new NamedCalls(calls);
		super(named, modeKey, use, state);
		this.#calls = named;
	}

	/** The running instruction is written by a template: its effects are those of its shape. */
	isReplayed = false;
	/** While an instruction is being recorded: how it goes on. */
	#ending: Ending | undefined;

	/** Goes on from an instruction that ends its block. */
	protected abstract carryOn(ending: Ending): void;

	/** As `carryOn`; what that emits is no part of the instruction's template. */
	protected endWith(ending: Ending): void {
		if (this.isRecording) this.#ending = ending;
		else this.carryOn(ending);
	}

	/** Emits an instruction, by its template if there is one. */
	emitInsn(shape: Shape): void {
		this.isReplayed = false;
		// What goes on only among registers cannot leave.
		if (this.floats.hasNews && shape.flagUse === "sees" && !FLOATS.has(this.insn.mnemonic)) this.floats.flush();
		const form = !shape.looksAtFlags ? 0 : this.hasCarry ? FORM_WITH_CARRY : formOf(this.known);
		const key = templateKey(this.insn, this.areFlagsDead, form);
		if (key >= 0) {
			const template = shape.templates.get(key);
			if (template !== undefined && template !== "spoilt" && !(template.needsDistinct && isAliased(this.insn, shape.effects))) {
				this.#replay(template, shape.effects);
				return;
			}
			if (template === undefined && shape.templateRoom.left > 0 && !isAliased(this.insn, shape.effects)) {
				this.#record(shape, key);
				return;
			}
		}
		shape.meaning.emit(this);
		if (!this.isEnded) this.commit();
	}

	#record(shape: Shape, key: number): void {
		const usedStackPage = this.usesStackPage;
		this.usesStackPage = false;
		this.floats.hasForgotten = false;
		this.isRecording = true;
		this.looksAtFlags = this.needsDistinct = false;
		this.#ending = undefined;
		this.f.record();
		shape.meaning.emit(this);
		const ending = this.#ending;
		if (!this.isEnded && ending === undefined) this.commit();
		const code = this.f.recorded();
		this.isRecording = false;
		shape.templateRoom.left--;
		this.#keep(shape, key, code, ending);
		this.usesStackPage ||= usedStackPage;
		if (ending !== undefined) this.carryOn(ending);
	}

	#keep(shape: Shape, key: number, code: Template | undefined, ending: Ending | undefined): void {
		if (this.looksAtFlags && !shape.looksAtFlags) {
			// Its templates hang on the flags, as it turns out; this one will be made again.
			shape.looksAtFlags = true;
			shape.templates.clear();
			return;
		}
		if (code === undefined || this.isEnded || this.effects.isInMemory) {
			shape.templates.set(key, "spoilt");
			return;
		}
		const named = nameCallees(code, (index) => this.#calls.names[index] as string);
		const known = this.effects.flags === "always" ? this.known : undefined;
		const { needsDistinct, usesStackPage } = this;
		const forgetsFloats = this.floats.hasForgotten;
		shape.templates.set(key, { ...named, known, needsDistinct, usesStackPage, forgetsFloats, ending });
	}

	/** What a block begins with. */
	protected recordCharge(): Template {
		const { f } = this;
		// Written for nobody: the block's own comes from the template.
		const scratch = new FunctionBuilder(f.paramTypes);
		for (let local = f.paramTypes.length; local <= this.exitSite; local++) scratch.local(f.localType(local));
		scratch.record();
		scratch.set(this.exitSite, varying("i32", SITE + EXIT.budget, 0));
		scratch.set(this.budget, op("i32Sub", scratch.get(this.budget), varying("i32", CHARGE, 0)));
		scratch.brOutIf(0, op("i32LtS", scratch.get(this.budget), i32(0)));
		const template = scratch.recorded() as Template;
		scratch.discard();
		return template;
	}

	#replay(template: InsnTemplate, effects: Effects): void {
		this.#replayed = template;
		this.f.replay(template.code, this);
		this.applyEffects(effects, template.known);
		this.usesStackPage ||= template.usesStackPage;
		if (template.forgetsFloats) this.floats.startBlock();
		this.isReplayed = true;
		if (template.ending !== undefined) this.carryOn(template.ending);
	}

	local(role: number): number {
		if (role >= BASE_ROLE) {
			const { base, index } = memoryOperand(this.insn) as MemOperand;
			return this.gprLocals[role === BASE_ROLE ? base : index] as number;
		}
		const { cls, index } = this.insn.operands[role] as RegOperand;
		return cls === "xmm" ? this.xmmLocal(index) : (this.gprLocals[index] as number);
	}

	constant(which: number): number {
		if (which === CHARGE) return this.left;
		if (which === NEXT) return this.delta + this.insn.lengthBytes;
		if (which >= SITE) return this.sites.push(which - SITE, this.delta, this.left);
		const mem = memoryOperand(this.insn) as MemOperand;
		return mem.ripRelative ? this.delta + this.insn.lengthBytes + mem.disp : mem.disp;
	}

	way(): number {
		return this.wayOut("leaving");
	}

	callee(recorded: number): number {
		return this.calls.index(this.#replayed.callees[recorded] as string);
	}
}
