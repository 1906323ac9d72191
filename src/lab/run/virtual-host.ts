import type { Ns } from "../../base/units.ts";
import { RandomStream } from "../../net/link/random.ts";
import type { Clock } from "../../net/time.ts";
import type { Host } from "../../vm/host.ts";

export interface VirtualHostOptions {
	readonly host: Host;
	readonly clock: Clock;
	readonly seed: number | string;
	/** Of the lab and the machine whose chance this is. */
	readonly names: readonly string[];
	/** The wall clock at lab time 0. */
	readonly startWallMs: number;
}

/** A host whose time is the lab's and whose chance comes from the lab's seed. */
export function virtualHost(options: VirtualHostOptions): Host {
	const { host, clock } = options;
	const stream = new RandomStream(options.seed, ...options.names, "chance");
	let drawn = 0;
	return {
		nowNs: () => host.nowNs(),
		wallMs: () => options.startWallMs + Math.floor(clock.nowNs / 1e6),
		random: (into) => {
			for (let at = 0; at < into.length; at++) into[at] = stream.u32(drawn++);
		},
		yield: () => host.yield(),
		sleep: (delayNs: Ns) => {
			let wake = (): void => {};
			const done = new Promise<void>((resolve) => {
				wake = resolve;
			});
			const timer = clock.timer("sleep", () => wake());
			if (Number.isFinite(delayNs)) timer.arm(clock.nowNs + delayNs);
			return {
				done,
				wake: () => {
					timer.disarm();
					wake();
				},
			};
		},
	};
}
