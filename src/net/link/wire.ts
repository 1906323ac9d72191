import type { Ns } from "../../base/units.ts";
import type { SuperFrame } from "../offload/segment.ts";
import type { Clock, Timer } from "../time.ts";
import { type DirectionConfig, wireBytes } from "./config.ts";
import { cutFlying, Flight, type FlyingFrame } from "./flight.ts";
import { type JitterState, jitterNs, newJitterState } from "./jitter.ts";
import { anyBitHit, isLost, type LossState, newLossState } from "./loss.ts";
import { type RandomStream, threshold } from "./random.ts";
import { saveFlying, type WireState } from "./state.ts";
import type { DirectionStats, DropReason } from "./stats.ts";

/** An ideal cable still takes this long (as 200 m of copper do), so that a loop of ideal cables cannot stop time. */
const MIN_UNPACED_NS: Ns = 1000;
/** Most frames on one wire. Far above any real cable; it bounds what a broadcast storm can make us hold. */
const MAX_FLYING_FRAMES = 262_144;

export interface WireHost {
	readonly stats: DirectionStats;
	deliver(frame: Uint8Array, index: number, whole?: SuperFrame): void;
	drop(frame: Uint8Array, index: number, reason: DropReason): void;
}

/** What happens to a frame between the last bit sent and the far port: loss, errors, duplicates, delay, reordering. */
export class Wire {
	readonly #clock: Clock;
	readonly #host: WireHost;
	readonly #lossRandom: RandomStream;
	readonly #errorRandom: RandomStream;
	readonly #corruptRandom: RandomStream;
	readonly #duplicateRandom: RandomStream;
	readonly #jitterRandom: RandomStream;
	readonly #reorderRandom: RandomStream;
	readonly #timer: Timer;
	readonly #holdTimer: Timer;
	readonly #flight = new Flight();
	/** Frames that have arrived but wait for later ones to go by. */
	#held: FlyingFrame[] = [];
	#loss: LossState = newLossState();
	#jitter: JitterState = newJitterState();
	#lastDeliverNs: Ns = 0;
	#errorShares = { ratio: 0, byBits: new Map<number, number>() };
	#holdTimeoutNs: Ns = 0;

	constructor(clock: Clock, name: string, random: (purpose: string) => RandomStream, host: WireHost) {
		this.#clock = clock;
		this.#host = host;
		this.#lossRandom = random("loss");
		this.#errorRandom = random("bit-errors");
		this.#corruptRandom = random("corrupt");
		this.#duplicateRandom = random("duplicate");
		this.#jitterRandom = random("jitter");
		this.#reorderRandom = random("reorder");
		this.#timer = clock.timer(name, () => this.#arrive());
		this.#holdTimer = clock.timer(`${name} hold`, () => this.#releaseExpired());
	}

	get frames(): number {
		return this.#flight.size + this.#held.length;
	}

	/** When the next of the frames on the cable gets somewhere; infinity when there are none. */
	get nextNs(): Ns {
		const flightNs = this.#flight.nextNs ?? Number.POSITIVE_INFINITY;
		return this.#holdTimer.isArmed ? Math.min(flightNs, this.#holdTimer.deadlineNs) : flightNs;
	}

