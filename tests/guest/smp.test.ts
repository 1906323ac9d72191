import { describe, expect, test } from "vitest";
import { scratchDisk } from "../../src/cli/scratch-disk.ts";
import { basenjiSession } from "./console-session.ts";
import { bootFiles, imageOrReason } from "./images.ts";

/** What kernels say of processors that firmware or clocks have left unlike. */
const COMPLAINTS = /BUG:|Oops|Call Trace|inconsistent|unstable|not responding|soft lockup/;

describe("the default guest with several processors", () => {
	test.for([2, 4])("%i: brings them up and passes its self-check", async (cpus, { skip }) => {
		const image = await imageOrReason("default");
		if (typeof image === "string") return skip(image);
		const files = bootFiles(image, "panic=-1 basenji.check");
		await using session = await basenjiSession({ ...files, memory: "256M", cpus, debugExit: true, disks: [{ disk: scratchDisk() }] });
		expect(await session.finished(240)).toBe(0);
		expect(session.text).toContain(`smp: Brought up 1 node, ${cpus} CPUs`);
		expect(session.text).toContain("basenji-check: PASS");
		expect(session.text).not.toMatch(COMPLAINTS);
	});
});
