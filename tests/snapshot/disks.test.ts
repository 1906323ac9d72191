import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createMachine } from "../../src/host/node/machine.ts";
import { openSnapshotDisk } from "../../src/host/node/snapshot/disks.ts";
import { runInShell } from "../../src/host/node/snapshot/shell.ts";
import { fileDifference } from "../../src/snapshot/file-diff.ts";
import { COMPLAINTS, guestOptions, scratchFolder } from "./guest.ts";

const folder = scratchFolder();
afterAll(() => rm(folder, { recursive: true, force: true }));

test("files of two snapshots are compared as the guest has written them; an independent disk is left alone", async ({ skip }) => {
	const options = await guestOptions(folder);
	if (typeof options === "string") return skip(options);
	const system = join(folder, "system.raw");
	const env = { PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
	if (spawnSync("mkfs.ext4", ["-q", "-F", system, "64M"], { env }).status !== 0) return skip("no mkfs.ext4 on this host");
	const own = join(folder, "own.raw");
	writeFileSync(own, new Uint8Array(1024 * 1024));
	const disks = [{ path: system }, { path: own, mode: "independent" as const }];
	await using machine = await createMachine({ ...options, disks, snapshots: join(folder, "snapshots") });
	await machine.start();
	await machine.waitFor({ console: "root# ", timeout: "100s" });
	const run = async (command: string) => {
		const { code, output } = await runInShell(machine, command);
		expect(code, output).toBe(0);
		return output;
	};
	await run("modprobe ext4; mount -t ext4 /dev/vda /mnt && mkdir /mnt/etc && echo one > /mnt/etc/one && echo two > /mnt/etc/two; sync");
	await run("echo before > /dev/vdb; sync");
	const { record: first } = await machine.snapshot({ name: "first" });
	await run("echo ONE > /mnt/etc/one; rm /mnt/etc/two; mkdir /mnt/srv; cp /bin/busybox /mnt/srv/three; sync; echo after > /dev/vdb; sync");
	const { record: second } = await machine.snapshot({ name: "second" });
	expect(first.disks[1]).toBeUndefined();
	const tree = await machine.snapshots();
	const [a, b] = [first, second].map((record) => openSnapshotDisk({ path: system }, 0, tree.folder, record.disks[0] ?? []));
	expect(await fileDifference(await (a as NonNullable<typeof a>), await (b as NonNullable<typeof b>))).toEqual([
		{ partition: 0, added: ["/srv", "/srv/three"], removed: ["/etc/two"], changed: ["/etc/one"] },
	]);
	await (await a)?.close();
	await (await b)?.close();

	await machine.restore("first");
	expect(await run("cat /mnt/etc/one /mnt/etc/two; ls -1 /mnt")).toBe("one\ntwo\netc\nlost+found\n");
	// Its cache is of then; the disk is not.
	expect(await run("dmesg -n 1; echo 3 > /proc/sys/vm/drop_caches; head -c 6 /dev/vdb")).toBe("after\n");
	await run("echo later > /dev/vdb; sync");
	await machine.restore("second");
	expect(readFileSync(own).subarray(0, 6).toString()).toBe("later\n");
	expect(machine.console.text).not.toMatch(COMPLAINTS);
});
