import type { Engine, Observed } from "./engines.ts";
import type { Bits } from "./guest.ts";

export interface Measured {
	readonly engine: string;
	readonly bits: Bits;
	/** Seconds of each run, by program. */
	readonly seconds: Readonly<Record<string, readonly number[]>>;
	/** The most that the engine ever had in memory besides its guest's RAM. */
	readonly beyondRamBytes: number | undefined;
}

export function gather(engine: Pick<Engine, "name" | "bits">, runs: readonly Observed[]): Measured {
	const seconds: Record<string, number[]> = {};
	for (const { timings } of runs) for (const [program, value] of timings) (seconds[program] ??= []).push(value);
	const bytes = runs.flatMap(({ beyondRamBytes }) => beyondRamBytes ?? []);
	return { engine: engine.name, bits: engine.bits, seconds, beyondRamBytes: bytes.length === 0 ? undefined : Math.max(...bytes) };
}

export function median(values: readonly number[]): number {
	const sorted = [...values].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

export function geometricMean(values: readonly number[]): number {
	return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

const medianOf = (measured: Measured | undefined, program: string): number | undefined => {
	const values = measured?.seconds[program];
	return values === undefined || values.length === 0 ? undefined : median(values);
};

/** How many times faster `subject` is than `peer`, by program; programs that either lacks are left out. */
export function speedups(subject: Measured, peer: Measured, programs: readonly string[]): Record<string, number> {
	const ratios: Record<string, number> = {};
	for (const program of programs) {
		const own = medianOf(subject, program);
		const other = medianOf(peer, program);
		if (own !== undefined && other !== undefined) ratios[program] = other / own;
	}
	return ratios;
}

const shownSeconds = (seconds: number | undefined): string => (seconds === undefined ? "–" : seconds.toPrecision(3));
const shownMegabytes = (bytes: number | undefined): string => (bytes === undefined ? "–" : (bytes / 1024 ** 2).toFixed(0));
const shownRatio = (ratio: number | undefined): string => (ratio === undefined ? "–" : `${ratio.toFixed(2)} ×`);

/**
 * One table per word size: medians in seconds, and how many times faster `subject` is than each peer. The means are over `programs`
 * alone; `others` (boots, and what is no fixed piece of work) follow them.
 */
export function renderTable(
	measured: readonly Measured[],
	subject: string,
	programs: readonly string[],
	others: readonly string[],
): string {
	const tables: string[] = [];
	for (const bits of [64, 32] as const) {
		const columns = measured.filter((one) => one.bits === bits);
		if (columns.length === 0) continue;
		const own = columns.find(({ engine }) => engine === subject);
		const peers = own === undefined ? [] : columns.filter((one) => one !== own && one.engine !== "native");
		const rows = [[`${bits}-bit, seconds`, ...columns.map(({ engine }) => engine), ...peers.map(({ engine }) => `against ${engine}`)]];
		const addRow = (program: string): void => {
			if (columns.every((column) => medianOf(column, program) === undefined)) return;
			rows.push([
				program,
				...columns.map((column) => shownSeconds(medianOf(column, program))),
				...peers.map((peer) => shownRatio(speedups(own as Measured, peer, [program])[program])),
			]);
		};
		for (const program of programs) addRow(program);
		const means = peers.map((peer) => Object.values(speedups(own as Measured, peer, programs)));
		if (rows.length > 1)
			rows.push([
				"geometric mean",
				...columns.map(() => ""),
				...means.map((ratios) => shownRatio(ratios.length > 0 ? geometricMean(ratios) : undefined)),
			]);
		for (const program of others) addRow(program);
		if (columns.some(({ beyondRamBytes }) => beyondRamBytes !== undefined))
			rows.push(["MB beyond RAM", ...columns.map(({ beyondRamBytes }) => shownMegabytes(beyondRamBytes))]);
		tables.push(aligned(rows));
	}
	return tables.join("\n\n");
}

export function aligned(rows: readonly (readonly string[])[]): string {
	const widths = (rows[0] as readonly string[]).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
	return rows
		.map((row) =>
			row
				.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number)))
				.join("  "),
		)
		.join("\n");
}
