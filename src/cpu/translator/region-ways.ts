import type { Expr } from "../../wasm/expr.ts";
import { i32, op, openConst, varying } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { type FlagSource, flagImage } from "../emit/condition.ts";
import { ccOp } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { PLACE } from "./open-places.ts";
import { afterMemory } from "./region-flow.ts";
import { FLAG_INPUTS, GPR_AT, inputCount, inputOf, lowest, RegionLocals, wide } from "./region-locals.ts";
import { type DirtyFlags, WaysOut } from "./region-sites.ts";
import { SITE } from "./templates.ts";

/** The flags worked out, as the state block has a form for. */
export function flagsImage(source: FlagSource): FlagSource {
	return { kind: "image", width: 32, x: flagImage(source), y: i32(0), z: i32(0) };
}

/** How a region leaves: what the state block does not know is stored, and no more. */
export abstract class RegionWays extends RegionLocals {
	readonly #ways = new WaysOut();

	storeRip(f: FunctionBuilder, value: Expr): void {
		f.store("i64Store", this.cpu, value.type === "i64" ? value : op("i64ExtendI32U", value), at("rip"));
	}

	storeBudget(): void {
		this.f.store("i32Store", this.cpu, this.f.get(this.budget), at("budget"));
	}

	/** For what is dirty here and hangs on the way here, locals must hold what the block holds. */
	#wantDirty(): void {
		const { state } = this;
		this.gprWanted |= state.gprDirty & ~state.gprHeld;
		this.xmmWanted |= state.xmmDirty & ~state.xmmHeld;
		if (state.flags === "either") this.areFlagsWanted = true;
	}

	/** The flags' form, where the state block does not know it. */
	#dirtyFlags(): DirtyFlags {
		return this.state.flags === "memory" ? undefined : (this.known ?? "any");
	}

	#store(gpr: number, xmm: number, flags: DirtyFlags): void {
		const f = this.f;
		for (let rest = gpr; rest !== 0; rest &= rest - 1) {
			const i = lowest(rest);
			const value = f.get(this.gprLocals[i] as number);
			f.store("i64Store", this.cpu, value.type === "i64" ? value : op("i64ExtendI32U", value), GPR_AT + 8 * i);
		}
		for (let rest = xmm; rest !== 0; rest &= rest - 1) {
			const i = lowest(rest);
			f.store("v128Store", this.cpu, f.get(this.xmmLocal(i)), at("xmm", i));
		}
		if (flags === undefined) return;
		if (flags === "any") {
			f.store("i32Store", this.cpu, f.get(this.ccOp), at("ccOp"));
			for (let i = 0; i < 3; i++) f.store("i64Store", this.cpu, wide(f.get(this.cc[i] as number)), at(FLAG_INPUTS[i] as "ccX"));
		} else this.storeSource(flags);
	}

	protected storeSource(known: FlagSource): void {
		const source = known.turn === undefined ? known : flagsImage(known);
		this.f.store("i32Store", this.cpu, i32(ccOp(source.kind, source.width)), at("ccOp"));
		for (let i = 0; i < inputCount(source.kind); i++)
			this.f.store("i64Store", this.cpu, wide(inputOf(source, i)), at(FLAG_INPUTS[i] as "ccX"));
	}

	/** Everything that the state block does not know goes there. The state stays as it is: this is a way out, or a copy. */
	protected spill(): void {
		this.f.spoil();
		if (this.isInMemory) return;
		this.#wantDirty();
		this.#store(this.state.gprDirty, this.state.xmmDirty, this.#dirtyFlags());
	}

	protected spillFlags(): void {
		this.f.spoil();
		if (this.isInMemory) return;
		this.#wantDirty();
		this.#store(0, 0, this.#dirtyFlags());
	}

	/** Leaves for `exitTarget`. */
	exitIndirect(): void {
		this.f.brOut(this.wayOut("onwards"));
	}

	/** Leaves for another place of the same code, `delta` bytes from the entry. */
	exitTo(delta: number): void {
		this.f.set(this.exitTarget, this.ripPlus(delta));
		this.exitIndirect();
	}

	/** Leaves in the middle, for the run loop to see to `code`. `refund`: instructions charged and not run. */
	protected leave(code: number, delta = this.delta, refund = this.left): void {
		this.f.brOut(this.prepareLeaving(code, delta, refund));
	}

	/** Settles what `leave` would leave with; returns the way out to branch to. */
	protected prepareLeaving(code: number, delta = this.delta, refund = this.left): number {
		const site = this.sites.push(code, delta, refund);
		this.f.set(this.exitSite, this.isRecording ? varying("i32", SITE + code, site) : i32(site));
		return this.wayOut("leaving");
	}

	/** The way out for what is dirty here. */
	protected wayOut(kind: "onwards" | "leaving"): number {
		if (this.isInMemory) return this.#ways.find(kind, 0, 0, undefined);
		this.#wantDirty();
		return this.#ways.find(kind, this.state.gprDirty, this.state.xmmDirty, this.#dirtyFlags());
	}

	/**
	 * The ends of all ways out: each stores what is dirty there, or that which the next one does not. Then those that go onwards do so (`goOn`, which returns), and those
	 * that leave tell the run loop where that was.
	 */
	emitWaysOut(slot: number, goOn: () => void): void {
		const { order, places } = this.#ways.place();
		const end = (place: number) => this.#emitWay(order, place);
		this.f.wrap(order.length, end, [goOn, () => this.#tellSite(slot)], places);
	}

	#emitWay(order: readonly number[], place: number): void {
		const { kind, gpr, xmm, flags } = this.#ways.at(order[place] as number);
		const next = this.#ways.nextAfter(order, place);
		if (next === undefined) this.#store(gpr, xmm, flags);
		else {
			const rest = this.#ways.at(order[next] as number);
			this.#store(gpr & ~rest.gpr, xmm & ~rest.xmm, rest.flags === undefined ? flags : undefined);
		}
		const to = next ?? order.length + (kind === "onwards" ? 0 : 1);
		if (to > place + 1) this.f.brPast(to - place - 1);
	}

	#tellSite(slot: number): void {
		this.storeBudget();
		this.storeRip(this.f, this.ripAt(i32(0)));
		this.setField32("exitRegion", openConst("i32", slot, { kind: PLACE.slot, argument: 0 }));
		this.setField32("exitSite", this.f.get(this.exitSite));
	}

	/** Everything goes to the state block, `body` works there, and everything comes back. */
	protected throughMemory(body: () => void): void {
		this.spill();
		this.isInMemory = true;
		body();
		this.isInMemory = false;
		this.loadRegisters(this.f, this.use.gpr, this.use.xmm);
		this.loadFlags(this.f);
		this.effects.isInMemory = true;
		afterMemory(this.state, this.use);
		this.known = undefined;
		this.hasCarry = false;
	}
}
