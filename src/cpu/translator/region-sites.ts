import type { Expr } from "../../wasm/expr.ts";
import type { FunctionBuilder, Label } from "../../wasm/function-builder.ts";
import type { FlagSource } from "../emit/condition.ts";
import { ccOp } from "../state/flags.ts";

/** The flags' form in locals; undefined: the state block has them. "any": in their general form. */
export type DirtyFlags = FlagSource | "any" | undefined;

/** A place where a region may leave in the middle, for the run loop. */
export interface ExitSite {
	/** An EXIT code. */
	readonly code: number;
	/** Offset of the instruction to go on with from the region's entry. */
	readonly delta: number;
	/** Instructions charged and not run. */
	readonly refund: number;
}

/** All of a region's exit sites by number: there are many, few of which are ever asked for. */
export class ExitSites {
	readonly #packed: number[] = [];

	get count(): number {
		return this.#packed.length / 3;
	}

	at(n: number): ExitSite {
		const [code, delta, refund] = this.#packed.slice(3 * n, 3 * n + 3) as [number, number, number];
		return { code, delta, refund };
	}

	/** Its number, from 0. */
	push(code: number, delta: number, refund: number): number {
		this.#packed.push(code, delta, refund);
		return this.count - 1;
	}
}

/** Sites at which the state block lacks the same registers (by bit) and flags. */
interface Group {
	readonly number: number;
	readonly gpr: number;
	readonly xmm: number;
	readonly flags: DirtyFlags;
}

/** A region's exit sites. Those where the same is dirty share the code that stores it. */
export class RegionSites {
	readonly all = new ExitSites();
	/** By `groupKey` and XMM registers. */
	readonly #groups = new Map<number, Map<number, Group>>();
	readonly #inOrder: Group[] = [];
	readonly #groupOf: number[] = [];

	/** Its number, from 0. */
	add(code: number, delta: number, refund: number, gpr: number, xmm: number, flags: DirtyFlags): number {
		this.#groupOf.push(this.#group(gpr, xmm, flags).number);
		return this.all.push(code, delta, refund);
	}

	#group(gpr: number, xmm: number, flags: DirtyFlags): Group {
		const key = groupKey(gpr, flags);
		let byXmm = this.#groups.get(key);
		if (byXmm === undefined) {
			byXmm = new Map();
			this.#groups.set(key, byXmm);
		}
		const known = byXmm.get(xmm);
		if (known !== undefined) return known;
		const group = { number: this.#inOrder.length, gpr, xmm, flags };
		byXmm.set(xmm, group);
		this.#inOrder.push(group);
		return group;
	}

	/** Stores what is dirty at site number `site`. */
	emitStores(f: FunctionBuilder, site: Expr, store: (gpr: number, xmm: number, flags: DirtyFlags) => void): void {
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
				const { gpr, xmm, flags } = groups[n] as Group;
				store(gpr, xmm, flags);
				f.br(done);
			};
			nest(groups.length - 1);
		});
	}
}

/** General registers and the flags' form as one number. */
function groupKey(gpr: number, flags: DirtyFlags): number {
	const form = flags === undefined ? 0 : flags === "any" ? 1 : 2 + ccOp(flags.kind, flags.width);
	return gpr * 256 + form;
}
