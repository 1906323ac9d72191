import type { ComparedCase as Case } from "./compare.ts";
import { compare, isSound } from "./compare.ts";
import { type EngineUnderTest, runBeside } from "./engine.ts";
import { defaultFx } from "./values.ts";

/** Fewer instructions, simpler registers, less memory: candidates of one round, each a little simpler than `testCase`. */
function candidates(testCase: Case): Case[] {
	const simpler: Case[] = [];
	const count = testCase.instructions.length;
	for (let drop = count - 1; drop >= 0 && count > 1; drop--)
		simpler.push({ ...testCase, instructions: testCase.instructions.filter((_, index) => index !== drop) });
	for (let drop = 0; drop < testCase.patches.length; drop++)
		simpler.push({ ...testCase, patches: testCase.patches.filter((_, index) => index !== drop) });
	// Ranges that are not compared stand at addresses that the registers make.
	for (let register = 0; register < 16 && (testCase.ignored ?? []).length === 0; register++)
		for (const value of [0n, 1n]) {
			if ((testCase.gpr[register] as bigint) <= value) continue;
			const gpr = testCase.gpr.slice();
			gpr[register] = value;
			simpler.push({ ...testCase, gpr });
		}
	if (testCase.rflags !== 0x202) simpler.push({ ...testCase, rflags: 0x202 });
	for (let bit = 0; bit < 22; bit++)
		if ((testCase.rflags & ~0x202 & (1 << bit)) !== 0) simpler.push({ ...testCase, rflags: testCase.rflags & ~(1 << bit) });
	const plain = defaultFx();
	for (const [at, length] of FX_PARTS) {
		if (testCase.fx.subarray(at, at + length).every((byte, index) => byte === plain[at + index])) continue;
		const fx = testCase.fx.slice();
		fx.set(plain.subarray(at, at + length), at);
		simpler.push({ ...testCase, fx });
	}
	return simpler;
}

/** The parts of an FXSAVE image that are simplified one by one: control, status, tags, MXCSR, and each register. */
const FX_PARTS: readonly (readonly [number, number])[] = [
	[0, 512],
	[160, 256],
	[32, 128],
	[0, 2],
	[2, 2],
	[4, 1],
	[24, 4],
	...Array.from({ length: 8 }, (_, index) => [32 + index * 16, 16] as const),
	...Array.from({ length: 16 }, (_, index) => [160 + index * 16, 16] as const),
];

/** A small case that still differs, or undefined if this one does not differ when it is run again. */
export function shrink<C extends Case>(original: C, oracle: EngineUnderTest, engine: EngineUnderTest): Case | undefined {
	const differing = (cases: readonly Case[]): Case | undefined => {
		const expected = oracle.run(cases);
		const actual = runBeside(engine, cases, expected);
		return cases.find((testCase, index) => compare(testCase, expected[index]!, actual[index]!, engine.reportsFaults).length > 0);
	};
	let best = differing([original]);
	for (let round = 0; best !== undefined && round < 60; round++) {
		const simpler = differing(candidates(best).filter(isSound));
		if (simpler === undefined) break;
		best = simpler;
	}
	return best;
}
