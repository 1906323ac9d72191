import { describe, expect, test } from "vitest";
import { basenjiSession } from "./console-session.ts";
import { bootFiles, imageOrReason } from "./images.ts";

const IDLE_SECONDS = 60;
/** What a kernel still does behind its first prompt: drivers that probe late, timers of the boot. */
const SETTLE_SECONDS = 5;

/** Processor time of this process, all threads, in seconds. */
function cpuSeconds(): number {
	const { user, system } = process.cpuUsage();
	return (user + system) / 1e6;
}

const sleep = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

describe("an idle guest", () => {
	test("takes less than 5 % of a core", async ({ skip }) => {
		const image = await imageOrReason("default");
		if (typeof image === "string") return skip(image);
		await using session = await basenjiSession({ ...bootFiles(image, ""), memory: "256M" });
		await session.waitFor(/# /, 120);
		await sleep(SETTLE_SECONDS);
		const beforeSeconds = cpuSeconds();
		await sleep(IDLE_SECONDS);
		const usedSeconds = cpuSeconds() - beforeSeconds;
		process.stdout.write(`default guest: ${usedSeconds.toFixed(2)} CPU seconds in ${IDLE_SECONDS} s of idling\n`);
		expect(usedSeconds / IDLE_SECONDS).toBeLessThan(0.05);
	});
});
