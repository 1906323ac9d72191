import { describe, expect, it } from "vitest";
import { diskContract, expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { nodeCodecs } from "../../../host/node/disk/codecs.ts";
import type { Disk } from "../../disk.ts";
import { MemoryStore } from "../../memory-store.ts";
import { RawDisk } from "../../raw.ts";
import { checkQcow2 } from "./check.ts";
import { createQcow2, type Qcow2CreateOptions } from "./create.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";

export async function expectClean(store: MemoryStore): Promise<void> {
	const report = await checkQcow2(store);
	expect(report.problems).toEqual([]);
}

const variants: readonly Omit<Qcow2CreateOptions, "sizeBytes">[] = [
	{},
	{ version: 2 },
	{ clusterBits: 9 },
	{ clusterBits: 12, refcountOrder: 0 },
	{ clusterBits: 12, refcountOrder: 6, lazyRefcounts: true },
	{ clusterBits: 21, compression: "zstd" },
];

for (const variant of variants) {
	diskContract(`Qcow2Disk ${JSON.stringify(variant)}`, async (sizeBytes) => {
		const store = new MemoryStore("test.qcow2");
		await createQcow2(store, { ...variant, sizeBytes });
		const disk = await Qcow2Disk.open(store, { codecs: nodeCodecs });
		return {
			disk,
			reopen: async () => {
				await disk.close();
				await expectClean(store);
				return Qcow2Disk.open(store);
			},
		};
	});
}

for (const version of [2, 3] as const)
	diskContract(`Qcow2Disk version ${version} over a backing disk of zeros`, async (sizeBytes) => {
		const store = new MemoryStore("overlay.qcow2");
		await createQcow2(store, { sizeBytes, version, clusterBits: 13, backingFile: "base.raw", backingFormat: "raw" });
		const base = new MemoryStore("base.raw");
		await base.truncate(sizeBytes - 5 * 512);
		const open = async () => Qcow2Disk.open(store, { backing: await RawDisk.open(base, { isReadOnly: true }) });
		const disk = await open();
		return {
			disk,
			reopen: async () => {
				await disk.close();
				await expectClean(store);
				return open();
			},
		};
	});

/** Counts writes and flushes; can lose what was not flushed. */
class CountingStore extends MemoryStore {
	writes = 0;
	flushes = 0;
	override async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		this.writes++;
		await super.write(offsetBytes, from);
	}
	override async flush(): Promise<void> {
		this.flushes++;
	}
}

async function fresh(options: Omit<Qcow2CreateOptions, "sizeBytes"> & { sizeBytes?: number } = {}) {
	const store = new CountingStore("test.qcow2");
	await createQcow2(store, { sizeBytes: 64 * MIB, ...options });
	const disk = await Qcow2Disk.open(store);
	store.writes = 0;
	store.flushes = 0;
	return { store, disk };
}

