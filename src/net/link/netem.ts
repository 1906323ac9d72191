import type { Ns } from "../../base/units.ts";
import type { Clock, Timer } from "../time.ts";
import { normalQuantile } from "./distributions.ts";
import { withCongestionMark } from "./ecn.ts";
import { Flight } from "./flight.ts";
import { isLost, type LossState, newLossState } from "./loss.ts";
import type { NetemConfig, NetemDistribution } from "./netem-config.ts";
import type { RandomStream } from "./random.ts";
import { type FlyingState, saveFlying } from "./state.ts";
import type { WireHost } from "./wire.ts";

/** Table entries per standard deviation (iproute2's and the kernel's NETEM_DIST_SCALE). */
const TABLE_SCALE = 8192;
const TABLE_ENTRIES = 4096;
const MAX_U32 = 0xffff_ffff;

/** The last values of netem's correlated generators, one per use. */
const USES = ["delay", "loss", "duplicate", "reorder", "corrupt"] as const;
type Use = (typeof USES)[number];

export type NetemState = {
	drawn: number;
	last: Record<Use, number>;
	loss: LossState;
	counter: number;
	slotNextNs: Ns;
	slotPacketsLeft: number;
	slotBytesLeft: number;
	queue: FlyingState[];
	lastSendNs: Ns;
};

/**
 * Linux 6.1's `sch_netem`, step by step, faults included: loss, duplication and corruption at enqueue, a limit that
 * counts delayed packets, correlation that narrows its distribution, jitter that reorders. For comparing with a real
 * kernel; our own pipeline is the one to use.
 */
export class Netem {
	readonly #clock: Clock;
	readonly #host: WireHost;
	readonly #random: RandomStream;
	readonly #timer: Timer;
	readonly #queue = new Flight();
	#config: NetemConfig | undefined;
	#drawn = 0;
	#last: Record<Use, number> = { delay: 0, loss: 0, duplicate: 0, reorder: 0, corrupt: 0 };
	#loss: LossState = newLossState();
	#counter = 0;
	#slotNextNs: Ns = -1;
	#slotPacketsLeft = 0;
	#slotBytesLeft = 0;
	#lastSendNs: Ns = 0;

	constructor(clock: Clock, name: string, random: RandomStream, host: WireHost) {
		this.#clock = clock;
		this.#random = random;
		this.#host = host;
		this.#timer = clock.timer(name, () => this.#dequeue());
	}

	get packets(): number {
		return this.#queue.size;
	}

	/** When the next packet may go; infinity when there are none. */
	get nextNs(): Ns {
		return this.#timer.isArmed ? this.#timer.deadlineNs : Number.POSITIVE_INFINITY;
	}

