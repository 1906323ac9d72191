/**
 * Disk throughput: one Linux guest reads and writes a virtio disk that is a chain of three qcow2 images, on Basenji and on
 * QEMU TCG, in turns. Prints medians and ratios; nothing is asserted.
 *
 *     node bench/disk.ts [--runs 3] [--tests seq-read-1,rand-write-16] [--engines qemu,basenji,layered] [--clock wall|cpu] [--json]
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createDiskFile, openImageFile } from "../src/host/node/disk/index.ts";
import { ensureImage } from "../src/host/node/image/build.ts";
import { CpioWriter } from "../src/host/node/image/cpio.ts";
import { findRecipe } from "../src/host/node/image/recipes.ts";
import { imageFile } from "../src/host/node/image/store.ts";
import { type Timings, watch } from "./engines.ts";
import { geometricMean, median } from "./table.ts";

const MIB = 1024 * 1024;
const DISK_MIB = 256;
const MEMORY_MIB = 256;
/** Operations of each test: of a mebibyte where sequential, of four kibibytes where random. */
const TESTS: Readonly<Record<string, number>> = {
	"seq-read-1": 16 * DISK_MIB,
	"rand-read-1": 20_000,
	"rand-read-16": 24_000,
	"rand-write-1": 12_000,
	"rand-write-16": 12_000,
	"seq-write-1": 8 * DISK_MIB,
};
/** What the passes before the measured ones have of the disk, so that writes find the rest as it was. */
const WARM_MIB = 32;
const { values: options } = parseArgs({
	options: {
		runs: { type: "string", default: "3" },
		tests: { type: "string", default: Object.keys(TESTS).join(",") },
		engines: { type: "string", default: "qemu,basenji" },
		clock: { type: "string", default: "wall" },
		json: { type: "boolean", default: false },
		/** For profilers: options of Node's for Basenji, separated by commas, and where its own figures go. */
		node: { type: "string", default: "" },
		stats: { type: "string" },
	},
});
const tests = options.tests.split(",");
for (const test of tests) if (TESTS[test] === undefined) throw new RangeError(`no test called ${test}: ${Object.keys(TESTS).join(", ")}`);

/** Bytes that differ from cluster to cluster. */
function fill(bytes: Uint8Array, seed: number): Uint8Array {
	const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
	let state = seed | 1;
	for (let i = 0; i < words.length; i++) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
	return bytes;
}

/** A full base, an overlay with every third mebibyte changed, and one on top with every tenth. */
async function makeChain(folder: string): Promise<string> {
	const piece = new Uint8Array(MIB);
	const layers = [
		["base.qcow2", 1],
		["middle.qcow2", 3],
		["top.qcow2", 10],
	] as const;
	for (const [index, [name, every]] of layers.entries()) {
		const path = join(folder, name);
		const below = layers[index - 1]?.[0];
		await createDiskFile(path, {
			format: "qcow2",
			sizeBytes: DISK_MIB * MIB,
			...(below === undefined ? {} : { backingFile: below, backingFormat: "qcow2" }),
		});
		const { disk } = await openImageFile(path, { format: "qcow2" });
		for (let at = 0; at < DISK_MIB; at += every) await disk.write(at * MIB, fill(piece, at * 3 + index));
		await disk.close();
	}
	return join(folder, "top.qcow2");
}

async function makeInitrd(folder: string): Promise<{ kernel: string; initrd: string; append: string }> {
	const image = await ensureImage(findRecipe("default"));
	const binary = join(folder, "disk");
	const source = fileURLToPath(new URL("disk-guest/disk.c", import.meta.url));
	const gcc = spawnSync("gcc", ["-O2", "-static", source, "-o", binary], { encoding: "utf8" });
	if (gcc.status !== 0) throw new Error(`gcc: ${gcc.error?.message ?? gcc.stderr}`);
	// The first pass is for translators to find out what is hot; "-q" says nothing.
	const pass = (flag: string, mebibytes: number) => tests.map((test) => `/disk ${flag}${test} /dev/vda ${mebibytes} ${TESTS[test]}`);
	const script = ["dmesg -n 1", ...pass("-q ", WARM_MIB), ...pass("", DISK_MIB)].join("\n");
	const archive = new CpioWriter().file("disk", readFileSync(binary), 0o755).file("etc/basenji/command", `${script}\n`);
	const base = readFileSync(imageFile(image, image.manifest.initrd));
	const initrd = join(folder, "disk.initrd");
	writeFileSync(initrd, Buffer.concat([base, new Uint8Array(-base.length & 3), archive.toBytes()]));
	return { kernel: imageFile(image, image.manifest.kernel), initrd, append: image.manifest.append };
}

