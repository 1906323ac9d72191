import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureImage } from "../src/host/node/image/build.ts";
import { CpioWriter } from "../src/host/node/image/cpio.ts";
import { findRecipe } from "../src/host/node/image/recipes.ts";
import { imageFile } from "../src/host/node/image/store.ts";

/** Word size of guest and programs. */
export type Bits = 64 | 32;

/** Programs of programs/main.c, then those that BusyBox brings. */
export const C_PROGRAMS = ["recursion", "sieve", "alu", "matmul", "chase", "calls", "memcpy", "syscalls", "sha256"] as const;
export const SHELL_PROGRAMS = ["gzip", "shell"] as const;
export const PROGRAMS: readonly string[] = [...C_PROGRAMS, ...SHELL_PROGRAMS];
/** The whole life of a guest that does nothing else, from starting the emulator to its end. */
export const BOOT = "boot";

/** What both kinds of emulator start from. */
export interface Guest {
	readonly bits: Bits;
	readonly kernel: string;
	/** With the programs, and without. */
	readonly initrd: string;
	readonly bootInitrd: string;
	readonly append: string;
	readonly memoryMib: number;
}

const PROGRAM_FOLDER = fileURLToPath(new URL("programs/", import.meta.url));
const MEMORY_MIB = 256;

export class BuildError extends Error {
	override readonly name = "BuildError";
}

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

/** The image's kernel, and its initramfs with an archive behind it that says what to run. Builds the image if there is none. */
export async function prepareGuest(bits: Bits, programs: readonly string[], folder: string): Promise<Guest> {
	const image = await ensureImage(findRecipe(bits === 64 ? "default" : "default-i386"));
	mkdirSync(folder, { recursive: true });
	const binary = readFileSync(compilePrograms(bits, folder));
	const base = readFileSync(imageFile(image, image.manifest.initrd));
	const write = (name: string, archive: CpioWriter): string => {
		const path = join(folder, name);
		writeFileSync(path, Buffer.concat([base, new Uint8Array(-base.length & 3), archive.toBytes()]));
		return path;
	};
	const withPrograms = new CpioWriter().file("bench", binary, 0o755).file("etc/basenji/command", script(programs));
	return {
		bits,
		kernel: imageFile(image, image.manifest.kernel),
		initrd: write(`bench${bits}.initrd`, withPrograms),
		bootInitrd: write(`boot${bits}.initrd`, new CpioWriter().file("etc/basenji/command", "echo BENCH booted\n")),
		append: image.manifest.append,
		memoryMib: MEMORY_MIB,
	};
}
