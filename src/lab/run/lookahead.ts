import type { Ns } from "../../base/units.ts";
import { type DirectionConfig, wireBytes } from "../../net/link/config.ts";

/**
 * How long the shortest frame is under way at the least, from the moment it is sent: serialisation and delay, less what
 * jitter may take from that. 0 where nothing can be said (reordering, jitter without bound, a netem profile).
 */
export function minTransitNs(config: DirectionConfig): Ns {
	if (config.netem !== undefined) return 0;
	const serialisationNs = config.rateBps === undefined ? 0 : Math.floor((wireBytes(config.framing, 0) * 8e9) / config.rateBps);
	if (config.jitter === undefined) return serialisationNs + config.delayNs;
	const spreadNs = config.jitter.shape === "uniform" ? config.jitter.spreadNs : config.delayNs;
	return serialisationNs + Math.max(0, config.delayNs - spreadNs);
}
