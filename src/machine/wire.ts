/** One end of a signal line. Setting a level that it already has is silent. */
export interface Wire {
	set(high: boolean): void;
	readonly isHigh: boolean;
}

/** A wire that calls back when its level changes. */
export class CallbackWire implements Wire {
	#high = false;
	readonly #onChange: (high: boolean) => void;

	constructor(onChange: (high: boolean) => void) {
		this.#onChange = onChange;
	}

	get isHigh(): boolean {
		return this.#high;
	}

	set(high: boolean): void {
		if (high === this.#high) return;
		this.#high = high;
		this.#onChange(high);
	}
}

/** A line several drivers share (PCI INTx, say): high while any of them pulls it. */
export class SharedLine {
	#pulling = 0;
	readonly #sink: Wire;

	constructor(sink: Wire) {
		this.#sink = sink;
	}

	get isHigh(): boolean {
		return this.#pulling > 0;
	}

	driver(): Wire {
		return new CallbackWire((high) => {
			this.#pulling += high ? 1 : -1;
			this.#sink.set(this.#pulling > 0);
		});
	}
}

/** A wire that leads nowhere: for pins a board leaves open. */
export class OpenWire implements Wire {
	isHigh = false;
	set(high: boolean): void {
		this.isHigh = high;
	}
}
