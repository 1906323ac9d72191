import type { Mode, TestCase, TestResult } from "./format.ts";

/** Whatever can run cases: the host's processor, another emulator, or one of the project's own engines. */
export interface EngineUnderTest {
	readonly name: string;
	supports(mode: Mode): boolean;
	/** One result per case, in order. All cases are of one mode. */
	run(cases: readonly TestCase[]): TestResult[];
}