	enqueue(config: NetemConfig, frame: Uint8Array, index: number, nowNs: Ns): void {
		if (this.#config !== config) this.#start(config, nowNs);
		this.#enqueue(config, frame, index, nowNs, true);
		this.#rearm(nowNs);
	}

	/** netem is taken off the link: what it holds goes out at its times. */
	release(): void {
		this.#config = undefined;
		this.#slotNextNs = -1;
		this.#rearm(this.#clock.nowNs);
	}

	flush(): void {
		for (const flying of this.#queue.clear()) this.#host.drop(flying.frame, flying.index, "down");
		this.#timer.disarm();
	}

	#start(config: NetemConfig, nowNs: Ns): void {
		this.#config = config;
		if (config.slot === undefined) this.#slotNextNs = -1;
		else if (this.#slotNextNs < 0) {
			this.#slotNextNs = nowNs;
			this.#refillSlot(config);
		}
	}

	#enqueue(config: NetemConfig, frame: Uint8Array, index: number, nowNs: Ns, mayDuplicate: boolean): void {
		let count = 1;
		if (mayDuplicate && config.duplicate.ratio > 0 && this.#hits("duplicate", config.duplicate)) count++;
		let sent = frame;
		if (this.#isLost(config)) {
			const marked = config.ecn ? withCongestionMark(frame) : undefined;
			if (marked === undefined) count--;
			else {
				sent = marked;
				this.#host.stats.markedFrames++;
			}
		}
		if (count === 0) {
			this.#host.drop(frame, index, "loss");
			return;
		}
		const copy = count > 1 ? sent : undefined;
		if (config.corrupt.ratio > 0 && this.#hits("corrupt", config.corrupt)) sent = this.#corrupt(sent);
		if (this.#queue.size >= config.limitPackets) {
			this.#host.drop(frame, index, "queue");
			return;
		}
		if (copy !== undefined) {
			this.#host.stats.duplicatedFrames++;
			this.#enqueue(config, copy, index, nowNs, false);
		}
		const isDelayed =
			config.gap === 0 ||
			this.#counter < config.gap - 1 ||
			config.reorder.ratio === 0 ||
			share(config.reorder.ratio) < this.#correlated("reorder", config.reorder.correlation);
		if (isDelayed) {
			this.#counter++;
			this.#push(sent, index, this.#sendTimeNs(config, sent.length, nowNs));
		} else {
			this.#counter = 0;
			this.#host.stats.reorderedFrames++;
			// "At the head", from where the kernel takes it before the next one comes.
			this.#queue.push({ frame: sent, index, deliverNs: nowNs, heldByFrames: 0 });
		}
	}

	#push(frame: Uint8Array, index: number, deliverNs: Ns): void {
		this.#lastSendNs = this.#queue.size === 0 ? deliverNs : Math.max(this.#lastSendNs, deliverNs);
		this.#queue.push({ frame, index, deliverNs, heldByFrames: 0 });
	}

	#sendTimeNs(config: NetemConfig, frameBytes: number, nowNs: Ns): Ns {
		let delayNs = this.#spread(config.delayNs, config.jitterNs, config.delayCorrelation, config.distribution);
		if (config.rateBps === undefined) return nowNs + delayNs;
		let fromNs = nowNs;
		if (this.#queue.size > 0) {
			delayNs = Math.max(0, delayNs - (this.#lastSendNs - nowNs));
			fromNs = this.#lastSendNs;
		}
		return fromNs + delayNs + this.#transmissionNs(config, frameBytes);
	}

	#transmissionNs(config: NetemConfig, frameBytes: number): Ns {
		let bytes = frameBytes + config.packetOverheadBytes;
		if (config.cellBytes > 0) bytes = Math.ceil(bytes / config.cellBytes) * (config.cellBytes + config.cellOverheadBytes);
		return Math.floor((bytes * 8e9) / (config.rateBps as number));
	}

	/** `tabledist`: with no table, uniform by the low bits of the random number. */
	#spread(meanNs: Ns, sigmaNs: Ns, correlation: number, distribution: NetemDistribution): Ns {
		if (sigmaNs === 0) return meanNs;
		const random = this.#correlated("delay", correlation);
		if (distribution === "uniform") return (random % (2 * sigmaNs)) + meanNs - sigmaNs;
		const table = netemTable(distribution);
		const entry = table[random % table.length] as number;
		const part = (sigmaNs % TABLE_SCALE) * entry;
		const rounded = part >= 0 ? part + TABLE_SCALE / 2 : part - TABLE_SCALE / 2;
		return Math.trunc(rounded / TABLE_SCALE) + Math.floor(sigmaNs / TABLE_SCALE) * entry + meanNs;
	}

	#isLost(config: NetemConfig): boolean {
		const loss = config.loss;
		if (loss === undefined) return false;
		if (loss.model === "random") return loss.ratio > 0 && this.#hits("loss", loss);
		const index = this.#drawn++;
		if (loss.model === "state") return isLost({ ...loss, model: "markov4" }, this.#loss, this.#random, index);
		return isLost({ model: "ge", p: loss.p, r: loss.r, h: 1 - loss.h, k: 1 - loss.k }, this.#loss, this.#random, index);
	}

	#hits(use: Use, chance: { readonly ratio: number; readonly correlation: number }): boolean {
		return share(chance.ratio) >= this.#correlated(use, chance.correlation);
	}

