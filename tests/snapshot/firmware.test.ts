import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { createMachine } from "../../src/host/node/machine.ts";
import type { SnapshotRecord } from "../../src/snapshot/record.ts";
import type { SnapshotTree } from "../../src/snapshot/tree.ts";

/** SeaBIOS, as Debian's package seabios has it. */
const BIOS = "/usr/share/seabios/bios-256k.bin";
const PAGE_BYTES = 4096;

/** Memory as a snapshot holds it. */
function memoryOf(tree: SnapshotTree, record: SnapshotRecord): Buffer {
	const bytes = Buffer.alloc(record.machine.memoryBytes);
	tree.tables.each(record, (page, id) => tree.tables.store.read(id, bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)));
	return bytes;
}

test("a guest booted by SeaBIOS finds a new generation id after a restore where its ACPI tables say", async ({ skip }) => {
	if (!existsSync(BIOS)) return skip("no SeaBIOS on this host");
	await using machine = await createMachine({ memory: "32M", bios: BIOS });
	await machine.start();
	await machine.waitFor({ console: "No bootable device", timeout: "60s" });
	const { record: before } = await machine.snapshot();
	await machine.restore(before.id);
	const { record: after } = await machine.snapshot();
	const tree = await machine.snapshots();
	const [then, now] = [memoryOf(tree, before), memoryOf(tree, after)];
	// Name(VGIA, dword) in the DSDT: the id's address.
	const address = then.readUInt32LE(then.indexOf(Buffer.from([0x08, ...Buffer.from("VGIA"), 0x0c]), 24 << 20) + 6);
	const idIn = (memory: Buffer) => memory.subarray(address, address + 16).toString("hex");
	expect(idIn(then)).toBe("0".repeat(32));
	expect(idIn(now)).not.toBe("0".repeat(32));
});
