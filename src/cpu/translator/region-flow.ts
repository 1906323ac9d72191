import { type Effects, type EffectsTable, noEffects } from "./effects.ts";
import type { RegionBlock, RegionGraph, RegionInsn } from "./region-graph.ts";

/** Where the flags are: in the state block, in locals, or in either, depending on the way here. */
export type FlagPlace = "memory" | "locals" | "either";

/** What is known of registers and flags at a point of a region, whatever way led there. Bit i: register i. */
export interface FlowState {
	/** The local may differ from the state block. */
	gprDirty: number;
	xmmDirty: number;
	/** The local holds the register even if it was not loaded at the region's entry. */
	gprHeld: number;
	xmmHeld: number;
	flags: FlagPlace;
}

const atEntry = (): FlowState => ({ gprDirty: 0, xmmDirty: 0, gprHeld: 0, xmmHeld: 0, flags: "memory" });

/** Registers that the region reads or writes anywhere. */
export interface RegionUse {
	gpr: number;
	xmm: number;
}

/** Forward analysis over a region: the state at each block's start. */
export class RegionFlow {
	readonly use: RegionUse = { gpr: 0, xmm: 0 };
	readonly #before = new Map<RegionBlock, FlowState>();
	readonly #effects = new Map<RegionInsn, Effects>();

	constructor(graph: RegionGraph, table: EffectsTable) {
		for (const { insns } of graph.blocks)
			for (const insn of insns) {
				const effects = table.expect(insn.insn, graph.modeKey) ?? noEffects();
				this.#effects.set(insn, effects);
				this.use.gpr |= effects.gprRead | effects.gprWritten;
				this.use.xmm |= effects.xmmRead | effects.xmmWritten;
			}
		this.#before.set(graph.entry, atEntry());
		for (let changed = true; changed; ) {
			changed = false;
			for (const block of graph.blocks) {
				const before = this.#before.get(block);
				if (before === undefined) continue;
				const after = this.#through(block, before);
				for (const successor of block.successors) changed = this.#merge(successor, after) || changed;
			}
		}
	}

	before(block: RegionBlock): FlowState {
		return this.#before.get(block) ?? atEntry();
	}

	expected(insn: RegionInsn): Effects {
		return this.#effects.get(insn) as Effects;
	}

	#through(block: RegionBlock, before: FlowState): FlowState {
		const state = { ...before };
		for (const insn of block.insns) apply(state, this.expected(insn), this.use);
		return state;
	}

	#merge(block: RegionBlock, from: FlowState): boolean {
		const known = this.#before.get(block);
		if (known === undefined) {
			this.#before.set(block, { ...from });
			return true;
		}
		const merged: FlowState = {
			gprDirty: known.gprDirty | from.gprDirty,
			xmmDirty: known.xmmDirty | from.xmmDirty,
			gprHeld: known.gprHeld & from.gprHeld,
			xmmHeld: known.xmmHeld & from.xmmHeld,
			flags: known.flags === from.flags ? known.flags : "either",
		};
		const isSame =
			merged.gprDirty === known.gprDirty &&
			merged.xmmDirty === known.xmmDirty &&
			merged.gprHeld === known.gprHeld &&
			merged.xmmHeld === known.xmmHeld &&
			merged.flags === known.flags;
		if (!isSame) this.#before.set(block, merged);
		return !isSame;
	}
}

/** What an instruction does to the state. */
export function apply(state: FlowState, effects: Effects, use: RegionUse): void {
	if (effects.isInMemory) {
		state.gprDirty = 0;
		state.xmmDirty = 0;
		state.gprHeld = use.gpr;
		state.xmmHeld = use.xmm;
		state.flags = "memory";
		return;
	}
	state.gprDirty |= effects.gprWritten;
	state.xmmDirty |= effects.xmmWritten;
	state.gprHeld |= effects.gprAlways;
	state.xmmHeld |= effects.xmmAlways;
	if (effects.flags === "always") state.flags = "locals";
	else if (effects.flags === "sometimes" && state.flags === "memory") state.flags = "either";
}
