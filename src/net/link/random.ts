import { encodeUtf8 } from "../../base/utf8.ts";

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;
const KEY_PARITY = 0x1bd1_1bda;

/**
 * Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11): a
 * bijection of two words under a key, made of additions, rotations and exclusive ors, hence the same in every engine.
 * Writes its two words to `out`.
 */
export function threefry2x32(key0: number, key1: number, counter0: number, counter1: number, out: Uint32Array): void {
	const keys = [key0, key1, KEY_PARITY ^ key0 ^ key1];
	let x = (counter0 + key0) | 0;
	let y = (counter1 + key1) | 0;
	for (let group = 0; group < 5; group++) {
		for (let round = 0; round < 4; round++) {
			const by = ROTATIONS[((group & 1) << 2) | round]!;
			x = (x + y) | 0;
			y = ((y << by) | (y >>> (32 - by))) ^ x;
		}
		x = (x + keys[(group + 1) % 3]!) | 0;
		y = (y + keys[(group + 2) % 3]! + group + 1) | 0;
	}
	out[0] = x;
	out[1] = y;
}

/**
 * Randomness that is looked up, not consumed: the value for a (frame, purpose) is the same whatever else was drawn,
 * in whatever order. `names` say whose randomness this is: link, direction, purpose.
 */
export class RandomStream {
	readonly #out = new Uint32Array(2);
	readonly #key0: number;
	readonly #key1: number;

	constructor(seed: number | string, ...names: readonly string[]) {
		let [key0, key1] = [0, 0];
		for (const name of [String(seed), ...names]) {
			const bytes = encodeUtf8(name);
			for (let at = 0; at <= bytes.length; at += 4) {
				const word = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
				// The length goes in with every word, so that no two lists of names absorb alike.
				threefry2x32(key0, key1, word, bytes.length, this.#out);
				[key0, key1] = [this.#out[0]!, this.#out[1]!];
			}
		}
		this.#key0 = key0;
		this.#key1 = key1;
	}

	/** A uniform unsigned 32-bit number for the `draw`-th question (below 256) about item `index` (below 2^53). */
	u32(index: number, draw = 0): number {
		threefry2x32(this.#key0, this.#key1, index | 0, (Math.floor(index / 0x1_0000_0000) & 0xff_ffff) | (draw << 24), this.#out);
		return this.#out[0]!;
	}
}

/** The threshold below which a uniform 32-bit number falls with probability `ratio` (0…1). */
export function threshold(ratio: number): number {
	return Math.round(ratio * 0x1_0000_0000);
}
