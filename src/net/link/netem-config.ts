import type { Ns } from "../../base/units.ts";

export type NetemDistribution = "uniform" | "normal" | "pareto" | "paretonormal" | readonly number[];

export type NetemLoss =
	| { readonly model: "random"; readonly ratio: number; readonly correlation: number }
	| {
			readonly model: "state";
			readonly p13: number;
			readonly p31: number;
			readonly p32: number;
			readonly p23: number;
			readonly p14: number;
	  }
	/** `p` good to bad, `r` back; `h` and `k` are tc's `1-h` and `1-k`: shares lost while bad, while good. */
	| { readonly model: "gemodel"; readonly p: number; readonly r: number; readonly h: number; readonly k: number };

interface Chance {
	readonly ratio: number;
	readonly correlation: number;
}

/** The parameters of `tc qdisc … netem` (Linux 6.1). Ratios and correlations 0…1, tables as tc ships them: 8192 = 1 σ. */
export interface NetemConfig {
	readonly limitPackets: number;
	readonly delayNs: Ns;
	readonly jitterNs: Ns;
	readonly delayCorrelation: number;
	readonly distribution: NetemDistribution;
	readonly loss: NetemLoss | undefined;
	readonly ecn: boolean;
	readonly corrupt: Chance;
	readonly duplicate: Chance;
	readonly reorder: Chance;
	readonly gap: number;
	readonly rateBps: number | undefined;
	readonly packetOverheadBytes: number;
	readonly cellBytes: number;
	readonly cellOverheadBytes: number;
	readonly slot:
		| { readonly minNs: Ns; readonly maxNs: Ns; readonly packets: number; readonly bytes: number }
		| {
				readonly delayNs: Ns;
				readonly jitterNs: Ns;
				readonly distribution: NetemDistribution;
				readonly packets: number;
				readonly bytes: number;
		  }
		| undefined;
}

export const DEFAULT_NETEM: NetemConfig = {
	limitPackets: 1000,
	delayNs: 0,
	jitterNs: 0,
	delayCorrelation: 0,
	distribution: "uniform",
	loss: undefined,
	ecn: false,
	corrupt: { ratio: 0, correlation: 0 },
	duplicate: { ratio: 0, correlation: 0 },
	reorder: { ratio: 0, correlation: 0 },
	gap: 0,
	rateBps: undefined,
	packetOverheadBytes: 0,
	cellBytes: 0,
	cellOverheadBytes: 0,
	slot: undefined,
};
