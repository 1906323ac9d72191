import type { Direction } from "../link/direction.ts";
import type { Link } from "../link/link.ts";
import type { DropReason, TapEvent } from "../link/stats.ts";
import type { Clock } from "../time.ts";
import type { PcapngWriter } from "./pcapng.ts";

export type CapturePoint = TapEvent["point"];

const POINTS: readonly CapturePoint[] = ["sent", "delivered", "dropped"];

const POINT_NAMES: Record<CapturePoint, string> = {
	sent: "before queue and impairment",
	delivered: "after the wire",
	dropped: "lost on the way, at the moment of loss",
};

const REASONS: Record<DropReason, string> = {
	mtu: "longer than the link's MTU",
	queue: "no room in the queue",
	aqm: "dropped early by queue management",
	loss: "lost by the loss model",
	fcs: "bit error, frame check sequence wrong",
	down: "link down",
	silent: "link silently failing",
	script: "dropped by a script",
};

/**
 * Records a link into `writer`, an interface for each direction and point: `wan a>b sent`, `wan a>b delivered` and
 * `wan a>b dropped`, the last with a comment that says why. Returns what ends it (with final counters).
 */
export function captureLink(link: Link, writer: PcapngWriter, clock: Clock, points: readonly CapturePoint[] = POINTS): () => void {
	const ends = [link.up, link.down].map((direction) => captureDirection(link, direction, writer, clock, points));
	return () => {
		for (const end of ends) end();
	};
}

function captureDirection(
	link: Link,
	direction: Direction,
	writer: PcapngWriter,
	clock: Clock,
	points: readonly CapturePoint[],
): () => void {
	const ids = new Map<CapturePoint, number>();
	for (const point of POINTS)
		if (points.includes(point))
			ids.set(
				point,
				writer.addInterface({
					name: `${link.name} ${direction.name} ${point}`,
					description: POINT_NAMES[point],
					speedBps: direction.config.rateBps,
				}),
			);
	const endTap = direction.tap(({ point, timeNs, frame, index, reason }) => {
		const interfaceId = ids.get(point);
		if (interfaceId === undefined) return;
		const direction = point === "delivered" ? "inbound" : "outbound";
		if (reason === undefined) writer.packet({ interfaceId, timeNs, frame, direction });
		else writer.packet({ interfaceId, timeNs, frame, direction, comment: `frame ${index} dropped (${reason}): ${REASONS[reason]}` });
	});
	return () => {
		endTap();
		const { sentFrames, deliveredFrames, drops } = direction.stats;
		const dropped = Object.values(drops).reduce((sum, count) => sum + count, 0);
		const counts: Record<CapturePoint, number> = { sent: sentFrames, delivered: deliveredFrames, dropped };
		for (const [point, id] of ids) writer.statistics(id, clock.nowNs, counts[point], point === "sent" ? dropped : 0);
	};
}
