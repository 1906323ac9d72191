import { SharedLine, type Wire } from "../machine/wire.ts";

const ISA_IRQ_COUNT = 16;

/** Where a line ends: an input of the 8259 pair and one of the I/O APIC. */
export interface IsaInterruptSinks {
	/** `undefined` for IRQ 2, which the second 8259 drives. */
	pic(irq: number): Wire | undefined;
	ioapic(irq: number): Wire | undefined;
}

/**
 * The sixteen interrupt lines of the ISA bus. Every driver of a line gets its own wire, and both controllers see the
 * line; the guest listens to one of them.
 */
export class IsaInterrupts {
	readonly #lines: SharedLine[] = [];

	constructor(sinks: IsaInterruptSinks) {
		for (let irq = 0; irq < ISA_IRQ_COUNT; irq++) {
			const ends = [sinks.pic(irq), sinks.ioapic(irq)].filter((wire) => wire !== undefined);
			this.#lines.push(
				new SharedLine({
					set: (high) => {
						for (const end of ends) end.set(high);
					},
					get isHigh() {
						return ends.some((end) => end.isHigh);
					},
				}),
			);
		}
	}

	/** A driver of `irq`, of its own for every call. */
	driver(irq: number): Wire {
		return (this.#lines[irq] as SharedLine).driver();
	}
}
