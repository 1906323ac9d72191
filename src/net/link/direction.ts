import type { Ns } from "../../base/units.ts";
import { vlanTag } from "../frames/ethernet.ts";
import { type SuperFrame, segmentCount, segmentedBytes, segmentsOf } from "../offload/segment.ts";
import type { Clock, Timer } from "../time.ts";
import { type DirectionConfig, queueLimits, wireBytes } from "./config.ts";
import { withCongestionMark } from "./ecn.ts";
import { Netem } from "./netem.ts";
import type { FrameQueue, QueueContext, QueuedFrame } from "./queue.ts";
import { makeQueue } from "./queues.ts";
import { RandomStream } from "./random.ts";
import { Serialiser } from "./serialiser.ts";
import { type DirectionState, loadQueued, saveQueued } from "./state.ts";
import { type DirectionStats, type DropReason, newStats, type Tap } from "./stats.ts";
import { Wire } from "./wire.ts";

export interface DirectionOptions {
	readonly clock: Clock;
	readonly seed: number | string;
	/** With `name`, the key of all randomness. */
	readonly linkName: string;
	/** `a>b`. */
	readonly name: string;
	readonly deliver: (frame: Uint8Array) => void;
	/** False where the far end wants frames. */
	readonly takesWhole?: () => boolean;
	readonly deliverWhole?: (whole: SuperFrame) => void;
}

/** At which a queue runs empty that is left over from when there was a rate. */
const UNPACED_BPS = 1e12;

/** A script's word on a frame that has come to the cable. */
export type Filter = (frame: Uint8Array, index: number) => "pass" | "drop";

/**
 * One direction of a cable: MTU, queue, serialiser, then the wire with all that goes wrong on it. The other direction
 * is another object with its own queue, configuration and randomness.
 */
export class Direction {
	readonly name: string;
	readonly stats: DirectionStats = newStats();
	/** Asked about each frame before anything else is done with it. */
	filter: Filter | undefined;
	readonly #clock: Clock;
	readonly #options: DirectionOptions;
	readonly #queueRandom: RandomStream;
	readonly #timer: Timer;
	readonly #serialiser = new Serialiser();
	readonly #wire: Wire;
	readonly #netem: Netem;
	readonly #taps = new Set<Tap>();
	readonly #context: QueueContext;
	#config: DirectionConfig;
	#queue: FrameQueue;
	/** The frame that is being sent right now. */
	#sending: QueuedFrame | undefined;
	#nextIndex = 0;

	constructor(options: DirectionOptions, config: DirectionConfig) {
		this.name = options.name;
		this.#clock = options.clock;
		this.#config = config;
		this.#options = options;
		const { clock, seed, linkName, name } = options;
		const random = (purpose: string) => new RandomStream(seed, linkName, name, purpose);
		const host = {
			stats: this.stats,
			deliver: (frame: Uint8Array, index: number, whole?: SuperFrame) =>
				whole === undefined ? this.#deliver(frame, index) : this.#deliverWhole(whole, index),
			drop: (frame: Uint8Array, index: number, reason: DropReason) => this.#drop(frame, index, reason),
		};
		this.#wire = new Wire(clock, `${linkName} ${name} wire`, random, host);
		this.#netem = new Netem(clock, `${linkName} ${name} netem`, random("netem"), host);
		this.#queueRandom = random("queue");
		this.#timer = clock.timer(`${linkName} ${name} send`, (deadlineNs) => this.#sent(deadlineNs));
		this.#context = this.#queueContext();
		this.#queue = makeQueue(this.#context, config.queue);
	}

	get config(): DirectionConfig {
		return this.#config;
	}

	/** Frames waiting in the queue, without the one being sent. */
	get queuedFrames(): number {
		return this.#queue.packets + (this.#config.netem === undefined ? 0 : this.#netem.packets);
	}

	get queuedBytes(): number {
		return this.#queue.bytes;
	}

