import { readFileSync } from "node:fs";
import { type Difference, disassemble } from "./compare.ts";
import type { TestCase } from "./format.ts";

/** An entry of tests/known-failures.json that is about an instruction. */
export interface KnownFailure {
	readonly engine: string;
	/** Matches one line of the disassembly. */
	readonly instruction: string;
	/** Matches every difference's place; left out: any. */
	readonly where?: string;
	readonly modes?: readonly number[];
	readonly reason: string;
}

/** A regression that is not mended yet. */
interface OpenRegression {
	readonly engine: string;
	/** Matches names of files in regressions/. */
	readonly file: string;
	readonly reason: string;
}

const { cpu: entries, regressions } = JSON.parse(readFileSync(new URL("../known-failures.json", import.meta.url), "utf8")) as {
	readonly cpu: readonly KnownFailure[];
	readonly regressions: readonly OpenRegression[];
};

export function isOpenRegression(engine: string, file: string): boolean {
	return regressions.some((entry) => new RegExp(`^(${entry.engine})$`).test(engine) && new RegExp(`^(${entry.file})$`).test(file));
}

export function knownFailureOf(engine: string, testCase: TestCase, differences: readonly Difference[]): KnownFailure | undefined {
	let lines: string[] | undefined;
	for (const entry of entries) {
		if (!new RegExp(entry.engine).test(engine)) continue;
		if (entry.modes !== undefined && !entry.modes.includes(testCase.mode)) continue;
		if (entry.where !== undefined && !differences.every(({ where }) => new RegExp(entry.where as string).test(where))) continue;
		lines ??= disassemble(testCase);
		if (lines.some((line) => new RegExp(entry.instruction).test(line))) return entry;
	}
	return undefined;
}
