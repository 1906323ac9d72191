import { describe, expect, test } from "vitest";
import { isSound } from "./compare.ts";
import { codeOf, decodeResults, encodeBatch, encodeResult, IMAGE_BYTES, MODES } from "./format.ts";
import { Generator } from "./generate.ts";
import { fromRegression, toRegression } from "./regression.ts";
import { templatesOf } from "./templates.ts";
import { baseMemory, defaultFx } from "./values.ts";

describe.each(MODES)("generated cases, %d-bit", (mode) => {
	test("the same seed gives the same cases, another seed others", () => {
		const bytes = (seed: number): string => {
			const generator = new Generator(seed, mode);
			return Buffer.from(
				encodeBatch(
					Array.from({ length: 50 }, () => generator.next()),
					baseMemory(),
				),
			).toString("base64");
		};
		expect(bytes(7)).toBe(bytes(7));
		expect(bytes(7)).not.toBe(bytes(8));
	});

	test("no case reads a flag that the architecture leaves open", () => {
		const generator = new Generator(1, mode);
		for (let index = 0; index < 300; index++) expect(isSound(generator.next())).toBe(true);
	});

	test("every instruction form comes up: more than a thousand of them", () => {
		expect(new Set(templatesOf(mode).map(({ code }) => code)).size).toBeGreaterThan(1000);
	});

	test("a case survives the way through JSON", () => {
		const generator = new Generator(3, mode);
		for (let index = 0; index < 20; index++) {
			const testCase = generator.next();
			const expected = encodeResult({
				status: "fault",
				vector: 14,
				errorCode: 6,
				cr2: 0x2000_2000n,
				gpr: testCase.gpr,
				rip: 0x1000_0000n,
				rflags: testCase.rflags,
				selectors: [1, 2, 3, 4, 5, 6],
				fx: testCase.fx,
				diffs: [{ address: 0x2000_0008, bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }],
			});
			const again = fromRegression(JSON.parse(JSON.stringify(toRegression(testCase, expected, { engine: "none", differences: [] }))));
			expect(encodeBatch([again.testCase], baseMemory())).toEqual(encodeBatch([testCase], baseMemory()));
			expect(again.expected.bytes).toEqual(expected.bytes);
		}
	});
});

test("code that runs off its area is cut there", () => {
	const testCase = {
		mode: 64 as const,
		codeAddress: 0x1000_1ffe,
		instructions: [Uint8Array.of(0x90), Uint8Array.of(0x0f, 0x0b)],
		gpr: new BigUint64Array(16),
		rflags: 0x202,
		fx: defaultFx(),
		patches: [],
	};
	expect([...codeOf(testCase)]).toEqual([0x90, 0x0f]);
});

test("a result cut short by a dying process is dropped", () => {
	const whole = encodeResult({
		status: "fault",
		vector: 3,
		errorCode: 0,
		cr2: 0n,
		gpr: [],
		rip: 0n,
		rflags: 2,
		selectors: [],
		fx: defaultFx(),
		diffs: [],
	});
	expect(decodeResults(new Uint8Array([...whole.bytes, ...whole.bytes.subarray(0, 100)]))).toHaveLength(1);
	expect(baseMemory()).toHaveLength(IMAGE_BYTES);
});
