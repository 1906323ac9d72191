/** Takes and removes snapshots of a counting machine until it is killed: node kill-child.ts FOLDER BIOS. */
import { createMachine } from "../../src/host/node/machine.ts";

const [folder, bios] = process.argv.slice(2) as [string, string];
const machine = await createMachine({ memory: "16M", bios, snapshots: folder, disks: [{ path: `${folder}.raw` }] });
await machine.start();
const tree = await machine.snapshots();
process.stdout.write("ready\n");
for (;;) {
	const { record } = await machine.snapshot();
	process.stdout.write(`${record.id}\n`);
	const victim = tree.records[1];
	if (tree.records.length > 5 && victim !== undefined) {
		process.stdout.write(`-${victim.id}\n`);
		await machine.removeSnapshot(victim.id);
	}
	if (tree.records.length % 3 === 0) await machine.restore(tree.records[0]?.id as string);
}
