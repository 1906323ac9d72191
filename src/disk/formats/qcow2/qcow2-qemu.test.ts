import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, hasQemuIo, qemuCheck, qemuImg, qemuIo } from "../../../../tests/suites/qemu-img.ts";
import { nodeCodecs } from "../../../host/node/disk/codecs.ts";
import { FileStore } from "../../../host/node/disk/file-store.ts";
import { RawDisk } from "../../raw.ts";
import { checkQcow2, repair } from "./check.ts";
import { createQcow2, type Qcow2CreateOptions } from "./create.ts";
import { Qcow2Disk } from "./qcow2-disk.ts";
import { readSnapshots } from "./snapshots.ts";

let folder = "";
let made = 0;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "qcow2-"));
});
afterAll(() => rm(folder, { recursive: true }));
const fresh = (ending: string) => join(folder, `image${made++}.${ending}`);

const CLEAN = { "check-errors": 0 };
const openRaw = async (path: string) => RawDisk.open(await FileStore.open(path, { isReadOnly: true }), { isReadOnly: true });

describe.skipIf(!hasQemuImg)("images made by qemu-img", () => {
	const options = [
		"compat=0.10",
		"compat=1.1",
		"cluster_size=512",
		"cluster_size=2M",
		"compat=1.1,lazy_refcounts=on,refcount_bits=1",
		"refcount_bits=64,cluster_size=4k",
		"compression_type=zstd",
		"preallocation=metadata",
		"preallocation=falloc",
	];
	it.each(options)("open, read right, take writes and stay clean: %s", async (option) => {
		const path = fresh("qcow2");
		const raw = fresh("raw");
		const model = new Uint8Array(4 * MIB);
		model.set(pattern(MIB, 1), 512 * 1024);
		model.set(pattern(3000 * 512, 2), 2 * MIB);
		await writeFile(raw, model);
		if (option.startsWith("preallocation")) {
			qemuImg("create", "-q", "-f", "qcow2", "-o", option, path, "4M");
			qemuImg("convert", "-n", "-f", "raw", "-O", "qcow2", raw, path);
		} else qemuImg("convert", "-f", "raw", "-O", "qcow2", "-o", option, raw, path);
		const disk = await Qcow2Disk.open(await FileStore.open(path), { codecs: nodeCodecs });
		expect(disk.sizeBytes).toBe(4 * MIB);
		expectBytes(await readBytes(disk, 0, 4 * MIB), model);
		await disk.write(1024, pattern(512 * 1024, 3));
		model.set(pattern(512 * 1024, 3), 1024);
		await disk.discard(2 * MIB, MIB);
		await disk.writeZeroes(3 * MIB, 300 * 512);
		model.fill(0, 3 * MIB, 3 * MIB + 300 * 512);
		// A discard may leave what it does not fill a cluster with.
		model.set(await readBytes(disk, 2 * MIB, MIB), 2 * MIB);
		expectBytes(await readBytes(disk, 0, 4 * MIB), model);
		await disk.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		expect(qemuCheck(path).leaks ?? 0).toBe(0);
		await writeFile(raw, model);
		qemuImg("compare", "-f", "qcow2", "-F", "raw", path, raw);
	});

	it.each(["zlib", "zstd"])("with compressed clusters (%s) read, and give way to writes", async (compression) => {
		const path = fresh("qcow2");
		const raw = fresh("raw");
		const model = new Uint8Array(4 * MIB);
		for (let i = 0; i < model.length; i++) model[i] = (i >> 9) & 0xff;
		model.set(pattern(100_000, 5), MIB);
		await writeFile(raw, model);
		qemuImg("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", `compression_type=${compression}`, raw, path);
		const disk = await Qcow2Disk.open(await FileStore.open(path), { codecs: nodeCodecs });
		expectBytes(await readBytes(disk, 0, 4 * MIB), model);
		for (let at = 12288; at < 4 * MIB; at += 300 * 1024) {
			await disk.write(at, pattern(8192, at));
			model.set(pattern(8192, at), at);
		}
		await disk.discard(3 * MIB, MIB / 2);
		model.fill(0, 3 * MIB, 3.5 * MIB);
		expectBytes(await readBytes(disk, 0, 4 * MIB), model);
		await disk.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		await writeFile(raw, model);
		qemuImg("compare", "-f", "qcow2", "-F", "raw", path, raw);
	});

	it("with internal snapshots: listed, kept as they were, and the active disk goes on", async () => {
		const path = fresh("qcow2");
		const raw = fresh("raw");
		await writeFile(raw, pattern(4 * MIB, 1));
		qemuImg("convert", "-f", "raw", "-O", "qcow2", raw, path);
		qemuImg("snapshot", "-c", "first one", path);
		let disk = await Qcow2Disk.open(await FileStore.open(path));
		await disk.write(65536 - 4096, pattern(8192, 2));
		await disk.discard(MIB, MIB);
		await disk.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		qemuImg("snapshot", "-c", "second", path);
		const store = await FileStore.open(path);
		disk = await Qcow2Disk.open(store);
		const snapshots = await readSnapshots(store, disk.header);
		expect(snapshots.map(({ name, sizeBytes }) => [name, sizeBytes])).toEqual([
			["first one", 4 * MIB],
			["second", 4 * MIB],
		]);
		await disk.write(0, pattern(2 * MIB, 3));
		await disk.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		const again = await FileStore.open(path, { isReadOnly: true });
		expect((await checkQcow2(again)).problems).toEqual([]);
		await again.close();
		for (const [wanted, expected] of [
			["first one", pattern(4 * MIB, 1)],
			["2", undefined],
		] as const) {
			const then = await Qcow2Disk.open(await FileStore.open(path, { isReadOnly: true }), { snapshot: wanted });
			const bytes = await readBytes(then, 0, 4 * MIB);
			if (expected !== undefined) expectBytes(bytes, expected);
			else expectBytes(bytes.subarray(65536 - 4096, 65536 + 4096), pattern(8192, 2));
			await then.close();
		}
		const other = await FileStore.open(path, { isReadOnly: true });
		await expect(Qcow2Disk.open(other, { snapshot: "third" })).rejects.toMatchObject({
			message: expect.stringContaining("first one, second"),
		});
		await other.close();
		qemuImg("snapshot", "-a", "first one", path);
		qemuImg("compare", "-f", "qcow2", "-F", "raw", path, raw);
	});

	it("that were cut off with lazy reference counts are counted afresh", async (context) => {
		if (!hasQemuIo) context.skip("qemu-io is not installed");
		const path = fresh("qcow2");
		qemuImg("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "64M");
		expect(() => qemuIo(path, "qcow2", "write -P 7 0 1M", "flush", "abort")).toThrow();
		const disk = await Qcow2Disk.open(await FileStore.open(path));
		expect((await readBytes(disk, 0, MIB)).every((byte) => byte === 7)).toBe(true);
		await disk.write(2 * MIB, pattern(MIB, 1));
		await disk.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		expect(qemuImg("info", path)).toMatch(/corrupt: false/);
	});
});

describe.skipIf(!hasQemuImg)("images made here", () => {
	const variants: readonly Omit<Qcow2CreateOptions, "sizeBytes">[] = [
		{},
		{ version: 2 },
		{ clusterBits: 9, refcountOrder: 0 },
		{ clusterBits: 21, refcountOrder: 6, lazyRefcounts: true, compression: "zstd" },
	];
	it.each(variants)("are clean to qemu-img: %o", async (variant) => {
		const path = fresh("qcow2");
		const store = await FileStore.open(path, { create: true });
		await createQcow2(store, { ...variant, sizeBytes: 10 * MIB + 512 });
		await store.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		const info = JSON.parse(qemuImg("info", "--output=json", path));
		expect(info["virtual-size"]).toBe(10 * MIB + 512);
		expect(info["format-specific"].data.compat).toBe(variant.version === 2 ? "0.10" : "1.1");
	});

	it("take part in qemu's backing chains", async () => {
		const base = fresh("raw");
		const path = fresh("qcow2");
		await writeFile(base, pattern(4 * MIB, 1));
		const store = await FileStore.open(path, { create: true });
		await createQcow2(store, { sizeBytes: 6 * MIB, backingFile: base, backingFormat: "raw" });
		const disk = await Qcow2Disk.open(store, { backing: await openRaw(base) });
		await disk.write(MIB + 512, pattern(2048, 2));
		await disk.writeZeroes(2 * MIB, MIB);
		await disk.discard(3 * MIB, 65536);
		const whole = await readBytes(disk, 0, 6 * MIB);
		await disk.close();
		const raw = fresh("raw");
		await writeFile(raw, whole);
		expect(qemuCheck(path)).toMatchObject(CLEAN);
		qemuImg("compare", "-f", "qcow2", "-F", "raw", path, raw);
		expect(JSON.parse(qemuImg("info", "--output=json", path))).toMatchObject({
			"backing-filename": base,
			"backing-filename-format": "raw",
		});
	});

	it("agree with a plain array and with qemu over random operations", { timeout: 120_000 }, async () => {
		const SECTORS = 8192;
		const operation = fc.record({
			kind: fc.constantFrom("write", "write", "write", "zero", "discard", "flush", "reopen", "snapshot"),
			sector: fc.nat(SECTORS - 1),
			sectors: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 2000 })),
			seed: fc.nat(255),
		});
		const setup = fc.record({
			version: fc.constantFrom<2 | 3>(2, 3, 3),
			clusterBits: fc.constantFrom(9, 12, 16),
			hasBacking: fc.boolean(),
		});
		await fc.assert(
			fc.asyncProperty(setup, fc.array(operation, { minLength: 20, maxLength: 120 }), async (options, operations) => {
				const path = fresh("qcow2");
				const base = fresh("raw");
				const baseBytes = (SECTORS - 1000) * 512;
				await writeFile(base, pattern(baseBytes, 7));
				const model = new Uint8Array(SECTORS * 512);
				if (options.hasBacking) model.set(pattern(baseBytes, 7));
				const store = await FileStore.open(path, { create: true });
				await createQcow2(store, {
					version: options.version,
					clusterBits: options.clusterBits,
					sizeBytes: SECTORS * 512,
					...(options.hasBacking ? { backingFile: base, backingFormat: "raw" } : {}),
				});
				await store.close();
				const open = async () => Qcow2Disk.open(await FileStore.open(path), options.hasBacking ? { backing: await openRaw(base) } : {});
				let disk = await open();
				let pending: { offset: number; end: number; done: Promise<void> }[] = [];
				const settle = async () => {
					await Promise.all(pending.map(({ done }) => done));
					pending = [];
				};
				let snapshots = 0;
				for (const { kind, sector, sectors, seed } of operations) {
					const offset = sector * 512;
					const length = Math.min(sectors, SECTORS - sector) * 512;
					// Side by side where they do not overlap: what does is the guest's to order.
					const end = offset + length;
					if (kind !== "write" || pending.some((other) => other.offset < end && offset < other.end)) await settle();
					if (kind === "write") {
						const bytes = pattern(length, seed);
						model.set(bytes, offset);
						pending.push({ offset, end, done: disk.write(offset, bytes) });
					}
					if (kind === "zero") {
						await disk.writeZeroes(offset, length);
						model.fill(0, offset, offset + length);
					} else if (kind === "discard") {
						await disk.discard(offset, length);
						model.set(await readBytes(disk, offset, length), offset);
					} else if (kind === "flush") await disk.flush();
					else if (kind === "reopen" || kind === "snapshot") {
						await disk.close();
						if (kind === "snapshot" && snapshots < 3) qemuImg("snapshot", "-c", `s${snapshots++}`, path);
						disk = await open();
					}
				}
				await settle();
				expectBytes(await readBytes(disk, 0, model.length), model);
				await disk.close();
				const check = qemuCheck(path);
				expect([check["check-errors"], check.corruptions ?? 0, check.leaks ?? 0]).toEqual([0, 0, 0]);
				const raw = fresh("raw");
				await writeFile(raw, model);
				qemuImg("compare", "-f", "qcow2", "-F", "raw", path, raw);
				await Promise.all([path, base, raw].map((file) => rm(file)));
			}),
			{ numRuns: 25, endOnFailure: true },
		);
	});

	it("are repaired to qemu's satisfaction after leaks and wrong counts", async () => {
		const path = fresh("qcow2");
		let store = await FileStore.open(path, { create: true });
		await createQcow2(store, { sizeBytes: 16 * MIB });
		const disk = await Qcow2Disk.open(store);
		await disk.write(0, pattern(4 * MIB, 1));
		await disk.close();
		store = await FileStore.open(path);
		const { refcountTableOffset } = disk.header;
		const entry = new Uint8Array(8);
		await store.read(refcountTableOffset, entry);
		const block = Number(new DataView(entry.buffer).getBigUint64(0));
		await store.write(block + 2 * 10, Uint8Array.of(0, 0, 0, 3, 0, 0));
		await store.write(block + 2 * 50, Uint8Array.of(0, 2));
		const report = await checkQcow2(store);
		expect(report.errorCount).toBe(2);
		expect(report.leakCount).toBe(2);
		await repair(store);
		expect((await checkQcow2(store)).problems).toEqual([]);
		await store.close();
		expect(qemuCheck(path)).toMatchObject(CLEAN);
	});
});
