import type { ThreadOptions } from "../../../../lab/runtime.ts";
import { segmentsOf, superFrame } from "../../../../net/offload/segment.ts";
import { FrameRing, RECORD, type RingRecord } from "./frame-ring.ts";
import { CELL, CELLS_PER_CARD } from "./messages.ts";

/** Frames that wait for room in the machine's ring, at most; more are lost, as in a card whose memory is full. */
const MAX_WAITING = 2048;
/** Frames taken from a machine at one time: others, and the host's events, get their turn too. */
const MAX_TAKEN = 256;

const NOTHING = new Uint8Array(0);

/** The cards' ends of their cables on the lab's thread. */
export class LabCards {
	readonly #options: ThreadOptions;
	readonly #cells: Int32Array;
	readonly #toMachine: FrameRing;
	readonly #toLab: FrameRing;
	readonly #waiting: RingRecord[] = [];
	#isClosed = false;

	constructor(options: ThreadOptions, cells: Int32Array, toMachine: SharedArrayBuffer, toLab: SharedArrayBuffer) {
		this.#options = options;
		this.#cells = cells;
		this.#toMachine = new FrameRing(toMachine);
		this.#toLab = new FrameRing(toLab);
		Atomics.store(cells, CELL.isLabAsleep, 1);
		for (const [card, { jack, model }] of options.cards.entries()) {
			jack.onFrame = (bytes) => this.#give({ kind: RECORD.frame, card, number: 0, bytes });
			if (model === "virtio")
				jack.onWhole = ({ frame, segmentBytes }) => this.#give({ kind: RECORD.whole, card, number: segmentBytes, bytes: frame });
			jack.onCarrier = (isUp) => {
				this.#describe();
				this.#give({ kind: RECORD.carrier, card, number: isUp ? 1 : 0, bytes: NOTHING });
			};
		}
	}

	/** Takes what the machine has left, and gives it what it has room for now. Returns how many frames came. */
	pump(): number {
		this.#flush();
		if (this.#isClosed || this.#toLab.isEmpty) return 0;
		// Whatever came first goes first.
		this.#options.runDue();
		let taken = 0;
		for (; taken < MAX_TAKEN; taken++) {
			const record = this.#toLab.read();
			if (record === undefined) break;
			this.#send(record);
		}
		Atomics.add(this.#cells, CELL.room, 1);
		Atomics.notify(this.#cells, CELL.room);
		this.#describe();
		this.#options.runDue();
		return taken;
	}

	/** From now on the machine sends a message with its next frame. False if it has written just before that. */
	sleep(): boolean {
		Atomics.store(this.#cells, CELL.isLabAsleep, 1);
		if (this.#isClosed || this.#toLab.isEmpty) return true;
		Atomics.store(this.#cells, CELL.isLabAsleep, 0);
		return false;
	}

	/** Something lies in the machine's ring or among its messages. */
	ring(): void {
		Atomics.add(this.#cells, CELL.bell, 1);
		Atomics.notify(this.#cells, CELL.bell);
	}

	close(): void {
		this.#isClosed = true;
		this.#waiting.length = 0;
	}

	#send({ kind, card, number, bytes }: RingRecord): void {
		const jack = this.#options.cards[card]?.jack;
		if (jack === undefined) return;
		if (kind === RECORD.frame) {
			jack.send(bytes);
			return;
		}
		const whole = superFrame(bytes, number);
		if (whole === undefined || jack.sendWhole(whole)) return;
		for (const frame of segmentsOf(whole)) jack.send(frame);
	}

	/** For the machine: what its cables are like at present. */
	#describe(): void {
		for (const [card, { jack }] of this.#options.cards.entries()) {
			const cell = CELL.cards + CELLS_PER_CARD * card;
			const { speedBps } = jack;
			Atomics.store(this.#cells, cell, jack.takesWhole ? 1 : 0);
			Atomics.store(this.#cells, cell + 1, speedBps === undefined ? 0 : Math.max(1, Math.round(speedBps / 1e6)));
		}
	}

	#give(record: RingRecord): void {
		if (this.#isClosed) return;
		if (this.#waiting.length > 0 || !this.#toMachine.write(record)) {
			// News of the cable are never lost.
			if (this.#waiting.length >= MAX_WAITING && record.kind !== RECORD.carrier) return;
			this.#waiting.push(record);
			Atomics.store(this.#cells, CELL.wantsRoom, 1);
		}
		this.ring();
	}

	#flush(): void {
		let given = 0;
		while (given < this.#waiting.length && this.#toMachine.write(this.#waiting[given] as RingRecord)) given++;
		if (given === 0) return;
		this.#waiting.splice(0, given);
		if (this.#waiting.length > 0) Atomics.store(this.#cells, CELL.wantsRoom, 1);
		this.ring();
	}
}
