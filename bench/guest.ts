import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureImage } from "../src/host/node/image/build.ts";
import { CpioWriter } from "../src/host/node/image/cpio.ts";
import { findRecipe } from "../src/host/node/image/recipes.ts";
import { ImageStore, imageFile, type StoredImage } from "../src/host/node/image/store.ts";
import { BuildError } from "./build-error.ts";
import { compileWide } from "./wide.ts";

/** Word size of guest and programs. */
export type Bits = 64 | 32;

/** Programs of programs/main.c, then those that BusyBox brings. */
export const C_PROGRAMS = ["recursion", "sieve", "alu", "matmul", "chase", "calls", "memcpy", "syscalls", "sha256"] as const;
export const SHELL_PROGRAMS: readonly string[] = ["gzip", "shell"];
export const PROGRAMS: readonly string[] = [...C_PROGRAMS, ...SHELL_PROGRAMS];
/** The whole life of a guest that does nothing else, from starting the emulator to its end. */
export const BOOT = "boot";

/** Until a whole Debian asks who is there. */
export const LOGIN = "login";

/** What every emulator starts from. */
export interface Guest {
	readonly bits: Bits;
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
	readonly memoryMib: number;
	/** A raw disk; what is written to it is not kept. */
	readonly disk?: string;
	/** What the guest's whole life is called, from the emulator's start to power-off or to `until`; undefined: it is not timed. */
	readonly whole?: string;
	/** The text that ends it. */
	readonly until?: RegExp;
	/** The same work without a guest. */
	readonly native?: readonly (readonly string[])[];
}

const PROGRAM_FOLDER = fileURLToPath(new URL("programs/", import.meta.url));
const MEMORY_MIB = 256;
/** The large program lies in memory twice while the kernel unpacks it. */
const WIDE_MEMORY_MIB = 512;

/** Compiles the programs for `bits`. @throws BuildError without gcc, or without its libraries for 32 bits */
export function compilePrograms(bits: Bits, folder: string): string {
	const output = join(folder, `bench${bits}`);
	const sources = readdirSync(PROGRAM_FOLDER)
		.filter((name) => name.endsWith(".c"))
		.map((name) => join(PROGRAM_FOLDER, name));
	// 32-bit programs are for every 686: floating point is the x87's.
	const target = bits === 64 ? ["-m64"] : ["-m32", "-march=i686", "-mfpmath=387"];
	const gcc = spawnSync("gcc", ["-O2", "-static", ...target, ...sources, "-o", output], { encoding: "utf8" });
	if (gcc.status !== 0) throw new BuildError(`gcc -m${bits}: ${gcc.error?.message ?? gcc.stderr.split("\n")[0]}`);
	return output;
}

/** The shell script that the image's init runs. */
function script(programs: readonly string[]): string {
	const lines = ["dmesg -n 1"];
	for (const program of programs) {
		if (program === "gzip") {
			lines.push(
				"/bench generate /tmp/data",
				"echo; echo BENCH gzip begin",
				"gzip -c /tmp/data > /dev/null",
				"echo; echo BENCH gzip end",
				"rm /tmp/data",
			);
		} else if (program === "shell") {
			lines.push("echo; echo BENCH shell begin", "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done", "echo; echo BENCH shell end $i");
		} else lines.push(`/bench ${program}`);
	}
	return `${lines.join("\n")}\n`;
}

/** A guest of the image's kernel whose init runs a script; `files` go into an archive behind the image's initramfs. */
function withArchive(image: StoredImage, bits: Bits, path: string, archive: CpioWriter, memoryMib: number): Guest {
	const base = readFileSync(imageFile(image, image.manifest.initrd));
	writeFileSync(path, Buffer.concat([base, new Uint8Array(-base.length & 3), archive.toBytes()]));
	return { bits, kernel: imageFile(image, image.manifest.kernel), initrd: path, append: image.manifest.append, memoryMib };
}

function imageFor(bits: Bits): Promise<StoredImage> {
	return ensureImage(findRecipe(bits === 64 ? "default" : "default-i386"));
}

/** A guest that runs these programs. Builds the image if there is none. @throws BuildError */
export async function programsGuest(bits: Bits, programs: readonly string[], folder: string): Promise<Guest> {
	const binary = compilePrograms(bits, folder);
	const archive = new CpioWriter().file("bench", readFileSync(binary), 0o755).file("etc/basenji/command", script(programs));
	const guest = withArchive(await imageFor(bits), bits, join(folder, `bench${bits}.initrd`), archive, MEMORY_MIB);
	const native = programs.filter((name) => (C_PROGRAMS as readonly string[]).includes(name)).map((name) => [binary, name]);
	return { ...guest, native };
}

/** A guest that does nothing but start and power off. */
export async function bootGuest(bits: Bits, folder: string): Promise<Guest> {
	const archive = new CpioWriter().file("etc/basenji/command", "echo BENCH booted\n");
	return { ...withArchive(await imageFor(bits), bits, join(folder, `boot${bits}.initrd`), archive, MEMORY_MIB), whole: BOOT };
}

/** A guest that runs a program as large as a compiler. @throws BuildError */
export async function wideGuest(bits: Bits, folder: string): Promise<Guest> {
	const binary = compileWide(bits, folder);
	const archive = new CpioWriter().file("wide", readFileSync(binary), 0o755).file("etc/basenji/command", "dmesg -n 1\n/wide\n");
	const guest = withArchive(await imageFor(bits), bits, join(folder, `wide${bits}.initrd`), archive, WIDE_MEMORY_MIB);
	return { ...guest, native: [[binary]] };
}

/** A whole Debian up to its login. @throws BuildError where the image has not been built, which takes minutes and a network */
export async function debianGuest(): Promise<Guest> {
	const image = (await new ImageStore().list()).find(({ manifest }) => manifest.name === "debian-full");
	if (image === undefined) throw new BuildError("image debian-full is not built: basenji image build debian-full");
	const { kernel, initrd, append, disks } = image.manifest;
	const [disk] = disks;
	if (disk === undefined) throw new BuildError("image debian-full has no disk");
	const files = { kernel: imageFile(image, kernel), initrd: imageFile(image, initrd), disk: imageFile(image, disk.file) };
	return { bits: 64, ...files, append, memoryMib: MEMORY_MIB, whole: LOGIN, until: /login: $/ };
}
