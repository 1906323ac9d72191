import { expect, test } from "vitest";
import { createQcow2 } from "../../disk/formats/qcow2/create.ts";
import { MemoryStore } from "../../disk/memory-store.ts";
import { MachineError } from "../../vm/error.ts";
import { load, loadDisk, sendSource } from "./sources.ts";

test("bytes and absolute addresses are sent as they are; anything else is refused by its key", () => {
	const bytes = Uint8Array.of(1, 2);
	expect(sendSource("kernel", bytes)).toBe(bytes);
	expect(sendSource("kernel", bytes.buffer)).toEqual(bytes);
	expect(sendSource("kernel", new URL("http://127.0.0.1/k"))).toBe("http://127.0.0.1/k");
	expect(() => sendSource("initrd", 7 as unknown as string)).toThrow(/^initrd: an address or bytes are wanted, not 7$/);
});

test("an address that nobody answers is an error that names key and address", async () => {
	const failed = load("kernel", "http://127.0.0.1:1/vmlinuz");
	await expect(failed).rejects.toThrow(MachineError);
	await expect(failed).rejects.toThrow(/^kernel: http:\/\/127\.0\.0\.1:1\/vmlinuz cannot be fetched/);
});

test("a qcow2 image in memory is a disk that snapshots can put back; one that stands on another file is refused", async () => {
	const store = new MemoryStore();
	await createQcow2(store, { sizeBytes: 65_536 });
	const disk = await loadDisk(0, { source: store.contents(), format: "qcow2", isIndependent: false });
	await disk.write(512, new Uint8Array(512).fill(9));
	const read = new Uint8Array(512);
	await disk.read(512, read);
	expect([disk.sizeBytes, read[0], read[511]]).toEqual([65_536, 9, 9]);
	await disk.close();

	const overlay = new MemoryStore();
	await createQcow2(overlay, { sizeBytes: 65_536, backingFile: "base.raw", backingFormat: "raw" });
	const refused = loadDisk(1, { source: overlay.contents(), format: "qcow2", isIndependent: false });
	await expect(refused).rejects.toThrow(/base\.raw: disks\[1\]\.source stands on it/);
});
