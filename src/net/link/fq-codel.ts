import type { Ns } from "../../base/units.ts";
import { CodelLaw } from "./codel.ts";
import type { QueueConfig } from "./config.ts";
import { flowHash } from "./ecn.ts";
import { type AqmState, Fifo, type FrameQueue, type QueueContext, type QueuedFrame } from "./queue.ts";

const FLOW_COUNT = 1024;
/** Frames thrown out of the fattest flow at one overflow. */
const DROP_BATCH = 64;
const LAW_STATE = ["firstAboveNs", "dropNextNs", "count", "lastCount", "isDropping"] as const;

interface Flow {
	readonly id: number;
	readonly fifo: Fifo;
	readonly law: CodelLaw;
	creditBytes: number;
	list: "none" | "new" | "old";
}

/** Flow queue CoDel (RFC 8290): deficit round robin over 1024 flows, new ones first, each under its own CoDel. */
export class FqCodel implements FrameQueue {
	readonly #context: QueueContext;
	readonly #config: QueueConfig;
	readonly #quantumBytes: number;
	readonly #hashSeed: number;
	readonly #flows = new Map<number, Flow>();
	#newFlows: Flow[] = [];
	#oldFlows: Flow[] = [];
	packets = 0;
	bytes = 0;
	#wireBytes = 0;

	constructor(context: QueueContext, config: QueueConfig) {
		this.#context = {
			get limits() {
				return context.limits;
			},
			get fullFrameNs() {
				return context.fullFrameNs;
			},
			fullFrameBytes: context.fullFrameBytes,
			drop: (entry, reason) => {
				this.#count(entry, -1);
				context.drop(entry, reason);
			},
			mark: (entry) => context.mark(entry),
			random: (index) => context.random(index),
		};
		this.#config = config;
		this.#quantumBytes = Math.max(256, context.fullFrameBytes);
		this.#hashSeed = context.random(0);
	}

	enqueue(entry: QueuedFrame, _nowNs: Ns): void {
		const flow = this.#flow(flowHash(entry.frame, this.#hashSeed) % FLOW_COUNT);
		this.#push(flow, entry);
		const { limits } = this.#context;
		if (this.packets > limits.packets || this.bytes > limits.bytes || this.#wireBytes > limits.wireBytes) this.#dropFromFattest();
	}

	restore(entries: readonly QueuedFrame[]): void {
		for (const entry of entries) this.#push(this.#flow(flowHash(entry.frame, this.#hashSeed) % FLOW_COUNT), entry);
	}

	dequeue(nowNs: Ns): QueuedFrame | undefined {
		for (;;) {
			const isNew = this.#newFlows.length > 0;
			const flow = isNew ? this.#newFlows[0] : this.#oldFlows[0];
			if (flow === undefined) return undefined;
			if (flow.creditBytes <= 0) {
				flow.creditBytes += this.#quantumBytes;
				this.#moveToOld(flow, isNew);
				continue;
			}
			const entry = flow.law.dequeue(flow.fifo, nowNs);
			if (entry === undefined) {
				// RFC 8290 §4.2: an emptied new flow goes round once more as an old one, so that it cannot jump the queue.
				if (isNew && this.#oldFlows.length > 0) this.#moveToOld(flow, true);
				else {
					(isNew ? this.#newFlows : this.#oldFlows).shift();
					flow.list = "none";
				}
				continue;
			}
			flow.creditBytes -= entry.frame.length;
			this.#count(entry, -1);
			return entry;
		}
	}

	drain(): QueuedFrame[] {
		const all = [...this.#flows.values()].flatMap((flow) => flow.fifo.drain());
		this.#flows.clear();
		this.#newFlows = [];
		this.#oldFlows = [];
		this.packets = 0;
		this.bytes = 0;
		this.#wireBytes = 0;
		return all.sort((a, b) => a.index - b.index);
	}

	/** Credits, list places and each flow's law, by flow number. */
	saveAqm(): AqmState {
		const state: Record<string, number> = {};
		for (const flow of this.#flows.values()) {
			state[`${flow.id}.credit`] = flow.creditBytes;
			state[`${flow.id}.new`] = this.#newFlows.indexOf(flow);
			state[`${flow.id}.old`] = this.#oldFlows.indexOf(flow);
			for (const [name, value] of Object.entries(flow.law.save())) state[`${flow.id}.${name}`] = value;
		}
		return state;
	}

	/** To be called before the frames are put back. */
	loadAqm(state: AqmState): void {
		const places: { flow: Flow; isNew: boolean; place: number }[] = [];
		for (const key of Object.keys(state)) {
			const [id = "", name] = key.split(".");
			if (name !== "credit") continue;
			const flow = this.#flow(Number(id));
			flow.law.load(Object.fromEntries(LAW_STATE.map((each) => [each, state[`${id}.${each}`] ?? 0])));
			flow.creditBytes = state[key] ?? 0;
			const newPlace = state[`${id}.new`] ?? -1;
			const oldPlace = state[`${id}.old`] ?? -1;
			flow.list = newPlace >= 0 ? "new" : oldPlace >= 0 ? "old" : "none";
			if (flow.list !== "none") places.push({ flow, isNew: newPlace >= 0, place: Math.max(newPlace, oldPlace) });
		}
		places.sort((a, b) => a.place - b.place);
		this.#newFlows = places.filter((each) => each.isNew).map((each) => each.flow);
		this.#oldFlows = places.filter((each) => !each.isNew).map((each) => each.flow);
	}

	#flow(id: number): Flow {
		let flow = this.#flows.get(id);
		if (flow === undefined) {
			flow = { id, fifo: new Fifo(), law: new CodelLaw(this.#context, this.#config), creditBytes: 0, list: "none" };
			this.#flows.set(id, flow);
		}
		return flow;
	}

	#moveToOld(flow: Flow, isNew: boolean): void {
		(isNew ? this.#newFlows : this.#oldFlows).shift();
		flow.list = "old";
		this.#oldFlows.push(flow);
	}

	#push(flow: Flow, entry: QueuedFrame): void {
		flow.fifo.push(entry);
		this.#count(entry, 1);
		if (flow.list !== "none") return;
		flow.list = "new";
		flow.creditBytes = this.#quantumBytes;
		this.#newFlows.push(flow);
	}

	#count(entry: QueuedFrame, sign: 1 | -1): void {
		this.packets += sign;
		this.bytes += sign * entry.frame.length;
		this.#wireBytes += sign * entry.wireBytes;
	}

	/** RFC 8290 §4.1: up to half of the flow that holds most bytes, at most 64 frames, from its head. */
	#dropFromFattest(): void {
		let fattest: Flow | undefined;
		for (const flow of this.#flows.values()) if (fattest === undefined || flow.fifo.bytes > fattest.fifo.bytes) fattest = flow;
		if (fattest === undefined) return;
		const untilBytes = fattest.fifo.bytes / 2;
		for (let count = 0; count < DROP_BATCH && fattest.fifo.bytes > untilBytes; count++) {
			const entry = fattest.fifo.shift();
			if (entry === undefined) break;
			this.#context.drop(entry, "queue");
		}
	}
}
