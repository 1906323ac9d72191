import type { TcpSegment } from "../frames/tcp.ts";
import type { Clock } from "../time.ts";

export type TcpState =
	| "syn-sent"
	| "syn-received"
	| "established"
	| "fin-wait-1"
	| "fin-wait-2"
	| "close-wait"
	| "closing"
	| "last-ack"
	| "time-wait"
	| "closed";

export type TcpCloseReason = "done" | "reset" | "refused" | "timeout";

export interface TcpEvents {
	established?(): void;
	/** In order, once. Call `consumed` when it has been dealt with: only that opens the window again. */
	data?(bytes: Uint8Array): void;
	/** The other side has sent its last byte. */
	ended?(): void;
	/** So many bytes of ours have arrived over there. */
	acknowledged?(bytes: number): void;
	closed?(reason: TcpCloseReason): void;
}

/** A segment without its ports: those belong to whoever owns the connection. */
export type OutgoingSegment = Omit<TcpSegment, "sourcePort" | "destinationPort">;

export interface TcpOptionsHere {
	readonly clock: Clock;
	readonly initialSequence: number;
	/** What one segment may carry to this peer: MTU less 40, before options. */
	readonly maxSegmentBytes: number;
	readonly receiveBufferBytes?: number;
	readonly usesTimestamps?: boolean;
	readonly transmit: (segment: OutgoingSegment) => void;
}
