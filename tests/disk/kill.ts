import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkDiskFile, undoFolderOf } from "../../src/host/node/disk/index.ts";
import { qemuCheck } from "../suites/qemu-img.ts";
import { contentOf, SLOT_BYTES, SLOTS, slotOf } from "./crash-writer.ts";
import { Chance } from "./random.ts";
import { openVariant, type Variant } from "./variants.ts";

const writer = fileURLToPath(new URL("crash-writer.ts", import.meta.url));
/** A write that is cut off ends between two sectors: a disk promises no more, and clusters may be that small. */
const SECTOR_BYTES = 512;
/** More than a writer does between two words of what is flushed. */
const MOST_AHEAD = 64;
const LONGEST_MS = 250;

export interface KillReport {
	readonly variant: string;
	readonly kills: number;
	/** Writes that had been flushed, over all kills. */
	readonly flushedWrites: number;
	/** Leaked clusters by image, one entry a kill that left any. */
	readonly leaks: readonly number[];
}

/** Somebody who writes to a disk, numbered writes of one slot each, and is killed in the middle. */
export interface DoomedWriter {
	readonly slots: number;
	readonly slotBytes: number;
	slotOf(write: number): number;
	contentOf(write: number): Uint8Array;
	/** Has it write until `delayMs` after its first flush; answers the last write known to be flushed. `folder` is the trial's own. */
	writeAndDie(variant: Variant, path: string, delayMs: number, folder: string): Promise<number>;
	readonly longestMs: number;
}

/**
 * Kills a process that writes to the disk with SIGKILL, at random moments, and looks at what it leaves behind.
 * @throws Error naming variant, seed and kill where something flushed is gone or an image is damaged
 */
export async function runKills(variant: Variant, kills: number, seed: number, doomed: DoomedWriter = libraryWriter): Promise<KillReport> {
	const chance = new Chance(seed);
	const leaks: number[] = [];
	let flushedWrites = 0;
	for (let kill = 1; kill <= kills; kill++) {
		const folder = await mkdtemp(join(tmpdir(), "disk-kill-"));
		try {
			const initial = new Uint8Array(doomed.slots * doomed.slotBytes);
			const path = await variant.make(folder, initial.length, initial);
			const flushed = await doomed.writeAndDie(variant, path, chance.below(doomed.longestMs), folder);
			flushedWrites += flushed;
			const leaked = await judgeImages(variant, path);
			if (leaked > 0) leaks.push(leaked);
			await judgeContents(variant, path, flushed, initial, doomed);
		} catch (cause) {
			throw new Error(`${variant.name}, seed ${seed}, kill ${kill}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
		} finally {
			await rm(folder, { recursive: true, force: true });
		}
	}
	return { variant: variant.name, kills, flushedWrites, leaks };
}

/** A process of its own that uses the disk library. */
const libraryWriter: DoomedWriter = { slots: SLOTS, slotBytes: SLOT_BYTES, slotOf, contentOf, writeAndDie, longestMs: LONGEST_MS };

/** Kills the writer so long after its first flush; answers the last write known to be flushed. */
async function writeAndDie(variant: Variant, path: string, delayMs: number): Promise<number> {
	const child = spawn(process.execPath, [writer, "write", variant.name, path], { stdio: ["ignore", "pipe", "inherit"] });
	const isGone = once(child, "exit");
	let text = "";
	for await (const chunk of child.stdout) {
		if (text === "") setTimeout(() => child.kill("SIGKILL"), delayMs);
		text += String(chunk);
	}
	await isGone;
	const last = text.slice(0, text.lastIndexOf("\n")).split("\n").at(-1);
	if (child.exitCode !== null || last === undefined || last === "") throw new Error(`the writer ended by itself: ${child.exitCode}`);
	return Number(last);
}

/** Nobody has opened them since. Answers how much has leaked. */
async function judgeImages(variant: Variant, path: string): Promise<number> {
	const layers = variant.mode === "undoable" ? await layersOf(path) : [];
	const images = [...layers, ...(variant.format === "raw" || variant.name.includes("Flat") ? [] : [path])];
	let leaked = 0;
	for (const image of images) {
		const format = image === path ? variant.format : "qcow2";
		const report = await checkDiskFile(image, { format });
		if (report.errorCount > 0) throw new Error(`${image}: ${report.problems.find(({ kind }) => kind === "error")?.message}`);
		const check = qemuCheck(image, format);
		if (check["check-errors"] + (check.corruptions ?? 0) > 0) throw new Error(`${image}: ${JSON.stringify(check)}`);
		leaked += report.leakCount;
	}
	return leaked;
}

/** Those that count; one that was being made when the end came is not among them. */
async function layersOf(path: string): Promise<string[]> {
	const folder = undoFolderOf(path);
	const record = JSON.parse(await readFile(join(folder, "layers.json"), "utf8")) as { layers: string[]; redo: string[] };
	return [...record.layers, ...record.redo].map((name) => join(folder, name));
}

async function judgeContents(
	variant: Variant,
	path: string,
	flushed: number,
	initial: Uint8Array,
	{ slots, slotBytes, slotOf, contentOf }: DoomedWriter,
): Promise<void> {
	const disk = await openVariant(variant, path);
	const bytes = Buffer.alloc(initial.length);
	await disk.read(0, bytes);
	await disk.close();
	const lastTo = new Map<number, number>();
	for (let write = 1; write <= flushed; write++) lastTo.set(slotOf(write), write);
	for (let slot = 0; slot < slots; slot++) {
		const last = lastTo.get(slot);
		const later = Array.from({ length: MOST_AHEAD }, (_, i) => flushed + 1 + i).filter((write) => slotOf(write) === slot);
		const before = last === undefined ? initial.subarray(slot * slotBytes, (slot + 1) * slotBytes) : contentOf(last);
		const allowed = [before, ...later.map(contentOf)];
		for (let at = 0; at < slotBytes; at += SECTOR_BYTES) {
			const sector = bytes.subarray(slot * slotBytes + at, slot * slotBytes + at + SECTOR_BYTES);
			if (!allowed.some((content) => sector.equals(content.subarray(at, at + SECTOR_BYTES))))
				throw new Error(`byte ${slot * slotBytes + at} has lost write ${last ?? 0}, flushed as one of ${flushed}`);
		}
	}
}
