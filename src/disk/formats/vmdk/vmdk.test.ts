import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { diskContract, expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuCheck, qemuImg } from "../../../../tests/suites/qemu-img.ts";
import { nodeCodecs } from "../../../host/node/disk/codecs.ts";
import { FileStore } from "../../../host/node/disk/file-store.ts";
import { type ByteStore, DiskError } from "../../disk.ts";
import { MemoryStore } from "../../memory-store.ts";
import { RawDisk } from "../../raw.ts";
import { createVmdk, type VmdkCreateOptions } from "./create.ts";
import { readVmdkDescriptor, VmdkDisk, type VmdkOptions } from "./vmdk-disk.ts";

let folder = "";
let made = 0;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "vmdk-"));
});
afterAll(() => rm(folder, { recursive: true }));

type Type = NonNullable<VmdkCreateOptions["type"]>;
const types: readonly Type[] = ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"];

async function open(path: string, options: VmdkOptions = {}): Promise<VmdkDisk> {
	const store = await FileStore.open(path, { isReadOnly: options.isReadOnly ?? false });
	try {
		return await VmdkDisk.open(store, {
			codecs: nodeCodecs,
			openExtent: (name) => FileStore.open(join(folder, name), { isReadOnly: options.isReadOnly ?? false }),
			...options,
		});
	} catch (error) {
		await store.close();
		throw error;
	}
}

async function create(type: Type, sizeBytes: number, more: Partial<VmdkCreateOptions> = {}): Promise<string> {
	const baseName = `disk${made++}`;
	const path = join(folder, `${baseName}.vmdk`);
	const store = await FileStore.open(path, { create: true });
	await createVmdk(store, {
		type,
		sizeBytes,
		baseName,
		createExtent: (name) => FileStore.open(join(folder, name), { create: true }),
		...more,
	});
	await store.close();
	return path;
}

for (const type of types)
	diskContract(`VmdkDisk ${type}`, async (sizeBytes) => {
		const path = await create(type, sizeBytes);
		const disk = await open(path);
		return {
			disk,
			reopen: async () => {
				await disk.close();
				return open(path);
			},
		};
	});

describe.skipIf(!hasQemuImg)("VMDK and qemu-img", () => {
	it.each(types)("agree on what was made here: %s", async (type) => {
		const path = await create(type, 5 * MIB);
		const disk = await open(path);
		const model = new Uint8Array(5 * MIB);
		await disk.write(MIB - 1024, pattern(2 * MIB, 1));
		model.set(pattern(2 * MIB, 1), MIB - 1024);
		await disk.writeZeroes(2 * MIB, 65536);
		model.fill(0, 2 * MIB, 2 * MIB + 65536);
		await disk.close();
		const raw = join(folder, "model.raw");
		await writeFile(raw, model);
		qemuImg("compare", "-f", "vmdk", "-F", "raw", path, raw);
		if (type.endsWith("Sparse")) expect(qemuCheck(path, "vmdk")).toMatchObject({ "check-errors": 0 });
	});

	it.each([...types.map((type) => `subformat=${type}`), "subformat=monolithicSparse,zeroed_grain=on", "subformat=streamOptimized"])(
		"agree on what qemu made: %s",
		async (option) => {
			const raw = join(folder, `source${made}.raw`);
			const path = join(folder, `qemu${made++}.vmdk`);
			const model = new Uint8Array(4 * MIB);
			model.set(pattern(MIB, 1), 300 * 1024);
			model.fill(9, 3 * MIB);
			await writeFile(raw, model);
			qemuImg("convert", "-f", "raw", "-O", "vmdk", "-o", option, raw, path);
			const disk = await open(path);
			expectBytes(await readBytes(disk, 0, 4 * MIB), model);
			if (option.includes("stream")) {
				expect(disk.isReadOnly).toBe(true);
				await expect(disk.write(0, new Uint8Array(512))).rejects.toMatchObject({ kind: "read-only" });
			} else {
				await disk.write(512, pattern(2 * MIB, 2));
				model.set(pattern(2 * MIB, 2), 512);
				await disk.writeZeroes(3 * MIB, 128 * 1024);
				model.fill(0, 3 * MIB, 3 * MIB + 128 * 1024);
			}
			await disk.close();
			await writeFile(raw, model);
			qemuImg("compare", "-f", "vmdk", "-F", "raw", path, raw);
		},
	);

	it("agree on a child and its parent", async () => {
		const parentPath = await create("monolithicSparse", 4 * MIB);
		const parent = await open(parentPath);
		await parent.write(0, pattern(2 * MIB, 1));
		await parent.close();
		const parentStore = await FileStore.open(parentPath, { isReadOnly: true });
		const { cid } = (await readVmdkDescriptor(parentStore)).descriptor;
		await parentStore.close();
		const childPath = await create("monolithicSparse", 4 * MIB, { parent: { file: parentPath, cid } });
		const child = await open(childPath, { parent: await open(parentPath, { isReadOnly: true }), parentCid: cid });
		await child.write(MIB + 512, pattern(1024, 2));
		const model = new Uint8Array(4 * MIB);
		model.set(pattern(2 * MIB, 1));
		model.set(pattern(1024, 2), MIB + 512);
		expectBytes(await readBytes(child, 0, 4 * MIB), model);
		await child.close();
		const raw = join(folder, "child.raw");
		await writeFile(raw, model);
		qemuImg("compare", "-f", "vmdk", "-F", "raw", childPath, raw);
		const changed = await open(parentPath);
		await changed.write(0, pattern(512, 3));
		await changed.close();
		const store = await FileStore.open(parentPath, { isReadOnly: true });
		const now = (await readVmdkDescriptor(store)).descriptor.cid;
		await store.close();
		expect(now).not.toBe(cid);
		const again = await open(parentPath, { isReadOnly: true });
		await expect(open(childPath, { parent: again, parentCid: now })).rejects.toThrow(/parent has been changed/);
		await again.close();
	});

	it("agree over random writes", { timeout: 60_000 }, async () => {
		const operation = fc.record({
			kind: fc.constantFrom("write", "write", "zero", "flush", "reopen"),
			sector: fc.nat(8191),
			sectors: fc.integer({ min: 1, max: 400 }),
			seed: fc.nat(255),
		});
		await fc.assert(
			fc.asyncProperty(fc.constantFrom(...types), fc.array(operation, { minLength: 10, maxLength: 60 }), async (type, operations) => {
				const path = await create(type, 8192 * 512);
				const model = new Uint8Array(8192 * 512);
				let disk = await open(path);
				for (const { kind, sector, sectors, seed } of operations) {
					const offset = sector * 512;
					const length = Math.min(sectors, 8192 - sector) * 512;
					if (kind === "write") {
						await disk.write(offset, pattern(length, seed));
						model.set(pattern(length, seed), offset);
					} else if (kind === "zero") {
						await disk.writeZeroes(offset, length);
						model.fill(0, offset, offset + length);
					} else if (kind === "flush") await disk.flush();
					else {
						await disk.close();
						disk = await open(path);
					}
				}
				expectBytes(await readBytes(disk, 0, model.length), model);
				await disk.close();
				const raw = join(folder, "random.raw");
				await writeFile(raw, model);
				qemuImg("compare", "-f", "vmdk", "-F", "raw", path, raw);
				for (const file of await readdir(folder)) if (file.startsWith("disk")) await rm(join(folder, file));
			}),
			{ numRuns: 15, endOnFailure: true },
		);
	});
});

