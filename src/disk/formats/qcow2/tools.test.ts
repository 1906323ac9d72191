import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuCheck, qemuImg } from "../../../../tests/suites/qemu-img.ts";
import { nodeCodecs } from "../../../host/node/disk/codecs.ts";
import { FileStore } from "../../../host/node/disk/file-store.ts";
import { copyDisk } from "../../convert.ts";
import { MemoryStore } from "../../memory-store.ts";
import { RawDisk } from "../../raw.ts";
import { checkQcow2 } from "./check.ts";
import { compactQcow2 } from "./compact.ts";
import { createQcow2 } from "./create.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";
import { resizeQcow2 } from "./resize.ts";

let folder = "";
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "qcow2-tools-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Compressible bytes that differ everywhere. */
function text(length: number): Uint8Array {
	const bytes = new Uint8Array(length);
	for (let i = 0; i < length; i++) bytes[i] = (i >> 8) & 0xff;
	return bytes;
}

async function expectGood(store: MemoryStore, expected: Uint8Array): Promise<void> {
	expect((await checkQcow2(store)).problems).toEqual([]);
	const disk = await Qcow2Disk.open(store, { isReadOnly: true, codecs: nodeCodecs });
	expectBytes(await readBytes(disk, 0, disk.sizeBytes), expected);
	if (!hasQemuImg) return;
	const path = join(folder, "image.qcow2");
	const raw = join(folder, "image.raw");
	await writeFile(path, store.contents());
	await writeFile(raw, expected);
	const check = qemuCheck(path);
	expect([check["check-errors"], check.corruptions ?? 0, check.leaks ?? 0]).toEqual([0, 0, 0]);
	qemuImg("compare", "-f", "qcow2", "-F", "raw", path, raw);
}

describe("resizeQcow2", () => {
	it("grows, into a longer L1 table where it must", async () => {
		const store = new MemoryStore("image");
		await createQcow2(store, { sizeBytes: MIB, clusterBits: 9 });
		const disk = await Qcow2Disk.open(store);
		await disk.write(0, pattern(MIB, 1));
		await disk.close();
		await resizeQcow2(store, 8 * MIB);
		const expected = new Uint8Array(8 * MIB);
		expected.set(pattern(MIB, 1));
		await expectGood(store, expected);
		const grown = await Qcow2Disk.open(store);
		await grown.write(7 * MIB, pattern(MIB, 2));
		expected.set(pattern(MIB, 2), 7 * MIB);
		await grown.close();
		await expectGood(store, expected);
	});

	it("shrinks only when told to, and shows zeros when it grows again", async () => {
		const store = new MemoryStore("image");
		await createQcow2(store, { sizeBytes: 4 * MIB });
		const disk = await Qcow2Disk.open(store);
		await disk.write(0, pattern(4 * MIB, 1));
		await disk.close();
		await expect(resizeQcow2(store, MIB + 512)).rejects.toMatchObject({ kind: "unsupported" });
		await resizeQcow2(store, MIB + 512, { allowShrink: true });
		await expectGood(store, pattern(4 * MIB, 1).subarray(0, MIB + 512));
		await resizeQcow2(store, 4 * MIB);
		const expected = new Uint8Array(4 * MIB);
		expected.set(pattern(4 * MIB, 1).subarray(0, MIB + 512));
		await expectGood(store, expected);
	});

	it("does not show what a larger backing disk holds there", async () => {
		const base = await RawDisk.open(new MemoryStore("base", pattern(4 * MIB, 1)), { isReadOnly: true });
		const store = new MemoryStore("image");
		await createQcow2(store, { sizeBytes: MIB, backingFile: "base" });
		await resizeQcow2(store, 4 * MIB, { backing: base });
		const disk = await Qcow2Disk.open(store, { backing: base });
		expectBytes(await readBytes(disk, 0, MIB), pattern(4 * MIB, 1).subarray(0, MIB));
		expect((await readBytes(disk, MIB, 3 * MIB)).every((byte) => byte === 0)).toBe(true);
	});
});

describe("compactQcow2", () => {
	it.each([
		[false, "zlib"],
		[true, "zlib"],
		[true, "zstd"],
	] as const)("leaves out zeros and free clusters; compressing %s %s", async (isCompressing, compression) => {
		const store = new MemoryStore("image");
		await createQcow2(store, { sizeBytes: 8 * MIB, clusterBits: 14, compression });
		const disk = await Qcow2Disk.open(store);
		const expected = new Uint8Array(8 * MIB);
		await disk.write(0, pattern(8 * MIB, 1));
		await disk.write(0, new Uint8Array(4 * MIB));
		await disk.discard(5 * MIB, 2 * MIB);
		expected.set(pattern(8 * MIB, 1));
		expected.fill(0, 0, 4 * MIB).fill(0, 5 * MIB, 7 * MIB);
		await disk.write(MIB, text(MIB));
		expected.set(text(MIB), MIB);
		await disk.close();
		const target = new MemoryStore("target");
		await compactQcow2(store, target, { codecs: nodeCodecs, isCompressing });
		expect(await target.size()).toBeLessThan(isCompressing ? 2.4 * MIB : 3.4 * MIB);
		await expectGood(target, expected);
		const again = await Qcow2Disk.open(target, { codecs: nodeCodecs });
		await again.write(MIB + 5120, pattern(512 * 1024, 9));
		expected.set(pattern(512 * 1024, 9), MIB + 5120);
		await again.close();
		await expectGood(target, expected);
	});

	it("keeps an overlay an overlay", async () => {
		const base = await RawDisk.open(new MemoryStore("base", pattern(4 * MIB, 1)), { isReadOnly: true });
		const store = new MemoryStore("image");
		await createQcow2(store, { sizeBytes: 4 * MIB, backingFile: "base", backingFormat: "raw" });
		const disk = await Qcow2Disk.open(store, { backing: base });
		await disk.write(MIB, pattern(65536, 2));
		await disk.writeZeroes(2 * MIB, 65536);
		await disk.write(3 * MIB, new Uint8Array(65536));
		const expected = await readBytes(disk, 0, 4 * MIB);
		await disk.flush();
		const target = new MemoryStore("target");
		await compactQcow2(store, target, { backing: base });
		const compact = await Qcow2Disk.open(target, { backing: base });
		expect(compact.header).toMatchObject({ backingFile: "base", backingFormat: "raw" });
		expectBytes(await readBytes(compact, 0, 4 * MIB), expected);
		expect(await target.size()).toBeLessThanOrEqual(6 * 65536);
	});
});

describe("copyDisk", () => {
	it("copies between formats, holes left out, and tells how far it is", async () => {
		const bytes = new Uint8Array(10 * MIB);
		bytes.set(pattern(MIB, 1), 3 * MIB + 512);
		const source = await RawDisk.open(new MemoryStore("raw", bytes));
		const store = new MemoryStore("image");
		await createQcow2(store, { sizeBytes: 10 * MIB });
		const target = await Qcow2Disk.open(store);
		const progress: number[] = [];
		await copyDisk(source, target, { onProgress: (done) => progress.push(done) });
		expect(progress.at(-1)).toBe(10 * MIB);
		await target.close();
		expect(await store.size()).toBeLessThan(1.5 * MIB);
		await expectGood(store, bytes);
	});
});

describe("a lock on the file", () => {
	it("is given back when a disk is closed", async () => {
		const path = join(folder, "locked.qcow2");
		const store = await FileStore.open(path, { create: true });
		await createQcow2(store, { sizeBytes: MIB });
		await (await Qcow2Disk.open(store)).close();
		await (await FileStore.open(path)).close();
	});
});
