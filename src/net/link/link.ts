import type { StateValue } from "../../base/json.ts";
import type { SuperFrame } from "../offload/segment.ts";
import type { Port } from "../port.ts";
import type { Clock } from "../time.ts";
import type { DirectionConfig } from "./config.ts";
import { Direction } from "./direction.ts";
import { changeDirection, changeLink, type DirectionSpec, type LinkSpecText, parseLink } from "./spec.ts";
import type { DirectionState } from "./state.ts";

export interface LinkOptions {
	/** Stable across runs: with `seed` it keys all of the link's randomness. */
	readonly name: string;
	readonly clock: Clock;
	/** The lab's. */
	readonly seed: number | string;
	readonly spec?: LinkSpecText;
}

export type LinkSide = "up" | "down";

export type LinkSnapshot = {
	readonly upConfig: StateValue;
	readonly downConfig: StateValue;
	readonly up: DirectionState;
	readonly down: DirectionState;
};

/** One end: what it sends goes into `out`, which the other end receives. */
class CableEnd implements Port {
	hasCarrier = true;
	onFrame: (frame: Uint8Array) => void = () => {};
	onWhole: ((whole: SuperFrame) => void) | undefined;
	onCarrier: (isUp: boolean) => void = () => {};
	out: Direction | undefined;

	get speedBps(): number | undefined {
		return this.out?.config.rateBps;
	}

	send(frame: Uint8Array): void {
		this.out?.send(frame);
	}

	get takesWhole(): boolean {
		return this.out?.takesWhole ?? false;
	}

	sendWhole(whole: SuperFrame): boolean {
		return this.out?.sendWhole(whole) ?? false;
	}

	setCarrier(isUp: boolean): void {
		if (isUp === this.hasCarrier) return;
		this.hasCarrier = isUp;
		this.onCarrier(isUp);
	}
}

/** A cable between two ends. `up` goes from `a` to `b`, `down` from `b` to `a`. */
export class Link {
	readonly name: string;
	readonly a: Port;
	readonly b: Port;
	readonly up: Direction;
	readonly down: Direction;
	readonly #ends: readonly [CableEnd, CableEnd];

	/** @throws SpecError when `spec` is wrong. */
	constructor(options: LinkOptions) {
		const { name, clock, seed } = options;
		const config = parseLink(options.spec ?? {});
		const [a, b] = [new CableEnd(), new CableEnd()];
		this.name = name;
		this.#ends = [a, b];
		this.a = a;
		this.b = b;
		const direction = (label: string, to: CableEnd, from: DirectionConfig): Direction =>
			new Direction(
				{
					clock,
					seed,
					linkName: name,
					name: label,
					deliver: (frame) => to.onFrame(frame),
					takesWhole: () => to.onWhole !== undefined,
					deliverWhole: (whole) => to.onWhole?.(whole),
				},
				from,
			);
		this.up = direction("a>b", b, config.up);
		this.down = direction("b>a", a, config.down);
		a.out = this.up;
		b.out = this.down;
		this.#updateCarrier();
	}

	/** Changes what `spec` names, and nothing else, in both directions or one. @throws SpecError; then nothing has changed. */
	set(spec: LinkSpecText | DirectionSpec, side?: LinkSide): void {
		const before = { up: this.up.config, down: this.down.config };
		const after = side === undefined ? changeLink(before, spec) : { ...before, [side]: changeDirection(before[side], spec) };
		this.#configure(after.up, after.down);
	}

	#configure(up: DirectionConfig, down: DirectionConfig): void {
		this.up.configure(up);
		this.down.configure(down);
		this.#updateCarrier();
	}

	/** A receiver that hears nothing tells the other side (IEEE 802.3-2018 §28.2.1), so one cut wire takes both down. */
	#updateCarrier(): void {
		const isUp = this.up.config.state !== "down" && this.down.config.state !== "down";
		for (const end of this.#ends) end.setCarrier(isUp);
	}

	/** Everything that decides what frames will do: settings, queues, frames on the wire, random state. */
	save(): LinkSnapshot {
		return {
			upConfig: toState(this.up.config),
			downConfig: toState(this.down.config),
			up: this.up.save(),
			down: this.down.save(),
		};
	}

	load(snapshot: LinkSnapshot): void {
		this.up.load(snapshot.up, fromState(snapshot.upConfig));
		this.down.load(snapshot.down, fromState(snapshot.downConfig));
		this.#updateCarrier();
	}
}

/** A configuration is plain data; what is `undefined` is simply not there. */
function toState(config: DirectionConfig): StateValue {
	return JSON.parse(JSON.stringify(config)) as StateValue;
}

function fromState(state: StateValue): DirectionConfig {
	const absent = { rateBps: undefined, opportunitiesMs: undefined, jitter: undefined, reorder: undefined, netem: undefined };
	return { ...absent, ...(state as unknown as DirectionConfig) };
}
