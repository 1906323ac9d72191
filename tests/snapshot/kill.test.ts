import { spawn } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { createMachine } from "../../src/host/node/machine.ts";
import { NodeSnapshotFolder } from "../../src/host/node/snapshot/folder.ts";
import { SnapshotTree } from "../../src/snapshot/tree.ts";
import { scratchFolder } from "./guest.ts";

const scratch = scratchFolder();
afterAll(() => rm(scratch, { recursive: true, force: true }));

const KILLS = Number(process.env.BASENJI_SNAPSHOT_KILLS ?? 25);

/** Firmware that writes a new page of memory again and again, so that every snapshot has something to save, and prints letters. */
function firmware(): Uint8Array {
	const image = new Uint8Array(64 * 1024);
	// xor ax,ax; mov ds,ax; mov dx,0x3fb; mov al,3; out dx,al; again: add bx,0x11; and bx,0x7fff; or bx,0x1000; inc word [bx];
	// inc byte [0x500]; mov al,[0x500]; and al,15; add al,'A'; mov dx,0x3f8; out dx,al; mov cx,0x200; wait: loop wait; jmp again
	image.set(Buffer.from("31c08ed8bafb03b003ee81c3110081e3ff7f81cb0010ff07fe060005a00005240f0441baf803eeb90002e2feebdc", "hex"));
	image.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
	return image;
}

test(`a process killed ${KILLS} times leaves a tree that opens, with every snapshot that it had told of`, async () => {
	const folder = join(scratch, "snapshots");
	const bios = join(scratch, "bios");
	await writeFile(bios, firmware());
	await writeFile(`${folder}.raw`, new Uint8Array(1024 * 1024));
	const told = new Set<string>();
	for (let kill = 0; kill < KILLS; kill++) {
		const child = spawn(process.execPath, [fileURLToPath(new URL("kill-child.ts", import.meta.url)), folder, bios], {
			stdio: ["ignore", "pipe", "inherit"],
		});
		let text = "";
		await new Promise<void>((resolve) => {
			child.stdout.setEncoding("latin1").on("data", (chunk: string) => {
				if (text === "") setTimeout(() => child.kill("SIGKILL"), (kill * 37) % 300);
				text += chunk;
			});
			child.on("close", () => resolve());
		});
		expect(text).toMatch(/^ready/);
		for (const line of text.split("\n").slice(1, -1)) {
			if (line.startsWith("-")) told.delete(line.slice(1));
			else told.add(line);
		}
		const tree = await SnapshotTree.open(await NodeSnapshotFolder.open(folder));
		const ids = new Set(tree.records.map(({ id }) => id));
		for (const id of told) expect(ids.has(id), `kill ${kill}`).toBe(true);
		const page = new Uint8Array(4096);
		for (const record of tree.records) tree.tables.each(record, (_, id) => tree.tables.store.read(id, page));
		await tree.close();
		// What it had not told of may be there: it was killed in between.
		for (const id of ids) told.add(id);
	}
	expect(told.size).toBeGreaterThan(1);
	const [first] = told;
	await using machine = await createMachine({ memory: "16M", bios, snapshots: folder, disks: [{ path: `${folder}.raw` }], restore: first });
	await machine.start();
	await machine.waitFor({ console: /[A-P]{20}/, timeout: "20s" });
});
