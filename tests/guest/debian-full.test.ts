import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findTool } from "../../src/host/node/command.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import { basenjiSession, type ConsoleSession, qemuSession } from "./console-session.ts";
import { bootFiles, builtImageOrReason, qemu } from "./images.ts";

const MEMORY_MIB = 256;
/** Generous: a host may be shared with others, and systemd itself gives a unit 90 s. */
const BOOT_SECONDS = 400;
const COMMAND_SECONDS = 60;
const PROMPT = /root@basenji:~# $/;

/** What is typed, and what the guest has to answer; the answer is spelt so that the echo of the line is none. */
const COMMANDS: readonly (readonly [command: string, answer: RegExp])[] = [
	["apt-get --version", /apt \d+\.\d+\.\d+ \(amd64\)/],
	["perl -e 'print 1+1, qq{ from perl\\n}'", /\n2 from perl/],
	['python3 -c \'print(1, "from", "python")\'', /\n1 from python/],
	[
		'cd /tmp; if command -v gcc >/dev/null; then printf \'int puts(const char *);int main(){return puts("hi from " "gcc")<0;}\' >h.c && gcc -o h h.c && ./h; else echo no "gcc"; fi; cd',
		/\n(hi from gcc|no gcc)/,
	],
	["systemctl --failed --no-legend --plain | wc -l | sed 's/^/failed units: /'", /\nfailed units: 0\r/],
];
const COMPLAINTS = /BUG:|Oops|Call Trace|nobody cared|unstable|soft lockup|I\/O error/;

let directory = "";
const seconds: Record<string, number> = {};

beforeAll(async () => {
	directory = await mkdtemp(join(tmpdir(), "basenji-guest-"));
});

afterAll(async () => {
	await rm(directory, { recursive: true, force: true });
	const figures = Object.entries(seconds).map(([what, figure]) => `${what} ${figure.toFixed(1)}`);
	if (figures.length > 0) process.stdout.write(`debian-full, seconds from power-on: ${figures.join(", ")}\n`);
});

describe("image debian-full", () => {
	test("reaches systemd's login on Basenji, takes root, runs tools, powers off; its disk is clean", async ({ skip }) => {
		const image = await builtImageOrReason("debian-full");
		if (typeof image === "string") return skip(image);
		const disk = join(directory, "disk.raw");
		const copied = spawnSync("cp", ["--sparse=always", imageFile(image, "disk.raw"), disk]);
		expect(copied.status).toBe(0);
		const startedMs = Date.now();
		await using session = await basenjiSession({ ...bootFiles(image, ""), memory: `${MEMORY_MIB}M`, disks: [{ path: disk }] });
		await useSystem(session, "Basenji", startedMs);
		expect(session.text).not.toMatch(COMPLAINTS);
		const e2fsck = findTool("e2fsck");
		if (e2fsck === undefined) return;
		const check = spawnSync(e2fsck, ["-f", "-n", disk], { encoding: "utf8" });
		expect(check.stdout).toMatch(/Pass 5/);
		expect(check).toMatchObject({ status: 0 });
	});

	test.skipIf(qemu === undefined)("does the same on QEMU's translator", async ({ skip }) => {
		const image = await builtImageOrReason("debian-full");
		if (typeof image === "string") return skip(image);
		const drive = `file=${imageFile(image, "disk.raw")},format=raw,if=virtio,snapshot=on`;
		const startedMs = Date.now();
		await using session = qemuSession(bootFiles(image, ""), MEMORY_MIB, ["-drive", drive]);
		await useSystem(session, "QEMU", startedMs);
	});
});

async function useSystem(session: ConsoleSession, who: string, startedMs: number): Promise<void> {
	const note = (what: string): void => {
		seconds[`${who} ${what}`] = (Date.now() - startedMs) / 1000;
	};
	await session.waitFor(/login: $/, BOOT_SECONDS);
	note("login");
	session.write("root\n");
	await session.waitFor(PROMPT, COMMAND_SECONDS);
	// Else the shell puts escape sequences between its prompt and every answer.
	session.write("bind 'set enable-bracketed-paste off'\n");
	await session.waitFor(PROMPT, COMMAND_SECONDS);
	for (const [command, answer] of COMMANDS) {
		session.write(`${command}\n`);
		await session.waitFor(answer, COMMAND_SECONDS);
		await session.waitFor(PROMPT, COMMAND_SECONDS);
	}
	note("tools");
	session.write("poweroff\n");
	expect(await session.finished(COMMAND_SECONDS * 2)).toBe(0);
	note("off");
}
