import type { Ns } from "../../base/units.ts";
import type { FlyingFrame } from "./flight.ts";
import type { JitterState } from "./jitter.ts";
import type { LossState } from "./loss.ts";
import type { NetemState } from "./netem.ts";
import type { AqmState, QueuedFrame } from "./queue.ts";
import type { SerialiserState } from "./serialiser.ts";
import type { DirectionStats } from "./stats.ts";

export type QueuedState = { frame: Uint8Array; index: number; arrivalNs: Ns; wireBytes: number };
export type FlyingState = { frame: Uint8Array; index: number; deliverNs: Ns; heldByFrames: number };

export type WireState = {
	loss: LossState;
	jitter: JitterState;
	lastDeliverNs: Ns;
	flight: FlyingState[];
	held: FlyingState[];
};

/** One direction's memory: frames waiting, being sent and flying, and where every algorithm stands. */
export type DirectionState = {
	nextIndex: number;
	stats: DirectionStats;
	queue: QueuedState[];
	aqm: AqmState;
	sending: QueuedState | null;
	sendingUntilNs: Ns;
	serialiser: SerialiserState;
	wire: WireState;
	netem: NetemState;
};

export function saveQueued(entry: QueuedFrame): QueuedState {
	return { frame: entry.frame.slice(), index: entry.index, arrivalNs: entry.arrivalNs, wireBytes: entry.wireBytes };
}

export function loadQueued(state: QueuedState): QueuedFrame {
	return { ...state, frame: state.frame.slice() };
}

export function saveFlying(flying: FlyingFrame): FlyingState {
	return { ...flying, frame: flying.frame.slice() };
}