	/** How long the queue is in time at the present rate. */
	get queuedNs(): Ns {
		const rateBps = this.#config.rateBps;
		return rateBps === undefined ? 0 : (this.#queue.bytes * 8e9) / rateBps;
	}

	/** Frames on the wire, reordered ones that are held back included. */
	get flyingFrames(): number {
		return this.#wire.frames + (this.#sending === undefined ? 0 : 1);
	}

	/** Nothing that is in here already comes out before this; infinity when nothing is. */
	get nextDeliveryNs(): Ns {
		const underwayNs = Math.min(this.#wire.nextNs, this.#netem.nextNs);
		return this.#sending === undefined ? underwayNs : Math.min(underwayNs, this.#timer.deadlineNs + leastDelayNs(this.#config));
	}

	/** Calls `tap` for every frame from now on; returns what ends that. Frames must not be written to. */
	tap(tap: Tap): () => void {
		this.#taps.add(tap);
		return () => this.#taps.delete(tap);
	}

	send(frame: Uint8Array): void {
		const index = this.#nextIndex++;
		const nowNs = this.#clock.nowNs;
		this.stats.sentFrames++;
		this.stats.sentBytes += frame.length;
		for (const tap of this.#taps) tap({ point: "sent", timeNs: nowNs, frame, index });
		const { state, netem, mtuBytes } = this.#config;
		if (state === "down") this.#drop(frame, index, "down");
		else if (this.filter?.(frame, index) === "drop") this.#drop(frame, index, "script");
		else if (frame.length > mtuBytes + headerBytes(frame)) this.#drop(frame, index, "mtu");
		else if (netem !== undefined) {
			if (state === "silent") this.#drop(frame, index, "silent");
			else this.#netem.enqueue(netem, frame, index, nowNs);
		} else if (!this.#isPaced() && this.#sending === undefined) this.#wire.send(this.#config, frame, index, nowNs);
		else this.#enqueue({ frame, index, arrivalNs: nowNs, wireBytes: wireBytes(this.#config.framing, frame.length) });
	}

	/** Takes a super-frame uncut, if none of its frames would meet anything but the cable's delay. */
	sendWhole(whole: SuperFrame): boolean {
		if (!this.takesWhole) return false;
		if (whole.headerBytes + whole.segmentBytes > this.#config.mtuBytes + headerBytes(whole.frame)) return false;
		const index = this.#nextIndex;
		const count = segmentCount(whole);
		this.#nextIndex += count;
		this.stats.sentFrames += count;
		this.stats.sentBytes += segmentedBytes(whole);
		this.#wire.sendWhole(this.#config, whole, index, this.#clock.nowNs);
		return true;
	}

	get takesWhole(): boolean {
		return this.#isPlain() && this.#options.takesWhole?.() === true;
	}

	/** Nothing is done to frames, and nobody looks at them. */
	#isPlain(): boolean {
		const { state, netem, loss, bitErrorRatio, corrupt, duplicate, reorder, jitter } = this.#config;
		if (state !== "up" || netem !== undefined || loss.model !== "none" || jitter !== undefined || reorder !== undefined) return false;
		if (bitErrorRatio > 0 || corrupt > 0 || duplicate > 0 || this.filter !== undefined || this.#taps.size > 0) return false;
		return !this.#isPaced() && this.#sending === undefined;
	}

	/** Changes take hold of the next frame: what is being sent ends at the old rate, what is on the wire arrives as it was to. */
	configure(config: DirectionConfig): void {
		const before = this.#config;
		this.#config = config;
		if (config.state === "down" && before.state !== "down") this.#flush();
		if (config.queue !== before.queue || config.rateBps !== before.rateBps || config.mtuBytes !== before.mtuBytes) {
			const aqm = this.#queue.saveAqm();
			const waiting = this.#queue.drain();
			this.#queue = makeQueue(this.#context, config.queue);
			if (config.queue.aqm === before.queue.aqm) this.#queue.loadAqm(aqm);
			this.#queue.restore(waiting);
		}
		if (config.netem === undefined && before.netem !== undefined) this.#netem.release();
	}

	#isPaced(): boolean {
		return this.#config.rateBps !== undefined || this.#config.opportunitiesMs !== undefined;
	}

	#enqueue(entry: QueuedFrame): void {
		if (this.#sending === undefined) this.#startSending(entry, entry.arrivalNs);
		else this.#queue.enqueue(entry, entry.arrivalNs);
	}

	#startSending(entry: QueuedFrame, startNs: Ns): void {
		const { rateBps, opportunitiesMs } = this.#config;
		this.#sending = entry;
		const waitedNs = startNs - entry.arrivalNs;
		if (waitedNs > this.stats.maxQueueNs) this.stats.maxQueueNs = waitedNs;
		const endNs =
			opportunitiesMs === undefined
				? this.#serialiser.send(entry.arrivalNs, entry.wireBytes, rateBps ?? UNPACED_BPS)
				: this.#serialiser.sendAtOpportunities(entry.arrivalNs, entry.wireBytes, opportunitiesMs);
		this.#timer.arm(endNs);
	}

	#sent(endNs: Ns): void {
		const sent = this.#sending;
		this.#sending = undefined;
		if (sent !== undefined) this.#wire.send(this.#config, sent.frame, sent.index, endNs);
		// A host that is late calls this after its time: the queue must not see that.
		const next = this.#queue.dequeue(endNs);
		if (next !== undefined) this.#startSending(next, Math.max(endNs, next.arrivalNs));
	}

	#deliver(frame: Uint8Array, index: number): void {
		this.stats.deliveredFrames++;
		this.stats.deliveredBytes += frame.length;
		if (this.#taps.size > 0) {
			const timeNs = this.#clock.nowNs;
			for (const tap of this.#taps) tap({ point: "delivered", timeNs, frame, index });
		}
		this.#options.deliver(frame);
	}

	#deliverWhole(whole: SuperFrame, index: number): void {
		if (this.#taps.size > 0 || this.#options.takesWhole?.() !== true) {
			for (const [at, frame] of segmentsOf(whole).entries()) this.#deliver(frame, index + at);
			return;
		}
		this.stats.deliveredFrames += segmentCount(whole);
		this.stats.deliveredBytes += segmentedBytes(whole);
		this.#options.deliverWhole?.(whole);
	}

	#drop(frame: Uint8Array, index: number, reason: DropReason): void {
		this.stats.drops[reason]++;
		if (this.#taps.size === 0) return;
		const timeNs = this.#clock.nowNs;
		for (const tap of this.#taps) tap({ point: "dropped", timeNs, frame, index, reason });
	}

	/** The cable is pulled: what waits, is being sent or is on its way is gone. */
	#flush(): void {
		for (const entry of this.#queue.drain()) this.#drop(entry.frame, entry.index, "down");
		if (this.#sending !== undefined) this.#drop(this.#sending.frame, this.#sending.index, "down");
		this.#sending = undefined;
		this.#timer.disarm();
		this.#serialiser.abort(this.#clock.nowNs);
		this.#wire.flush();
		this.#netem.flush();
	}

	#queueContext(): QueueContext {
		const config = () => this.#config;
		const fullFrameBytes = () => config().mtuBytes + 14;
		return {
			get limits() {
				return queueLimits(config().queue, config().rateBps ?? 0);
			},
			get fullFrameNs() {
				const rateBps = config().rateBps;
				return rateBps === undefined ? 0 : (wireBytes(config().framing, fullFrameBytes()) * 8e9) / rateBps;
			},
			get fullFrameBytes() {
				return fullFrameBytes();
			},
			drop: (entry, reason) => this.#drop(entry.frame, entry.index, reason),
			mark: (entry) => {
				const marked = withCongestionMark(entry.frame);
				if (marked === undefined) return false;
				entry.frame = marked;
				this.stats.markedFrames++;
				return true;
			},
			random: (index) => this.#queueRandom.u32(index),
		};
	}

	save(): DirectionState {
		const aqm = this.#queue.saveAqm();
		const waiting = this.#queue.drain();
		this.#queue.loadAqm(aqm);
		this.#queue.restore(waiting);
		return {
			nextIndex: this.#nextIndex,
			stats: { ...this.stats, drops: { ...this.stats.drops } },
			queue: waiting.map(saveQueued),
			aqm,
			sending: this.#sending === undefined ? null : saveQueued(this.#sending),
			sendingUntilNs: this.#timer.isArmed ? this.#timer.deadlineNs : 0,
			serialiser: this.#serialiser.save(),
			wire: this.#wire.save(),
			netem: this.#netem.save(),
		};
	}

	/** `config` is the one that was in force when `state` was saved. */
	load(state: DirectionState, config: DirectionConfig): void {
		this.#config = config;
		this.#nextIndex = state.nextIndex;
		Object.assign(this.stats, state.stats, { drops: { ...state.stats.drops } });
		this.#queue = makeQueue(this.#context, config.queue);
		this.#queue.loadAqm(state.aqm);
		this.#queue.restore(state.queue.map(loadQueued));
		this.#sending = state.sending === null ? undefined : loadQueued(state.sending);
		if (this.#sending === undefined) this.#timer.disarm();
		else this.#timer.arm(state.sendingUntilNs);
		this.#serialiser.load(state.serialiser);
		this.#wire.load(state.wire);
		this.#netem.load(state.netem, config.netem);
	}
}

/** Time on the wire at the least: jitter without bound may take all of it. */
export function leastDelayNs({ delayNs, jitter }: DirectionConfig): Ns {
	if (jitter === undefined) return delayNs;
	return jitter.shape === "uniform" ? Math.max(0, delayNs - jitter.spreadNs) : 0;
}

/** A tag, or two, do not count against the MTU (IEEE 802.3-2018 §3.2.7: envelope frames). */
function headerBytes(frame: Uint8Array): number {
	if (vlanTag(frame) === undefined) return 14;
	return vlanTag(frame.subarray(4)) === undefined ? 18 : 22;
}
