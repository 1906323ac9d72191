import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Disk } from "../../src/disk/disk.ts";
import type { Qcow2CreateOptions } from "../../src/disk/formats/qcow2/create.ts";
import type { VmdkCreateOptions } from "../../src/disk/formats/vmdk/create.ts";
import { createDiskFile, type DiskMode, openDisk } from "../../src/host/node/disk/index.ts";
import { pattern } from "../suites/disk-contract.ts";

/** A way of making a disk that can be written to. */
export interface Variant {
	readonly name: string;
	readonly format: "raw" | "qcow2" | "vmdk";
	readonly mode: DiskMode;
	/** Makes the files for a disk of `sizeBytes`, and answers the one to open; `expected` gets what it then holds. */
	make(folder: string, sizeBytes: number, expected: Uint8Array): Promise<string>;
}

export function openVariant({ format, mode }: Variant, path: string): Promise<Disk> {
	return openDisk({ path, format, mode });
}

function qcow2(name: string, options: Omit<Qcow2CreateOptions, "sizeBytes">): Variant {
	return {
		name: `qcow2 ${name}`,
		format: "qcow2",
		mode: "persistent",
		make: async (folder, sizeBytes) => {
			const path = join(folder, "disk.qcow2");
			await createDiskFile(path, { format: "qcow2", sizeBytes, ...options });
			return path;
		},
	};
}

/** An overlay over a compressed one over a raw one, each shorter than the one above it. */
const chain: Variant = {
	name: "qcow2 chain of three",
	format: "qcow2",
	mode: "persistent",
	make: async (folder, sizeBytes, expected) => {
		const base = join(folder, "base.raw");
		const middle = join(folder, "middle.qcow2");
		const top = join(folder, "top.qcow2");
		const baseBytes = sizeBytes / 2;
		await writeFile(base, pattern(baseBytes, 3));
		expected.set(pattern(baseBytes, 3));
		const middleBytes = (sizeBytes / 4) * 3;
		await createDiskFile(middle, { format: "qcow2", sizeBytes: middleBytes, backingFile: "base.raw", backingFormat: "raw" });
		const disk = await openDisk({ path: middle });
		await disk.write(baseBytes - 100 * 512, pattern(300 * 512, 4));
		expected.set(pattern(300 * 512, 4), baseBytes - 100 * 512);
		await disk.writeZeroes(0, 65536 * 2);
		expected.fill(0, 0, 65536 * 2);
		await disk.close();
		await createDiskFile(top, { format: "qcow2", sizeBytes, clusterBits: 14, backingFile: "middle.qcow2", backingFormat: "qcow2" });
		return top;
	},
};

/** As `qemu-img` makes it, with all clusters compressed. */
function compressed(compression: "zlib" | "zstd"): Variant {
	return {
		name: `qcow2 compressed by QEMU with ${compression}`,
		format: "qcow2",
		mode: "persistent",
		make: async (folder, sizeBytes, expected) => {
			for (let i = 0; i < expected.length; i++) expected[i] = (i >> 10) & 0xff;
			const raw = join(folder, "source.raw");
			const path = join(folder, "disk.qcow2");
			await writeFile(raw, expected.subarray(0, sizeBytes));
			const args = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", `compression_type=${compression}`, raw, path];
			execFileSync("qemu-img", args, { stdio: "ignore" });
			return path;
		},
	};
}

function vmdk(type: NonNullable<VmdkCreateOptions["type"]>): Variant {
	return {
		name: `VMDK ${type}`,
		format: "vmdk",
		mode: "persistent",
		make: async (folder, sizeBytes) => {
			const path = join(folder, "disk.vmdk");
			await createDiskFile(path, { format: "vmdk", sizeBytes, type });
			return path;
		},
	};
}

const vmdkChild: Variant = {
	name: "VMDK child and parent",
	format: "vmdk",
	mode: "persistent",
	make: async (folder, sizeBytes, expected) => {
		const parent = await vmdk("monolithicSparse").make(folder, sizeBytes, expected);
		const disk = await openDisk({ path: parent });
		await disk.write(0, pattern(sizeBytes / 2, 5));
		expected.set(pattern(sizeBytes / 2, 5));
		await disk.close();
		const child = join(dirname(parent), "child.vmdk");
		await createDiskFile(child, { format: "vmdk", sizeBytes, parentFile: basename(parent) });
		return child;
	},
};

const raw: Variant = {
	name: "raw",
	format: "raw",
	mode: "persistent",
	make: async (folder, sizeBytes) => {
		const path = join(folder, "disk.raw");
		await createDiskFile(path, { format: "raw", sizeBytes });
		return path;
	},
};

export const VARIANTS: readonly Variant[] = [
	raw,
	qcow2("version 3", {}),
	qcow2("version 2", { version: 2 }),
	qcow2("with clusters of 512 bytes, counts of one bit", { clusterBits: 9, refcountOrder: 0 }),
	qcow2("with clusters of 2 MiB, counts of 64 bits", { clusterBits: 21, refcountOrder: 6 }),
	qcow2("with lazy reference counts, zstd", { lazyRefcounts: true, compression: "zstd", clusterBits: 12 }),
	chain,
	compressed("zlib"),
	compressed("zstd"),
	vmdk("monolithicSparse"),
	vmdk("monolithicFlat"),
	vmdk("twoGbMaxExtentSparse"),
	vmdk("twoGbMaxExtentFlat"),
	vmdkChild,
	{ ...raw, name: "undoable over raw", mode: "undoable" },
	{ ...chain, name: "undoable over a qcow2 chain", mode: "undoable" },
	{ ...vmdk("monolithicSparse"), name: "undoable over VMDK", mode: "undoable" },
];