type Guest = Awaited<ReturnType<typeof makeInitrd>>;

const COMMANDS: Readonly<Record<string, (guest: Guest, disk: string) => readonly string[]>> = {
	qemu: ({ kernel, initrd, append }, disk) => [
		...["qemu-system-x86_64", "-accel", "tcg", "-m", String(MEMORY_MIB), "-display", "none", "-no-reboot", "-nodefaults"],
		...["-serial", "stdio", "-monitor", "none", "-drive", `file=${disk},format=qcow2,if=virtio`],
		...["-kernel", kernel, "-initrd", initrd, "-append", append],
	],
	basenji: ({ kernel, initrd, append }, disk) => [
		...[process.execPath, ...options.node.split(",").filter((flag) => flag !== "")],
		...[fileURLToPath(new URL("../src/cli/basenji.js", import.meta.url)), "run", "--memory", `${MEMORY_MIB}M`, "--disk", disk],
		...["--kernel", kernel, "--initrd", initrd, "--append", append, "--serial", "stdio"],
		...(options.stats === undefined ? [] : ["--stats", options.stats]),
	],
	/** The same chain below the layer of a machine that has a snapshot. */
	layered: ({ kernel, initrd, append }, disk) => [
		process.execPath,
		...[fileURLToPath(new URL("disk-layered.ts", import.meta.url)), kernel, initrd, append, disk, `${MEMORY_MIB}M`],
	],
};

/** Of a test's operations, in units that a person compares. */
function speed(test: string, seconds: number): string {
	const operations = TESTS[test] as number;
	return test.startsWith("seq") ? `${(operations / seconds).toFixed(0)} MiB/s` : `${(operations / seconds / 1000).toFixed(2)} kIOPS`;
}

const folder = mkdtempSync(join(tmpdir(), "basenji-disk-bench-"));
try {
	const pristine = `${await makeChain(folder)}.pristine`;
	const top = join(folder, "top.qcow2");
	copyFileSync(top, pristine);
	const guest = await makeInitrd(folder);
	const names = options.engines.split(",");
	const seconds = new Map<string, number[]>();
	for (let run = 1; run <= Number(options.runs); run++)
		for (const name of names) {
			copyFileSync(pristine, top);
			const timings: Timings = new Map();
			const command = COMMANDS[name];
			if (command === undefined) throw new RangeError(`no engine called ${name}: qemu, basenji, layered`);
			await watch(command(guest, top), { timeoutMs: 200_000, clock: options.clock === "cpu" ? "cpu" : "wall" }, timings);
			for (const [test, value] of timings) seconds.set(`${name} ${test}`, [...(seconds.get(`${name} ${test}`) ?? []), value]);
			console.error(
				`run ${run}/${options.runs}: ${name}${[...timings].map(([test, value]) => `  ${test} ${value.toFixed(2)} s`).join("")}`,
			);
		}
	const of = (name: string, test: string): number | undefined => {
		const values = seconds.get(`${name} ${test}`);
		return values === undefined ? undefined : median(values);
	};
	const rows = names
		.filter((name) => name !== "qemu")
		.flatMap((name) => tests.map((test) => ({ name, test, qemu: of("qemu", test), ours: of(name, test) })));
	if (options.json) console.log(JSON.stringify({ runs: Number(options.runs), seconds: Object.fromEntries(seconds) }, undefined, "\t"));
	const ratios: number[] = [];
	for (const { name, test, qemu, ours } of rows) {
		const cell = (value: number | undefined) => (value === undefined ? "-" : speed(test, value)).padStart(12);
		const ratio = qemu === undefined || ours === undefined ? undefined : qemu / ours;
		if (ratio !== undefined) ratios.push(ratio);
		if (!options.json)
			console.log(
				`${test.padEnd(14)} QEMU TCG ${cell(qemu)}   ${name} ${cell(ours)}   ratio ${ratio === undefined ? "-" : ratio.toFixed(2)}`,
			);
	}
	if (!options.json && ratios.length > 0) console.log(`geometric mean of the ratios ${geometricMean(ratios).toFixed(2)}`);
} finally {
	rmSync(folder, { recursive: true, force: true });
}
