import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pattern } from "../suites/disk-contract.ts";

/** An image that QEMU made, in its files; the first one is to be opened. */
export interface Sample {
	readonly name: string;
	readonly files: ReadonlyMap<string, Uint8Array>;
	/** Where headers and tables are, in the file to be damaged: [from, to) in bytes, from its end where they are not positive. */
	readonly tables: readonly (readonly [from: number, to: number])[];
}

const MIB = 1024 * 1024;

/** Small images of every format that can be read, with data, zeros and holes in them. */
export function makeSamples(): readonly Sample[] {
	const folder = mkdtempSync(join(tmpdir(), "disk-samples-"));
	try {
		const content = new Uint8Array(2 * MIB);
		content.set(pattern(150_000, 1), 65536);
		content.fill(7, MIB, MIB + 200_000);
		const raw = join(folder, "content.raw");
		writeFileSync(raw, content);
		const convert = (
			name: string,
			format: string,
			flags: readonly string[],
			files: readonly string[],
			tables: Sample["tables"],
		): Sample => {
			const path = join(folder, files[0] as string);
			execFileSync("qemu-img", ["convert", "-f", "raw", "-O", format, ...flags, raw, path], { stdio: "ignore" });
			return { name, tables, files: new Map(files.map((file) => [file, new Uint8Array(readFileSync(join(folder, file)))])) };
		};
		const samples = [
			convert(
				"qcow2",
				"qcow2",
				[],
				["a.qcow2"],
				[
					[0, 128],
					[65536, 65536 * 5],
				],
			),
			convert(
				"qcow2, version 2, small clusters",
				"qcow2",
				["-o", "compat=0.10,cluster_size=512"],
				["b.qcow2"],
				[
					[0, 128],
					[512, 16384],
				],
			),
			convert(
				"qcow2, compressed",
				"qcow2",
				["-c", "-o", "cluster_size=4k"],
				["c.qcow2"],
				[
					[0, 128],
					[4096, 32768],
				],
			),
			convert(
				"VMDK monolithicSparse",
				"vmdk",
				[],
				["d.vmdk"],
				[
					[0, 1024],
					[0, 65536],
				],
			),
			convert(
				"VMDK streamOptimized",
				"vmdk",
				["-o", "subformat=streamOptimized"],
				["e.vmdk"],
				[
					[0, 1024],
					[0, 65536],
				],
			),
			convert("VMDK twoGbMaxExtentFlat", "vmdk", ["-o", "subformat=twoGbMaxExtentFlat"], ["f.vmdk", "f-f001.vmdk"], [[0, 400]]),
			convert("VHD, dynamic", "vpc", [], ["g.vhd"], [[0, 2048]]),
			convert("VHD, fixed", "vpc", ["-o", "subformat=fixed"], ["h.vhd"], [[-512, 0]]),
			convert(
				"VHDX",
				"vhdx",
				[],
				["i.vhdx"],
				[
					[0, 1024],
					[65536, 66000],
					[3 * 65536, 4 * 65536 + 512],
					[MIB, 3 * MIB + 4096],
				],
			),
		];
		const snapshot = join(folder, "j.qcow2");
		execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", raw, snapshot]);
		execFileSync("qemu-img", ["snapshot", "-c", "then", snapshot]);
		const files = new Map([["j.qcow2", new Uint8Array(readFileSync(snapshot))]]);
		return [
			...samples,
			{
				name: "qcow2 with a snapshot",
				files,
				tables: [
					[0, 128],
					[4096, 32768],
					[360_000, 420_000],
				],
			},
		];
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}
