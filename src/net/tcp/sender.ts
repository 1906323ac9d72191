import type { Ns } from "../../base/units.ts";
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN, type TcpSegment } from "../frames/tcp.ts";
import type { Clock, Timer } from "../time.ts";
import { Congestion, RoundTrip } from "./congestion.ts";
import type { TcpConnectionState, TcpTerms } from "./contract.ts";
import { Scoreboard } from "./scoreboard.ts";
import { SendBuffer } from "./send-buffer.ts";
import { near } from "./sequence.ts";

const MAX_RETRIES = 12;
const NOTHING = new Uint8Array(0);

/** The connection, as its sending half knows it. */
export interface SenderLine {
	readonly clock: Clock;
	emit(flags: number, position: number, payload: Uint8Array): void;
	/** The end of our stream has gone out, perhaps again. */
	finSent(): void;
	finAcknowledged(): void;
	/** So many bytes of ours have arrived over there. */
	acknowledged(bytes: number): void;
	/** Nothing is heard of what has been sent over and over. */
	gaveUp(): void;
}

/** What of a connection's saved state is the sending half's. */
type SavedSender = Pick<TcpConnectionState, "una" | "max" | "peerWindow" | "isEnding" | "waitingFrom" | "waiting">;

/** The sending half of a connection: what goes out, how much of it at a time, and what of it has to go again. */
export class Sender {
	readonly #line: SenderLine;
	readonly #buffer: SendBuffer;
	readonly #scoreboard = new Scoreboard();
	readonly #roundTrip = new RoundTrip();
	readonly #congestion: Congestion;
	readonly #timer: Timer;
	#terms: TcpTerms;
	/** First byte not acknowledged, next to send, and the furthest ever sent; the SYN is the first byte's predecessor. */
	#una: number;
	#next: number;
	#max: number;
	#peerWindow = 0;
	#isEnding = false;
	#isStopped = false;
	/** Those of our SYN, until it is acknowledged. */
	#synFlags: number | undefined;
	#timed: { readonly position: number; readonly atNs: Ns } | undefined;
	#retries = 0;

	/** @param position the SYN's */
	constructor(line: SenderLine, terms: TcpTerms, position: number, waitingFrom = position + 1) {
		this.#line = line;
		this.#terms = terms;
		this.#una = position;
		this.#next = position;
		this.#max = position;
		this.#buffer = new SendBuffer(waitingFrom);
		this.#congestion = new Congestion(terms.mssBytes);
		this.#timer = line.clock.timer("tcp retransmit", () => this.#timedOut());
	}

	/** The first position that is not acknowledged. */
	get una(): number {
		return this.#una;
	}

	/** Behind the furthest position ever sent. */
	get max(): number {
		return this.#max;
	}

	/** Bytes written and not yet acknowledged. */
	get waitingBytes(): number {
		return this.#buffer.size;
	}

