import { NS_PER_S, type Ns } from "../../base/units.ts";
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, type TcpOptions, type TcpSegment } from "../frames/tcp.ts";
import type { Timer } from "../time.ts";
import type { TcpCloseReason, TcpConnectionState, TcpEvents, TcpOptionsHere, TcpState, TcpTerms } from "./contract.ts";
import { Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import { near } from "./sequence.ts";

const WINDOW_SHIFT = 7;
const DEFAULT_RECEIVE_BYTES = 512 * 1024;
const DELAYED_ACK_NS: Ns = 40_000_000;
const TIME_WAIT_NS: Ns = 60 * NS_PER_S;
const DEFAULT_MSS = 536;
const TIMESTAMP_BYTES = 12;

/**
 * One end of a TCP connection (RFC 9293), with window scaling and timestamps (RFC 7323), selective
 * acknowledgments (RFC 2018) and NewReno's windows: its states and its segments, between a half that sends and one that
 * receives. Positions in the two streams are whole numbers that do not wrap; sequence numbers are made from them at the edge.
 */
export class TcpConnection {
	readonly #options: TcpOptionsHere;
	readonly #events: TcpEvents;
	readonly #sender: Sender;
	readonly #receiver: Receiver;
	readonly #ackTimer: Timer;
	readonly #timeWaitTimer: Timer;
	#state: TcpState;
	#terms: TcpTerms;
	#lastWindowSent = 0;
	#lastAckSent = 0;
	#unackedSegments = 0;
	#echo = 0;

	/** `from`: the segment that asked for this connection, or what `save` gave; without it, we ask. */
	constructor(options: TcpOptionsHere, events: TcpEvents, from?: TcpSegment | TcpConnectionState) {
		this.#options = options;
		this.#events = events;
		const pass = events.data === undefined ? undefined : (bytes: Uint8Array) => events.data?.(bytes);
		this.#receiver = new Receiver(options.receiveBufferBytes ?? DEFAULT_RECEIVE_BYTES, pass);
		const saved = from !== undefined && "state" in from ? from : undefined;
		const syn = from === undefined || "state" in from ? undefined : from;
		this.#terms = saved === undefined ? ownTerms(options) : termsOf(saved);
		this.#sender = new Sender(
			{
				clock: options.clock,
				emit: (flags, position, payload) => this.#emit(flags, position, payload),
				finSent: () => this.#finSent(),
				finAcknowledged: () => this.#finAcknowledged(),
				acknowledged: (bytes) => events.acknowledged?.(bytes),
				gaveUp: () => this.#close("timeout"),
			},
			this.#terms,
			saved?.una ?? options.initialSequence,
			saved?.waitingFrom,
		);
		this.#ackTimer = options.clock.timer("tcp ack", () => this.#sendAck());
		this.#timeWaitTimer = options.clock.timer("tcp time-wait", () => this.#close("done"));
		this.#state = saved?.state ?? (syn === undefined ? "syn-sent" : "syn-received");
		if (saved !== undefined) {
			this.#goOn(saved);
			return;
		}
		if (syn !== undefined) this.#takeSyn(syn);
		this.#sendSyn();
	}

	get state(): TcpState {
		return this.#state;
	}

	/** Bytes written and not yet acknowledged. */
	get unsentBytes(): number {
		return this.#sender.waitingBytes;
	}

	write(bytes: Uint8Array): void {
		this.#sender.write(bytes);
	}

	/** No more will be written. */
	end(): void {
		this.#sender.end();
	}

	abort(): void {
		if (this.#state === "closed") return;
		if (this.#state !== "time-wait") this.#emit(TCP_RST | TCP_ACK, this.#sender.max, new Uint8Array(0));
		this.#close("reset");
	}

	/** Ends it without a word to anybody. */
	drop(): void {
		this.#state = "closed";
		this.#receiver.stop();
		this.#sender.stop();
		this.#ackTimer.disarm();
		this.#timeWaitTimer.disarm();
	}

	/** For a snapshot; `undefined` while it opens, and once it is over. */
	save(): TcpConnectionState | undefined {
		if (["syn-sent", "syn-received", "time-wait", "closed"].includes(this.#state)) return undefined;
		return {
			state: this.#state,
			...this.#terms,
			...this.#sender.save(),
			echo: this.#echo,
			received: this.#receiver.position,
			finAt: this.#receiver.finAt ?? null,
		};
	}

	/** Takes up what `save` gave. */
	#goOn(saved: TcpConnectionState): void {
		this.#echo = saved.echo;
		this.#receiver.position = saved.received;
		this.#lastAckSent = saved.received;
		if (saved.finAt !== null) this.#receiver.noteFin(saved.finAt);
		this.#sender.goOn(saved);
	}

	/** Room for so many bytes has come back. */
	consumed(bytes: number): void {
		this.#receiver.consumed(bytes);
		// RFC 9293 §3.8.6.2.2: tell the sender only when it is worth it.
		const { position, windowBytes, bufferBytes } = this.#receiver;
		const opened = position + windowBytes - this.#lastWindowSent;
		if (this.#state !== "closed" && opened >= Math.min(bufferBytes / 2, 2 * this.#terms.mssBytes)) this.#sendAck();
	}

	receive(segment: TcpSegment): void {
		if (this.#state === "closed") return;
		if (this.#state === "syn-sent") {
			this.#receiveInSynSent(segment);
			return;
		}
		const sequence = near(segment.sequence, this.#receiver.position);
		if (!this.#receiver.isAcceptable(sequence, sequence + segment.payload.length)) {
			if ((segment.flags & TCP_RST) === 0) this.#sendAck();
			return;
		}
		if ((segment.flags & TCP_RST) !== 0) {
			// RFC 1337 §3: a reset of something old must not cut TIME-WAIT short.
			if (this.#state !== "time-wait") this.#close("reset");
			return;
		}
		if ((segment.flags & TCP_SYN) !== 0) {
			// RFC 5961 §4: a SYN out of nowhere is answered with what we know. The first one again wants its answer again.
			if (this.#state === "syn-received") this.#sendSyn();
			else this.#sendAck();
			return;
		}
		if ((segment.flags & TCP_ACK) === 0) return;
		const stamp = segment.options.timestamp;
		if (stamp !== undefined && sequence <= this.#lastAckSent) this.#echo = stamp.value;
		if (!this.#takeAck(segment)) return;
		this.#takeData(sequence, segment.payload, (segment.flags & TCP_FIN) !== 0);
	}

	#receiveInSynSent(segment: TcpSegment): void {
		const { max } = this.#sender;
		const isAck = (segment.flags & TCP_ACK) !== 0;
		if (isAck && near(segment.acknowledgment, max) !== max) return;
		if ((segment.flags & TCP_RST) !== 0) {
			if (isAck) this.#close("refused");
			return;
		}
		if ((segment.flags & TCP_SYN) === 0) return;
		this.#takeSyn(segment);
		if (!isAck) {
			this.#state = "syn-received";
			this.#sendSyn();
			return;
		}
		this.#establish(segment, max);
		// An event may have ended it all.
		if (this.#isClosed()) return;
		this.#sendAck();
		this.#sender.send();
	}

	#takeSyn(syn: TcpSegment): void {
		this.#terms = agreedTerms(this.#terms, syn.options, this.#options.maxSegmentBytes);
		this.#sender.agree(this.#terms, syn.window);
		this.#echo = syn.options.timestamp?.value ?? 0;
		this.#receiver.position = syn.sequence + 1;
		this.#lastAckSent = this.#receiver.position;
	}

	#establish(segment: TcpSegment, acknowledgment: number): void {
		this.#state = "established";
		this.#sender.opened(segment, acknowledgment);
		this.#events.established?.();
	}

	/** False when the connection has gone, or the segment is to be forgotten. */
	#takeAck(segment: TcpSegment): boolean {
		const acknowledgment = near(segment.acknowledgment, this.#sender.una);
		if (acknowledgment > this.#sender.max) {
			this.#sendAck();
			return false;
		}
		if (this.#state === "syn-received") {
			if (acknowledgment <= this.#sender.una) return false;
			this.#establish(segment, acknowledgment);
		}
		this.#sender.takeAck(segment, acknowledgment);
		// An event may have ended it all.
		return !this.#isClosed();
	}

	#isClosed(): boolean {
		return this.#state === "closed";
	}

	#finSent(): void {
		if (this.#state === "established") this.#state = "fin-wait-1";
		else if (this.#state === "close-wait") this.#state = "last-ack";
	}

	#finAcknowledged(): void {
		if (this.#state === "fin-wait-1") this.#state = "fin-wait-2";
		else if (this.#state === "closing") this.#enterTimeWait();
		else if (this.#state === "last-ack") this.#close("done");
	}

	#takeData(sequence: number, payload: Uint8Array, isFin: boolean): void {
		if (isFin) this.#receiver.noteFin(sequence + payload.length);
		if (payload.length > 0) {
			const wasInOrder = this.#receiver.take(sequence, payload);
			if (this.#isClosed()) return;
			this.#unackedSegments++;
			// RFC 5681 §4.2: at once when something is missing, else every second segment or after a moment.
			if (!wasInOrder || this.#unackedSegments >= 2) this.#sendAck();
			else if (!this.#ackTimer.isArmed) this.#ackTimer.arm(this.#options.clock.nowNs + DELAYED_ACK_NS);
		}
		if (this.#receiver.takeFin()) this.#takeFin();
		else if (isFin && payload.length === 0) this.#sendAck();
	}

	#takeFin(): void {
		if (this.#state === "established") this.#state = "close-wait";
		else if (this.#state === "fin-wait-1") this.#state = "closing";
		else if (this.#state === "fin-wait-2") this.#enterTimeWait();
		this.#sendAck();
		this.#events.ended?.();
	}

	#enterTimeWait(): void {
		this.#state = "time-wait";
		this.#timeWaitTimer.arm(this.#options.clock.nowNs + TIME_WAIT_NS);
	}

	#sendSyn(): void {
		this.#sender.open(this.#state === "syn-sent" ? TCP_SYN : TCP_SYN | TCP_ACK);
	}

	/** From the furthest position ever sent: the other side ignores what seems to come from the past. */
	#sendAck(): void {
		this.#emit(TCP_ACK, this.#sender.max, new Uint8Array(0));
	}

	#emit(flags: number, position: number, payload: Uint8Array): void {
		const isSyn = (flags & TCP_SYN) !== 0;
		const isAck = (flags & TCP_ACK) !== 0;
		const { position: received, windowBytes } = this.#receiver;
		const shift = isSyn ? 0 : this.#terms.receiveShift;
		const window = Math.min(0xffff, windowBytes >> shift);
		if (isAck) {
			this.#lastAckSent = received;
			this.#lastWindowSent = received + (window << shift);
			this.#unackedSegments = 0;
			this.#ackTimer.disarm();
		}
		this.#options.transmit({
			sequence: position >>> 0,
			acknowledgment: isAck ? received >>> 0 : 0,
			flags,
			window,
			options: this.#segmentOptions(isSyn, payload.length === 0),
			payload,
		});
	}

	#segmentOptions(isSyn: boolean, isEmpty: boolean): TcpOptions {
		const { hasTimestamps, hasSack, receiveShift } = this.#terms;
		const value = Math.floor(this.#options.clock.nowNs / 1e6) >>> 0;
		const timestamp = hasTimestamps ? { value, echo: this.#echo } : undefined;
		if (!isSyn) return { timestamp, sack: isEmpty && hasSack ? this.#receiver.sackBlocks() : undefined };
		const isAnswer = this.#state === "syn-received";
		const windowShift = isAnswer && receiveShift === 0 ? undefined : WINDOW_SHIFT;
		return { mssBytes: this.#options.maxSegmentBytes, windowShift, timestamp, sackPermitted: hasSack };
	}

	#close(reason: TcpCloseReason): void {
		this.drop();
		this.#events.closed?.(reason);
	}
}

/** What our own SYN offers. */
function ownTerms({ maxSegmentBytes, usesTimestamps = true }: TcpOptionsHere): TcpTerms {
	return { mssBytes: maxSegmentBytes, hasTimestamps: usesTimestamps, hasSack: true, sendShift: 0, receiveShift: 0 };
}

/** What comes of our offer by the options of the other side's SYN. */
function agreedTerms(ours: TcpTerms, { mssBytes, windowShift, timestamp, sackPermitted }: TcpOptions, maxSegmentBytes: number): TcpTerms {
	const hasTimestamps = ours.hasTimestamps && timestamp !== undefined;
	return {
		mssBytes: Math.max(64, Math.min(maxSegmentBytes, mssBytes ?? DEFAULT_MSS) - (hasTimestamps ? TIMESTAMP_BYTES : 0)),
		hasTimestamps,
		hasSack: sackPermitted === true,
		sendShift: windowShift ?? 0,
		receiveShift: windowShift === undefined ? 0 : WINDOW_SHIFT,
	};
}

function termsOf({ mssBytes, hasTimestamps, hasSack, sendShift, receiveShift }: TcpConnectionState): TcpTerms {
	return { mssBytes, hasTimestamps, hasSack, sendShift, receiveShift };
}
