import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { MemoryStore } from "../disk/memory-store.ts";
import { RawDisk } from "../disk/raw.ts";
import { fileDifference } from "./file-diff.ts";

const folder = mkdtempSync(join(tmpdir(), "basenji-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const env = { PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const hasTools = spawnSync("mkfs.ext4", ["-V"], { env }).status === 0;

const disk = async (bytes: Uint8Array) => RawDisk.open(new MemoryStore("disk", bytes));

test.skipIf(!hasTools)("files that were added, removed and changed, on a partition that begins at an odd sector", async () => {
	const [root, before, after] = [join(folder, "root"), join(folder, "before"), join(folder, "after")];
	mkdirSync(join(root, "home"), { recursive: true });
	for (const name of ["stays", "goes", "grows"]) writeFileSync(join(root, "home", name), name);
	expect(spawnSync("mkfs.ext4", ["-q", "-F", "-d", root, before, "8M"], { env }).status).toBe(0);
	copyFileSync(before, after);
	const commands = join(folder, "commands");
	writeFileSync(commands, `rm /home/goes\nmkdir /new\nwrite ${commands} /new/file\nset_inode_field /home/grows size 6\n`);
	spawnSync("debugfs", ["-w", "-f", commands, after], { env });
	const partitioned = (path: string): Uint8Array => {
		const bytes = new Uint8Array(63 * 512 + (8 << 20));
		bytes.set([0x83, 0, 0, 0, 63], 446 + 4);
		bytes.set([0x55, 0xaa], 510);
		bytes.set(readFileSync(path), 63 * 512);
		return bytes;
	};
	const [a, b] = [await disk(partitioned(before)), await disk(partitioned(after))];
	expect(await fileDifference(a, b)).toEqual([
		{ partition: 1, added: ["/new", "/new/file"], removed: ["/home/goes"], changed: ["/home/grows"] },
	]);
	expect(await fileDifference(a, a)).toEqual([{ partition: 1, added: [], removed: [], changed: [] }]);
});

test("disks without a file system that is known have no files to list", async () => {
	expect(await fileDifference(await disk(new Uint8Array(1 << 20)), await disk(new Uint8Array(1 << 20)))).toEqual([]);
});