	write(bytes: Uint8Array): void {
		if (this.#isEnding || this.#isStopped) return;
		this.#buffer.push(bytes);
		this.send();
	}

	/** No more will be written. */
	end(): void {
		if (this.#isEnding || this.#isStopped) return;
		this.#isEnding = true;
		this.send();
	}

	/** Sends nothing any more. */
	stop(): void {
		this.#isStopped = true;
		this.#timer.disarm();
	}

	save(): SavedSender {
		return {
			una: this.#una,
			max: this.#max,
			peerWindow: this.#peerWindow,
			isEnding: this.#isEnding,
			waitingFrom: this.#buffer.start,
			waiting: this.#buffer.slice(this.#buffer.start, this.#buffer.size),
		};
	}

	/** Takes up what `save` gave: whatever has not been acknowledged goes out again. */
	goOn({ max, peerWindow, isEnding, waiting }: SavedSender): void {
		this.agree(this.#terms, peerWindow);
		this.#max = max;
		this.#isEnding = isEnding;
		this.#buffer.push(waiting);
		this.send();
	}

	/** The other side's SYN has come. */
	agree(terms: TcpTerms, peerWindow: number): void {
		this.#terms = terms;
		this.#congestion.hasSack = terms.hasSack;
		this.#congestion.setMss(terms.mssBytes);
		this.#peerWindow = peerWindow;
	}

	/** Sends our SYN, and again until it is acknowledged. */
	open(synFlags: number): void {
		const nowNs = this.#line.clock.nowNs;
		this.#synFlags = synFlags;
		this.#timed = this.#retries === 0 ? { position: this.#una + 1, atNs: nowNs } : undefined;
		this.#line.emit(synFlags, this.#una, NOTHING);
		this.#next = this.#una + 1;
		this.#max = this.#next;
		this.#timer.arm(nowNs + this.#roundTrip.timeoutNs);
	}

	/** Our SYN is acknowledged: data may follow. */
	opened(segment: TcpSegment, acknowledgment: number): void {
		this.#synFlags = undefined;
		this.#una = acknowledgment;
		this.#timer.disarm();
		this.#retries = 0;
		if (this.#timed !== undefined) this.#roundTrip.sample(this.#line.clock.nowNs - this.#timed.atNs);
		this.#timed = undefined;
		// RFC 7323 §2.2: a SYN's own window is never scaled.
		this.#peerWindow = (segment.flags & TCP_SYN) !== 0 ? segment.window : segment.window << this.#terms.sendShift;
	}

	/** Takes what a segment says of our bytes. `acknowledgment` is no later than `max`. */
	takeAck(segment: TcpSegment, acknowledgment: number): void {
		this.#takeSack(segment, acknowledgment);
		const window = segment.window << this.#terms.sendShift;
		if (acknowledgment > this.#una) this.#advance(acknowledgment, segment);
		else if (acknowledgment === this.#una && this.#max > this.#una && this.#isDuplicate(segment, window)) {
			if (this.#congestion.duplicate(this.#una, this.#max, this.#scoreboard.sacked.size)) {
				this.#scoreboard.begin(this.#una);
				this.#resendFirst();
			}
		}
		if (acknowledgment >= this.#una) this.#peerWindow = window;
		this.send();
	}

	/** RFC 5681 §2; with SACK, whatever tells of something new behind the gap (RFC 6675 §2). */
	#isDuplicate(segment: TcpSegment, window: number): boolean {
		if ((segment.flags & TCP_FIN) !== 0 || segment.payload.length > 0) return false;
		return this.#terms.hasSack ? (segment.options.sack?.length ?? 0) > 0 : window === this.#peerWindow;
	}

	#takeSack(segment: TcpSegment, acknowledgment: number): void {
		if (!this.#terms.hasSack) return;
		for (const block of segment.options.sack ?? []) {
			const start = near(block.start, this.#una);
			const end = near(block.end, this.#una);
			// What lies outside of what we have sent is a mistake or a lie.
			if (start > acknowledgment && end > start && end <= this.#max) this.#scoreboard.sacked.add(start, end);
		}
		this.#scoreboard.advance(Math.max(acknowledgment, this.#una));
	}

	#advance(acknowledgment: number, segment: TcpSegment): void {
		const nowNs = this.#line.clock.nowNs;
		const bytes = acknowledgment - this.#una;
		const stamp = segment.options.timestamp;
		if (this.#terms.hasTimestamps && stamp !== undefined && stamp.echo !== 0) {
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
		if (this.#una === this.#max) this.#timer.disarm();
		else this.#timer.arm(nowNs + this.#roundTrip.timeoutNs);
		if (this.#isEnding && acknowledgment > this.#buffer.end) this.#line.finAcknowledged();
		if (released > 0) this.#line.acknowledged(released);
		if (mustResend && !this.#isStopped) this.#resendFirst();
	}

	/** Sends what windows allow. */
	send(): void {
		if (this.#synFlags !== undefined || this.#isStopped) return;
		if (this.#terms.hasSack && this.#congestion.isRecovering) this.#recover();
		const { mssBytes } = this.#terms;
		for (;;) {
			// After a timeout, all is sent again but what is known to have arrived.
			const gap = this.#scoreboard.sacked.gapFrom(this.#next);
			if (this.#next < this.#buffer.end) this.#next = Math.min(gap.start, this.#buffer.end);
			const flightBytes = this.#flightBytes();
			const room = Math.min(this.#una + this.#peerWindow - this.#next, this.#congestion.windowBytes - flightBytes);
			const pending = Math.min(this.#buffer.end, gap.end) - this.#next;
			if (pending <= 0) break;
			const length = Math.min(mssBytes, pending, Math.floor(room));
			// Sender's silly window avoidance (RFC 9293 §3.8.6.2.1).
			if (length <= 0 || (length < mssBytes && length < pending && flightBytes > 0)) break;
			this.#emitData(this.#next, length);
			this.#next += length;
		}
		if (this.#isEnding && this.#next === this.#buffer.end) {
			this.#line.emit(TCP_FIN | TCP_ACK, this.#next, NOTHING);
			this.#next++;
			this.#line.finSent();
		}
		this.#max = Math.max(this.#max, this.#next);
		const isStuck = this.#next === this.#una && this.#buffer.size > 0;
		if ((this.#max > this.#una || isStuck) && !this.#timer.isArmed) this.#timer.arm(this.#line.clock.nowNs + this.#roundTrip.timeoutNs);
	}

	#flightBytes(): number {
		const { mssBytes, hasSack } = this.#terms;
		return this.#scoreboard.flightBytes(this.#una, this.#next, mssBytes, hasSack && this.#congestion.isRecovering);
	}

	/** Fills gaps again, as far as the window lets us (RFC 6675 §5). */
	#recover(): void {
		const { mssBytes } = this.#terms;
		for (const { start, length } of this.#scoreboard.takeLostAgain(this.#una, mssBytes, this.#max)) this.#emitData(start, length);
		for (;;) {
			const gap = this.#scoreboard.nextLost(this.#una, mssBytes);
			if (gap === undefined) break;
			const length = Math.min(mssBytes, gap.end - gap.start, this.#buffer.end - gap.start);
			if (length <= 0 || this.#congestion.windowBytes - this.#flightBytes() < length) break;
			this.#resend(gap.start, length);
		}
	}

	#resendFirst(): void {
		const gap = this.#scoreboard.sacked.gapFrom(this.#una);
		if (this.#una < this.#buffer.end) this.#resend(this.#una, Math.min(this.#terms.mssBytes, gap.end - this.#una));
		else if (this.#isEnding && this.#una === this.#buffer.end) this.#line.emit(TCP_FIN | TCP_ACK, this.#una, NOTHING);
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
			this.#timed = { position: position + payload.length, atNs: this.#line.clock.nowNs };
		this.#line.emit(TCP_ACK | (isLast ? TCP_PSH : 0), position, payload);
	}

	#timedOut(): void {
		this.#retries++;
		if (this.#retries > MAX_RETRIES) {
			this.#line.gaveUp();
			return;
		}
		this.#roundTrip.backOff();
		if (this.#synFlags !== undefined) {
			this.open(this.#synFlags);
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
		this.#timer.arm(this.#line.clock.nowNs + this.#roundTrip.timeoutNs);
		this.send();
	}
}
