import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { contentOf, SLOT_BYTES, SLOTS, slotOf } from "../../../../tests/suites/crash-writer.ts";
import { readBytes } from "../../../../tests/suites/disk-contract.ts";
import { hasQemuImg, qemuCheck } from "../../../../tests/suites/qemu-img.ts";
import { openUndoableFile } from "./undo-folder.ts";

const KILLS = 4;
const writer = fileURLToPath(new URL("../../../../tests/suites/crash-writer.ts", import.meta.url));

let folder = "";
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "kill-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs the writer and kills it after so many flushes; answers the last write known to be flushed. */
async function writeAndDie(path: string, flushes: number): Promise<number> {
	const child = spawn(process.execPath, [writer, "write", path], { stdio: ["ignore", "pipe", "inherit"] });
	let text = "";
	for await (const chunk of child.stdout) {
		text += String(chunk);
		if (text.split("\n").length > flushes) child.kill("SIGKILL");
	}
	return Number(text.trimEnd().split("\n").at(-1));
}

describe("a writer killed at any moment", () => {
	it("has lost nothing that it had flushed", { timeout: 120_000 }, async () => {
		for (let kill = 0; kill < KILLS; kill++) {
			const path = join(folder, `disk${kill}.raw`);
			await writeFile(path, new Uint8Array(SLOTS * SLOT_BYTES));
			const flushed = await writeAndDie(path, 5 + kill * 17);
			if (hasQemuImg)
				for (const layer of (await readdir(`${path}.undo`)).filter((name) => name.endsWith(".qcow2"))) {
					const check = qemuCheck(join(`${path}.undo`, layer));
					expect([layer, check["check-errors"], check.corruptions ?? 0]).toEqual([layer, 0, 0]);
				}
			const disk = await openUndoableFile(path);
			const bytes = Buffer.from(await readBytes(disk, 0, SLOTS * SLOT_BYTES));
			await disk.close();
			for (let slot = 0; slot < SLOTS; slot++) {
				const content = bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES);
				let last = flushed;
				while (last > 0 && slotOf(last) !== slot) last--;
				// The last write flushed, or one of the few after it.
				const later = Array.from({ length: 64 }, (_, i) => flushed + 1 + i).filter((write) => slotOf(write) === slot);
				const allowed = [last === 0 ? new Uint8Array(SLOT_BYTES) : contentOf(last), ...later.map(contentOf)];
				if (!allowed.some((each) => content.equals(each))) expect.fail(`kill ${kill}: slot ${slot} has lost write ${last}`);
			}
		}
	});
});
