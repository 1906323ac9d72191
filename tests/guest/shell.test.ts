import { describe, expect, test } from "vitest";
import { basenjiSession } from "./console-session.ts";
import { bootFiles, imageOrReason } from "./images.ts";

/** The kernel may say something behind it: it still looks for the mouse when the shell is there. */
const PROMPT = /root# /;
const SECONDS = 30;

describe("the default guest's shell", () => {
	test("answers, lets Ctrl-C end a command, and powers off", async ({ skip }) => {
		const image = await imageOrReason("default");
		if (typeof image === "string") return skip(image);
		await using session = await basenjiSession({ ...bootFiles(image, ""), memory: "256M", cpus: 2 });
		await session.waitFor(PROMPT, 120);
		const answers: readonly (readonly [command: string, answer: RegExp])[] = [
			["uname -a", /\nLinux basenji .* x86_64/],
			["cat /proc/cpuinfo", /processor\s*: 0[\s\S]*processor\s*: 1[\s\S]*model name\s*: Basenji Virtual CPU/],
			["free -m", /\nMem:\s+2\d\d\s/],
			["dmesg | tail -3; dmesg | grep -ciE 'bug:|oops|inconsistent|unstable' | sed 's/^/complaints: /'", /\ncomplaints: 0\r/],
			["sleep 1000\x03", /\^C/],
			["echo status $?", /\nstatus 130\r/],
		];
		for (const [command, answer] of answers) {
			session.write(`${command}\n`);
			await session.waitFor(answer, SECONDS);
			await session.waitFor(PROMPT, SECONDS);
		}
		session.write("poweroff\n");
		expect(await session.finished(SECONDS)).toBe(0);
	});
});
