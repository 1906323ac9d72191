import { Link, type LinkSpecText, VirtualClock } from "../../src/net/index.ts";

export interface Arrival {
	readonly id: number;
	readonly timeNs: number;
}

export interface Flight {
	readonly sentNs: number[];
	readonly arrivals: Arrival[];
	readonly link: Link;
}

/** Sends `count` frames, one every `spacingNs`, through a link and notes when each arrives. */
export function fly(spec: LinkSpecText, count: number, spacingNs: number, options: { sizeBytes?: number; seed?: number } = {}): Flight {
	const clock = new VirtualClock();
	const link = new Link({ name: "wan", clock, seed: options.seed ?? 2026, spec });
	const arrivals: Arrival[] = [];
	link.b.onFrame = (frame) => arrivals.push({ id: new DataView(frame.buffer).getUint32(14), timeNs: clock.nowNs });
	const sentNs: number[] = [];
	for (let id = 0; id < count; id++) {
		const frame = new Uint8Array(options.sizeBytes ?? 60);
		new DataView(frame.buffer).setUint32(14, id);
		sentNs.push(clock.nowNs);
		link.a.send(frame);
		clock.advance(spacingNs);
	}
	clock.advance(60e9);
	return { sentNs, arrivals, link };
}

/** For each frame, whether it never arrived. */
export function lostOf({ sentNs, arrivals }: Flight): boolean[] {
	const lost = sentNs.map(() => true);
	for (const { id } of arrivals) lost[id] = false;
	return lost;
}

/** Each frame's time on the way, in order of sending. */
export function delaysOf({ sentNs, arrivals }: Flight): number[] {
	const delays: number[] = [];
	for (const { id, timeNs } of arrivals) delays[id] = timeNs - sentNs[id]!;
	return delays.filter((delay) => delay !== undefined);
}
