import { type SuperFrame, superFrame } from "../../../../net/offload/segment.ts";
import type { Port } from "../../../../net/port.ts";
import { FrameRing, RECORD, type RingRecord } from "./frame-ring.ts";
import { CELL, CELLS_PER_CARD, type ThreadData } from "./messages.ts";

/** How often, and how long each time, a full ring is waited for before a frame is lost: a lab that is busy is slow, not gone. */
const ROOM_TRIES = 50;
const ROOM_WAIT_MS = 2;

/** The cards' ends of their cables on the machine's thread. */
export class ThreadCards {
	readonly ports: readonly Port[];
	readonly #cells: Int32Array;
	readonly #labBell: Int32Array;
	readonly #toLab: FrameRing;
	readonly #toMachine: FrameRing;
	readonly #carriers: boolean[];
	/** Has the lab's thread look, though it sleeps. */
	readonly #wakeLab: () => void;

	constructor({ cards, cells, labBell, toLab, toMachine }: ThreadData, wakeLab: () => void) {
		this.#cells = new Int32Array(cells);
		this.#labBell = new Int32Array(labBell);
		this.#toLab = new FrameRing(toLab);
		this.#toMachine = new FrameRing(toMachine);
		this.#wakeLab = wakeLab;
		this.#carriers = cards.map(() => false);
		this.ports = cards.map((_, card) => this.#port(card));
	}

	/** Hands the cards what has come for them. On the machine's own time, between two slices. */
	take(): void {
		for (let record = this.#toMachine.read(); record !== undefined; record = this.#toMachine.read()) this.#arrive(record);
		if (Atomics.load(this.#cells, CELL.wantsRoom) !== 0) {
			Atomics.store(this.#cells, CELL.wantsRoom, 0);
			this.#ring();
		}
	}

	#port(card: number): Port {
		const carriers = this.#carriers;
		const cells = this.#cells;
		const cell = CELL.cards + CELLS_PER_CARD * card;
		return {
			get hasCarrier() {
				return carriers[card] === true;
			},
			get speedBps() {
				const mbps = Atomics.load(cells, cell + 1);
				return mbps === 0 ? undefined : mbps * 1e6;
			},
			send: (bytes) => this.#send({ kind: RECORD.frame, card, number: 0, bytes }),
			// What the cable is like now; if it is another one by the time the frame gets there, the lab cuts it.
			sendWhole: ({ frame, segmentBytes }: SuperFrame) => {
				if (Atomics.load(cells, cell) === 0) return false;
				this.#send({ kind: RECORD.whole, card, number: segmentBytes, bytes: frame });
				return true;
			},
			onFrame: () => {},
			onWhole: undefined,
			onCarrier: () => {},
		};
	}

	#arrive({ kind, card, number, bytes }: RingRecord): void {
		const port = this.ports[card];
		if (port === undefined) return;
		if (kind === RECORD.carrier) {
			this.#carriers[card] = number !== 0;
			port.onCarrier(number !== 0);
		} else if (kind === RECORD.frame) port.onFrame(bytes);
		else {
			const whole = superFrame(bytes, number);
			if (whole !== undefined) port.onWhole?.(whole);
		}
	}

	/** A full ring stops the guest, as a busy cable would stop a card's transmitter. */
	#send(record: RingRecord): void {
		for (let tries = 0; !this.#toLab.write(record); tries++) {
			if (tries === ROOM_TRIES) return;
			const room = Atomics.load(this.#cells, CELL.room);
			this.#ring();
			if (this.#toLab.write(record)) break;
			Atomics.wait(this.#cells, CELL.room, room, ROOM_WAIT_MS);
		}
		this.#ring();
	}

	#ring(): void {
		Atomics.add(this.#labBell, 0, 1);
		Atomics.notify(this.#labBell, 0);
		if (Atomics.exchange(this.#cells, CELL.isLabAsleep, 0) !== 0) this.#wakeLab();
	}
}
