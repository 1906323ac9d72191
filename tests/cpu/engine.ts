import type { Mode, TestCase, TestResult } from "./format.ts";

/** Whatever can run cases: the host's processor, another emulator, or one of the project's own engines. */
export interface EngineUnderTest {
	readonly name: string;
	/** False for one that tells faults apart only as far as signals do: vector, error code and CR2 are then not compared. */
	readonly reportsFaults: boolean;
	supports(mode: Mode): boolean;
	/** One result per case, in order. All cases are of one mode. */
	run(cases: readonly TestCase[]): TestResult[];
}
