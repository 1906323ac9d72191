import type { Expr } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import type { FlagSource } from "../emit/condition.ts";
import { ccOp } from "../state/flags.ts";

/** What the state block does not know at some point: registers by bit, and the flags' form in locals. */
export interface DirtySet {
	readonly gpr: number;
	readonly xmm: number;
	/** undefined: the state block has them. "any": in their general form. */
	readonly flags: FlagSource | "any" | undefined;
}

/** A place where a region may leave in the middle, for the run loop. */
export interface ExitSite {
	/** An EXIT code. */
	readonly code: number;
	/** Offset of the instruction to go on with from the region's entry. */
	readonly delta: number;
	/** Instructions charged and not run. */
	readonly refund: number;
}

interface Group {
	readonly number: number;
	readonly dirty: DirtySet;
}

/** A region's exit sites. Those with the same dirty set share the code that stores it. */
export class RegionSites {
	readonly all: ExitSite[] = [];
	/** By `groupKey` and XMM registers. */
	readonly #groups = new Map<number, Map<number, Group>>();
	readonly #inOrder: Group[] = [];
	readonly #groupOf: number[] = [];

	/** Its number, from 0. */
	add({ code, delta, refund, dirty }: ExitSite & { readonly dirty: DirtySet }): number {
		this.#groupOf.push(this.#group(dirty).number);
		return this.all.push({ code, delta, refund }) - 1;
	}

	#group(dirty: DirtySet): Group {
		const key = groupKey(dirty);
		let byXmm = this.#groups.get(key);
		if (byXmm === undefined) {
			byXmm = new Map();
			this.#groups.set(key, byXmm);
		}
		const known = byXmm.get(dirty.xmm);
		if (known !== undefined) return known;
		const group = { number: this.#inOrder.length, dirty };
		byXmm.set(dirty.xmm, group);
		this.#inOrder.push(group);
		return group;
	}

	/** Stores the dirty set of site number `site`. */
	emitStores(f: FunctionBuilder, site: Expr, store: (dirty: DirtySet) => void): void {
		const groups = this.#inOrder;
		if (groups.length === 0) return;
		f.block((done) => {
			const labels: Label[] = [];
			// One block inside another, the first group's innermost: leaving it leads to that group's stores.
			const nest = (n: number): void => {
				if (n < 0) {
					f.brTable(
						this.#groupOf.map((group) => labels[group] as Label),
						labels[0] as Label,
						site,
					);
					return;
				}
				f.block((label) => {
					labels[n] = label;
					nest(n - 1);
				});
				store((groups[n] as Group).dirty);
				f.br(done);
			};
			nest(groups.length - 1);
		});
	}
}

/** General registers and the flags' form as one number. */
function groupKey({ gpr, flags }: DirtySet): number {
	const form = flags === undefined ? 0 : flags === "any" ? 1 : 2 + ccOp(flags.kind, flags.width);
	return gpr * 256 + form;
}
