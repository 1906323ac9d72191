import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectBytes, MIB, pattern, readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, hasQemuIo, qemuImg, qemuIo } from "../../../../tests/suites/qemu-img.ts";
import { FileStore } from "../../../host/node/disk/file-store.ts";
import { type Disk, DiskError } from "../../disk.ts";
import { MemoryStore } from "../../memory-store.ts";
import { RawDisk } from "../../raw.ts";
import { crc32c } from "./crc32c.ts";
import { guidText } from "./guid.ts";
import { VhdDisk } from "./vhd-disk.ts";
import { VhdxDisk } from "./vhdx-disk.ts";

let folder = "";
let made = 0;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "vhd-"));
});
afterAll(() => rm(folder, { recursive: true }));

const SIZE = 8 * MIB;
const model = new Uint8Array(SIZE);
model.set(pattern(MIB, 1), 512 * 1024);
model.set(pattern(700 * 512, 2), 5 * MIB + 1024);

async function convert(format: "vpc" | "vhdx", option: string): Promise<string> {
	const raw = join(folder, `source${made}.raw`);
	const path = join(folder, `image${made++}.${format}`);
	await writeFile(raw, model);
	qemuImg("convert", "-f", "raw", "-O", format, "-o", option, raw, path);
	return path;
}

describe.skipIf(!hasQemuImg)("VHD and VHDX images made by qemu-img", () => {
	it.each(["subformat=dynamic,force_size=on", "subformat=fixed,force_size=on", "subformat=dynamic", "subformat=fixed"])(
		"VHD reads right: %s",
		async (option) => {
			const disk = await VhdDisk.open(await FileStore.open(await convert("vpc", option), { isReadOnly: true }));
			// Without force_size it is rounded up to whole cylinders.
			expect(disk.sizeBytes).toBeGreaterThanOrEqual(SIZE);
			if (option.includes("force_size")) expect(disk.sizeBytes).toBe(SIZE);
			expectBytes(await readBytes(disk, 0, SIZE), model);
			await expect(disk.write()).rejects.toMatchObject({ kind: "read-only" });
			await disk.close();
		},
	);

	it.each(["subformat=dynamic", "subformat=fixed", "subformat=dynamic,block_size=1M"])("VHDX reads right: %s", async (option) => {
		const disk = await VhdxDisk.open(await FileStore.open(await convert("vhdx", option), { isReadOnly: true }));
		expect(disk.sizeBytes).toBe(SIZE);
		expectBytes(await readBytes(disk, 0, SIZE), model);
		await disk.close();
	});

	it("VHDX that was cut off is read with its log applied", async (context) => {
		if (!hasQemuIo) context.skip("qemu-io is not installed");
		const path = await convert("vhdx", "subformat=dynamic,block_size=1M");
		expect(() => qemuIo(path, "vhdx", "write -P 7 3M 1M", "flush", "abort")).toThrow();
		const before = await readFile(path);
		const disk = await VhdxDisk.open(await FileStore.open(path, { isReadOnly: true }));
		expect((await readBytes(disk, 3 * MIB, MIB)).every((byte) => byte === 7)).toBe(true);
		expectBytes(await readBytes(disk, 5 * MIB, MIB), model.subarray(5 * MIB, 6 * MIB));
		await disk.close();
		expectBytes(await readFile(path), before);
	});

	it.each(["vpc", "vhdx"] as const)("any damage to a %s ends in a DiskError", { timeout: 60_000 }, async (format) => {
		const good = await readFile(await convert(format, format === "vpc" ? "subformat=dynamic,force_size=on" : "subformat=dynamic"));
		const open = (store: MemoryStore): Promise<Disk> => (format === "vpc" ? VhdDisk.open(store) : VhdxDisk.open(store));
		const starts = format === "vpc" ? [0, 512, 1536, good.length - 512] : [0, 65536, 131072, 196608, 2 * MIB, 3 * MIB];
		const change = fc.record({ start: fc.constantFrom(...starts), at: fc.nat(300), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) });
		await fc.assert(
			fc.asyncProperty(
				fc.array(change, { minLength: 1, maxLength: 4 }),
				fc.nat(good.length),
				fc.boolean(),
				async (changes, length, isCut) => {
					const bytes = Uint8Array.from(good.subarray(0, isCut ? length : good.length));
					for (const { start, at, bytes: part } of changes)
						if (start + at < bytes.length) bytes.set(part.subarray(0, bytes.length - start - at), start + at);
					try {
						const disk = await open(new MemoryStore("damaged", bytes));
						await disk.read(0, new Uint8Array(Math.min(disk.sizeBytes, SIZE) & -4096));
					} catch (error) {
						if (!(error instanceof DiskError)) throw error;
						expect(error.where).toBe("damaged");
					}
				},
			),
			{ numRuns: 60 },
		);
	});
});

