import type { StateValue } from "../../base/json.ts";
import type { IoHandler } from "../../machine/bus.ts";
import type { Device } from "../../machine/device.ts";
import type { PciDevice } from "../../machine/pci.ts";
import type { Wire } from "../../machine/wire.ts";

/** Three dwords with a bit for each slot; reading the first two clears them. The DSDT knows them under these names. */
export const REPLUG_BYTES = 12;
const LEAVING = 0;
const COME = 4;
const EJECT = 8;

export type ReplugState = { readonly leaving: number; readonly come: number };

/**
 * Takes a card out and puts it in anew while the guest runs, so that its driver starts over and reads what has changed for
 * good, such as its address. The guest is asked by a general-purpose event (ACPI 6.5 §5.6.6, "Device Object Notifications":
 * Eject Request), says when its driver has let go (_EJ0), and is told that a card has come (Device Check).
 */
export class Replug implements Device<ReplugState> {
	readonly name = "replug";
	readonly #event: Wire;
	readonly #cards: ReadonlyMap<number, PciDevice<StateValue>>;
	#leaving = 0;
	#come = 0;

	constructor(event: Wire, cards: ReadonlyMap<number, PciDevice<StateValue>>) {
		this.#event = event;
		this.#cards = cards;
	}

	/** Slots whose cards can be replugged. */
	get slots(): readonly number[] {
		return [...this.#cards.keys()];
	}

	/** A guest that does not listen keeps the card as it knows it, until its driver starts again. */
	ask(slot: number): void {
		this.#leaving = (this.#leaving | (1 << slot)) >>> 0;
		this.#tell();
	}

	readonly ports: IoHandler = {
		accessBytes: { min: 4, max: 4 },
		read: (offset) => {
			const value = offset === LEAVING ? this.#leaving : offset === COME ? this.#come : 0;
			if (offset === LEAVING) this.#leaving = 0;
			if (offset === COME) this.#come = 0;
			return value;
		},
		write: (offset, _bytes, value) => {
			if (offset !== EJECT) return;
			for (const [slot, card] of this.#cards) {
				if ((value & (1 << slot)) === 0) continue;
				card.reset();
				this.#come = (this.#come | (1 << slot)) >>> 0;
			}
			if (this.#come !== 0) this.#tell();
		},
	};

	#tell(): void {
		this.#event.set(true);
		this.#event.set(false);
	}

	reset(): void {
		this.#leaving = 0;
		this.#come = 0;
	}

	save(): ReplugState {
		return { leaving: this.#leaving, come: this.#come };
	}

	load(state: ReplugState): void {
		this.#leaving = state.leaving;
		this.#come = state.come;
	}
}
