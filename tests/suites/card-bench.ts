import { SteppedClock } from "../../src/machine/clock.ts";
import { GuestMemory } from "../../src/machine/memory.ts";
import type { PciDevice } from "../../src/machine/pci.ts";
import type { Port } from "../../src/net/port.ts";

/** A cable's end that keeps what was sent. */
export class RecordingPort implements Port {
	hasCarrier = true;
	speedBps: number | undefined;
	readonly sent: Uint8Array[] = [];
	onFrame: (frame: Uint8Array) => void = () => {};
	onCarrier: (isUp: boolean) => void = () => {};

	send(frame: Uint8Array): void {
		this.sent.push(frame);
	}

	setCarrier(isUp: boolean): void {
		this.hasCarrier = isUp;
		this.onCarrier(isUp);
	}
}

/** A network card in a slot, with memory and a clock of its own. */
export class CardBench<Card extends PciDevice> {
	readonly port = new RecordingPort();
	readonly memory = new GuestMemory(1024 * 1024);
	readonly clock = new SteppedClock();
	readonly card: Card;
	isInterrupting = false;
	interrupts = 0;

	constructor(make: (port: Port, clock: SteppedClock) => Card) {
		this.card = make(this.port, this.clock);
		const bench = this;
		this.card.pci.attach({
			intx: {
				set: (high) => {
					if (high && !this.isInterrupting) this.interrupts++;
					this.isInterrupting = high;
				},
				get isHigh() {
					return bench.isInterrupting;
				},
			},
			dma: this.memory,
			deliverMsi: () => {},
			decodeChanged: () => {},
		});
		this.card.pci.config.write(4, 2, 7);
	}

	read(offset: number, bytes = 4, bar = 0): number {
		return this.card.pci.bars[bar]!.handler.read(offset, bytes) >>> 0;
	}

	write(offset: number, value: number, bytes = 4, bar = 0): void {
		this.card.pci.bars[bar]!.handler.write(offset, bytes, value >>> 0);
	}

	bytes(at: number, count: number): Uint8Array {
		const into = new Uint8Array(count);
		this.memory.read(at, into);
		return into;
	}
}
