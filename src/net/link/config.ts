import type { Ns } from "../../base/units.ts";
import type { NetemConfig } from "./netem-config.ts";

/** How many bytes of a cable's time a frame takes. */
export interface Framing {
	readonly overheadBytes: number;
	/** Frames are padded to this before the overhead is added. */
	readonly minFrameBytes: number;
	/** Frame and overhead are carried in cells of so much payload, each with its own overhead (ATM: 48 and 5). */
	readonly cell?: { readonly payloadBytes: number; readonly overheadBytes: number };
}

/** Preamble and start delimiter 8, frame check sequence 4, gap 12 (IEEE 802.3-2018 §3.1.1, §4.4.2). */
export const ETHERNET_FRAMING: Framing = { overheadBytes: 24, minFrameBytes: 60 };
export const RAW_FRAMING: Framing = { overheadBytes: 0, minFrameBytes: 0 };

/** Wire bytes of a frame of `frameBytes` (without its check sequence). */
export function wireBytes(framing: Framing, frameBytes: number): number {
	const bytes = Math.max(frameBytes, framing.minFrameBytes) + framing.overheadBytes;
	const cell = framing.cell;
	return cell === undefined ? bytes : Math.ceil(bytes / cell.payloadBytes) * (cell.payloadBytes + cell.overheadBytes);
}

export type JitterShape = "uniform" | "normal" | "pareto" | { readonly table: readonly number[] } | { readonly traceNs: readonly Ns[] };

export interface JitterConfig {
	/** Uniform: to either side. Normal, Pareto: one standard deviation. Table: its unit. */
	readonly spreadNs: Ns;
	readonly shape: JitterShape;
	/** Of one frame's delay with the one before: the coefficient of an AR(1) process. */
	readonly correlation: number;
	/** `keep`: a frame never overtakes another; it waits instead. */
	readonly order: "keep" | "free";
}

export type LossConfig =
	| { readonly model: "none" }
	| { readonly model: "random"; readonly ratio: number }
	/**
	 * Gilbert–Elliott. `p`: good to bad, `r`: bad to good, per frame; `h`, `k`: share delivered while bad, while good.
	 */
	| { readonly model: "ge"; readonly p: number; readonly r: number; readonly h: number; readonly k: number }
	/** States 1 good, 2 good within a burst, 3 lost within a burst, 4 a single loss (Salsano et al., as in netem). */
	| {
			readonly model: "markov4";
			readonly p13: number;
			readonly p31: number;
			readonly p32: number;
			readonly p23: number;
			readonly p14: number;
	  }
	/** One entry per frame on the wire, over and over; true = lost. */
	| { readonly model: "pattern"; readonly lost: readonly boolean[] };

export type Aqm = "droptail" | "red" | "codel" | "fq_codel";

export interface QueueConfig {
	/** What is not given does not bound; when none of the three is, the default depth does. */
	readonly bytes?: number;
	readonly packets?: number;
	readonly timeNs?: Ns;
	readonly aqm: Aqm;
	/** Mark rather than drop what can be marked (RFC 3168), for all but drop-tail. */
	readonly ecn: boolean;
	/** CoDel's; by default 5 ms, and at least one and a half frames, and 100 ms. */
	readonly targetNs?: Ns;
	readonly intervalNs?: Ns;
	/** RED's thresholds; by default max = limit / 4, min = max / 3, 2 %. */
	readonly redMinBytes?: number;
	readonly redMaxBytes?: number;
	readonly redProbability?: number;
	readonly redIsAdaptive?: boolean;
}

export type LinkState = "up" | "down" | "silent";

/** Everything that decides the fate of frames going one way. Plain data: compared, saved and changed as such. */
export interface DirectionConfig {
	/** Bits per second; `undefined`: frames take no time to be sent, and no queue forms. */
	readonly rateBps: number | undefined;
	/** Mahimahi's way to say a rate: at each of these times (whole milliseconds, repeating) 1504 bytes may go. */
	readonly opportunitiesMs: readonly number[] | undefined;
	readonly framing: Framing;
	readonly delayNs: Ns;
	readonly jitter: JitterConfig | undefined;
	readonly loss: LossConfig;
	/** Probability of each bit to be hit; a frame that is hit fails its check sequence and is lost. */
	readonly bitErrorRatio: number;
	/** Share of frames delivered with one bit flipped. */
	readonly corrupt: number;
	readonly duplicate: number;
	/** A share of frames is held back until `byFrames` later ones have gone by, or `timeoutNs` has passed. */
	readonly reorder: { readonly ratio: number; readonly byFrames: number; readonly timeoutNs: Ns } | undefined;
	readonly queue: QueueConfig;
	/** Bytes after the Ethernet header, tags not counted. */
	readonly mtuBytes: number;
	readonly state: LinkState;
	/** Set: all but `mtuBytes` and `state` are Linux netem's, with its semantics and its faults. */
	readonly netem: NetemConfig | undefined;
}

export const DEFAULT_DIRECTION: DirectionConfig = {
	rateBps: undefined,
	opportunitiesMs: undefined,
	framing: ETHERNET_FRAMING,
	delayNs: 0,
	jitter: undefined,
	loss: { model: "none" },
	bitErrorRatio: 0,
	corrupt: 0,
	duplicate: 0,
	reorder: undefined,
	queue: { aqm: "droptail", ecn: false },
	mtuBytes: 1500,
	state: "up",
	netem: undefined,
};

const DEFAULT_QUEUE_BYTES = 64_000;
const DEFAULT_QUEUE_NS: Ns = 50_000_000;

export interface QueueLimits {
	readonly bytes: number;
	readonly packets: number;
	/** Of cable time, in wire bytes. */
	readonly wireBytes: number;
}

/** The bounds in force: what is configured, or max(64 KB, 50 ms of the rate). */
export function queueLimits(config: QueueConfig, rateBps: number): QueueLimits {
	const { bytes, packets, timeNs } = config;
	if (bytes === undefined && packets === undefined && timeNs === undefined) {
		if (config.aqm === "fq_codel") return { bytes: 32_000_000, packets: 10_240, wireBytes: Number.POSITIVE_INFINITY };
		const timeBytes = Math.floor((DEFAULT_QUEUE_NS * rateBps) / 8e9);
		return { bytes: Math.max(DEFAULT_QUEUE_BYTES, timeBytes), packets: Number.POSITIVE_INFINITY, wireBytes: Number.POSITIVE_INFINITY };
	}
	return {
		bytes: bytes ?? Number.POSITIVE_INFINITY,
		packets: packets ?? Number.POSITIVE_INFINITY,
		wireBytes: timeNs === undefined ? Number.POSITIVE_INFINITY : Math.floor((timeNs * rateBps) / 8e9),
	};
}
