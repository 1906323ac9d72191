import { SendBuffer } from "../tcp/send-buffer.ts";

/** Kept of both directions together; a session that says more between two snapshots cannot be gone back into. */
const MAX_TAPE_BYTES = 1 << 20;

interface Answer {
	readonly start: number;
	readonly bytes: Uint8Array;
	/** How far the guest had spoken when this came. */
	readonly after: number;
}

/**
 * What a guest and the world outside have said to each other, by place in the two streams. A guest that is put back to a
 * snapshot says the same again: it is not passed on twice, and is answered as it was then. Nothing is kept before the first
 * snapshot.
 */
export class Tape {
	/** Behind the last byte that went outside, and the last that came from there. */
	sentTo = 0;
	heardTo = 0;
	/** The guest has said its last byte; the outside has, when the guest had spoken that far. */
	isSentEnded = false;
	heardEndAfter: number | undefined;
	readonly #maxBytes: number;
	#isRunning = false;
	#sent = new SendBuffer(0);
	#answers: Answer[] = [];
	#heardFrom = 0;

	constructor(maxBytes = MAX_TAPE_BYTES) {
		this.#maxBytes = maxBytes;
	}

	/** From here on what is said is kept. */
	run(): void {
		if (this.#isRunning) return;
		this.#isRunning = true;
		this.forget();
	}

	/** What has been said so far cannot be gone through again. */
	forget(): void {
		this.#sent = new SendBuffer(this.sentTo);
		this.#answers = [];
		this.#heardFrom = this.heardTo;
	}

	get isTooLong(): boolean {
		return this.#sent.size + this.heardTo - this.#heardFrom > this.#maxBytes;
	}

	/** Both streams are known from these places on. */
	reaches(sent: number, heard: number): boolean {
		return this.#isRunning && sent >= this.#sent.start && sent <= this.sentTo && heard >= this.#heardFrom && heard <= this.heardTo;
	}

	send(bytes: Uint8Array): void {
		this.sentTo += bytes.length;
		if (this.#isRunning) this.#sent.push(bytes);
	}

	hear(bytes: Uint8Array): void {
		if (this.#isRunning) this.#answers.push({ start: this.heardTo, bytes, after: this.sentTo });
		this.heardTo += bytes.length;
	}

	/** Whether these bytes are what was said at `position`. */
	hasSaid(position: number, bytes: Uint8Array): boolean {
		const then = this.#sent.slice(position, bytes.length);
		return then.length === bytes.length && then.every((byte, index) => byte === bytes[index]);
	}

	/** The next of what was heard behind `heard` by a guest that had spoken as far as `said`. */
	next(heard: number, said: number): Uint8Array | undefined {
		const answer = this.#answers.find(({ start, bytes }) => start + bytes.length > heard);
		return answer === undefined || answer.after > said ? undefined : answer.bytes.subarray(heard - answer.start);
	}
}