describe("a differencing VHD", () => {
	it("takes from its parent the sectors it does not have itself", async () => {
		const parent = await RawDisk.open(new MemoryStore("parent", pattern(4 * MIB, 9)));
		const store = await differencing();
		await expect(VhdDisk.open(store)).rejects.toMatchObject({ kind: "not-found", message: expect.stringContaining("base.vhd") });
		const disk = await VhdDisk.open(store, { parent });
		const expected = pattern(4 * MIB, 9).slice();
		expected.set(pattern(512, 1), 2 * MIB + 3 * 512);
		expectBytes(await readBytes(disk, 0, 4 * MIB), expected);
	});
});

/** 4 MiB in blocks of 2 MiB; of the second one only sector 3 is its own. Built by the specification, by hand. */
async function differencing(): Promise<MemoryStore> {
	const store = new MemoryStore("child.vhd");
	const footer = new DataView(new ArrayBuffer(512));
	const text = (view: DataView, at: number, value: string) => {
		for (const [i, char] of [...value].entries()) view.setUint8(at + i, char.charCodeAt(0));
	};
	text(footer, 0, "conectix");
	footer.setUint32(8, 2);
	footer.setUint32(12, 0x10000);
	footer.setBigUint64(16, 512n);
	text(footer, 28, "win ");
	footer.setBigUint64(40, BigInt(4 * MIB));
	footer.setBigUint64(48, BigInt(4 * MIB));
	footer.setUint32(60, 4);
	footer.setUint32(64, ~new Uint8Array(footer.buffer).reduce((sum, byte) => sum + byte, 0) >>> 0);
	const header = new DataView(new ArrayBuffer(1024));
	text(header, 0, "cxsparse");
	header.setBigUint64(16, 1536n);
	header.setUint32(28, 2);
	header.setUint32(32, 2 * MIB);
	[..."base.vhd"].forEach((char, i) => {
		header.setUint16(64 + 2 * i, char.charCodeAt(0));
	});
	const table = new DataView(new ArrayBuffer(512));
	table.setUint32(0, 0xffff_ffff);
	table.setUint32(4, 4);
	await store.write(0, new Uint8Array(footer.buffer));
	await store.write(512, new Uint8Array(header.buffer));
	await store.write(1536, new Uint8Array(table.buffer));
	await store.write(2048, Uint8Array.of(0x10));
	await store.write(2048 + 512 + 3 * 512, pattern(512, 1));
	await store.write(2048 + 512 + 2 * MIB, new Uint8Array(footer.buffer));
	return store;
}

describe("building blocks", () => {
	it("CRC-32C (RFC 3720 appendix B.4)", () => {
		expect(crc32c(new Uint8Array(32))).toBe(0x8a91_36aa);
		expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8_ab43);
	});

	it("GUIDs", () => {
		const bytes = Uint8Array.of(0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
		expect(guidText(bytes)).toBe("2DC27766-F623-4200-9D64-115E9BFD4A08");
	});
});
