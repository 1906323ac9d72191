/** Fraction bits of table entries: integers in units of 2^-24 standard deviations. */
const SCALE = 0x100_0000;
const CELLS_PER_OCTAVE = 64;
const OCTAVES = 32;

/** e^-x for x ≥ 0 from additions, products and halvings alone, which IEEE 754 rounds alike everywhere (`Math.exp` may differ). */
function expNegative(x: number): number {
	let halvings = 0;
	while (x > 1 / 64) {
		x /= 2;
		halvings++;
	}
	let term = 1;
	let sum = 1;
	for (let n = 1; n <= 9; n++) {
		term *= -x / n;
		sum += term;
	}
	for (; halvings > 0; halvings--) sum *= sum;
	return sum;
}

const INVERSE_ROOT_2PI = 0.3989422804014327;

/** Upper tail of the standard normal, z ≥ 0: a series near 0, Laplace's continued fraction beyond. */
function normalTail(z: number): number {
	const density = INVERSE_ROOT_2PI * expNegative((z * z) / 2);
	if (z < 2) {
		let term = z;
		let sum = z;
		for (let n = 3; term > 1e-18 * sum; n += 2) {
			term *= (z * z) / n;
			sum += term;
		}
		return 0.5 - density * sum;
	}
	let fraction = z;
	for (let n = 80; n >= 1; n--) fraction = z + n / fraction;
	return density / fraction;
}

/** Probability that a standard normal is at most `z`. */
export function normalCdf(z: number): number {
	return z >= 0 ? 1 - normalTail(z) : normalTail(-z);
}

/**
 * An inverse distribution function over (0, 1] as integers. Each halving of the tail probability has its own 64 cells,
 * so that the far tail is as exact as the middle; between entries it is a straight line.
 */
class TailTable {
	readonly #entries = new Int32Array(OCTAVES * (CELLS_PER_OCTAVE + 1));

	/** `quantile` is asked in falling order of probability, from `top` down. */
	constructor(top: number, quantile: (tailProbability: number) => number) {
		let octaveTop = top;
		for (let octave = 0; octave < OCTAVES; octave++, octaveTop /= 2)
			for (let cell = CELLS_PER_OCTAVE; cell >= 0; cell--) {
				const probability = (octaveTop * (CELLS_PER_OCTAVE + cell)) / (2 * CELLS_PER_OCTAVE);
				this.#entries[octave * (CELLS_PER_OCTAVE + 1) + cell] = Math.round(quantile(probability) * SCALE);
			}
	}

	/** At tail probability `top · position / 2^32`; `position` from 1. */
	at(position: number): number {
		const octave = Math.clz32(position);
		const mantissa = (position << octave) >>> 0;
		const entry = octave * (CELLS_PER_OCTAVE + 1) + ((mantissa >>> 25) & 63);
		const low = this.#entries[entry]!;
		return (low + ((this.#entries[entry + 1]! - low) * (mantissa & 0x1ff_ffff)) / 0x200_0000) / SCALE;
	}
}

let normalTable: TailTable | undefined;

/** The standard normal's value for a uniform 32-bit number: mean 0, deviation 1, out to ±6.2. */
export function normalQuantile(u32: number): number {
	if (normalTable === undefined) {
		let z = 0;
		normalTable = new TailTable(0.5, (probability) => {
			for (let step = 0; step < 4; step++) z += (normalTail(z) - probability) / (INVERSE_ROOT_2PI * expNegative((z * z) / 2));
			return z;
		});
	}
	return u32 >= 0x8000_0000 ? normalTable.at((2 * (0xffff_ffff - u32) + 1) >>> 0) : -normalTable.at((2 * u32 + 1) >>> 0);
}

/** The share of the Pareto's tail that is cut off, so that the deviation is one that samples do reach. */
const PARETO_CUT = 1 / 4096;
// Moments of x = p^(-1/3), p uniform in (cut, 1]: E x = 3/2·(1-cut^(2/3))/(1-cut), E x² = 3·(1-cut^(1/3))/(1-cut).
const PARETO_MEAN = (1.5 * (1 - 1 / 256)) / (1 - PARETO_CUT);
const PARETO_DEVIATION = Math.sqrt((3 * (1 - 1 / 16)) / (1 - PARETO_CUT) - PARETO_MEAN * PARETO_MEAN);
let paretoTable: TailTable | undefined;

/**
 * A Pareto of exponent 3, shifted and scaled to mean 0 and deviation 1: from −0.65, with a long tail to +19. Large
 * values answer to small numbers.
 */
export function paretoQuantile(u32: number): number {
	if (paretoTable === undefined) {
		let root = 1;
		paretoTable = new TailTable(1, (probability) => {
			// Newton's steps to the cube root of 1/p from the entry before.
			const target = 1 / (PARETO_CUT + probability * (1 - PARETO_CUT));
			for (let step = 0; step < 8; step++) root = (2 * root + target / (root * root)) / 3;
			return (root - PARETO_MEAN) / PARETO_DEVIATION;
		});
	}
	return paretoTable.at((u32 | 1) >>> 0);
}

/** Uniform in [−1, 1). */
export function uniformQuantile(u32: number): number {
	return (u32 - 0x8000_0000) / 0x8000_0000;
}

/** Between the entries of a user's sorted table of equally likely values. */
export function tableQuantile(table: readonly number[], u32: number): number {
	const position = (u32 / 0x1_0000_0000) * (table.length - 1);
	const cell = Math.floor(position);
	const low = table[cell]!;
	return low + ((table[cell + 1] ?? low) - low) * (position - cell);
}
