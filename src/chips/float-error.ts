import type { IoHandler } from "../machine/bus.ts";
import type { Device } from "../machine/device.ts";
import type { Wire } from "../machine/wire.ts";

export type FloatErrorState = { readonly isPending: boolean; readonly isIgnored: boolean };

/**
 * A PC/AT's answer to FERR#, the processor's word for an x87 exception that CR0.NE keeps it from raising itself (Intel SDM Vol. 1
 * appendix D, "MS-DOS Compatibility Sub-mode"): interrupt 13, until a write to port F0h asserts IGNNE#.
 */
export class FloatError implements Device<FloatErrorState> {
	readonly name: string;
	readonly register: IoHandler;
	readonly #irq: Wire;
	#isPending = false;
	/** IGNNE#: held until FERR# falls. */
	#isIgnored = false;

	constructor(name: string, irq: Wire) {
		this.name = name;
		this.#irq = irq;
		this.register = {
			accessBytes: { min: 1, max: 1 },
			read: () => 0xff,
			write: () => {
				if (!this.#isPending) return;
				this.#isIgnored = true;
				this.#irq.set(false);
			},
		};
	}

	/** FERR#. Returns whether the processor may go on regardless. */
	signal(isPending: boolean): boolean {
		this.#isPending = isPending;
		if (!isPending) this.#isIgnored = false;
		this.#irq.set(isPending && !this.#isIgnored);
		return this.#isIgnored;
	}

	reset(): void {
		this.signal(false);
	}

	save(): FloatErrorState {
		return { isPending: this.#isPending, isIgnored: this.#isIgnored };
	}

	load({ isPending, isIgnored }: FloatErrorState): void {
		this.#isIgnored = isIgnored;
		this.signal(isPending);
	}
}
