import { writeSync } from "node:fs";
import type { Disk } from "../../src/disk/disk.ts";
import { UndoableDisk } from "../../src/disk/layers/undoable-disk.ts";
import { pattern } from "../suites/disk-contract.ts";
import { Chance } from "./random.ts";
import { openVariant, VARIANTS } from "./variants.ts";

/** What a writer does that is killed sooner or later: the n-th write, and where. */
export const SLOT_BYTES = 32 * 1024;
export const SLOTS = 128;
export const FLUSH_EVERY = 8;
export const slotOf = (write: number): number => new Chance(write * 7919).below(SLOTS);
/** Every sixth writes zeros. */
export const contentOf = (write: number): Uint8Array => (write % 6 === 0 ? new Uint8Array(SLOT_BYTES) : pattern(SLOT_BYTES, write));

/** Writes for ever, several at a time, and says after each flush how far it has come; marks and commits now and then. */
async function main(variant: string, path: string): Promise<void> {
	const kind = VARIANTS.find(({ name }) => name === variant);
	if (kind === undefined) throw new RangeError(variant);
	const disk = await openVariant(kind, path);
	let committing: Promise<void> | undefined;
	for (let done = 0; ; ) {
		await batch(disk, done);
		done += FLUSH_EVERY;
		if (disk instanceof UndoableDisk) {
			if (done % 48 === 0) await disk.mark();
			if (done % 168 === 0) {
				await committing;
				committing = disk.commit();
			}
		}
		await disk.flush();
		writeSync(1, `${done}\n`);
	}
}

/** Writes to different slots go side by side; one to the same slot waits for the one before. */
async function batch(disk: Disk, done: number): Promise<void> {
	const bySlot = new Map<number, Promise<void>>();
	for (let write = done + 1; write <= done + FLUSH_EVERY; write++) {
		const slot = slotOf(write);
		bySlot.set(
			slot,
			(bySlot.get(slot) ?? Promise.resolve()).then(() => put(disk, write, slot * SLOT_BYTES)),
		);
	}
	await Promise.all(bySlot.values());
}

async function put(disk: Disk, write: number, at: number): Promise<void> {
	const bytes = contentOf(write);
	if (write % 6 === 0) await disk.writeZeroes(at, bytes.length);
	else if (write % 2 === 0 || disk.writeNow?.(at, [bytes]) !== true) await disk.write(at, bytes);
}

if (process.argv[2] === "write") await main(process.argv[3] as string, process.argv[4] as string);
