import { NS_PER_S, type Ns } from "../../base/units.ts";
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, type TcpOptions, type TcpSegment } from "../frames/tcp.ts";
import type { Timer } from "../time.ts";
import { Congestion, RoundTrip } from "./congestion.ts";
import type { TcpCloseReason, TcpConnectionState, TcpEvents, TcpOptionsHere, TcpState } from "./contract.ts";
import { Receiver } from "./receiver.ts";
import { Scoreboard } from "./scoreboard.ts";
import { SendBuffer } from "./send-buffer.ts";

const WINDOW_SHIFT = 7;
const DEFAULT_RECEIVE_BYTES = 512 * 1024;
const DELAYED_ACK_NS: Ns = 40_000_000;
const TIME_WAIT_NS: Ns = 60 * NS_PER_S;
const DEFAULT_MSS = 536;
const TIMESTAMP_BYTES = 12;
const MAX_RETRIES = 12;

/**
 * One end of a TCP connection (RFC 9293), with window scaling and timestamps (RFC 7323), selective
 * acknowledgments (RFC 2018) and NewReno's windows. Positions in the
 * two streams are whole numbers that do not wrap; sequence numbers are made from them at the edge.
 */
export class TcpConnection {
	readonly #options: TcpOptionsHere;
	readonly #events: TcpEvents;
	readonly #buffer: SendBuffer;
	readonly #receiver: Receiver;
	readonly #scoreboard = new Scoreboard();
	readonly #roundTrip = new RoundTrip();
	readonly #congestion: Congestion;
	readonly #retransmitTimer: Timer;
	readonly #ackTimer: Timer;
	#state: TcpState;
	#mss: number;
	#hasTimestamps: boolean;
	#hasSack = true;
	#sendShift = 0;
	#receiveShift = 0;
	/** First byte not acknowledged, next to send, and the furthest ever sent; the SYN is position 0's predecessor. */
	#una: number;
	#next: number;
	#max: number;
	#peerWindow = 0;
	#isEnding = false;
	#lastWindowSent = 0;
	#lastAckSent = 0;
	#unackedSegments = 0;
	#echo = 0;
	#timed: { position: number; atNs: Ns } | undefined;
	#retries = 0;

	/** `from`: the segment that asked for this connection, or what `save` gave; without it, we ask. */
	constructor(options: TcpOptionsHere, events: TcpEvents, from?: TcpSegment | TcpConnectionState) {
		this.#options = options;
		this.#events = events;
		const pass = events.data === undefined ? undefined : (bytes: Uint8Array) => events.data?.(bytes);
		this.#receiver = new Receiver(options.receiveBufferBytes ?? DEFAULT_RECEIVE_BYTES, pass);
		this.#hasTimestamps = options.usesTimestamps ?? true;
		const saved = from !== undefined && "state" in from ? from : undefined;
		const syn = from === undefined || "state" in from ? undefined : from;
		this.#mss = options.maxSegmentBytes;
		this.#una = saved?.una ?? options.initialSequence;
		this.#next = this.#una;
		this.#max = this.#una;
		this.#buffer = new SendBuffer(saved?.waitingFrom ?? this.#una + 1);
		this.#congestion = new Congestion(this.#mss);
		this.#retransmitTimer = options.clock.timer("tcp retransmit", () => this.#retransmitTimeout());
		this.#ackTimer = options.clock.timer("tcp ack", () => this.#sendAck());
		this.#state = saved?.state ?? (syn === undefined ? "syn-sent" : "syn-received");
		if (saved !== undefined) {
			this.#goOn(saved);
			return;
		}
		if (syn !== undefined) this.#takeSyn(syn);
		this.#transmitSyn();
	}

	get state(): TcpState {
		return this.#state;
	}

	/** Bytes written and not yet acknowledged. */
	get unsentBytes(): number {
		return this.#buffer.size;
	}

