import type { LossConfig } from "./config.ts";
import { type RandomStream, threshold } from "./random.ts";

/** Where a loss model with memory stands. */
export type LossState = {
	/** Gilbert–Elliott: 1 good, 2 bad. Four states: 1 good, 2 good within a burst, 3 lost within a burst, 4 single loss. */
	state: number;
	/** Frames that a pattern has seen. */
	patternPosition: number;
};

export function newLossState(): LossState {
	return { state: 1, patternPosition: 0 };
}

/** Whether the frame with this index is lost; moves `state` on. */
export function isLost(config: LossConfig, state: LossState, random: RandomStream, index: number): boolean {
	switch (config.model) {
		case "none":
			return false;
		case "random":
			return random.u32(index) < threshold(config.ratio);
		case "ge": {
			const isBad = state.state === 2;
			const lossShare = 1 - (isBad ? config.h : config.k);
			if (random.u32(index) < threshold(isBad ? config.r : config.p)) state.state = isBad ? 1 : 2;
			return random.u32(index, 1) < threshold(lossShare);
		}
		case "markov4":
			state.state = nextOfFour(config, state.state, random.u32(index));
			return state.state >= 3;
		case "pattern": {
			const isHit = config.lost[state.patternPosition % config.lost.length] ?? false;
			state.patternPosition = (state.patternPosition + 1) % Math.max(1, config.lost.length);
			return isHit;
		}
	}
}

function nextOfFour(config: Extract<LossConfig, { model: "markov4" }>, state: number, u32: number): number {
	const falls = (below: number) => u32 < threshold(below);
	switch (state) {
		case 1:
			return falls(config.p14) ? 4 : falls(config.p14 + config.p13) ? 3 : 1;
		case 2:
			return falls(config.p23) ? 3 : 2;
		case 3:
			return falls(config.p32) ? 2 : falls(config.p32 + config.p31) ? 1 : 3;
		default:
			return 1;
	}
}

/** Gilbert's model that loses `ratio` of all frames in bursts of mean length `burst`; `undefined` if there is none. */
export function gilbert(ratio: number, burst: number): LossConfig | undefined {
	if (ratio === 0) return { model: "none" };
	const r = 1 / burst;
	const p = (r * ratio) / (1 - ratio);
	return ratio < 1 && p <= 1 ? { model: "ge", p, r, h: 0, k: 1 } : undefined;
}

/** What a model loses in the long run. */
export function expectedLoss(config: LossConfig): number {
	switch (config.model) {
		case "none":
			return 0;
		case "random":
			return config.ratio;
		case "ge": {
			const bad = config.p === 0 ? 0 : config.p / (config.p + config.r);
			return bad * (1 - config.h) + (1 - bad) * (1 - config.k);
		}
		case "markov4": {
			const { p13, p31, p32, p23, p14 } = config;
			const weights = [1, (p13 * p32) / (p31 * p23), p13 / p31, p14];
			return ((weights[2] as number) + (weights[3] as number)) / weights.reduce((sum, weight) => sum + weight, 0);
		}
		case "pattern":
			return config.lost.filter((lost) => lost).length / config.lost.length;
	}
}

/** Probability that at least one of `bits` is hit: 1 − (1 − ratio)^bits, by squaring, without losing small ratios. */
export function anyBitHit(ratio: number, bits: number): number {
	let hit = 0;
	let power = ratio;
	for (let left = bits; left > 0; left = Math.floor(left / 2)) {
		if (left % 2 === 1) hit = hit + power - hit * power;
		power = 2 * power - power * power;
	}
	return hit;
}
