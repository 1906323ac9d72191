import type { Expr } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import type { FlagSource } from "../emit/condition.ts";

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
	readonly #groups = new Map<string, Group>();
	readonly #groupOf: number[] = [];
	readonly #numbers = new Map<string, number>();

	/** Its number, from 0. */
	add({ code, delta, refund, dirty }: ExitSite & { readonly dirty: DirtySet }): number {
		const form = typeof dirty.flags === "object" ? `${dirty.flags.kind}${dirty.flags.width}` : dirty.flags;
		const key = `${dirty.gpr},${dirty.xmm},${form}`;
		const siteKey = `${code},${delta},${refund},${key}`;
		const known = this.#numbers.get(siteKey);
		if (known !== undefined) return known;
		let group = this.#groups.get(key);
		if (group === undefined) {
			group = { number: this.#groups.size, dirty };
			this.#groups.set(key, group);
		}
		this.#groupOf.push(group.number);
		this.#numbers.set(siteKey, this.all.length);
		return this.all.push({ code, delta, refund }) - 1;
	}

	/** Stores the dirty set of site number `site`. */
	emitStores(f: FunctionBuilder, site: Expr, store: (dirty: DirtySet) => void): void {
		const groups = [...this.#groups.values()];
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
