import { resolve, type Touched } from "./effects.ts";
import type { RegionBlock, RegionGraph, RegionInsn } from "./region-graph.ts";
import type { Shape, ShapeTable } from "./shapes.ts";

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

export const atEntry = (): FlowState => ({ gprDirty: 0, xmmDirty: 0, gprHeld: 0, xmmHeld: 0, flags: "memory" });

export function copyState(from: FlowState, to: FlowState): void {
	to.gprDirty = from.gprDirty;
	to.xmmDirty = from.xmmDirty;
	to.gprHeld = from.gprHeld;
	to.xmmHeld = from.xmmHeld;
	to.flags = from.flags;
}

/** Registers that the region reads or writes anywhere. */
export interface RegionUse {
	gpr: number;
	xmm: number;
}

/** What a block does to the state: what of it stands after, and what comes on top. */
interface Passage {
	gprWritten: number;
	gprAlways: number;
	xmmWritten: number;
	xmmAlways: number;
	/** Somewhere in it everything goes through the state block; what is said above comes after that. */
	isInMemory: boolean;
	/** "none": as before. "sometimes": in locals or as before. */
	flags: FlagPlace | "none" | "sometimes";
}

/** Forward analysis over a region: the state at each block's start. */
export class RegionFlow {
	readonly use: RegionUse = { gpr: 0, xmm: 0 };
	/** By order of block. */
	readonly #before: (FlowState | undefined)[] = [];
	readonly #shapes: (readonly Shape[])[] = [];
	readonly #touched: Touched = { gprRead: 0, gprWritten: 0, gprAlways: 0, xmmRead: 0, xmmWritten: 0, xmmAlways: 0 };

	constructor(graph: RegionGraph, table: ShapeTable) {
		const { blocks, modeKey } = graph;
		const passages = blocks.map((block) => this.#passage(block, table, modeKey));
		for (let i = 0; i < blocks.length; i++) this.#before.push(undefined);
		this.#before[graph.entry.order] = atEntry();
		const after = atEntry();
		for (let changed = true; changed; ) {
			changed = false;
			for (let i = 0; i < blocks.length; i++) {
				const before = this.#before[i];
				if (before === undefined) continue;
				this.#pass(passages[i] as Passage, before, after);
				const { successors } = blocks[i] as RegionBlock;
				for (let n = 0; n < successors.length; n++) if (this.#merge((successors[n] as RegionBlock).order, after)) changed = true;
			}
		}
	}

	before(block: RegionBlock): FlowState {
		return this.#before[block.order] ?? atEntry();
	}

	/** Of the block's instructions. */
	shapes(block: RegionBlock): readonly Shape[] {
		return this.#shapes[block.order] as readonly Shape[];
	}

	#passage({ insns }: RegionBlock, table: ShapeTable, modeKey: number): Passage {
		const passage: Passage = { gprWritten: 0, gprAlways: 0, xmmWritten: 0, xmmAlways: 0, isInMemory: false, flags: "none" };
		const shapes: Shape[] = [];
		const touched = this.#touched;
		for (let i = 0; i < insns.length; i++) {
			const { insn } = insns[i] as RegionInsn;
			const shape = table.of(insn, modeKey);
			shapes.push(shape);
			const { effects } = shape;
			resolve(effects, insn, touched);
			this.use.gpr |= touched.gprRead | touched.gprWritten;
			this.use.xmm |= touched.xmmRead | touched.xmmWritten;
			if (effects.isInMemory) {
				passage.gprWritten = passage.gprAlways = passage.xmmWritten = passage.xmmAlways = 0;
				passage.isInMemory = true;
				passage.flags = "memory";
				continue;
			}
			passage.gprWritten |= touched.gprWritten;
			passage.gprAlways |= touched.gprAlways;
			passage.xmmWritten |= touched.xmmWritten;
			passage.xmmAlways |= touched.xmmAlways;
			if (effects.flags === "always") passage.flags = "locals";
			else if (effects.flags === "sometimes") {
				if (passage.flags === "memory") passage.flags = "either";
				else if (passage.flags === "none") passage.flags = "sometimes";
			}
		}
		this.#shapes.push(shapes);
		return passage;
	}

	#pass(passage: Passage, before: FlowState, after: FlowState): void {
		if (passage.isInMemory) afterMemory(after, this.use);
		else copyState(before, after);
		after.gprDirty |= passage.gprWritten;
		after.xmmDirty |= passage.xmmWritten;
		after.gprHeld |= passage.gprAlways;
		after.xmmHeld |= passage.xmmAlways;
		if (passage.flags === "sometimes") after.flags = before.flags === "memory" ? "either" : before.flags;
		else if (passage.flags !== "none") after.flags = passage.flags;
	}

	#merge(order: number, from: FlowState): boolean {
		const known = this.#before[order];
		if (known === undefined) {
			this.#before[order] = { ...from };
			return true;
		}
		const gprDirty = known.gprDirty | from.gprDirty;
		const xmmDirty = known.xmmDirty | from.xmmDirty;
		const gprHeld = known.gprHeld & from.gprHeld;
		const xmmHeld = known.xmmHeld & from.xmmHeld;
		const flags = known.flags === from.flags ? known.flags : "either";
		const isSame =
			gprDirty === known.gprDirty &&
			xmmDirty === known.xmmDirty &&
			gprHeld === known.gprHeld &&
			xmmHeld === known.xmmHeld &&
			flags === known.flags;
		known.gprDirty = gprDirty;
		known.xmmDirty = xmmDirty;
		known.gprHeld = gprHeld;
		known.xmmHeld = xmmHeld;
		known.flags = flags;
		return !isSame;
	}
}

/** After everything has gone to the state block and come back from there. */
export function afterMemory(state: FlowState, use: RegionUse): void {
	state.gprDirty = 0;
	state.xmmDirty = 0;
	state.gprHeld = use.gpr;
	state.xmmHeld = use.xmm;
	state.flags = "memory";
}
