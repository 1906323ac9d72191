import type { Ns } from "../../base/units.ts";
import type { JitterConfig, JitterShape } from "./config.ts";
import { normalCdf, normalQuantile, paretoQuantile, tableQuantile, uniformQuantile } from "./distributions.ts";
import type { RandomStream } from "./random.ts";

/** The AR(1) process behind correlated jitter: a standard normal, and the frame it belongs to. */
export type JitterState = { normal: number; index: number };

export function newJitterState(): JitterState {
	return { normal: 0, index: -1 };
}

/** Frames further apart than this have nothing to do with each other any more at any correlation that makes sense. */
const MAX_STEPS = 1000;

/**
 * What is added to frame `index`'s delay, in nanoseconds, possibly negative. `copy` is 0, or 1 for a duplicate.
 *
 * Correlated values come from x′ = ρ·x + √(1−ρ²)·z, which keeps mean and deviation, then through the shape's inverse
 * distribution. The process moves with frame numbers, so a frame that was lost on the way changes nothing for others.
 */
export function jitterNs(config: JitterConfig, state: JitterState, random: RandomStream, index: number, copy: number): Ns {
	const { shape, spreadNs, correlation } = config;
	if (typeof shape === "object" && "traceNs" in shape) return shape.traceNs[index % shape.traceNs.length] ?? 0;
	if (correlation === 0) return Math.round(spreadNs * quantile(shape, random.u32(index, copy)));
	const innovation = Math.sqrt(1 - correlation * correlation);
	if (copy === 0) {
		const from = Math.max(state.index, index - MAX_STEPS);
		if (from < 0) state.normal = normalQuantile(random.u32(0));
		for (let at = Math.max(from, 0) + 1; at <= index; at++)
			state.normal = correlation * state.normal + innovation * normalQuantile(random.u32(at));
		state.index = index;
	}
	const normal = copy === 0 ? state.normal : correlation * state.normal + innovation * normalQuantile(random.u32(index, copy));
	if (shape === "normal") return Math.round(spreadNs * normal);
	return Math.round(spreadNs * quantile(shape, Math.min(0xffff_ffff, Math.floor(normalCdf(shapeSign(shape) * normal) * 0x1_0000_0000))));
}

/** The Pareto's large values answer to small numbers: turn it round, so that late frames stay next to late ones. */
function shapeSign(shape: JitterShape): number {
	return shape === "pareto" ? -1 : 1;
}

function quantile(shape: Exclude<JitterShape, { traceNs: readonly Ns[] }>, u32: number): number {
	if (shape === "uniform") return uniformQuantile(u32);
	if (shape === "normal") return normalQuantile(u32);
	if (shape === "pareto") return paretoQuantile(u32);
	return tableQuantile(shape.table, u32);
}
