import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuImg } from "../../../../tests/suites/qemu-img.ts";
import { createQcow2 } from "../../../disk/formats/qcow2/create.ts";
import { FileStore } from "./file-store.ts";
import { openImageFile } from "./files.ts";

let folder = "";
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "images-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function overlay(name: string, backingFile: string, backingFormat?: string): Promise<string> {
	const path = join(folder, name);
	const store = await FileStore.open(path, { create: true });
	await createQcow2(store, { sizeBytes: MIB, backingFile, ...(backingFormat === undefined ? {} : { backingFormat }) });
	await store.close();
	return path;
}

describe("openImageFile", () => {
	it("opens a chain by names relative to each image, through links", async () => {
		await mkdir(join(folder, "base"));
		await writeFile(join(folder, "base", "disk.raw"), pattern(MIB, 1));
		await overlay("base/one.qcow2", "disk.raw", "raw");
		await symlink(join(folder, "base", "one.qcow2"), join(folder, "link.qcow2"));
		const top = await overlay("top.qcow2", "link.qcow2", "qcow2");
		const { disk, layers } = await openImageFile(top);
		expect(layers.map(({ format, place }) => [format, place.slice(folder.length + 1)])).toEqual([
			["qcow2", "top.qcow2"],
			["qcow2", "base/one.qcow2"],
			["raw", "base/disk.raw"],
		]);
		await disk.write(4096, pattern(4096, 2));
		expectBytes((await readBytes(disk, 0, MIB)).subarray(8192), pattern(MIB, 1).subarray(8192));
		await disk.close();
		await disk.close().catch(() => {});
		(await openImageFile(top, { isReadOnly: true })).disk.close();
	});

	it("says so when a chain runs in a circle", async () => {
		await overlay("a.qcow2", "b.qcow2", "qcow2");
		await overlay("b.qcow2", "c.qcow2", "qcow2");
		await overlay("c.qcow2", "b.qcow2", "qcow2");
		await expect(openImageFile(join(folder, "a.qcow2"))).rejects.toMatchObject({
			kind: "corrupt",
			message: expect.stringMatching(/stands on itself/),
		});
		// No lock stays behind.
		await expect(openImageFile(join(folder, "a.qcow2"))).rejects.toMatchObject({ kind: "corrupt" });
	});

	it("names the file that is missing", async () => {
		const path = await overlay("orphan.qcow2", "nowhere.qcow2");
		await expect(openImageFile(path)).rejects.toMatchObject({ kind: "not-found", where: join(folder, "nowhere.qcow2") });
	});

	it("refuses what is not a file", async () => {
		const path = await overlay("network.qcow2", "nbd://localhost/x");
		await expect(openImageFile(path)).rejects.toMatchObject({ kind: "unsupported", message: expect.stringContaining("nbd://localhost/x") });
	});

	it.skipIf(!hasQemuImg).each([
		["raw", "raw"],
		["qcow2", "qcow2"],
		["vmdk", "vmdk"],
		["vpc", "vhd"],
		["vhdx", "vhdx"],
	])("knows %s when it sees one", async (qemuName, format) => {
		const raw = join(folder, "source.raw");
		const path = join(folder, `probe.${qemuName}`);
		await writeFile(raw, pattern(MIB, 3));
		qemuImg("convert", "-f", "raw", "-O", qemuName, raw, path);
		const opened = await openImageFile(path, { isReadOnly: true });
		expect(opened.format).toBe(format);
		expectBytes(await readBytes(opened.disk, 0, MIB), pattern(MIB, 3));
		await opened.disk.close();
	});
});