	/** `get_crandom`: a weighted mean with the last value, which is what spoils the distribution. */
	#correlated(use: Use, correlation: number): number {
		const value = this.#random.u32(this.#drawn++);
		if (correlation === 0) return value;
		const rho = BigInt(share(correlation)) + 1n;
		const mean = Number((BigInt(value) * (0x1_0000_0000n - rho) + BigInt(this.#last[use]) * rho) >> 32n);
		this.#last[use] = mean;
		return mean;
	}

	#corrupt(frame: Uint8Array): Uint8Array {
		if (frame.length === 0) return frame;
		this.#host.stats.corruptedFrames++;
		const damaged = frame.slice();
		const random = this.#random.u32(this.#drawn++);
		damaged[random % frame.length]! ^= 1 << (this.#random.u32(this.#drawn++) % 8);
		return damaged;
	}

	#refillSlot(config: NetemConfig): void {
		this.#slotPacketsLeft = config.slot?.packets || Number.MAX_SAFE_INTEGER;
		this.#slotBytesLeft = config.slot?.bytes || Number.MAX_SAFE_INTEGER;
	}

	#nextSlot(config: NetemConfig, nowNs: Ns): void {
		const slot = config.slot as NonNullable<NetemConfig["slot"]>;
		let delayNs: Ns;
		if ("minNs" in slot) delayNs = slot.minNs + Math.floor((this.#random.u32(this.#drawn++) * (slot.maxNs - slot.minNs)) / 0x1_0000_0000);
		else delayNs = this.#spread(slot.delayNs, slot.jitterNs, 0, slot.distribution);
		this.#slotNextNs = nowNs + delayNs;
		this.#refillSlot(config);
	}

	#dequeue(): void {
		const nowNs = this.#clock.nowNs;
		for (let nextNs = this.#queue.nextNs; nextNs !== undefined && nextNs <= nowNs; nextNs = this.#queue.nextNs) {
			const config = this.#config;
			const hasSlots = this.#slotNextNs >= 0 && config?.slot !== undefined;
			if (hasSlots && this.#slotNextNs < nextNs) this.#nextSlot(config, nowNs);
			if (hasSlots && this.#slotNextNs > nowNs) break;
			const flying = this.#queue.pop();
			if (flying === undefined) break;
			if (hasSlots) {
				this.#slotPacketsLeft--;
				this.#slotBytesLeft -= flying.frame.length;
				if (this.#slotPacketsLeft <= 0 || this.#slotBytesLeft <= 0) this.#nextSlot(config, nowNs);
			}
			this.#host.deliver(flying.frame, flying.index);
		}
		this.#rearm(nowNs);
	}

	#rearm(nowNs: Ns): void {
		const nextNs = this.#queue.nextNs;
		if (nextNs === undefined) this.#timer.disarm();
		else this.#timer.arm(Math.max(nowNs, nextNs, this.#slotNextNs));
	}

	save(): NetemState {
		return {
			drawn: this.#drawn,
			last: { ...this.#last },
			loss: { ...this.#loss },
			counter: this.#counter,
			slotNextNs: this.#slotNextNs,
			slotPacketsLeft: this.#slotPacketsLeft,
			slotBytesLeft: this.#slotBytesLeft,
			queue: this.#queue.entries().map(saveFlying),
			lastSendNs: this.#lastSendNs,
		};
	}

	load(state: NetemState, config: NetemConfig | undefined): void {
		this.#config = config;
		this.#drawn = state.drawn;
		this.#last = { ...state.last };
		this.#loss = { ...state.loss };
		this.#counter = state.counter;
		this.#slotNextNs = state.slotNextNs;
		this.#slotPacketsLeft = state.slotPacketsLeft;
		this.#slotBytesLeft = state.slotBytesLeft;
		this.#queue.clear();
		for (const flying of state.queue) this.#queue.push(saveFlying(flying));
		this.#lastSendNs = state.lastSendNs;
		this.#rearm(this.#clock.nowNs);
	}
}

/** tc's percentages as the kernel gets them. */
function share(ratio: number): number {
	return Math.round(ratio * MAX_U32);
}

const tables = new Map<NetemDistribution, readonly number[]>();

/**
 * Quantile tables with the properties of those that iproute2 ships, computed from their formulas: 4096 entries,
 * clipped at ±4 σ; the Pareto (exponent 3) is scaled by 4/3 where 2/√3 would make its deviation 1.
 */
function netemTable(distribution: Exclude<NetemDistribution, "uniform">): readonly number[] {
	if (typeof distribution === "object") return distribution;
	let table = tables.get(distribution);
	if (table === undefined) {
		table = Array.from({ length: TABLE_ENTRIES }, (_, entry) => {
			const u32 = Math.floor(((entry + 0.5) / TABLE_ENTRIES) * 0x1_0000_0000);
			const normal = normalQuantile(u32);
			const pareto = (4 / 3) * (cubeRoot(1 / (1 - u32 / 0x1_0000_0000)) - 1.5);
			const value = distribution === "normal" ? normal : distribution === "pareto" ? pareto : 0.25 * normal + 0.75 * pareto;
			return Math.round(TABLE_SCALE * Math.max(-4, Math.min(4, value)));
		});
		tables.set(distribution, table);
	}
	return table;
}

/** By Newton: `Math.cbrt` may differ from engine to engine. */
function cubeRoot(x: number): number {
	let root = x > 8 ? x / 8 : 1;
	for (let step = 0; step < 40; step++) root = (2 * root + x / (root * root)) / 3;
	return root;
}
