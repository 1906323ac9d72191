import { expect, test } from "vitest";
import { MemoryLayerFolder } from "../disk/layers/layer-folder.ts";
import { MemoryStore } from "../disk/memory-store.ts";
import { RawDisk } from "../disk/raw.ts";
import { NodeHost } from "../host/node/host.ts";
import { Jack } from "../net/port.ts";
import { LayeredDisk } from "../snapshot/layered-disk.ts";
import { assembleMachine } from "./create.ts";
import { forkMachine } from "./fork.ts";
import type { Machine } from "./machine.ts";

/** Firmware that prints letters for ever, in real mode: see golden-snapshot.test.ts. */
function firmware(): Uint8Array {
	const image = new Uint8Array(64 * 1024);
	image.set(Buffer.from("31c08ed8bafb03b003eefe060005a00005240f0441baf803eeb90020e2feebea", "hex"));
	image.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
	return image;
}

const options = () => ({
	memory: "16M",
	cpus: 2,
	bios: firmware(),
	nics: [{ port: new Jack("a") }, { port: new Jack("b"), model: "e1000" as const }, { port: new Jack("c"), model: "ne2k-pci" as const }],
});

const disk = async () =>
	LayeredDisk.open(await RawDisk.open(new MemoryStore("base", new Uint8Array(1024 * 1024))), new MemoryLayerFolder());

async function letters(machine: Machine, count: number): Promise<string> {
	return machine.waitFor({ console: new RegExp(`[A-P]{${count}}`), timeout: "30s" });
}

test("a machine with every kind of card, two CPUs and a disk goes back and forth, running and paused", async () => {
	await using machine = assembleMachine({ ...options(), disks: [{ disk: await disk() }] }, new NodeHost());
	await machine.start();
	await letters(machine, 20);
	const { record, pauseNs, totalNs } = await machine.snapshot({ name: "one", note: "a note" });
	expect(pauseNs).toBeLessThanOrEqual(totalNs);
	await letters(machine, 20);
	await machine.restore("one");
	await letters(machine, 20);
	await machine.pause();
	await machine.snapshot({ name: "two" });
	await machine.restore(record.id);
	expect(machine.state).toBe("paused");
	expect(machine.stats.guestSeconds).toBe(record.guestNs / 1e9);
	await machine.restore("two");
	await machine.resume();
	await letters(machine, 20);
	const tree = await machine.snapshots();
	expect(tree.infos().map(({ name, isHere }) => [name, isHere])).toEqual([
		["one", false],
		["two", true],
	]);
	expect(await machine.removeSnapshot("one", true)).toHaveLength(2);
	expect(tree.records).toEqual([]);
});

test("forks run side by side and end alone", async () => {
	await using machine = assembleMachine({ ...options(), disks: [{ disk: await disk() }], name: "m" }, new NodeHost());
	await machine.start();
	await letters(machine, 20);
	const forks = await forkMachine(machine, new NodeHost(), { count: 3 });
	expect(forks.map(({ name }) => name)).toEqual(["m-1", "m-2", "m-3"]);
	for (const fork of forks) await letters(fork, 20);
	await forks[1]?.stop();
	await letters(forks[0] as Machine, 20);
	await letters(machine, 20);
	for (const fork of forks) await fork.stop();
	// The snapshot that it took for them has gone with its purpose.
	expect((await machine.snapshots()).records).toEqual([]);
});

test("says what it cannot take, and where a snapshot does not fit", async () => {
	await using plain = assembleMachine(
		{ ...options(), disks: [{ disk: await RawDisk.open(new MemoryStore("d", new Uint8Array(512))) }] },
		new NodeHost(),
	);
	await expect(plain.snapshot()).rejects.toMatchObject({ kind: "state" });
	await plain.start();
	await expect(plain.snapshot()).rejects.toThrow(/disk 0 is written in place and could not be put back/);
	await using machine = assembleMachine(options(), new NodeHost());
	await machine.start();
	await expect(machine.restore("nothing")).rejects.toMatchObject({ kind: "not-found" });
	await machine.snapshot({ name: "one" });
	await expect(machine.snapshot({ name: "one" })).rejects.toMatchObject({ kind: "name" });
	const snapshots = await machine.snapshots();
	await using other = assembleMachine({ ...options(), memory: "32M" }, new NodeHost(), { snapshots: snapshots.branch(), isRestored: true });
	await expect(other.restore("one")).rejects.toThrow(/is of a machine with memory 16M, this one has 32M/);
});
