import { spawnSync } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { createMachine } from "../../src/host/node/machine.ts";
import { runInShell } from "../../src/host/node/snapshot/shell.ts";
import { COMPLAINTS, guestOptions, scratchFolder } from "./guest.ts";

const folder = scratchFolder();
afterAll(() => rm(folder, { recursive: true, force: true }));

test("a guest goes on in another process: uptime continues, memory and disk are as they were", async ({ skip }) => {
	const options = await guestOptions(folder);
	if (typeof options === "string") return skip(options);
	const whole = { ...options, initrd: undefined, memory: "256M", snapshots: join(folder, "snapshots") };
	const machine = await createMachine({ ...whole, initrd: options.initrd });
	await machine.start();
	await machine.waitFor({ console: "root# ", timeout: "100s" });
	const write = "dd if=/dev/urandom of=/tmp/memory bs=64k count=32 2>&1; dd if=/dev/urandom of=/dev/vda bs=64k count=32 2>&1; sync";
	expect((await runInShell(machine, write)).code).toBe(0);
	const sums = "md5sum /tmp/memory; echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k count=32 2>/dev/null | md5sum";
	const before = await runInShell(machine, sums);
	const uptime = Number((await runInShell(machine, "cut -d. -f1 /proc/uptime")).output);
	await runInShell(machine, "date -s @1000000000; hwclock -w");
	await machine.snapshot({ name: "here" });
	// What comes after must be gone, on the disk, too.
	await runInShell(machine, "dd if=/dev/zero of=/dev/vda bs=64k count=32 2>&1; rm /tmp/memory; sync");
	await machine.stop();

	const child = fileURLToPath(new URL("resume-child.ts", import.meta.url));
	const commands = [sums, "cut -d. -f1 /proc/uptime", "dmesg", "hwclock -s; date +%s"];
	const argument = JSON.stringify({ options: { ...whole, restore: "here", stepsClock: true }, commands });
	const { stdout, stderr } = spawnSync(process.execPath, [child, argument], { encoding: "utf8", timeout: 120_000 });
	expect(stderr).toBe("");
	const [after, later, dmesg, time] = JSON.parse(stdout) as { code: number; output: string }[];
	expect(after?.output.replace(/.*drop_caches.*\n/g, "")).toBe(before.output.replace(/.*drop_caches.*\n/g, ""));
	expect(Number(later?.output)).toBeGreaterThanOrEqual(uptime);
	expect(Number(later?.output)).toBeLessThan(uptime + 30);
	expect(Math.abs(Number(time?.output) - Date.now() / 1000)).toBeLessThan(30);
	expect(dmesg?.output).not.toMatch(COMPLAINTS);
});
