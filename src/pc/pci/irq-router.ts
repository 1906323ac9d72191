import { SharedLine, type Wire } from "../../machine/wire.ts";

export const PIRQ_COUNT = 4;
/** PIRQRC bit 7: the line reaches no ISA interrupt. */
export const PIRQRC_DISABLED = 0x80;
/** IRQs that a PIRQ may be steered to (Intel 82371SB data sheet, PIRQRC: 0–2, 8 and 13 are reserved). */
const STEERABLE = 0b1101_1110_1111_1000;

/** PIRQ line (0–3) that pin `pin` (1–4) of slot `slot` is wired to: boards rotate pins so that slots share evenly. */
export function pirqOf(slot: number, pin: number): number {
	return (slot + pin - 1) % PIRQ_COUNT;
}

/** What the four lines lead to. */
export interface PirqSinks {
	/** The I/O APIC's input for PIRQ `index`. */
	ioapic(index: number): Wire;
	/** A driver of ISA interrupt `irq` (of its own for every call). */
	isa(irq: number): Wire;
}

/**
 * PIRQA#–PIRQD#: each shared line always drives its own I/O APIC input, and the ISA interrupt that its PIRQRC register
 * steers it to. The registers live in the ISA bridge's configuration space, which calls `steer`.
 */
export class PirqRouter {
	readonly #lines: SharedLine[] = [];
	readonly #isaDrivers: Map<number, Wire>[] = [];
	readonly #control: number[] = new Array<number>(PIRQ_COUNT).fill(PIRQRC_DISABLED);
	readonly #isHigh: boolean[] = new Array<boolean>(PIRQ_COUNT).fill(false);
	readonly #sinks: PirqSinks;

	constructor(sinks: PirqSinks) {
		this.#sinks = sinks;
		for (let index = 0; index < PIRQ_COUNT; index++) {
			const ioapic = sinks.ioapic(index);
			this.#isaDrivers.push(new Map());
			this.#lines.push(
				new SharedLine({
					set: (high) => {
						this.#isHigh[index] = high;
						ioapic.set(high);
						this.#drive(index);
					},
					isHigh: false,
				}),
			);
		}
	}

	/** A driver of the line behind `pin` (1–4) of `slot`. */
	pin(slot: number, pin: number): Wire {
		return (this.#lines[pirqOf(slot, pin)] as SharedLine).driver();
	}

	/** PIRQRC of line `index` was written. */
	steer(index: number, control: number): void {
		if (this.#control[index] === control) return;
		this.#control[index] = control;
		this.#drive(index);
	}

	#drive(index: number): void {
		const control = this.#control[index] as number;
		const irq = control & 15;
		const isSteered = (control & PIRQRC_DISABLED) === 0 && ((STEERABLE >> irq) & 1) !== 0;
		const drivers = this.#isaDrivers[index] as Map<number, Wire>;
		for (const [other, driver] of drivers) if (!isSteered || other !== irq) driver.set(false);
		if (!isSteered) return;
		let driver = drivers.get(irq);
		if (driver === undefined) drivers.set(irq, (driver = this.#sinks.isa(irq)));
		driver.set(this.#isHigh[index] === true);
	}
}
