import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuCheck, qemuImg } from "../../../../tests/suites/qemu-img.ts";
import { UndoableDisk } from "../../../disk/layers/undoable-disk.ts";
import { openDisk } from "./attach.ts";
import { commitDiskFile, discardDiskFile, stepDiskFile, undoStepsOf } from "./commit.ts";
import { checkDiskFile, createDiskFile } from "./disk-tools.ts";

let folder = "";
let made = 0;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "commit-"));
});
afterAll(() => rm(folder, { recursive: true }));
const fresh = (ending: string) => join(folder, `disk${made++}.${ending}`);

async function contentsOf(path: string): Promise<Uint8Array> {
	const disk = await openDisk({ path, isReadOnly: true });
	const bytes = await readBytes(disk, 0, disk.sizeBytes);
	await disk.close();
	return bytes;
}

async function writeTo(path: string, mode: "persistent" | "nonpersistent" | "undoable" | "independent", seed: number): Promise<void> {
	const disk = await openDisk({ path, mode });
	await disk.write(4096, pattern(65536, seed));
	if (disk instanceof UndoableDisk) await disk.mark();
	await disk.flush();
	await disk.close();
}

describe("disks in their modes", () => {
	it.each([["raw"], ["qcow2"], ["vmdk"]] as const)("%s", async (format) => {
		const path = fresh(format);
		await createDiskFile(path, { format, sizeBytes: MIB });
		await writeTo(path, "persistent", 1);
		const expected = new Uint8Array(MIB);
		expected.set(pattern(65536, 1), 4096);
		expectBytes(await contentsOf(path), expected);
		await writeTo(path, "nonpersistent", 2);
		await writeTo(path, "undoable", 3);
		expectBytes(await contentsOf(path), expected);
		expect(await undoStepsOf(path)).toBe(1);
		await writeTo(path, "undoable", 4);
		expect(await stepDiskFile(path, "undo")).toEqual({ isDone: true, undoSteps: 1, redoSteps: 1 });
		expect(await stepDiskFile(path, "redo")).toEqual({ isDone: true, undoSteps: 2, redoSteps: 0 });
		await stepDiskFile(path, "undo");
		expect(await commitDiskFile(path)).toEqual({ kind: "undo", into: path });
		expected.set(pattern(65536, 3), 4096);
		expectBytes(await contentsOf(path), expected);
		expect((await readdir(folder)).filter((name) => name.endsWith(".undo"))).toEqual([]);
		await writeTo(path, "undoable", 5);
		await discardDiskFile(path);
		expectBytes(await contentsOf(path), expected);
		await writeTo(path, "independent", 6);
		expected.set(pattern(65536, 6), 4096);
		expectBytes(await contentsOf(path), expected);
	});

	it("a raw disk that looks like an image is asked about", async () => {
		const path = fresh("img");
		await createDiskFile(path, { format: "qcow2", sizeBytes: MIB });
		await expect(openDisk({ path })).rejects.toMatchObject({ kind: "unsupported", message: expect.stringContaining("looks like qcow2") });
		await (await openDisk({ path, format: "raw" })).close();
	});

	it("a backing file whose format nobody told may not name further files", async () => {
		const secret = fresh("raw");
		const guest = fresh("raw");
		const top = fresh("qcow2");
		await writeFile(secret, pattern(MIB, 1));
		await createDiskFile(guest, { format: "qcow2", sizeBytes: MIB, backingFile: secret, backingFormat: "raw" });
		await createDiskFile(top, { format: "qcow2", sizeBytes: MIB, backingFile: guest });
		await expect(openDisk({ path: top })).rejects.toMatchObject({ kind: "unsupported", where: guest });
	});
});

describe("overlays", () => {
	it("are committed into their backing file, and discarded", async () => {
		const base = fresh("qcow2");
		const top = fresh("qcow2");
		await createDiskFile(base, { format: "qcow2", sizeBytes: MIB, clusterBits: 12 });
		await writeTo(base, "persistent", 1);
		await createDiskFile(top, { format: "qcow2", sizeBytes: MIB, backingFile: base, backingFormat: "qcow2" });
		const disk = await openDisk({ path: top });
		await disk.write(0, pattern(8192, 2));
		await disk.writeZeroes(16384, 8192);
		await disk.close();
		const expected = await contentsOf(top);
		expect(await commitDiskFile(top)).toEqual({ kind: "overlay", into: base });
		expectBytes(await contentsOf(base), expected);
		expectBytes(await contentsOf(top), expected);
		await writeTo(top, "persistent", 3);
		await discardDiskFile(top);
		expectBytes(await contentsOf(top), expected);
		expect((await checkDiskFile(base)).problems).toEqual([]);
		if (hasQemuImg) {
			expect(qemuCheck(top)["check-errors"]).toBe(0);
			qemuImg("compare", top, base);
		}
	});

	it("refuse what would lose something", async () => {
		const base = fresh("raw");
		const top = fresh("qcow2");
		await createDiskFile(base, { format: "raw", sizeBytes: MIB });
		await createDiskFile(top, { format: "qcow2", sizeBytes: 2 * MIB, backingFile: base, backingFormat: "raw" });
		await expect(commitDiskFile(top)).rejects.toMatchObject({ kind: "out-of-range", where: base });
		await expect(commitDiskFile(base)).rejects.toMatchObject({ kind: "not-found" });
		await expect(stepDiskFile(base, "undo")).rejects.toMatchObject({ kind: "not-found" });
	});
});