	/** The frame's last bit leaves at `leftNs`. */
	send(config: DirectionConfig, frame: Uint8Array, index: number, leftNs: Ns): void {
		if (config.state !== "up") this.#host.drop(frame, index, config.state);
		else if (isLost(config.loss, this.#loss, this.#lossRandom, index)) this.#host.drop(frame, index, "loss");
		else if (this.#isHit(config, frame, index)) this.#host.drop(frame, index, "fcs");
		else {
			const sound = this.#corrupt(config, frame, index);
			this.#depart(config, sound, index, leftNs, 0);
			if (config.duplicate > 0 && this.#duplicateRandom.u32(index) < threshold(config.duplicate)) {
				this.#host.stats.duplicatedFrames++;
				this.#depart(config, sound, index, leftNs, 1);
			}
		}
	}

	/** All frames of a super-frame leave at `leftNs`; the cable does nothing to them but to take its time. */
	sendWhole({ delayNs }: DirectionConfig, whole: SuperFrame, index: number, leftNs: Ns): void {
		const deliverNs = Math.max(leftNs + Math.max(MIN_UNPACED_NS, delayNs), this.#lastDeliverNs);
		this.#lastDeliverNs = deliverNs;
		this.#flight.push({ frame: whole.frame, index, deliverNs, heldByFrames: 0, whole });
		if (!this.#timer.isArmed || deliverNs < this.#timer.deadlineNs) this.#timer.arm(deliverNs);
	}

	/** Loses everything that is on the wire. */
	flush(): void {
		for (const flying of [...this.#flight.clear().flatMap(cutFlying), ...this.#held]) this.#host.drop(flying.frame, flying.index, "down");
		this.#held = [];
		this.#timer.disarm();
		this.#holdTimer.disarm();
	}

	#isHit(config: DirectionConfig, frame: Uint8Array, index: number): boolean {
		if (config.bitErrorRatio === 0) return false;
		if (this.#errorShares.ratio !== config.bitErrorRatio) this.#errorShares = { ratio: config.bitErrorRatio, byBits: new Map() };
		const bits = 8 * wireBytes(config.framing, frame.length);
		let share = this.#errorShares.byBits.get(bits);
		if (share === undefined) {
			share = threshold(anyBitHit(config.bitErrorRatio, bits));
			this.#errorShares.byBits.set(bits, share);
		}
		return this.#errorRandom.u32(index) < share;
	}

	#corrupt(config: DirectionConfig, frame: Uint8Array, index: number): Uint8Array {
		if (config.corrupt === 0 || frame.length === 0 || this.#corruptRandom.u32(index) >= threshold(config.corrupt)) return frame;
		this.#host.stats.corruptedFrames++;
		const damaged = frame.slice();
		const bit = Math.floor((this.#corruptRandom.u32(index, 1) / 0x1_0000_0000) * frame.length * 8);
		damaged[bit >> 3]! ^= 1 << (bit & 7);
		return damaged;
	}

	#depart(config: DirectionConfig, frame: Uint8Array, index: number, leftNs: Ns, copy: number): void {
		if (this.frames >= MAX_FLYING_FRAMES) {
			this.#host.drop(frame, index, "queue");
			return;
		}
		const { jitter, reorder } = config;
		const added = jitter === undefined ? 0 : jitterNs(jitter, this.#jitter, this.#jitterRandom, index, copy);
		const isPaced = config.rateBps !== undefined || config.opportunitiesMs !== undefined;
		let deliverNs = leftNs + Math.max(isPaced ? 0 : MIN_UNPACED_NS, config.delayNs + added);
		// Without jitter too: a shorter delay set meanwhile must not let new frames overtake old ones.
		if (jitter?.order !== "free") deliverNs = this.#lastDeliverNs = Math.max(deliverNs, this.#lastDeliverNs);
		let heldByFrames = 0;
		if (reorder !== undefined && copy === 0 && this.#reorderRandom.u32(index) < threshold(reorder.ratio)) {
			heldByFrames = reorder.byFrames;
			this.#holdTimeoutNs = reorder.timeoutNs;
			this.#host.stats.reorderedFrames++;
		}
		this.#flight.push({ frame, index, deliverNs, heldByFrames });
		if (!this.#timer.isArmed || deliverNs < this.#timer.deadlineNs) this.#timer.arm(deliverNs);
	}

	#arrive(): void {
		const nowNs = this.#clock.nowNs;
		while (this.#flight.nextNs !== undefined && this.#flight.nextNs <= nowNs) {
			const flying = this.#flight.pop() as FlyingFrame;
			if (flying.heldByFrames > 0) this.#hold(flying);
			else {
				this.#host.deliver(flying.frame, flying.index, flying.whole);
				if (this.#held.length > 0) this.#letGo();
			}
		}
		if (this.#flight.nextNs !== undefined) this.#timer.arm(this.#flight.nextNs);
	}

	#hold(flying: FlyingFrame): void {
		const untilNs = flying.deliverNs + this.#holdTimeoutNs;
		this.#held.push({ ...flying, deliverNs: untilNs });
		if (!this.#holdTimer.isArmed || untilNs < this.#holdTimer.deadlineNs) this.#holdTimer.arm(untilNs);
	}

	/** One frame has gone by: whoever has waited for it to be the last goes now. */
	#letGo(): void {
		const waiting = this.#held.map((flying) => ({ ...flying, heldByFrames: flying.heldByFrames - 1 }));
		this.#held = waiting.filter((flying) => flying.heldByFrames > 0);
		if (this.#held.length === 0) this.#holdTimer.disarm();
		for (const flying of waiting) if (flying.heldByFrames === 0) this.#host.deliver(flying.frame, flying.index);
	}

	#releaseExpired(): void {
		const nowNs = this.#clock.nowNs;
		const due = this.#held.filter((flying) => flying.deliverNs <= nowNs);
		this.#held = this.#held.filter((flying) => flying.deliverNs > nowNs);
		for (const flying of due) this.#host.deliver(flying.frame, flying.index);
		if (this.#held.length > 0) this.#holdTimer.arm(Math.min(...this.#held.map((flying) => flying.deliverNs)));
	}

	save(): WireState {
		return {
			loss: { ...this.#loss },
			jitter: { ...this.#jitter },
			lastDeliverNs: this.#lastDeliverNs,
			flight: this.#flight.entries().flatMap(cutFlying).map(saveFlying),
			held: this.#held.map(saveFlying),
		};
	}

	load(state: WireState): void {
		this.#loss = { ...state.loss };
		this.#jitter = { ...state.jitter };
		this.#lastDeliverNs = state.lastDeliverNs;
		this.#flight.clear();
		for (const flying of state.flight) this.#flight.push(saveFlying(flying));
		this.#held = state.held.map(saveFlying);
		if (this.#flight.nextNs === undefined) this.#timer.disarm();
		else this.#timer.arm(this.#flight.nextNs);
		if (this.#held.length === 0) this.#holdTimer.disarm();
		else this.#holdTimer.arm(Math.min(...this.#held.map((flying) => flying.deliverNs)));
	}
}