describe("Qcow2Disk", () => {
	it("writes in place, without a word to the tables, what it has room for", async () => {
		const { store, disk } = await fresh();
		await disk.write(0, pattern(65536, 1));
		await disk.flush();
		store.writes = 0;
		store.flushes = 0;
		await disk.write(4096, pattern(4096, 2));
		await disk.flush();
		expect([store.writes, store.flushes]).toEqual([1, 1]);
	});

	it("writes a large request to new clusters in one go", async () => {
		const { store, disk } = await fresh();
		await disk.write(65536, pattern(MIB, 1));
		expect(store.writes).toBe(1);
	});

	it("gives clusters back on discard and uses them again", async () => {
		const { store, disk } = await fresh();
		await disk.write(0, pattern(8 * MIB, 1));
		await disk.flush();
		const before = await store.size();
		await disk.discard(0, 8 * MIB);
		await disk.flush();
		await disk.write(32 * MIB, pattern(8 * MIB, 2));
		expect(await store.size()).toBeLessThanOrEqual(before + 2 * 65536);
		expectBytes(await readBytes(disk, 32 * MIB, 8 * MIB), pattern(8 * MIB, 2));
		expect((await readBytes(disk, 0, MIB)).every((byte) => byte === 0)).toBe(true);
		await disk.close();
		await expectClean(store);
	});

	it("takes no room for zeros", async () => {
		const { store, disk } = await fresh();
		const before = await store.size();
		await disk.writeZeroes(0, 64 * MIB);
		await disk.flush();
		expect(await store.size()).toBe(before);
	});

	it("grows its refcount table as far as it takes", async () => {
		// 512-byte clusters, 64-bit counts: a block counts 64 clusters, a table cluster names 64 blocks: 2 MiB.
		const { store, disk } = await fresh({ clusterBits: 9, refcountOrder: 6, sizeBytes: 16 * MIB });
		for (let at = 0; at < 16 * MIB; at += MIB) {
			await disk.write(at, pattern(MIB, at));
			if (at % (4 * MIB) === 0) await disk.flush();
		}
		for (let at = 0; at < 16 * MIB; at += MIB) expectBytes(await readBytes(disk, at, MIB), pattern(MIB, at));
		await disk.close();
		await expectClean(store);
	});

	it("reads through to its backing disk, and zeros behind that one's end", async () => {
		const base = new MemoryStore("base", pattern(MIB, 1));
		const store = new MemoryStore("top");
		await createQcow2(store, { sizeBytes: 2 * MIB, backingFile: "base" });
		const disk = await Qcow2Disk.open(store, { backing: await RawDisk.open(base, { isReadOnly: true }) });
		expectBytes(await readBytes(disk, MIB - 4096, 4096), pattern(MIB, 1).subarray(MIB - 4096));
		await disk.write(MIB - 1024, pattern(2048, 2));
		const around = await readBytes(disk, MIB - 65536, 131072);
		expectBytes(around.subarray(0, 65536 - 1024), pattern(MIB, 1).subarray(MIB - 65536, MIB - 1024));
		expectBytes(around.subarray(65536 - 1024, 65536 + 1024), pattern(2048, 2));
		expect(around.subarray(65536 + 1024).every((byte) => byte === 0)).toBe(true);
		await disk.writeZeroes(0, 65536);
		expect((await readBytes(disk, 0, 65536)).every((byte) => byte === 0)).toBe(true);
		expectBytes(base.contents(), pattern(MIB, 1));
		await disk.close();
		await expectClean(store);
	});

	it("leaves the image as it was when it is cut off before a flush", async () => {
		const { store, disk } = await fresh();
		await disk.write(0, pattern(MIB, 1));
		await disk.flush();
		await disk.write(8 * MIB, pattern(MIB, 2));
		await disk.discard(0, 65536);
		const copy = new MemoryStore("copy", store.contents());
		await expectClean(copy);
		const again = await Qcow2Disk.open(copy);
		expectBytes(await readBytes(again, 0, MIB), pattern(MIB, 1));
	});

	it("fails a write that the store fails, and goes on after it", async () => {
		const { store, disk } = await fresh();
		const write = store.write;
		store.write = () => Promise.reject(new Error("no space"));
		await expect(disk.write(0, pattern(65536, 1))).rejects.toThrow("no space");
		store.write = write;
		await disk.write(65536, pattern(65536, 2));
		expect((await readBytes(disk, 0, 65536)).every((byte) => byte === 0)).toBe(true);
		await disk.close();
		await expectClean(store);
	});

	it("fails a flush that the store fails, and makes good for it in the next", async () => {
		const { store, disk } = await fresh();
		await disk.write(0, pattern(65536, 1));
		const write = store.write;
		store.write = () => Promise.reject(new Error("no space"));
		await expect(disk.flush()).rejects.toThrow("no space");
		store.write = write;
		await disk.flush();
		const again: Disk = await Qcow2Disk.open(new MemoryStore("copy", store.contents()));
		expectBytes(await readBytes(again, 0, 65536), pattern(65536, 1));
		await disk.close();
		await expectClean(store);
	});
});
