import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuImg } from "../../../../tests/suites/qemu-img.ts";
import { readVmdkDescriptor } from "../../../disk/formats/vmdk/vmdk-disk.ts";
import { checkDiskFile, convertDiskFile, createDiskFile, diskFileInfo, resizeDiskFile } from "./disk-tools.ts";
import { openImageFile } from "./files.ts";
import { compactDiskFile } from "./rewrite.ts";
import { withStore } from "./with-store.ts";

let folder = "";
let made = 0;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "tools-"));
});
afterAll(() => rm(folder, { recursive: true }));
const fresh = (ending: string) => join(folder, `disk${made++}.${ending}`);

async function contentsOf(path: string): Promise<Uint8Array> {
	const { disk } = await openImageFile(path, { isReadOnly: true });
	const bytes = await readBytes(disk, 0, disk.sizeBytes);
	await disk.close();
	return bytes;
}

describe("disk tools", () => {
	it.each([
		{ format: "raw" as const, sizeBytes: MIB },
		{ format: "qcow2" as const, sizeBytes: MIB },
		{ format: "vmdk" as const, sizeBytes: MIB, type: "twoGbMaxExtentFlat" as const },
	])("create and describe: %o", async (options) => {
		const path = fresh(options.format);
		await createDiskFile(path, options);
		const info = await diskFileInfo(path);
		expect(info).toMatchObject({ format: options.format, sizeBytes: MIB, undoLayers: 0, snapshots: [] });
		expect(info.allocatedBytes).toBeLessThan(MIB);
		await expect(createDiskFile(path, options)).rejects.toMatchObject({ kind: "io" });
	});

	it("leave nothing behind when they fail", async () => {
		const before = await readdir(folder);
		await expect(createDiskFile(fresh("qcow2"), { format: "qcow2", sizeBytes: 100 })).rejects.toMatchObject({ kind: "unsupported" });
		expect(await readdir(folder)).toEqual(before);
	});

	it.each([
		["raw", "qcow2", false],
		["qcow2", "qcow2", true],
		["qcow2", "vmdk", false],
		["vmdk", "raw", false],
	] as const)("convert %s to %s, compressed %s", async (from, to, isCompressing) => {
		const source = fresh(from);
		const target = fresh(to);
		await createDiskFile(source, { format: from, sizeBytes: 4 * MIB });
		const { disk } = await openImageFile(source, { format: from });
		await disk.write(MIB, pattern(MIB, 1));
		await disk.write(3 * MIB, new Uint8Array(MIB).fill(7));
		const expected = await readBytes(disk, 0, 4 * MIB);
		await disk.close();
		const progress: number[] = [];
		await convertDiskFile(source, target, {
			format: to,
			isCompressing,
			sourceFormat: from,
			onProgress: (done, total) => progress.push(done / total),
		});
		expect(progress.at(-1)).toBe(1);
		const { disk: converted } = await openImageFile(target, { format: to, isReadOnly: true });
		expectBytes(await readBytes(converted, 0, 4 * MIB), expected);
		await converted.close();
		if (isCompressing) expect((await stat(target)).size).toBeLessThan(2 * MIB);
		if (!hasQemuImg) return;
		const raw = fresh("raw");
		await writeFile(raw, expected);
		qemuImg("compare", "-f", to, "-F", "raw", target, raw);
	});

	it("check and repair", async () => {
		const path = fresh("qcow2");
		await createDiskFile(path, { format: "qcow2", sizeBytes: MIB });
		const bytes = await readFile(path);
		const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
		bytes.writeUInt16BE(5, block);
		await writeFile(path, bytes);
		expect((await checkDiskFile(path)).leakCount).toBe(1);
		expect((await checkDiskFile(path, { isRepairing: true })).leakCount).toBe(1);
		expect((await checkDiskFile(path)).problems).toEqual([]);
		const raw = fresh("raw");
		await createDiskFile(raw, { format: "raw", sizeBytes: MIB });
		await expect(checkDiskFile(raw)).rejects.toMatchObject({ kind: "unsupported" });
	});

	it("resize, overlays included", async () => {
		const base = fresh("raw");
		const top = fresh("qcow2");
		await writeFile(base, pattern(2 * MIB, 1));
		await createDiskFile(top, { format: "qcow2", sizeBytes: MIB, backingFile: base, backingFormat: "raw" });
		await resizeDiskFile(top, 3 * MIB);
		const bytes = await contentsOf(top);
		expectBytes(bytes.subarray(0, MIB), pattern(2 * MIB, 1).subarray(0, MIB));
		expect(bytes.subarray(MIB).every((byte) => byte === 0)).toBe(true);
		await expect(resizeDiskFile(base, MIB, { format: "raw" })).rejects.toMatchObject({ kind: "unsupported" });
		await resizeDiskFile(base, MIB, { format: "raw", allowShrink: true });
		expect((await stat(base)).size).toBe(MIB);
	});

	it("compact in place", async () => {
		const path = fresh("qcow2");
		await createDiskFile(path, { format: "qcow2", sizeBytes: 8 * MIB });
		const { disk } = await openImageFile(path);
		await disk.write(0, pattern(8 * MIB, 1));
		await disk.write(0, new Uint8Array(6 * MIB));
		await disk.close();
		const expected = await contentsOf(path);
		await compactDiskFile(path);
		expect((await stat(path)).size).toBeLessThan(2.5 * MIB);
		expectBytes(await contentsOf(path), expected);
		expect((await checkDiskFile(path)).problems).toEqual([]);
		expect((await readdir(folder)).filter((name) => name.endsWith(".compacted") || name.endsWith(".lock"))).toEqual([]);
	});

	it("compact raw disks into holes, and VMDK ones without grains of zeros", async () => {
		const raw = fresh("raw");
		await writeFile(raw, pattern(8 * MIB, 1).fill(0, 0, 6 * MIB));
		const expected = await contentsOf(raw);
		const before = (await diskFileInfo(raw)).allocatedBytes;
		await compactDiskFile(raw);
		expect((await diskFileInfo(raw)).allocatedBytes).toBeLessThan(before - 5 * MIB);
		expectBytes(await contentsOf(raw), expected);
		const vmdk = fresh("vmdk");
		await createDiskFile(vmdk, { format: "vmdk", sizeBytes: 8 * MIB });
		const { disk } = await openImageFile(vmdk);
		await disk.write(0, pattern(8 * MIB, 1));
		await disk.write(0, new Uint8Array(6 * MIB));
		await disk.close();
		const cid = () => withStore(vmdk, true, async (store) => (await readVmdkDescriptor(store)).descriptor.cid);
		const parent = await cid();
		await compactDiskFile(vmdk);
		expect((await stat(vmdk)).size).toBeLessThan(3 * MIB);
		expectBytes(await contentsOf(vmdk), expected);
		expect(await cid()).toBe(parent);
		await resizeDiskFile(vmdk, 16 * MIB);
		expectBytes((await contentsOf(vmdk)).subarray(0, 8 * MIB), expected);
		expect((await diskFileInfo(vmdk)).sizeBytes).toBe(16 * MIB);
		expect((await checkDiskFile(vmdk)).problems).toEqual([]);
	});

	it("say what they cannot compact or give another size", async () => {
		const flat = fresh("vmdk");
		await createDiskFile(flat, { format: "vmdk", sizeBytes: MIB, type: "monolithicFlat" });
		await expect(compactDiskFile(flat)).rejects.toThrow(/monolithicFlat cannot be written again; convert it/);
		await expect(resizeDiskFile(flat, 2 * MIB)).rejects.toMatchObject({ name: "DiskError", kind: "unsupported" });
		const whole = fresh("vmdk");
		await createDiskFile(whole, { format: "vmdk", sizeBytes: 2 * MIB });
		await expect(resizeDiskFile(whole, MIB, { allowShrink: true })).rejects.toThrow(/is not made smaller/);
		const child = fresh("vmdk");
		await createDiskFile(child, { format: "vmdk", sizeBytes: 2 * MIB, parentFile: whole });
		await expect(compactDiskFile(child)).rejects.toThrow(/is a child of another disk/);
		await expect(compactDiskFile(whole, { isCompressing: true })).rejects.toThrow(/vmdk is not written compressed/);
	});
});
