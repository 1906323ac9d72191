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

/** What both sides have agreed on by their SYNs. */
export type TcpTerms = {
	/** What a segment of ours carries. */
	readonly mssBytes: number;
	readonly hasTimestamps: boolean;
	readonly hasSack: boolean;
	/** By how many bits the windows of the other side, and ours, are shifted. */
	readonly sendShift: number;
	readonly receiveShift: number;
};

/**
 * A connection as a snapshot has it: what is needed for it to go on and be right. What only makes it fast (windows of
 * congestion, round trip times, segments that came before their turn) begins anew, as after a timeout.
 */
export type TcpConnectionState = TcpTerms & {
	readonly state: TcpState;
	readonly una: number;
	readonly max: number;
	readonly peerWindow: number;
	readonly isEnding: boolean;
	readonly echo: number;
	/** Where `waiting`, all that has been written and not acknowledged, begins. */
	readonly waitingFrom: number;
	readonly waiting: Uint8Array;
	readonly received: number;
	/** Where the peer's stream ends, if that is known and has not come yet. */
	readonly finAt: number | null;
};

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
