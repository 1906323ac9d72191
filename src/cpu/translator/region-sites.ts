import type { FlagSource } from "../emit/condition.ts";

/** Flags whose inputs are in locals, and what tells them from others: `FIRST_FORM`, `ccOp` and the direction of a rotate since. */
export interface KnownFlags extends FlagSource {
	readonly form: number;
}

export const FIRST_FORM = 2;
export const TURNED_LEFT = 64;
export const TURNED_RIGHT = 128;
/** In templates: nothing is known but the carry. */
export const FORM_WITH_CARRY = 1;

/** The flags' form in locals; undefined: the state block has them. "any": in their general form. */
export type DirtyFlags = KnownFlags | "any" | undefined;

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
	/** Triples. */
	readonly packed: ArrayLike<number>;

	/** @param packed what `packed` once was */
	constructor(packed: ArrayLike<number>) {
		this.packed = packed;
	}

	at(n: number): ExitSite {
		const word = (field: number): number => this.packed[3 * n + field] as number;
		return { code: word(0), delta: word(1), refund: word(2) };
	}
}

/** Those of a region that is being made. */
export class GrowingExitSites extends ExitSites {
	readonly #list: number[];

	constructor() {
		const list: number[] = [];
		super(list);
		this.#list = list;
	}

	get count(): number {
		return this.#list.length / 3;
	}

	/** All there are, in less room. */
	freeze(): ExitSites {
		return new ExitSites(Int32Array.from(this.#list));
	}

	/** Its number, from 0. */
	push(code: number, delta: number, refund: number): number {
		this.#list.push(code, delta, refund);
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
	/** How much it stores. */
	readonly size: number;
}

/** A region's ways out: as many as there are sets of what is dirty, however many places lead to them. */
export class WaysOut {
	/** Numbers by `wayKey` and XMM registers. */
	readonly #numbers = new Map<number, Map<number, number>>();
	readonly #ways: WayOut[] = [];
	/** The one found last: places that follow each other often share it. */
	#last = -1;

	/** Its number, from 0. */
	find(kind: WayOut["kind"], gpr: number, xmm: number, flags: DirtyFlags): number {
		const last = this.#ways[this.#last];
		if (last !== undefined && last.gpr === gpr && last.xmm === xmm && last.flags === flags && last.kind === kind) return this.#last;
		const key = wayKey(kind, gpr, flags);
		let byXmm = this.#numbers.get(key);
		if (byXmm === undefined) {
			byXmm = new Map();
			this.#numbers.set(key, byXmm);
		}
		let number = byXmm.get(xmm);
		if (number === undefined) {
			number = this.#ways.push({ kind, gpr, xmm, flags, size: countBits(gpr) + countBits(xmm) + (flags === undefined ? 0 : 3) }) - 1;
			byXmm.set(xmm, number);
		}
		this.#last = number;
		return number;
	}

	/** The ways that store most come first: `order` has their numbers by place, `places` their places by number. */
	place(): { readonly order: readonly number[]; readonly places: readonly number[] } {
		const ways = this.#ways;
		const order = ways.map((_, number) => number);
		order.sort((a, b) => (ways[b] as WayOut).size - (ways[a] as WayOut).size);
		const places = ways.map(() => 0);
		for (let place = 0; place < order.length; place++) places[order[place] as number] = place;
		return { order, places };
	}

	at(number: number): WayOut {
		return this.#ways[number] as WayOut;
	}

	/** Place of the way that stores the largest part of what the one at `place` does; undefined: none does. */
	nextAfter(order: readonly number[], place: number): number | undefined {
		const whole = this.at(order[place] as number);
		for (let next = place + 1; next < order.length; next++) if (isPart(this.at(order[next] as number), whole)) return next;
		return undefined;
	}
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

/** Forms are numbers below this. */
export const FORMS = 256;

/** The form of dirty flags. */
export function formOf(flags: DirtyFlags): number {
	return flags === undefined ? 0 : flags === "any" ? 1 : flags.form;
}

/** Kind, general registers and the flags' form as one number. */
function wayKey(kind: WayOut["kind"], gpr: number, flags: DirtyFlags): number {
	return (gpr * FORMS + formOf(flags)) * 2 + (kind === "onwards" ? 0 : 1);
}
