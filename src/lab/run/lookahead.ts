import type { Ns } from "../../base/units.ts";
import { type DirectionConfig, wireBytes } from "../../net/link/config.ts";
import { type Direction, leastDelayNs } from "../../net/link/direction.ts";
import { MIN_LOOKAHEAD_NS } from "../runtime.ts";

/** Longest that a machine runs ahead of the network: whoever watches the lab is asked at least as often. */
const MAX_AHEAD_NS: Ns = 10_000_000;

/**
 * How long the shortest frame is under way at the least, from the moment it is sent: serialisation and delay, less what
 * jitter may take from that. 0 where nothing can be said (a netem profile).
 */
function minTransitNs(config: DirectionConfig): Ns {
	if (config.netem !== undefined) return 0;
	const serialisationNs = config.rateBps === undefined ? 0 : Math.floor((wireBytes(config.framing, 0) * 8e9) / config.rateBps);
	return serialisationNs + leastDelayNs(config);
}

/**
 * How far a machine at `nowNs` may run, the network being there too: to the next line of a grid, or to where something is
 * due that is on its way to the machine. The grid is as wide as the least time through its own cables. Nothing but these
 * cables has a say in it, so what happens elsewhere in a lab does not even change where a machine's slices end.
 */
export function horizonNs(nowNs: Ns, incoming: readonly Direction[]): Ns {
	let gridNs = MAX_AHEAD_NS;
	let dueNs = Number.POSITIVE_INFINITY;
	for (const direction of incoming) {
		gridNs = Math.min(gridNs, Math.max(MIN_LOOKAHEAD_NS, minTransitNs(direction.config)));
		dueNs = Math.min(dueNs, direction.nextDeliveryNs);
	}
	const lineNs = (Math.floor(nowNs / gridNs) + 1) * gridNs;
	return Math.max(nowNs + 1, Math.min(lineNs, dueNs));
}