	write(bytes: Uint8Array): void {
		if (this.#isEnding || this.#state === "closed") return;
		this.#buffer.push(bytes);
		this.#send();
	}

	/** No more will be written. */
	end(): void {
		if (this.#isEnding || this.#state === "closed") return;
		this.#isEnding = true;
		this.#send();
	}

	abort(): void {
		if (this.#state === "closed") return;
		if (this.#state !== "time-wait") this.#emit(TCP_RST | TCP_ACK, this.#max, new Uint8Array(0));
		this.#close("reset");
	}

	/** Ends it without a word to anybody. */
	drop(): void {
		this.#state = "closed";
		this.#receiver.stop();
		this.#retransmitTimer.disarm();
		this.#ackTimer.disarm();
	}

	/** For a snapshot; `undefined` while it opens, and once it is over. */
	save(): TcpConnectionState | undefined {
		if (["syn-sent", "syn-received", "time-wait", "closed"].includes(this.#state)) return undefined;
		return {
			state: this.#state,
			mssBytes: this.#mss,
			hasTimestamps: this.#hasTimestamps,
			hasSack: this.#hasSack,
			sendShift: this.#sendShift,
			receiveShift: this.#receiveShift,
			una: this.#una,
			max: this.#max,
			peerWindow: this.#peerWindow,
			isEnding: this.#isEnding,
			echo: this.#echo,
			waitingFrom: this.#buffer.start,
			waiting: this.#buffer.slice(this.#buffer.start, this.#buffer.size),
			received: this.#receiver.position,
			finAt: this.#receiver.finAt ?? null,
		};
	}

	/** Takes up what `save` gave: whatever has not been acknowledged goes out again. */
	#goOn(saved: TcpConnectionState): void {
		this.#mss = saved.mssBytes;
		this.#hasTimestamps = saved.hasTimestamps;
		this.#hasSack = saved.hasSack;
		this.#congestion.hasSack = saved.hasSack;
		this.#congestion.setMss(saved.mssBytes);
		this.#sendShift = saved.sendShift;
		this.#receiveShift = saved.receiveShift;
		this.#max = saved.max;
		this.#peerWindow = saved.peerWindow;
		this.#isEnding = saved.isEnding;
		this.#echo = saved.echo;
		this.#buffer.push(saved.waiting);
		this.#receiver.position = saved.received;
		this.#lastAckSent = saved.received;
		if (saved.finAt !== null) this.#receiver.noteFin(saved.finAt);
		this.#send();
	}

	/** Room for so many bytes has come back. */
	consumed(bytes: number): void {
		this.#receiver.consumed(bytes);
		// RFC 9293 §3.8.6.2.2: tell the sender only when it is worth it.
		const { position, windowBytes, bufferBytes } = this.#receiver;
		const opened = position + windowBytes - this.#lastWindowSent;
		if (this.#state !== "closed" && opened >= Math.min(bufferBytes / 2, 2 * this.#mss)) this.#sendAck();
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
			if (this.#state === "syn-received") this.#transmitSyn();
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
		const acknowledgment = near(segment.acknowledgment, this.#max);
		const isAck = (segment.flags & TCP_ACK) !== 0;
		if (isAck && acknowledgment !== this.#max) return;
		if ((segment.flags & TCP_RST) !== 0) {
			if (isAck) this.#close("refused");
			return;
		}
		if ((segment.flags & TCP_SYN) === 0) return;
		this.#takeSyn(segment);
		if (!isAck) {
			this.#state = "syn-received";
			this.#transmitSyn();
			return;
		}
		this.#state = "established";
		this.#una = acknowledgment;
		this.#finishHandshake(segment);
		this.#sendAck();
		this.#send();
	}

	#takeSyn(syn: TcpSegment): void {
		const { mssBytes, windowShift, timestamp, sackPermitted } = syn.options;
		this.#hasSack = sackPermitted === true;
		this.#congestion.hasSack = this.#hasSack;
		this.#hasTimestamps &&= timestamp !== undefined;
		this.#echo = timestamp?.value ?? 0;
		this.#mss = Math.max(
			64,
			Math.min(this.#options.maxSegmentBytes, mssBytes ?? DEFAULT_MSS) - (this.#hasTimestamps ? TIMESTAMP_BYTES : 0),
		);
		this.#congestion.setMss(this.#mss);
		this.#sendShift = windowShift ?? 0;
		this.#receiveShift = windowShift === undefined ? 0 : WINDOW_SHIFT;
		this.#receiver.position = syn.sequence + 1;
		this.#lastAckSent = this.#receiver.position;
		this.#peerWindow = syn.window;
	}

	#finishHandshake(segment: TcpSegment): void {
		this.#retransmitTimer.disarm();
		this.#retries = 0;
		if (this.#timed !== undefined) this.#roundTrip.sample(this.#options.clock.nowNs - this.#timed.atNs);
		this.#timed = undefined;
		this.#peerWindow = (segment.flags & TCP_SYN) !== 0 ? segment.window : segment.window << this.#sendShift;
		this.#events.established?.();
	}

	/** False when the connection has gone, or the segment is to be forgotten. */
	#takeAck(segment: TcpSegment): boolean {
		const acknowledgment = near(segment.acknowledgment, this.#una);
		if (acknowledgment > this.#max) {
			this.#sendAck();
			return false;
		}
		if (this.#state === "syn-received") {
			if (acknowledgment <= this.#una) return false;
			this.#state = "established";
			this.#una = acknowledgment;
			this.#finishHandshake(segment);
		}
		this.#takeSack(segment, acknowledgment);
		const window = segment.window << this.#sendShift;
		if (acknowledgment > this.#una) this.#advance(acknowledgment, segment);
		else if (acknowledgment === this.#una && this.#max > this.#una && this.#isDuplicate(segment, window)) {
			if (this.#congestion.duplicate(this.#una, this.#max, this.#scoreboard.sacked.size)) {
				this.#scoreboard.begin(this.#una);
				this.#resendFirst();
			}
		}
		if (acknowledgment >= this.#una) this.#peerWindow = window;
		// An event may have ended it all.
		if (this.#isClosed()) return false;
		this.#send();
		return true;
	}

	/** RFC 5681 §2; with SACK, whatever tells of something new behind the gap (RFC 6675 §2). */
	#isDuplicate(segment: TcpSegment, window: number): boolean {
		if ((segment.flags & TCP_FIN) !== 0 || segment.payload.length > 0) return false;
		return this.#hasSack ? (segment.options.sack?.length ?? 0) > 0 : window === this.#peerWindow;
	}

	#takeSack(segment: TcpSegment, acknowledgment: number): void {
		if (!this.#hasSack) return;
		for (const block of segment.options.sack ?? []) {
			const start = near(block.start, this.#una);
			const end = near(block.end, this.#una);
			// What lies outside of what we have sent is a mistake or a lie.
			if (start > acknowledgment && end > start && end <= this.#max) this.#scoreboard.sacked.add(start, end);
		}
		this.#scoreboard.advance(Math.max(acknowledgment, this.#una));
	}

	#isClosed(): boolean {
		return this.#state === "closed";
	}

	#advance(acknowledgment: number, segment: TcpSegment): void {
		const nowNs = this.#options.clock.nowNs;
		const bytes = acknowledgment - this.#una;
		const stamp = segment.options.timestamp;
		if (this.#hasTimestamps && stamp !== undefined && stamp.echo !== 0) {
			const rttMs = (Math.floor(nowNs / 1e6) - stamp.echo) >>> 0;
			if (rttMs < 120_000) this.#roundTrip.sample(Math.max(1, rttMs) * 1e6);
		} else if (this.#timed !== undefined && acknowledgment >= this.#timed.position) {
			this.#roundTrip.sample(nowNs - this.#timed.atNs);
			this.#timed = undefined;
		}
		this.#una = acknowledgment;
		this.#next = Math.max(this.#next, acknowledgment);
		this.#retries = 0;
		const released = this.#buffer.release(acknowledgment);
		const mustResend = this.#congestion.acknowledged(bytes, acknowledgment);
		if (this.#una === this.#max) this.#retransmitTimer.disarm();
		else this.#retransmitTimer.arm(nowNs + this.#roundTrip.timeoutNs);
		if (this.#isEnding && acknowledgment > this.#buffer.end) this.#finAcknowledged();
		if (released > 0) this.#events.acknowledged?.(released);
		if (mustResend && !this.#isClosed()) this.#resendFirst();
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
		this.#retransmitTimer.arm(this.#options.clock.nowNs + TIME_WAIT_NS);
	}

	/** Sends what windows and state allow. */
	#send(): void {
		if (this.#state === "syn-sent" || this.#state === "syn-received") return;
		if (this.#hasSack && this.#congestion.isRecovering) this.#recover();
		for (;;) {
			// After a timeout, all is sent again but what is known to have arrived.
			const gap = this.#scoreboard.sacked.gapFrom(this.#next);
			if (this.#next < this.#buffer.end) this.#next = Math.min(gap.start, this.#buffer.end);
			const flightBytes = this.#flightBytes();
			const room = Math.min(this.#una + this.#peerWindow - this.#next, this.#congestion.windowBytes - flightBytes);
			const pending = Math.min(this.#buffer.end, gap.end) - this.#next;
			if (pending <= 0) break;
			const length = Math.min(this.#mss, pending, Math.floor(room));
			// Sender's silly window avoidance (RFC 9293 §3.8.6.2.1).
			if (length <= 0 || (length < this.#mss && length < pending && flightBytes > 0)) break;
			this.#emitData(this.#next, length);
			this.#next += length;
		}
		if (this.#isEnding && this.#next === this.#buffer.end && this.#state !== "time-wait") {
			this.#emit(TCP_FIN | TCP_ACK, this.#next, new Uint8Array(0));
			this.#next++;
			if (this.#state === "established") this.#state = "fin-wait-1";
			else if (this.#state === "close-wait") this.#state = "last-ack";
		}
		this.#max = Math.max(this.#max, this.#next);
		const isStuck = this.#next === this.#una && this.#buffer.size > 0;
		if ((this.#max > this.#una || isStuck) && !this.#retransmitTimer.isArmed && this.#state !== "time-wait")
			this.#retransmitTimer.arm(this.#options.clock.nowNs + this.#roundTrip.timeoutNs);
	}

	#flightBytes(): number {
		return this.#scoreboard.flightBytes(this.#una, this.#next, this.#mss, this.#hasSack && this.#congestion.isRecovering);
	}

	/** Fills gaps again, as far as the window lets us (RFC 6675 §5). */
	#recover(): void {
		for (const { start, length } of this.#scoreboard.takeLostAgain(this.#una, this.#mss, this.#max)) this.#emitData(start, length);
		for (;;) {
			const gap = this.#scoreboard.nextLost(this.#una, this.#mss);
			if (gap === undefined) break;
			const length = Math.min(this.#mss, gap.end - gap.start, this.#buffer.end - gap.start);
			if (length <= 0 || this.#congestion.windowBytes - this.#flightBytes() < length) break;
			this.#resend(gap.start, length);
		}
	}

	#resend(start: number, length: number): void {
		this.#timed = undefined;
		this.#emitData(start, length);
		this.#scoreboard.noteResent(start, length, this.#max);
	}

	#emitData(position: number, length: number): void {
		const payload = this.#buffer.slice(position, length);
		const isLast = position + payload.length === this.#buffer.end;
		if (this.#timed === undefined && position >= this.#max)
			this.#timed = { position: position + payload.length, atNs: this.#options.clock.nowNs };
		this.#emit(TCP_ACK | (isLast ? TCP_PSH : 0), position, payload);
	}

	#resendFirst(): void {
		const gap = this.#scoreboard.sacked.gapFrom(this.#una);
		if (this.#una < this.#buffer.end) this.#resend(this.#una, Math.min(this.#mss, gap.end - this.#una));
		else if (this.#isEnding && this.#una === this.#buffer.end) this.#emit(TCP_FIN | TCP_ACK, this.#una, new Uint8Array(0));
	}

	#retransmitTimeout(): void {
		const nowNs = this.#options.clock.nowNs;
		if (this.#state === "time-wait") {
			this.#close("done");
			return;
		}
		this.#retries++;
		if (this.#retries > MAX_RETRIES) {
			this.#close("timeout");
			return;
		}
		this.#roundTrip.backOff();
		if (this.#state === "syn-sent" || this.#state === "syn-received") {
			this.#transmitSyn();
			return;
		}
		this.#timed = undefined;
		this.#next = this.#una;
		if (this.#peerWindow === 0 && this.#buffer.size > 0) {
			// The window may have opened unheard: one byte finds out, for as long as it takes (RFC 9293 §3.8.6.1).
			this.#retries = 1;
			this.#emitData(this.#una, 1);
			this.#max = Math.max(this.#max, this.#una + 1);
		} else this.#congestion.timedOut(this.#max - this.#una, this.#max);
		this.#retransmitTimer.arm(nowNs + this.#roundTrip.timeoutNs);
		this.#send();
	}

	#transmitSyn(): void {
		const nowNs = this.#options.clock.nowNs;
		this.#timed = this.#retries === 0 ? { position: this.#una + 1, atNs: nowNs } : undefined;
		const flags = this.#state === "syn-sent" ? TCP_SYN : TCP_SYN | TCP_ACK;
		this.#emit(flags, this.#una, new Uint8Array(0));
		this.#next = this.#una + 1;
		this.#max = this.#next;
		this.#retransmitTimer.arm(nowNs + this.#roundTrip.timeoutNs);
	}

	/** From the furthest position ever sent: the other side ignores what seems to come from the past. */
	#sendAck(): void {
		this.#emit(TCP_ACK, this.#max, new Uint8Array(0));
	}

	#emit(flags: number, position: number, payload: Uint8Array): void {
		const isSyn = (flags & TCP_SYN) !== 0;
		const isAck = (flags & TCP_ACK) !== 0;
		const { position: received, windowBytes } = this.#receiver;
		const shift = isSyn ? 0 : this.#receiveShift;
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
		const value = Math.floor(this.#options.clock.nowNs / 1e6) >>> 0;
		const timestamp = this.#hasTimestamps ? { value, echo: this.#echo } : undefined;
		if (!isSyn) return { timestamp, sack: isEmpty && this.#hasSack ? this.#receiver.sackBlocks() : undefined };
		const isAnswer = this.#state === "syn-received";
		const windowShift = isAnswer && this.#receiveShift === 0 ? undefined : WINDOW_SHIFT;
		return { mssBytes: this.#options.maxSegmentBytes, windowShift, timestamp, sackPermitted: this.#hasSack };
	}

	#close(reason: TcpCloseReason): void {
		this.drop();
		this.#events.closed?.(reason);
	}
}

/** The position nearest to `reference` that has this sequence number. */
function near(sequence: number, reference: number): number {
	return reference + ((sequence - (reference >>> 0)) | 0);
}
