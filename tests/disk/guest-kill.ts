import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureImage } from "../../src/host/node/image/build.ts";
import { CpioWriter } from "../../src/host/node/image/cpio.ts";
import { findRecipe } from "../../src/host/node/image/recipes.ts";
import { imageFile } from "../../src/host/node/image/store.ts";
import { createMachine, type NodeMachineOptions } from "../../src/host/node/machine.ts";
import { type KillReport, runKills } from "./kill.ts";
import type { Variant } from "./variants.ts";

// As in guest-writer.c.
const SLOT_BYTES = 32 * 1024;
const SLOTS = 512;
const LONGEST_MS = 800;
const PATIENCE_MS = 60_000;
const child = fileURLToPath(new URL("guest-kill-child.ts", import.meta.url));

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

/** What a guest's process is told by whoever is going to kill it. */
export interface GuestWriter {
	readonly options: NodeMachineOptions;
	/** With the snapshot "ready", in which the guest waits for a line. */
	readonly folder: string;
	readonly variant: string;
	readonly path: string;
}

/**
 * Kills a whole virtual machine with SIGKILL while its guest writes, and looks at what it leaves behind. The guest has been
 * booted once; each kill is of a fork of it with a disk of its own, which the snapshot leaves alone.
 * @throws Error naming variant, seed and kill where something that the guest had flushed is gone, or an image is damaged
 */
export function runGuestKills(variant: Variant, kills: number, seed: number): Promise<KillReport> {
	return runKills(variant, kills, seed, {
		...{ slots: SLOTS, slotBytes: SLOT_BYTES, slotOf, contentOf },
		...{ writeAndDie: goOnAndDie, longestMs: LONGEST_MS },
	});
}

let booted: ReturnType<typeof bootWriter> | undefined;

async function bootWriter(): Promise<Pick<GuestWriter, "options" | "folder">> {
	const folder = await mkdtemp(join(tmpdir(), "guest-kill-"));
	process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
	const image = await ensureImage(findRecipe("default"));
	const binary = join(folder, "guest-writer");
	const gcc = spawnSync("gcc", ["-O2", "-static", fileURLToPath(new URL("guest-writer.c", import.meta.url)), "-o", binary]);
	if (gcc.status !== 0) throw new Error(`gcc: ${gcc.error?.message ?? String(gcc.stderr)}`);
	const archive = new CpioWriter()
		.file("guest-writer", await readFile(binary), 0o755)
		.file("etc/basenji/command", "dmesg -n 1; stty raw -echo; /guest-writer /dev/vda\n");
	const base = await readFile(imageFile(image, image.manifest.initrd));
	const initrd = join(folder, "initrd");
	await writeFile(initrd, Buffer.concat([base, new Uint8Array(-base.length & 3), archive.toBytes()]));
	const disk = join(folder, "disk.raw");
	await writeFile(disk, new Uint8Array(SLOTS * SLOT_BYTES));
	const options = { kernel: imageFile(image, image.manifest.kernel), append: image.manifest.append, memory: "128M" };
	const snapshots = join(folder, "snapshots");
	const disks = [{ path: disk, mode: "independent" as const }];
	await using machine = await createMachine({ ...options, initrd, disks, snapshots });
	await machine.start();
	await machine.waitFor({ console: /^READY/m, timeout: "200s" });
	await machine.snapshot({ name: "ready" });
	return { options, folder: snapshots };
}

async function goOnAndDie(variant: Variant, path: string, delayMs: number): Promise<number> {
	booted ??= bootWriter();
	const told: GuestWriter = { ...(await booted), variant: variant.name, path };
	const doomed = spawn(process.execPath, [child, JSON.stringify(told)], { stdio: ["ignore", "pipe", "inherit"] });
	const isGone = once(doomed, "exit");
	const timer = setTimeout(() => doomed.kill("SIGKILL"), PATIENCE_MS);
	let text = "";
	let isWriting = false;
	for await (const chunk of doomed.stdout) {
		text = text.slice(-4096) + String(chunk);
		if (isWriting || !text.includes("FLUSHED")) continue;
		isWriting = true;
		setTimeout(() => doomed.kill("SIGKILL"), delayMs);
	}
	clearTimeout(timer);
	await isGone;
	const last = [...text.matchAll(/FLUSHED (\d+)\./g)].at(-1)?.[1];
	if (last === undefined || doomed.exitCode !== null) throw new Error(`the guest never wrote: ${JSON.stringify(text.slice(-400))}`);
	return Number(last);
}
