import type { DirectionConfig } from "../net/link/config.ts";
import type { Direction } from "../net/link/direction.ts";
import type { Link, LinkSide } from "../net/link/link.ts";
import { changeDirection, changeLink, type DirectionSpec, type LinkSpecText } from "../net/link/spec.ts";
import { DROP_REASONS, type DropReason } from "../net/link/stats.ts";
import type { LinkModel } from "./model.ts";

/** Of both directions together. */
export interface LinkTotals {
	readonly sentFrames: number;
	readonly deliveredFrames: number;
	readonly drops: Readonly<Record<DropReason, number>>;
}

/** A cable of a running lab. */
export class LabLink {
	readonly model: LinkModel;
	readonly link: Link;
	/** From the first end to the second; `filter` and `tap` see every frame. */
	readonly forth: Direction;
	/** From the second end to the first. */
	readonly back: Direction;
	readonly #change: (spec: LinkSpecText | DirectionSpec, side: LinkSide | undefined) => void;

	/** @param change carries out a change that has been found right */
	constructor(model: LinkModel, link: Link, change: (spec: LinkSpecText | DirectionSpec, side: LinkSide | undefined) => void) {
		this.model = model;
		this.link = link;
		this.forth = link.up;
		this.back = link.down;
		this.#change = change;
	}

	get name(): string {
		return this.model.name;
	}

	/** Changes what `spec` names, in both directions or one, at the lab's next nanosecond. @throws SpecError; then nothing changes */
	set(spec: LinkSpecText | DirectionSpec, options: { readonly direction?: "a>b" | "b>a" } = {}): void {
		const side = options.direction === undefined ? undefined : options.direction === "a>b" ? "up" : "down";
		const before = { up: this.forth.config, down: this.back.config };
		if (side === undefined) changeLink(before, spec);
		else changeDirection(before[side], spec);
		this.#change(spec, side);
	}

	/** Pulls the cable: both ends lose carrier, and what was on the way is gone. */
	down(): void {
		this.set({ state: "down" });
	}

	up(): void {
		this.set({ state: "up" });
	}

	/** Carrier stays, and nothing arrives. */
	silence(options: { readonly direction?: "a>b" | "b>a" } = {}): void {
		this.set({ state: "silent" }, options);
	}

	get configs(): { readonly forth: DirectionConfig; readonly back: DirectionConfig } {
		return { forth: this.forth.config, back: this.back.config };
	}

	get stats(): LinkTotals {
		const [a, b] = [this.forth.stats, this.back.stats];
		return {
			sentFrames: a.sentFrames + b.sentFrames,
			deliveredFrames: a.deliveredFrames + b.deliveredFrames,
			drops: Object.fromEntries(DROP_REASONS.map((reason) => [reason, a.drops[reason] + b.drops[reason]])) as Record<DropReason, number>,
		};
	}
}
