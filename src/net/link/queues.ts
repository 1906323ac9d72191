import { unreachable } from "../../base/assert.ts";
import { Codel } from "./codel.ts";
import type { QueueConfig } from "./config.ts";
import { FqCodel } from "./fq-codel.ts";
import { DropTail, type FrameQueue, type QueueContext } from "./queue.ts";
import { Red } from "./red.ts";

export function makeQueue(context: QueueContext, config: QueueConfig): FrameQueue {
	switch (config.aqm) {
		case "droptail":
			return new DropTail(context);
		case "red":
			return new Red(context, config);
		case "codel":
			return new Codel(context, config);
		case "fq_codel":
			return new FqCodel(context, config);
		default:
			return unreachable(config.aqm);
	}
}
