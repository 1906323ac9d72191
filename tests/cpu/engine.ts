import type { Mode, TestCase, TestResult } from "./format.ts";

/** Whatever can run cases: the host's processor, another emulator, or one of the project's own engines. */
export interface EngineUnderTest {
	readonly name: string;
	/** False for one that tells faults apart only as far as signals do: vector, error code and CR2 are then not compared. */
	readonly reportsFaults: boolean;
	supports(mode: Mode): boolean;
	/** One result per case, in order. All cases are of one mode. */
	run(cases: readonly TestCase[]): TestResult[];
	/** For an engine that counts instructions: runs a case as long as the host's processor may have taken over it. */
	runLong?(testCase: TestCase): TestResult;
}

/** What `engine` makes of the cases. What it cut off though the host's processor came to an end gets as long as that may have taken. */
export function runBeside(engine: EngineUnderTest, cases: readonly TestCase[], expected: readonly TestResult[]): TestResult[] {
	return engine.run(cases).map((result, index) => {
		if (result.status !== "timeout" || expected[index]?.status !== "fault" || engine.runLong === undefined) return result;
		return engine.runLong(cases[index] as TestCase);
	});
}
