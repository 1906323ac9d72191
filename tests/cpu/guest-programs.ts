/**
 * Programs as instruction tests: `node tests/cpu/guest-programs.ts --image default-i386 FOLDER`. Every executable file of the
 * folder runs on the host and in a guest of the image, without arguments; what they print and their exit codes must be the same
 * to the byte, as far as the host repeats itself. They should be linked statically, for the guest has no libraries.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ensureImage } from "../../src/host/node/image/build.ts";
import { CpioWriter } from "../../src/host/node/image/cpio.ts";
import { findRecipe } from "../../src/host/node/image/recipes.ts";
import { imageFile } from "../../src/host/node/image/store.ts";

const { values: options, positionals } = parseArgs({
	allowPositionals: true,
	options: {
		image: { type: "string", default: "default" },
		engine: { type: "string", default: "translate" },
		only: { type: "string", default: "" },
		memory: { type: "string", default: "512M" },
		seconds: { type: "string", default: "200" },
		keep: { type: "string" },
		json: { type: "boolean", default: false },
		help: { type: "boolean", default: false },
	},
});

if (options.help || positionals.length === 0) {
	console.log(`node tests/cpu/guest-programs.ts [options] FOLDER...
  --image NAME    the guest (default: default; default-i386 for 32-bit programs)
  --engine NAME   translate or interpret (default translate)
  --only REGEX    only programs whose name matches
  --memory SIZE   of the guest (default 512M)
  --seconds N     give up after that long (default 200)
  --keep FOLDER   write what the two printed to NAME.host and NAME.guest there
  --json          the summary alone, as JSON`);
	process.exit(options.help ? 0 : 125);
}

/** What the guest's disk holds at most: everything printed, as a tar archive. */
const DISK_BYTES = 512 * 1024 * 1024;

function isExecutable(path: string): boolean {
	try {
		accessSync(path, constants.X_OK);
		return statSync(path).isFile();
	} catch {
		return false;
	}
}

const programs = positionals
	.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
	.filter((path) => isExecutable(path) && new RegExp(options.only).test(basename(path)));
if (programs.length === 0) {
	console.error(`no program to run in ${positionals.join(", ")}`);
	process.exit(125);
}

/** Both sides run this: output and exit code into a file for each program. */
const SCRIPT = `mkdir -p "$2" && for program in "$1"/*; do
	name=\${program##*/}
	(cd /tmp && "$program" > "$2/$name" 2>&1 < /dev/null)
	echo "exit code $?" >> "$2/$name"
done`;

const work = mkdtempSync(join(tmpdir(), "basenji-programs-"));
const image = await ensureImage(findRecipe(options.image));
const cpio = new CpioWriter();
for (const path of programs) cpio.file(`programs/${basename(path)}`, readFileSync(path), 0o755);
cpio.file("run-programs", `${SCRIPT}\n`);
cpio.file("etc/basenji/command", "dmesg -n 1; sh /run-programs /programs /printed; tar -c -C /printed . > /dev/vda; sync\n");
const initrd = readFileSync(imageFile(image, image.manifest.initrd));
const initrdPath = join(work, "initrd");
writeFileSync(initrdPath, Buffer.concat([initrd, new Uint8Array(-initrd.length & 3), cpio.toBytes()]));
const diskPath = join(work, "disk");
writeFileSync(diskPath, "");
truncateSync(diskPath, DISK_BYTES);

const startMs = performance.now();
const guest = spawnSync(
	process.execPath,
	[
		fileURLToPath(new URL("../../src/cli/basenji.js", import.meta.url)),
		...["run", "--kernel", imageFile(image, image.manifest.kernel), "--initrd", initrdPath, "--append", image.manifest.append],
		...["--disk", diskPath, "--memory", options.memory, "--engine", options.engine, "--timeout", `${options.seconds}s`],
	],
	{ encoding: "utf8", input: "", maxBuffer: 64 * 1024 * 1024 },
);
const guestSeconds = (performance.now() - startMs) / 1000;
if (guest.status !== 0) console.error(`the guest ended with code ${guest.status}\n${guest.stdout.slice(-2000)}${guest.stderr}`);

const folders = ["host", "again", "guest", "programs"].map((name) => join(work, name)) as [string, string, string, string];
const [hostFolder, againFolder, guestFolder, programFolder] = folders;
spawnSync("mkdir", folders);
for (const path of programs) spawnSync("cp", [path, programFolder]);
// C libraries choose among their functions by CPUID: on the host, too, they are to do without what the guest lacks.
const env = { ...process.env, GLIBC_TUNABLES: "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-FMA,-FMA4,-BMI1,-BMI2,-LZCNT" };
for (const folder of [hostFolder, againFolder]) spawnSync("sh", ["-c", SCRIPT, "sh", programFolder, folder], { env });
spawnSync("tar", ["-x", "-f", diskPath, "-C", guestFolder]);

const differing: string[] = [];
const unrepeatable: string[] = [];
let bytes = 0;
for (const path of programs) {
	const name = basename(path);
	const [host, again, own] = [hostFolder, againFolder, guestFolder].map((folder) => {
		try {
			return readFileSync(join(folder, name));
		} catch {
			return Buffer.from("did not run\n");
		}
	}) as [Buffer, Buffer, Buffer];
	if (!host.equals(again)) {
		// Addresses, times, threads: the host does not agree with itself.
		unrepeatable.push(name);
		continue;
	}
	bytes += host.length;
	if (options.keep !== undefined) {
		writeFileSync(join(options.keep, `${name}.host`), host);
		writeFileSync(join(options.keep, `${name}.guest`), own);
	}
	if (host.equals(own)) continue;
	differing.push(name);
	if (!options.json) console.log(`${name}: ${firstDifference(host, own)}`);
}
rmSync(work, { recursive: true });

/** The first line that is not the same. */
function firstDifference(host: Buffer, own: Buffer): string {
	const [left, right] = [host, own].map((text) => text.toString("latin1").split("\n")) as [string[], string[]];
	const at = left.findIndex((line, index) => line !== right[index]);
	const count = left.filter((line, index) => line !== right[index]).length;
	return `${count} of ${left.length} lines differ, line ${at + 1} first\n  host:  ${left[at]}\n  guest: ${right[at]}`;
}

const summary = {
	image: options.image,
	engine: options.engine,
	programs: programs.length,
	bytes,
	differing,
	unrepeatable,
	guestSeconds: Math.round(guestSeconds * 10) / 10,
};
console.log(JSON.stringify(summary));
process.exit(differing.length > 0 ? 1 : 0);
