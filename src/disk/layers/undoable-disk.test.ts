import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { diskContract, expectBytes, MIB, pattern, readBytes } from "../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuCheck, qemuImg } from "../../../tests/suites/qemu-img.ts";
import { openUndoableFile } from "../../host/node/disk/undo-folder.ts";
import { MemoryStore } from "../memory-store.ts";
import { RawDisk } from "../raw.ts";
import { MemoryLayerFolder } from "./layer-folder.ts";
import { decodeRecord } from "./layer-record.ts";
import { UndoableDisk } from "./undoable-disk.ts";

const options = { baseFormat: "raw", clusterBits: 12 };

async function start(bytes = pattern(MIB, 1)) {
	const store = new MemoryStore("base", bytes);
	const folder = new MemoryLayerFolder();
	const base = async () => RawDisk.open(store);
	const disk = await UndoableDisk.open(await base(), folder, options);
	return { store, folder, base, disk };
}

diskContract("UndoableDisk", async (sizeBytes) => {
	const made = await start(new Uint8Array(sizeBytes));
	return {
		disk: made.disk,
		reopen: async () => {
			await made.disk.close();
			return UndoableDisk.open(await made.base(), made.folder, options);
		},
	};
});

describe("UndoableDisk", () => {
	it("leaves its base alone until it is committed", async () => {
		const { disk, folder, store } = await start();
		await disk.write(4096, pattern(8192, 2));
		await disk.writeZeroes(65536, 8192);
		await disk.flush();
		expectBytes(store.contents(), pattern(MIB, 1));
		const expected = await readBytes(disk, 0, MIB);
		await disk.commit();
		expectBytes(store.contents(), expected);
		expectBytes(await readBytes(disk, 0, MIB), expected);
		expect(disk.undoCount).toBe(0);
		expect((await folder.list()).length).toBe(1);
	});

	it("is its base again after a discard", async () => {
		const { disk, folder } = await start();
		await disk.write(0, pattern(MIB, 2));
		await disk.mark();
		await disk.write(0, pattern(MIB, 3));
		await disk.discardAll();
		expectBytes(await readBytes(disk, 0, MIB), pattern(MIB, 1));
		expect([disk.undoCount, disk.redoCount]).toEqual([0, 0]);
		expect((await folder.list()).length).toBe(1);
	});

	it("keeps its layers when it is closed", async () => {
		const { base, disk, folder } = await start();
		await disk.write(0, pattern(4096, 2));
		await disk.mark();
		await disk.write(4096, pattern(4096, 3));
		const expected = await readBytes(disk, 0, MIB);
		await disk.close();
		const again = await UndoableDisk.open(await base(), folder, options);
		expectBytes(await readBytes(again, 0, MIB), expected);
		expect(again.undoCount).toBe(2);
		await again.undo();
		expectBytes(await readBytes(again, 4096, 4096), pattern(MIB, 1).subarray(4096, 8192));
		await again.close();
		const third = await UndoableDisk.open(await base(), folder, options);
		expect([third.undoCount, third.redoCount]).toEqual([1, 1]);
		expect(await third.redo()).toBe(true);
		expectBytes(await readBytes(third, 0, MIB), expected);
	});

	it("goes back and forth between steps as an editor does", async () => {
		const operation = fc.oneof(
			fc.record({ kind: fc.constant("write" as const), at: fc.nat(63), seed: fc.nat(255) }),
			fc.record({ kind: fc.constantFrom("mark" as const, "undo" as const, "redo" as const, "commit" as const, "reopen" as const) }),
		);
		await fc.assert(
			fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async (operations) => {
				const { base, folder, disk: first } = await start(new Uint8Array(64 * 4096));
				let disk = first;
				// The model: states one can go back to, the present one, states one can go forward to.
				let past: Uint8Array[] = [];
				let present: Uint8Array = new Uint8Array(64 * 4096);
				let isFresh = true;
				let future: Uint8Array[] = [];
				for (const operation of operations) {
					if (operation.kind === "write") {
						if (isFresh) past.push(present);
						if (isFresh) future = [];
						present = present.slice();
						present.set(pattern(4096, operation.seed), operation.at * 4096);
						isFresh = false;
						await disk.write(operation.at * 4096, pattern(4096, operation.seed));
					} else if (operation.kind === "mark") {
						isFresh = true;
						await disk.mark();
					} else if (operation.kind === "undo") {
						const before = past.pop();
						expect(await disk.undo()).toBe(before !== undefined);
						if (before !== undefined) {
							future.push(present);
							present = before;
							isFresh = true;
						}
					} else if (operation.kind === "redo") {
						const after = isFresh ? future.pop() : undefined;
						expect(await disk.redo()).toBe(after !== undefined);
						if (after !== undefined) {
							past.push(present);
							present = after;
						}
					} else if (operation.kind === "commit") {
						await disk.commit();
						past = [];
						future = [];
						isFresh = true;
					} else {
						await disk.close();
						disk = await UndoableDisk.open(await base(), folder, options);
					}
					expectBytes(await readBytes(disk, 0, present.length), present);
					expect(disk.undoCount).toBe(past.length);
				}
			}),
			{ numRuns: 60 },
		);
	});

	it("commits while it is in use", async () => {
		const { disk, store } = await start(new Uint8Array(8 * MIB));
		const expected = pattern(8 * MIB, 1).slice();
		await disk.write(0, pattern(8 * MIB, 1));
		const committing = disk.commit();
		for (let i = 0; i < 100; i++) {
			const bytes = pattern(8192, i);
			await disk.write(i * 65536, bytes);
			expected.set(bytes, i * 65536);
			expectBytes(await readBytes(disk, i * 65536, 65536), expected.subarray(i * 65536, i * 65536 + 65536));
		}
		await committing;
		expectBytes(await readBytes(disk, 0, 8 * MIB), expected);
		await disk.commit();
		expectBytes(store.contents(), expected);
	});

	it("loses nothing when a commit fails halfway, and can be committed again", async () => {
		const { disk, store } = await start(pattern(8 * MIB, 1));
		await disk.write(0, pattern(8 * MIB, 2));
		const write = store.write;
		let budget = 3;
		store.write = (offset, from) => (budget-- > 0 ? write.call(store, offset, from) : Promise.reject(new Error("no space")));
		await expect(disk.commit()).rejects.toThrow();
		expectBytes(await readBytes(disk, 0, 8 * MIB), pattern(8 * MIB, 2));
		store.write = write;
		await disk.commit();
		expectBytes(store.contents(), pattern(8 * MIB, 2));
	});

	it("says what is wrong with its record", async () => {
		const { base, disk, folder } = await start();
		await disk.close();
		await folder.writeRecord(Uint8Array.of(1, 2, 3));
		await expect(UndoableDisk.open(await base(), folder, options)).rejects.toMatchObject({ kind: "corrupt", where: "memory" });
		expect(() =>
			decodeRecord(
				Uint8Array.from('{"version":2}', (char) => char.charCodeAt(0)),
				"x",
			),
		).toThrow(/version 2/);
	});
});

