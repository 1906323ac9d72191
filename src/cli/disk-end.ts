import { createInterface } from "node:readline/promises";
import { commitDiskFile, discardDiskFile, undoStepsOf } from "../host/node/disk/commit.ts";
import { withProgress } from "./disk-command.ts";
import type { DiskEnd, DiskOption } from "./run-options.ts";

/** When a machine has ended: commits, discards or keeps what its undoable disks' layers hold; asks only at a terminal. */
export async function endDisks(disks: readonly DiskOption[]): Promise<void> {
	for (const disk of disks) {
		if (disk.mode !== "undoable") continue;
		const format = disk.format === undefined ? {} : { format: disk.format };
		if ((await undoStepsOf(disk.path, format)) === 0) continue;
		const end = disk.end ?? (await ask(disk.path));
		if (end === "commit")
			await withProgress(`committing ${disk.path}`, (onProgress) => commitDiskFile(disk.path, { ...format, onProgress }));
		else if (end === "discard") await discardDiskFile(disk.path, format);
		const told = { commit: "committed", discard: "discarded", keep: `kept in ${disk.path}.undo` }[end];
		process.stderr.write(`basenji: ${disk.path}: changes ${told}\n`);
	}
}

async function ask(path: string): Promise<DiskEnd> {
	if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return "keep";
	const lines = createInterface({ input: process.stdin, output: process.stderr });
	try {
		const answer = (await lines.question(`basenji: ${path} has changes: [k]eep, [c]ommit or [d]iscard them? `)).trim().toLowerCase();
		return answer.startsWith("c") ? "commit" : answer.startsWith("d") ? "discard" : "keep";
	} finally {
		lines.close();
	}
}
