/** A guest whose disk is layers of a snapshot folder: node bench/disk-layered.ts KERNEL INITRD APPEND DISK MEMORY. Prints its console. */
import { rmSync } from "node:fs";
import { createMachine } from "../src/host/node/machine.ts";

const [kernel, initrd, append, disk, memory] = process.argv.slice(2) as [string, string, string, string, string];
const snapshots = `${disk}.snapshots`;
rmSync(snapshots, { recursive: true, force: true });
const machine = await createMachine({
	kernel,
	initrd,
	append,
	memory,
	disks: [{ path: disk }],
	snapshots,
	onReset: "stop",
	debugExit: true,
});
machine.on("console", ({ bytes }) => process.stdout.write(bytes));
await machine.start();
// From here on the image is frozen, and writes go to a layer above it.
await machine.snapshot();
const { code } = await machine.finished();
process.exitCode = code;
