/** Statistics of docs on links: acceptance bands at 99.9 %, so that a fixed seed that fails means a fault. */

/** Two-sided 99.9 % quantile of the standard normal. */
const Z = 3.2905;

/** Wilson's score interval for a share seen `hits` times in `count`; `inflation` widens it for bursts. */
export function wilson(hits: number, count: number, inflation = 1): { readonly low: number; readonly high: number } {
	const n = count / inflation;
	const share = hits / count;
	const middle = (share + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
	const half = (Z * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n))) / (1 + (Z * Z) / n);
	return { low: middle - half, high: middle + half };
}

export function mean(values: readonly number[]): number {
	let sum = 0;
	for (const value of values) sum += value;
	return sum / values.length;
}

export function deviation(values: readonly number[]): number {
	const middle = mean(values);
	let sum = 0;
	for (const value of values) sum += (value - middle) ** 2;
	return Math.sqrt(sum / values.length);
}

/** Correlation of each value with the next. */
export function lag1(values: readonly number[]): number {
	const middle = mean(values);
	let [product, square] = [0, 0];
	for (let at = 0; at < values.length; at++) {
		const value = values[at]! - middle;
		square += value * value;
		if (at + 1 < values.length) product += value * (values[at + 1]! - middle);
	}
	return product / square;
}

/** Largest distance between the values' distribution and `cdf` (Kolmogorov and Smirnov). */
export function ksDistance(values: readonly number[], cdf: (value: number) => number): number {
	const sorted = Float64Array.from(values).sort();
	let distance = 0;
	for (const [at, value] of sorted.entries()) {
		const expected = cdf(value);
		distance = Math.max(distance, Math.abs(expected - at / sorted.length), Math.abs((at + 1) / sorted.length - expected));
	}
	return distance;
}

/** Standard normal distribution by Simpson's rule: slow, and owing nothing to the code under test. */
export function normalCdf(z: number): number {
	const steps = 400;
	const width = z / steps;
	const density = (x: number) => Math.exp(-(x * x) / 2) / Math.sqrt(2 * Math.PI);
	let sum = density(0) + density(z);
	for (let step = 1; step < steps; step++) sum += density(step * width) * (step % 2 === 0 ? 2 : 4);
	return 0.5 + (sum * width) / 3;
}

/** Lengths of runs of true. */
export function runLengths(values: readonly boolean[]): number[] {
	const lengths: number[] = [];
	let length = 0;
	for (const value of values) {
		if (value) length++;
		else if (length > 0) {
			lengths.push(length);
			length = 0;
		}
	}
	return lengths;
}

/** Wald and Wolfowitz: how many deviations the number of runs is off what independence gives. */
export function runsTest(values: readonly boolean[]): number {
	const trues = values.filter((value) => value).length;
	const falses = values.length - trues;
	let runs = 1;
	for (let at = 1; at < values.length; at++) if (values[at] !== values[at - 1]) runs++;
	const expected = (2 * trues * falses) / values.length + 1;
	const variance = ((expected - 1) * (expected - 2)) / (values.length - 1);
	return (runs - expected) / Math.sqrt(variance);
}

/** RFC 4737 §3.3: the share of arrivals that come after one sent later. */
export function reorderedShare(order: readonly number[]): number {
	let highest = -1;
	let late = 0;
	for (const index of order) {
		if (index < highest) late++;
		else highest = index;
	}
	return late / order.length;
}
