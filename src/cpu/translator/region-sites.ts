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

/** A way out of a region, for all places where the state block lacks the same registers (by bit) and flags. */
export interface WayOut {
	/** To other code, by `exitTarget`; or to the run loop, which learns `exitSite`. */
	readonly kind: "onwards" | "leaving";
	readonly gpr: number;
	readonly xmm: number;
	readonly flags: DirtyFlags;
}

/** A way out and the one that it goes on by, which stores the rest; undefined: nothing is left to be stored. */
export interface PlacedWay extends WayOut {
	readonly next: number | undefined;
}

/** A region's ways out: as many as there are sets of what is dirty, however many places lead to them. */
export class WaysOut {
	/** Numbers by `wayKey` and XMM registers. */
	readonly #numbers = new Map<number, Map<number, number>>();
	readonly #ways: WayOut[] = [];

	/** Its number, from 0. */
	find(kind: WayOut["kind"], gpr: number, xmm: number, flags: DirtyFlags): number {
		const key = wayKey(kind, gpr, flags);
		let byXmm = this.#numbers.get(key);
		if (byXmm === undefined) {
			byXmm = new Map();
			this.#numbers.set(key, byXmm);
		}
		const known = byXmm.get(xmm);
		if (known !== undefined) return known;
		byXmm.set(xmm, this.#ways.length);
		return this.#ways.push({ kind, gpr, xmm, flags }) - 1;
	}

	/** All ways, those that store most first, and the place of each (by number) among them. */
	place(): { readonly ways: readonly PlacedWay[]; readonly places: readonly number[] } {
		const order = this.#ways.map((way, number) => ({ way, number, size: sizeOf(way) }));
		order.sort((a, b) => b.size - a.size);
		const places: number[] = [];
		for (let place = 0; place < order.length; place++) places[(order[place] as { number: number }).number] = place;
		const ways = order.map(({ way }, place) => {
			// The largest part of it comes first among those that follow.
			let next = place + 1;
			while (next < order.length && !isPart((order[next] as { way: WayOut }).way, way)) next++;
			return { ...way, next: next < order.length ? next : undefined };
		});
		return { ways, places };
	}
}

function sizeOf({ gpr, xmm, flags }: WayOut): number {
	return countBits(gpr) + countBits(xmm) + (flags === undefined ? 0 : 3);
}

function countBits(mask: number): number {
	let count = 0;
	for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
	return count;
}

/** Whether all that `part` stores, `whole` stores as well. */
function isPart(part: WayOut, whole: WayOut): boolean {
	return (
		part.kind === whole.kind &&
		(part.gpr & ~whole.gpr) === 0 &&
		(part.xmm & ~whole.xmm) === 0 &&
		(part.flags === undefined || formOf(part.flags) === formOf(whole.flags))
	);
}

function formOf(flags: DirtyFlags): number {
	return flags === undefined ? 0 : flags === "any" ? 1 : 2 + ccOp(flags.kind, flags.width);
}

/** Kind, general registers and the flags' form as one number. */
function wayKey(kind: WayOut["kind"], gpr: number, flags: DirtyFlags): number {
	return (gpr * 128 + formOf(flags)) * 2 + (kind === "onwards" ? 0 : 1);
}
