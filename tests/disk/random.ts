/** A repeatable source of chance: xorshift, 32 bits. */
export class Chance {
	#state: number;

	constructor(seed: number) {
		this.#state = seed | 0 || 0x9e37_79b9;
		for (let i = 0; i < 8; i++) this.next();
	}

	/** 32 bits. */
	next(): number {
		let state = this.#state;
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		this.#state = state;
		return state >>> 0;
	}

	/** A whole number from 0 to below `end`. */
	below(end: number): number {
		return Math.floor((this.next() / 2 ** 32) * end);
	}

	pick<Item>(items: readonly Item[]): Item {
		return items[this.below(items.length)] as Item;
	}

	/** True once in `times`. */
	once(times: number): boolean {
		return this.below(times) === 0;
	}
}
