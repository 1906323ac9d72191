import type { Wire } from "../machine/wire.ts";

/**
 * An input whose level lives in the chip's own state. After the chip is loaded, a driver that puts the same level back
 * is silent: restoring a machine makes no edges, whichever end is restored first.
 */
export class InputPin implements Wire {
	readonly #level: () => boolean;
	readonly #onChange: (high: boolean) => void;

	constructor(level: () => boolean, onChange: (high: boolean) => void) {
		this.#level = level;
		this.#onChange = onChange;
	}

	get isHigh(): boolean {
		return this.#level();
	}

	set(high: boolean): void {
		if (high !== this.#level()) this.#onChange(high);
	}
}
