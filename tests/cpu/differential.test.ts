import { expect, test } from "vitest";
import { BASENJI_MODES, BasenjiEngine } from "./basenji.ts";
import { blame } from "./blame.ts";
import { compare, disassemble } from "./compare.ts";
import type { Mode } from "./format.ts";
import { Generator } from "./generate.ts";
import { knownFailureOf } from "./known.ts";
import { CompileError, NativeEngine } from "./native.ts";

const CASES = 400;
const MODES: readonly Mode[] = [64, 32, 16];

function oracleOrReason(): NativeEngine | string {
	if (process.platform !== "linux" || process.arch !== "x64") return "the host is not x86-64 Linux";
	const oracle = new NativeEngine();
	try {
		for (const mode of MODES) oracle.run([new Generator(1, mode).next()]);
		return oracle;
	} catch (error) {
		if (error instanceof CompileError) return "no compiler for the native runner";
		throw error;
	}
}

const oracle = oracleOrReason();
if (typeof oracle === "string") console.warn(`nothing compared with the host's processor: ${oracle}`);

/** A pinch of what tests/cpu/diff.ts does, the same at every run. */
test.skipIf(typeof oracle === "string").each(BASENJI_MODES)("generated code does as on the host's processor, engine %s", (name) => {
	const engine = new BasenjiEngine(name);
	for (const mode of MODES) {
		const generator = new Generator(2026, mode);
		const cases = Array.from({ length: CASES }, () => generator.next());
		const expected = (oracle as NativeEngine).run(cases);
		const actual = engine.run(cases);
		const mismatches = cases.filter(
			(testCase, index) => expected[index]!.status === "fault" && compare(testCase, expected[index]!, actual[index]!).length > 0,
		);
		for (const culprit of blame(mismatches, oracle as NativeEngine, engine)) {
			if (culprit === undefined || knownFailureOf(name, culprit.prefix, culprit.differences) !== undefined) continue;
			expect(culprit.differences, disassemble(culprit.prefix).join("; ")).toEqual([]);
		}
	}
	// Not all can be: some fault at the first fetch, some are stepped.
	if (name === "translate") expect(engine.translatedCount).toBeGreaterThan(0.9 * CASES * MODES.length);
});
