import { describe, expect, it } from "vitest";
import { hasQemuImg } from "../suites/qemu-img.ts";
import { runFuzz } from "./fuzz.ts";
import { makeSamples } from "./samples.ts";

// The quick part of `npm run test:disk`.
describe.skipIf(!hasQemuImg)("damaged images end in an error with a file and a place, soon and unwritten", () => {
	const samples = hasQemuImg ? makeSamples() : [];
	it.each(samples)("$name", async (sample) => {
		const report = await runFuzz(sample, 60, 5);
		expect(report.cases).toBe(60);
	});
});
