import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { NodeHost } from "../host/node/host.ts";
import { exportSnapshot, importSnapshot } from "../snapshot/archive.ts";
import { MemorySnapshotFolder } from "../snapshot/snapshot-folder.ts";
import { SnapshotTree } from "../snapshot/tree.ts";
import { assembleMachine } from "./create.ts";

/**
 * Files of version 1 open for ever. The one in tests/snapshot/golden was written by the first version of this code, and is never
 * written again: a test that fails means that older files have to be understood, not that the file has to change.
 */
const GOLDEN = fileURLToPath(new URL("../../tests/snapshot/golden/version-1.base64", import.meta.url));

/** Firmware that counts at 0x500 and prints a letter for each number, in real mode. */
function firmware(): Uint8Array {
	const image = new Uint8Array(64 * 1024);
	// xor ax,ax; mov ds,ax; mov dx,0x3fb; mov al,3; out dx,al (eight data bits)
	// again: inc byte [0x500]; mov al,[0x500]; and al,15; add al,'A'; mov dx,0x3f8; out dx,al; mov cx,0x2000
	// wait: loop wait; jmp again
	const code = "31c08ed8bafb03b003eefe060005a00005240f0441baf803eeb90020e2feebea";
	image.set(Uint8Array.from(code.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)));
	// The reset vector: jmp 0xf000:0
	image.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
	return image;
}

const options = () => ({ name: "golden", memory: "16M", bios: firmware(), time: "instructions" as const });

async function untilPrinted(machine: ReturnType<typeof assembleMachine>, letters: number): Promise<string> {
	await machine.waitFor({ console: new RegExp(`[A-P]{${letters}}`), timeout: "30s" });
	return machine.console.text;
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
	// Odd sizes, so that nothing in a reader depends on where one ends.
	for (let at = 0; at < bytes.length; at += 1009) yield bytes.subarray(at, at + 1009);
}

async function open(bytes: Uint8Array) {
	const tree = await SnapshotTree.open(new MemorySnapshotFolder());
	const disk = () => Promise.reject(new Error("it has none"));
	const { record, files } = await importSnapshot(chunksOf(bytes), { tree, disk }, "golden");
	await using machine = assembleMachine(options(), new NodeHost(), { snapshots: tree, isRestored: true });
	await machine.restore(record.id);
	await machine.start();
	return { before: record.screen, after: await untilPrinted(machine, 20), files };
}

function expectToGoOn(before: string, after: string): void {
	const last = before.charCodeAt(before.length - 1) - 65;
	const expected = Array.from({ length: 20 }, (_, i) => String.fromCharCode(65 + ((last + 1 + i) % 16))).join("");
	expect(after.slice(0, 20)).toBe(expected);
}

async function write(): Promise<Uint8Array> {
	const tree = await SnapshotTree.open(new MemorySnapshotFolder());
	await using machine = assembleMachine(options(), new NodeHost(), { snapshots: tree });
	await machine.start();
	await untilPrinted(machine, 40);
	const { record } = await machine.snapshot({ name: "golden", note: "written by the first version" });
	const parts: Uint8Array[] = [];
	for await (const part of exportSnapshot(tree, record, { disks: [], files: { letters: Uint8Array.of(1, 2, 3) }, about: "golden" }))
		parts.push(part);
	return Buffer.concat(parts);
}

test("a snapshot of version 1 opens, and its machine goes on where it was", async () => {
	if (process.env.BASENJI_WRITE_GOLDEN === "1")
		writeFileSync(
			GOLDEN,
			`${(
				Buffer.from(await write())
					.toString("base64")
					.match(/.{1,120}/g) ?? []
			).join("\n")}\n`,
		);
	const { before, after } = await open(Buffer.from(readFileSync(GOLDEN, "latin1"), "base64"));
	expectToGoOn(before, after);
});

test("what this version writes, it reads", async () => {
	const { before, after, files } = await open(await write());
	expectToGoOn(before, after);
	expect([...(files.get("letters") ?? [])]).toEqual([1, 2, 3]);
});

test("what is no archive, a later one, or cut off anywhere is refused", async () => {
	const bytes = await write();
	const refuse = async (altered: Uint8Array) => expect(open(altered)).rejects;
	await (await refuse(bytes.subarray(0, bytes.length - 2))).toMatchObject({ kind: "corrupt" });
	await (await refuse(bytes.subarray(0, 3000))).toMatchObject({ kind: "corrupt" });
	await (await refuse(new Uint8Array(5000).fill(65))).toMatchObject({ kind: "corrupt" });
	const later = Buffer.from(Buffer.from(bytes).toString("latin1").replace('"version":1', '"version":9'), "latin1");
	await (await refuse(later)).toMatchObject({ kind: "unsupported", message: expect.stringMatching(/version 9/) });
});
