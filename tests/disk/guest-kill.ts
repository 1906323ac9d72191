import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureImage } from "../../src/host/node/image/build.ts";
import { CpioWriter } from "../../src/host/node/image/cpio.ts";
import { findRecipe } from "../../src/host/node/image/recipes.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import { judgeImages, type KillReport } from "./kill.ts";
import { Chance } from "./random.ts";
import { openVariant, type Variant } from "./variants.ts";

// As in guest-writer.c.
const SLOT_BYTES = 32 * 1024;
const SLOTS = 512;
const MOST_AHEAD = 64;
const PAGE_BYTES = 4096;
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
export async function runGuestKills(variant: Variant, kills: number, seed: number): Promise<KillReport> {
	const chance = new Chance(seed);
	const leaks: number[] = [];
	let flushedWrites = 0;
	for (let kill = 1; kill <= kills; kill++) {
		const folder = await mkdtemp(join(tmpdir(), "guest-kill-"));
		try {
			const initial = new Uint8Array(SLOTS * SLOT_BYTES);
			const path = await variant.make(folder, initial.length, initial);
			const flushed = await bootAndDie(variant, path, folder, chance.below(LONGEST_MS));
			flushedWrites += flushed;
			const leaked = await judgeImages(variant, path);
			if (leaked > 0) leaks.push(leaked);
			await judgeContents(variant, path, flushed, initial);
		} catch (cause) {
			throw new Error(`${variant.name}, seed ${seed}, kill ${kill}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
		} finally {
			await rm(folder, { recursive: true, force: true });
		}
	}
	return { variant: variant.name, kills, flushedWrites, leaks };
}

async function bootAndDie({ format, mode }: Variant, path: string, folder: string, delayMs: number): Promise<number> {
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

async function judgeContents(variant: Variant, path: string, flushed: number, initial: Uint8Array): Promise<void> {
	const disk = await openVariant(variant, path);
	const bytes = Buffer.alloc(initial.length);
	await disk.read(0, bytes);
	await disk.close();
	const lastTo = new Map<number, number>();
	for (let write = 1; write <= flushed; write++) lastTo.set(slotOf(write), write);
	for (let slot = 0; slot < SLOTS; slot++) {
		const last = lastTo.get(slot);
		const before = last === undefined ? initial.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES) : contentOf(last);
		const later = Array.from({ length: MOST_AHEAD }, (_, i) => flushed + 1 + i).filter((write) => slotOf(write) === slot);
		const allowed = [before, ...later.map(contentOf)];
		for (let at = 0; at < SLOT_BYTES; at += PAGE_BYTES) {
			const page = bytes.subarray(slot * SLOT_BYTES + at, slot * SLOT_BYTES + at + PAGE_BYTES);
			if (!allowed.some((content) => page.equals(content.subarray(at, at + PAGE_BYTES))))
				throw new Error(`byte ${slot * SLOT_BYTES + at} has lost write ${last ?? 0}, flushed as one of ${flushed}`);
		}
	}
}
