/** A small deterministic generator (xoshiro128**, Blackman and Vigna's published recurrence), so that a seed names a run. */
export class Random {
	#a: number;
	#b: number;
	#c: number;
	#d: number;

	constructor(seed: number) {
		// SplitMix-style spreading of the seed, so that neighbouring seeds have nothing in common.
		let state = seed >>> 0;
		const next = (): number => {
			state = (state + 0x9e3779b9) >>> 0;
			let z = state;
			z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
			z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
			return (z ^ (z >>> 16)) >>> 0;
		};
		this.#a = next();
		this.#b = next();
		this.#c = next();
		this.#d = next() | 1;
	}

	/** 32 random bits, unsigned. */
	u32(): number {
		const b5 = Math.imul(this.#b, 5);
		const result = Math.imul((b5 << 7) | (b5 >>> 25), 9);
		const t = this.#b << 9;
		this.#c ^= this.#a;
		this.#d ^= this.#b;
		this.#b ^= this.#c;
		this.#a ^= this.#d;
		this.#c ^= t;
		this.#d = (this.#d << 11) | (this.#d >>> 21);
		return result >>> 0;
	}

	/** 0 ≤ result < count. */
	below(count: number): number {
		return Math.floor((this.u32() / 0x1_0000_0000) * count);
	}

	chance(probability: number): boolean {
		return this.u32() < probability * 0x1_0000_0000;
	}

	pick<T>(from: ArrayLike<T>): T {
		return from[this.below(from.length)] as T;
	}
}
