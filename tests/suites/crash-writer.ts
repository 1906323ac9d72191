import { writeSync } from "node:fs";
import { openUndoableFile } from "../../src/host/node/disk/undo-folder.ts";
import { pattern } from "./disk-contract.ts";

/** What a writer does that is killed sooner or later: the n-th write, and where. */
/** Half a cluster, so that a write is one write of the host's: cut off before or after, never within. */
export const SLOT_BYTES = 32 * 1024;
export const SLOTS = 64;
export const FLUSH_EVERY = 8;
export const slotOf = (write: number): number => (Math.imul(write, 2654435761) >>> 0) % SLOTS;
export const contentOf = (write: number): Uint8Array => pattern(SLOT_BYTES, write);

/** Writes for ever, says after each flush how far it has come, and marks and commits now and then. */
async function main(path: string): Promise<void> {
	const disk = await openUndoableFile(path);
	let committing: Promise<void> | undefined;
	for (let write = 1; ; write++) {
		await disk.write(slotOf(write) * SLOT_BYTES, contentOf(write));
		if (write % 50 === 0) await disk.mark();
		if (write % 170 === 0) {
			await committing;
			committing = disk.commit();
		}
		if (write % FLUSH_EVERY !== 0) continue;
		await disk.flush();
		writeSync(1, `${write}\n`);
	}
}

if (process.argv[2] === "write") await main(process.argv[3] as string);
