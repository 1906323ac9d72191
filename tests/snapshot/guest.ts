import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findTool } from "../../src/host/node/command.ts";
import { CpioWriter } from "../../src/host/node/image/cpio.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import type { NodeMachineOptions } from "../../src/host/node/machine.ts";
import type { Machine } from "../../src/vm/machine.ts";
import { imageOrReason } from "../guest/images.ts";

export const DISK_BYTES = 16 * 1024 * 1024;

/** The default guest with a shell on its console, or with `program` (a C file beside this one) running; or why there is none. */
export async function guestOptions(folder: string, program?: string, command = "exec /program"): Promise<NodeMachineOptions | string> {
	const image = await imageOrReason("default");
	if (typeof image === "string") return image;
	const initrd = readFileSync(imageFile(image, image.manifest.initrd));
	const archive = new CpioWriter();
	if (program !== undefined) {
		if (findTool("gcc") === undefined) return "no gcc on this host";
		const output = join(folder, program);
		const source = fileURLToPath(new URL(`${program}.c`, import.meta.url));
		const gcc = spawnSync("gcc", ["-O2", "-static", source, "-o", output, "-lm"], { encoding: "utf8" });
		if (gcc.status !== 0) return `gcc: ${gcc.stderr.split("\n")[0]}`;
		archive.file("program", readFileSync(output), 0o755).file("etc/basenji/command", `dmesg -n 1; ${command}\n`);
	}
	const disk = join(folder, "disk.raw");
	writeFileSync(disk, new Uint8Array(DISK_BYTES));
	return {
		kernel: imageFile(image, image.manifest.kernel),
		initrd: program === undefined ? initrd : Buffer.concat([initrd, new Uint8Array(-initrd.length & 3), archive.toBytes()]),
		append: image.manifest.append,
		disks: [{ path: disk }],
		onReset: "stop",
	};
}

export function scratchFolder(): string {
	return mkdtempSync(join(tmpdir(), "basenji-snapshot-"));
}

/** What a guest says when something in it has gone wrong. */
export const COMPLAINTS = /FAIL|BUG:|Oops|Call Trace|panic|I\/O error|nobody cared|unstable/;

/** Follows the watching program: which round it has completed last. */
export class Rounds {
	readonly #machine: Machine;
	#text = "";
	#onText: () => void = () => {};

	constructor(machine: Machine) {
		this.#machine = machine;
		machine.on("console", ({ bytes }) => {
			this.#text += Buffer.from(bytes).toString("latin1");
			this.#onText();
		});
		machine.on("exit", () => this.#onText());
	}

	/** The first round that ends from now on. What has been printed so far does not count. */
	async next(timeoutMs = 60_000): Promise<number> {
		this.#text = "";
		const endMs = Date.now() + timeoutMs;
		for (;;) {
			if (COMPLAINTS.test(this.#text)) throw new Error(this.#text);
			const found = /ROUND (\d+)\r?\n/.exec(this.#text);
			if (found !== null) return Number(found[1]);
			if (this.#machine.state === "stopped" || Date.now() > endMs) throw new Error(`no further round; ${this.#machine.state}`);
			await new Promise<void>((resolve) => {
				const timer = setTimeout(resolve, 1000);
				this.#onText = () => {
					clearTimeout(timer);
					resolve();
				};
			});
		}
	}
}
