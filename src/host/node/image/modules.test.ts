import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HostError } from "../host-error.ts";
import { aliasTable, collectModules, dependencyTable, moduleName, parseModuleInfo } from "./modules.ts";

/** An ELF64 file with nothing but section names and `.modinfo` (System V ABI, "Object Files"). */
function elfModule(info: readonly string[]): Uint8Array {
	const names = "\0.shstrtab\0.modinfo\0";
	const strings = `${info.join("\0")}\0`;
	const namesAt = 64;
	const infoAt = namesAt + names.length;
	const tableAt = infoAt + strings.length;
	const bytes = Buffer.alloc(tableAt + 3 * 64);
	bytes.writeUInt32BE(0x7f454c46, 0);
	bytes[4] = 2;
	bytes.writeBigUInt64LE(BigInt(tableAt), 0x28);
	bytes.writeUInt16LE(64, 0x3a);
	bytes.writeUInt16LE(3, 0x3c);
	bytes.writeUInt16LE(1, 0x3e);
	bytes.write(names, namesAt, "latin1");
	bytes.write(strings, infoAt, "latin1");
	const section = (index: number, name: number, offset: number, size: number): void => {
		bytes.writeUInt32LE(name, tableAt + 64 * index);
		bytes.writeBigUInt64LE(BigInt(offset), tableAt + 64 * index + 0x18);
		bytes.writeBigUInt64LE(BigInt(size), tableAt + 64 * index + 0x20);
	};
	section(1, names.indexOf(".shstrtab"), namesAt, names.length);
	section(2, names.indexOf(".modinfo"), infoAt, strings.length);
	return bytes;
}

let root = "";
beforeAll(async () => {
	root = await mkdtemp(join(tmpdir(), "basenji-modules-"));
	const files: Record<string, Uint8Array> = {
		"drivers/block/virtio_blk.ko": elfModule(["license=GPL", "alias=virtio:d00000002v*", "depends=virtio,virtio_ring"]),
		"drivers/virtio/virtio.ko": elfModule(["depends="]),
		"drivers/virtio/virtio_ring.ko.gz": gzipSync(elfModule(["depends=virtio"])),
		"drivers/char/hw_random/virtio-rng.ko": elfModule(["alias=virtio:d00000004v*", "depends=virtio"]),
		"fs/unused.ko": elfModule(["depends="]),
	};
	for (const [path, bytes] of Object.entries(files)) {
		const file = join(root, "lib/modules/6.1.0-test/kernel", path);
		await mkdir(dirname(file), { recursive: true });
		await writeFile(file, bytes);
	}
	await writeFile(join(root, "lib/modules/6.1.0-test/modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
});
afterAll(() => rm(root, { recursive: true, force: true }));

test("a module's own words are read out of its ELF section", () => {
	expect(parseModuleInfo(elfModule(["depends=a-b,c", "alias=pci:v1*", "alias=x"]))).toEqual({
		depends: ["a_b", "c"],
		aliases: ["pci:v1*", "x"],
	});
	expect(parseModuleInfo(new Uint8Array(10))).toEqual({ depends: [], aliases: [] });
	expect(moduleName("/lib/virtio-rng.ko.xz")).toBe("virtio_rng");
});

test("what a module needs comes along and before it; what the kernel has built in is passed over", async () => {
	const set = await collectModules(root, ["virtio_blk", "virtio-rng", "ext4"]);
	expect(set.release).toBe("6.1.0-test");
	expect(set.modules.map(({ name }) => name)).toEqual(["virtio", "virtio_ring", "virtio_blk", "virtio_rng"]);
	expect(dependencyTable(set)).toBe(
		[
			"kernel/drivers/virtio/virtio.ko:",
			"kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko",
			"kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko",
			"kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko",
			"",
		].join("\n"),
	);
	expect(aliasTable(set)).toBe("alias virtio:d00000002v* virtio_blk\nalias virtio:d00000004v* virtio_rng\n");
});

test("a tree without modules is refused", async () => {
	await expect(collectModules(join(root, "lib"), [])).rejects.toBeInstanceOf(HostError);
});
