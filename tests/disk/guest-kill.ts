import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureImage } from "../../src/host/node/image/build.ts";
import { CpioWriter } from "../../src/host/node/image/cpio.ts";
import { findRecipe } from "../../src/host/node/image/recipes.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import { type KillReport, runKills } from "./kill.ts";
import type { Variant } from "./variants.ts";

// As in guest-writer.c.
const SLOT_BYTES = 32 * 1024;
const SLOTS = 512;
const LONGEST_MS = 1500;
const BOOT_MS = 120_000;
const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

function slotOf(write: number): number {
	const mixed = Math.imul(write, 2654435761);
	return ((mixed ^ (mixed >>> 15)) >>> 0) % SLOTS;
}

function contentOf(write: number): Buffer {
	const words = new Uint32Array(SLOT_BYTES / 4);
	let state = write;
	for (let i = 0; i < words.length; i++) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
	return Buffer.from(words.buffer);
}

/**
 * Kills a whole virtual machine with SIGKILL while its guest writes, and looks at what it leaves behind.
 * @throws Error naming variant, seed and kill where something that the guest had flushed is gone, or an image is damaged
 */
export function runGuestKills(variant: Variant, kills: number, seed: number): Promise<KillReport> {
	return runKills(variant, kills, seed, {
		...{ slots: SLOTS, slotBytes: SLOT_BYTES, slotOf, contentOf },
		...{ writeAndDie: bootAndDie, longestMs: LONGEST_MS },
	});
}

async function bootAndDie({ format, mode }: Variant, path: string, delayMs: number, folder: string): Promise<number> {
	const image = await ensureImage(findRecipe("default"));
	const binary = join(folder, "guest-writer");
	const gcc = spawnSync("gcc", ["-O2", "-static", fileURLToPath(new URL("guest-writer.c", import.meta.url)), "-o", binary]);
	if (gcc.status !== 0) throw new Error(`gcc: ${gcc.error?.message ?? String(gcc.stderr)}`);
	const archive = new CpioWriter()
		.file("guest-writer", await readFile(binary), 0o755)
		.file("etc/basenji/command", "dmesg -n 1; /guest-writer /dev/vda\n");
	const base = await readFile(imageFile(image, image.manifest.initrd));
	const initrd = join(folder, "initrd");
	await writeFile(initrd, Buffer.concat([base, new Uint8Array(-base.length & 3), archive.toBytes()]));
	const args = ["run", "--kernel", imageFile(image, image.manifest.kernel), "--initrd", initrd, "--append", image.manifest.append];
	const disk = `${path},format=${format},mode=${mode}`;
	const child = spawn(process.execPath, [main, ...args, "--disk", disk, "--serial", "stdio"], { stdio: ["ignore", "pipe", "inherit"] });
	const isGone = once(child, "exit");
	const timer = setTimeout(() => child.kill("SIGKILL"), BOOT_MS);
	let text = "";
	let isWriting = false;
	for await (const chunk of child.stdout) {
		text = text.slice(-4096) + String(chunk);
		if (isWriting || !text.includes("FLUSHED")) continue;
		isWriting = true;
		setTimeout(() => child.kill("SIGKILL"), delayMs);
	}
	clearTimeout(timer);
	await isGone;
	const last = [...text.matchAll(/FLUSHED (\d+)\./g)].at(-1)?.[1];
	if (last === undefined || child.exitCode !== null) throw new Error(`the guest never wrote: ${JSON.stringify(text.slice(-400))}`);
	return Number(last);
}
