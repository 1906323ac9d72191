import { Mnemonic } from "iced-x86";
import { compare, type Difference, forEachInstruction } from "./compare.ts";
import { type EngineUnderTest, runBeside } from "./engine.ts";
import type { Generated } from "./generate.ts";

export interface Culprit {
	/** Mnemonic and mode. */
	readonly name: string;
	/** The case up to the instruction to blame, and what differs behind it. */
	readonly prefix: Generated;
	readonly differences: readonly Difference[];
}

/**
 * The instructions to blame for cases that differ: ever longer beginnings of each are run, and the first that differs ends with the
 * culprit. undefined: none differs this time.
 */
export function blame(cases: readonly Generated[], oracle: EngineUnderTest, engine: EngineUnderTest): (Culprit | undefined)[] {
	const prefixes = cases.map((testCase) =>
		testCase.instructions.map((_, index) => ({ ...testCase, instructions: testCase.instructions.slice(0, index + 1) })),
	);
	const expected = oracle.run(prefixes.flat());
	const actual = runBeside(engine, prefixes.flat(), expected);
	let at = 0;
	return cases.map((testCase, index) => {
		let culprit: Culprit | undefined;
		for (const [last, prefix] of prefixes[index]!.entries()) {
			const differences = compare(prefix, expected[at]!, actual[at]!, engine.reportsFaults);
			if (culprit === undefined && differences.length > 0)
				culprit = { name: `${mnemonicsOf(testCase)[last]} ${testCase.mode}`, prefix, differences };
			at++;
		}
		return culprit;
	});
}

function mnemonicsOf(testCase: Generated): string[] {
	const names: string[] = [];
	forEachInstruction(testCase, (instruction) => names.push(Mnemonic[instruction.mnemonic]?.toLowerCase() ?? ""));
	return names;
}
