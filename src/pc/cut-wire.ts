import type { Wire } from "../machine/wire.ts";

/** A line with a switch in it: while cut, its driver is heard no more, but not forgotten. */
export class CutWire implements Wire {
	readonly #sink: Wire;
	#isHigh = false;
	#isCut = false;

	constructor(sink: Wire) {
		this.#sink = sink;
	}

	get isHigh(): boolean {
		return this.#isHigh;
	}

	set(high: boolean): void {
		this.#isHigh = high;
		this.#drive();
	}

	cut(isCut: boolean): void {
		this.#isCut = isCut;
		this.#drive();
	}

	#drive(): void {
		this.#sink.set(this.#isHigh && !this.#isCut);
	}
}
