import { describe, expect, it } from "vitest";
import { diskContract, pattern, readBytes } from "../../tests/suites/disk-contract.ts";
import { MemoryStore } from "./memory-store.ts";
import { RawDisk } from "./raw.ts";

for (const sectorBytes of [512, 4096] as const)
	diskContract(`RawDisk in memory, sectors of ${sectorBytes}`, async (sizeBytes) => {
		const store = new MemoryStore();
		const disk = await RawDisk.create(store, sizeBytes, { sectorBytes });
		return { disk, reopen: () => RawDisk.open(store, { sectorBytes }) };
	});

describe("RawDisk", () => {
	it("rounds an odd size up and reads zeros there", async () => {
		const disk = await RawDisk.open(new MemoryStore("odd", pattern(700, 1)));
		expect(disk.sizeBytes).toBe(1024);
		const bytes = await readBytes(disk, 512, 512);
		expect(bytes.subarray(0, 188)).toEqual(pattern(700, 1).subarray(512));
		expect(bytes.subarray(188).every((byte) => byte === 0)).toBe(true);
	});

	it("says so when it is read-only", async () => {
		const disk = await RawDisk.open(new MemoryStore("ro", new Uint8Array(1024), { isReadOnly: true }));
		expect(disk.isReadOnly).toBe(true);
		await expect(disk.write(0, new Uint8Array(512))).rejects.toMatchObject({ kind: "read-only", where: "ro" });
		await disk.flush();
	});
});

describe("MemoryStore", () => {
	it("reads zeros past its end, and after being cut and grown", async () => {
		const store = new MemoryStore("m", pattern(100_000, 2));
		await store.truncate(50_000);
		await store.truncate(200_000);
		const bytes = new Uint8Array(100_000);
		await store.read(0, bytes);
		expect(bytes.subarray(0, 50_000)).toEqual(pattern(100_000, 2).subarray(0, 50_000));
		expect(bytes.subarray(50_000).every((byte) => byte === 0)).toBe(true);
		expect(store.contents().length).toBe(200_000);
	});
});