describe("VMDK", () => {
	it("splits large disks into extents", async () => {
		const path = await create("twoGbMaxExtentSparse", 5 * 1024 * MIB);
		const disk = await open(path);
		const bytes = pattern(65536, 1);
		const seam = 2047 * MIB;
		await disk.write(seam - 32768, bytes);
		expectBytes(await readBytes(disk, seam - 32768, 65536), bytes);
		await disk.close();
		expect((await readdir(folder)).filter((file) => file.includes("-s00")).length).toBeGreaterThanOrEqual(3);
	});

	it("writes grains before what points at them", async () => {
		const log: string[] = [];
		class LogStore extends MemoryStore {
			override async write(offset: number, from: Uint8Array) {
				log.push(`write ${offset}+${from.length}`);
				await super.write(offset, from);
			}
			override async flush() {
				log.push("flush");
			}
		}
		const store = new LogStore("log");
		const refuse = (): Promise<ByteStore> => Promise.reject(new Error("no extents"));
		await createVmdk(store, { sizeBytes: 4 * MIB, baseName: "log", createExtent: refuse });
		const disk = await VmdkDisk.open(store);
		const end = await store.size();
		await disk.writeZeroes(0, 512);
		log.length = 0;
		await disk.write(0, pattern(65536, 1));
		await disk.flush();
		expect(log[0]).toBe(`write ${end}+65536`);
		expect(log[1]).toBe("flush");
		expect(log.slice(2, -1).every((entry) => entry.endsWith("+4"))).toBe(true);
		expect(log.at(-1)).toBe("flush");
	});

	it("any damage ends in a DiskError", { timeout: 60_000 }, async () => {
		const store = new MemoryStore("sample");
		await createVmdk(store, { sizeBytes: 2 * MIB, baseName: "sample", createExtent: () => Promise.reject(new Error("none")) });
		const sample = await VmdkDisk.open(store);
		await sample.write(MIB, pattern(65536, 1));
		await sample.close();
		const good = store.contents();
		const change = fc.record({
			at: fc.oneof(fc.nat(100), fc.nat(1200), fc.nat(good.length - 1)),
			bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
		});
		await fc.assert(
			fc.asyncProperty(
				fc.array(change, { minLength: 1, maxLength: 5 }),
				fc.nat(good.length),
				fc.boolean(),
				async (changes, length, isCut) => {
					const bytes = good.slice(0, isCut ? length : good.length);
					for (const { at, bytes: part } of changes) if (at < bytes.length) bytes.set(part.subarray(0, bytes.length - at), at);
					try {
						const disk = await VmdkDisk.open(new MemoryStore("damaged", bytes), {
							parent: await RawDisk.open(new MemoryStore()),
							codecs: nodeCodecs,
						});
						const end = Math.min(disk.sizeBytes, 2 * MIB);
						await disk.read(0, new Uint8Array(end));
						await disk.write(0, new Uint8Array(Math.min(end, 65536)));
						await disk.close();
					} catch (error) {
						if (!(error instanceof DiskError)) throw error;
					}
				},
			),
			{ numRuns: 300 },
		);
	});
});
