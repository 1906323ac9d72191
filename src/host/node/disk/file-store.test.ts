import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { diskContract, pattern } from "../../../../tests/suites/disk-contract.ts";
import { RawDisk } from "../../../disk/raw.ts";
import { FileStore } from "./file-store.ts";

let folder = "";
let made = 0;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "file-store-"));
});
afterAll(() => rm(folder, { recursive: true }));
const fresh = () => join(folder, `file${made++}`);

for (const blockingBytes of [0, 65536])
	diskContract(`RawDisk on a host file, blocking up to ${blockingBytes}`, async (sizeBytes) => {
		const path = fresh();
		const disk = await RawDisk.create(await FileStore.open(path, { create: true, blockingBytes }), sizeBytes);
		return {
			disk,
			reopen: async () => {
				await disk.close();
				return RawDisk.open(await FileStore.open(path, { blockingBytes }));
			},
		};
	});

describe("FileStore", () => {
	it.each([
		["a missing file", () => join(folder, "nowhere", "disk.img"), "not-found", /no such file/],
		["a directory", () => folder, "io", /is a directory/],
		["a device that is no disk", () => "/dev/null", "io", /neither a file nor a block device/],
	])("says what is wrong with %s", async (_, path, kind, text) => {
		for (const isReadOnly of [false, true]) {
			const error = await FileStore.open(path(), { isReadOnly }).catch((reason: unknown) => reason);
			expect(error).toMatchObject({ name: "DiskError", kind, where: path() });
			expect((error as Error).message).toMatch(text);
		}
	});

	it("says so when it may not read a file", async (context) => {
		if (process.getuid?.() === 0) context.skip("root may read everything");
		const path = fresh();
		await writeFile(path, "x");
		await chmod(path, 0);
		await expect(FileStore.open(path)).rejects.toThrow(/no permission to read and write it/);
	});

	it("lets one writer in at a time, and readers that ask for no lock", async () => {
		const path = fresh();
		const first = await FileStore.open(path, { create: true });
		await expect(FileStore.open(path)).rejects.toMatchObject({ kind: "locked" });
		await (await FileStore.open(path, { isReadOnly: true })).close();
		await first.close();
		await (await FileStore.open(path)).close();
	});

	it("takes over a lock whose process is gone", async () => {
		const path = fresh();
		await writeFile(path, new Uint8Array(512));
		await writeFile(join(folder, `.${path.slice(folder.length + 1)}.lock`), JSON.stringify({ pid: process.pid, started: "1" }));
		await (await FileStore.open(path)).close();
	});

	it("keeps zeros past the end as a hole and leaves holes alone", async () => {
		const store = await FileStore.open(fresh(), { create: true });
		await store.writeZeroes(0, 64 * 1024 * 1024);
		await store.writeZeroes(0, 16 * 1024 * 1024);
		expect(await store.size()).toBe(64 * 1024 * 1024);
		expect((await stat(store.name)).blocks * 512).toBeLessThan(64 * 1024);
		await store.close();
	});

	it("does not make a file that exists", async () => {
		const path = fresh();
		await mkdir(path);
		await expect(FileStore.open(path, { create: true })).rejects.toThrow(/exists already|directory/);
	});

	it("reads zeros past the end", async () => {
		const store = await FileStore.open(fresh(), { create: true });
		await store.write(0, pattern(1000, 1));
		const bytes = new Uint8Array(2000).fill(7);
		await store.read(0, bytes);
		expect(bytes.subarray(0, 1000)).toEqual(pattern(1000, 1));
		expect(bytes.subarray(1000).every((byte) => byte === 0)).toBe(true);
		await store.close();
	});
});
