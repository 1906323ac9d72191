import { describe, expect, it } from "vitest";
import { hasQemuImg, hasQemuIo } from "../suites/qemu-img.ts";
import { runOperations } from "./operations.ts";
import { VARIANTS } from "./variants.ts";

// The quick half of `npm run test:disk`.
describe.skipIf(!hasQemuImg || !hasQemuIo)("random operations agree with a plain array and with QEMU", () => {
	it.each(VARIANTS)("$name", async (variant) => {
		const report = await runOperations(variant, 250, 42);
		expect(report.judgements).toBeGreaterThan(0);
	});
});
