import type { Ns } from "../../base/units.ts";

/**
 * Why a frame was lost.
 * - `mtu`: longer than the cable carries · `queue`: no room in the queue · `aqm`: dropped early by RED or CoDel
 * - `loss`: the loss model · `fcs`: hit by a bit error · `down`: the cable was pulled · `silent`: lost without a sign
 * - `script`: a filter said so
 */
export const DROP_REASONS = ["mtu", "queue", "aqm", "loss", "fcs", "down", "silent", "script"] as const;
export type DropReason = (typeof DROP_REASONS)[number];

export type DirectionStats = {
	/** What came from the sending port. */
	sentFrames: number;
	sentBytes: number;
	/** What went to the receiving port, duplicates included. */
	deliveredFrames: number;
	deliveredBytes: number;
	duplicatedFrames: number;
	corruptedFrames: number;
	/** Held back so that later frames overtook them. */
	reorderedFrames: number;
	/** Marked "congestion experienced" instead of dropped. */
	markedFrames: number;
	/** Longest wait in the queue, from arrival to the start of sending. */
	maxQueueNs: Ns;
	drops: Record<DropReason, number>;
};

export function newStats(): DirectionStats {
	return {
		sentFrames: 0,
		sentBytes: 0,
		deliveredFrames: 0,
		deliveredBytes: 0,
		duplicatedFrames: 0,
		corruptedFrames: 0,
		reorderedFrames: 0,
		markedFrames: 0,
		maxQueueNs: 0,
		drops: { mtu: 0, queue: 0, aqm: 0, loss: 0, fcs: 0, down: 0, silent: 0, script: 0 },
	};
}

/** What a tap sees: a frame entering (before the queue), leaving (after the wire), or lost on the way. */
export interface TapEvent {
	readonly point: "sent" | "delivered" | "dropped";
	readonly timeNs: Ns;
	readonly frame: Uint8Array;
	/** The frame's number in its direction. */
	readonly index: number;
	readonly reason?: DropReason;
}

export type Tap = (event: TapEvent) => void;