describe("an undoable image file", () => {
	let folder = "";
	beforeAll(async () => {
		folder = await mkdtemp(join(tmpdir(), "undo-"));
	});
	afterAll(() => rm(folder, { recursive: true }));

	it("is read by qemu through its topmost layer, in every state", async () => {
		const path = join(folder, "disk.raw");
		await writeFile(path, pattern(MIB, 1));
		let disk = await openUndoableFile(path);
		await disk.write(512, pattern(8192, 2));
		await disk.mark();
		await disk.write(65536, pattern(512, 3));
		const expected = await readBytes(disk, 0, MIB);
		await disk.close();
		expectBytes(await readFile(path), pattern(MIB, 1));
		const layers = (await readdir(`${path}.undo`)).filter((name) => name.endsWith(".qcow2")).sort();
		expect(layers.length).toBe(2);
		if (hasQemuImg) {
			const top = join(`${path}.undo`, layers.at(-1) as string);
			await writeFile(join(folder, "expected.raw"), expected);
			expect(qemuCheck(top)["check-errors"]).toBe(0);
			qemuImg("compare", "-f", "qcow2", "-F", "raw", top, join(folder, "expected.raw"));
		}
		disk = await openUndoableFile(path);
		expectBytes(await readBytes(disk, 0, MIB), expected);
		await disk.commit();
		await disk.close();
		expectBytes(await readFile(path), expected);
		expect((await readdir(`${path}.undo`)).sort()).toEqual(["000003.qcow2", "layers.json"]);
	});

	it("locks its base as any writer does", async () => {
		const path = join(folder, "locked.raw");
		await writeFile(path, pattern(MIB, 1));
		const disk = await openUndoableFile(path);
		await expect(openUndoableFile(path)).rejects.toMatchObject({ kind: "locked" });
		await disk.close();
		await (await openUndoableFile(path)).close();
	});
});
