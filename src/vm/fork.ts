import type { Disk } from "../disk/disk.ts";
import { keepDiskOpen } from "../disk/keep-open.ts";
import { Jack, type Port } from "../net/port.ts";
import { LayeredDisk } from "../snapshot/layered-disk.ts";
import type { SnapshotRecord } from "../snapshot/record.ts";
import type { SnapshotTree } from "../snapshot/tree.ts";
import type { MachineConfig, MachineOptions } from "./config.ts";
import { assembleMachine } from "./create.ts";
import { MachineError } from "./error.ts";
import type { Host } from "./host.ts";
import type { Machine } from "./machine.ts";

export interface ForkOptions {
	/** How many; 1 unless told. */
	readonly count?: number | undefined;
	/** The snapshot to begin from, by name or id; unless told, the machine as it is now (a snapshot is taken for it). */
	readonly snapshot?: string | undefined;
	/** Other ends of the forks' network cards; unless told, their cables lead nowhere. */
	readonly ports?: ((fork: number, nic: number) => Port) | undefined;
}

/**
 * Makes running copies of a machine, which share its memory and disks until they differ. Each has its own name (`NAME-1` and so
 * on), and with that its own MAC addresses (its guest takes its cards out and puts them in anew, if it knows how), and a new generation number, by which its
 * kernel seeds its random numbers afresh.
 * What they write is gone when they end. The machine's tree and disks must stay open as long as they run.
 * @throws MachineError `state`, `unavailable`; SnapshotError not-found
 */
export async function forkMachine(machine: Machine, host: Host, options: ForkOptions = {}): Promise<readonly Machine[]> {
	const { count = 1, snapshot, ports } = options;
	const tree = await machine.snapshots();
	const isTemporary = snapshot === undefined;
	const record = isTemporary
		? (await machine.snapshot({ name: tree.freeName(undefined, "fork"), isForNow: true })).record
		: tree.find(snapshot);
	const forks: Machine[] = [];
	try {
		for (let index = 1; index <= count; index++)
			forks.push(
				await forkOf(machine.config, tree, record, {
					name: `${machine.name}-${index}`,
					host,
					port: (nic) => ports?.(index, nic) ?? new Jack(`nic${nic}`),
				}),
			);
		for (const fork of forks) await fork.start();
	} catch (error) {
		for (const fork of forks) await fork.stop();
		throw error;
	} finally {
		if (isTemporary) await machine.removeSnapshot(record.id);
	}
	return forks;
}

interface ForkParts {
	readonly name: string;
	readonly host: Host;
	readonly port: (nic: number) => Port;
}

/** One fork, not started yet. */
async function forkOf(config: MachineConfig, tree: SnapshotTree, record: SnapshotRecord, parts: ForkParts): Promise<Machine> {
	const disks: { disk: Disk; bus: "virtio" | "ide"; isIndependent: boolean }[] = [];
	try {
		for (const [index, { disk, bus, isIndependent }] of config.disks.entries()) {
			const layers = record.disks[index];
			if (layers === undefined && !disk.isReadOnly)
				throw new MachineError("unavailable", `disk ${index} is independent of snapshots, so forks cannot share it`);
			const forked = disk instanceof LayeredDisk && layers !== undefined ? await disk.fork(layers) : keepDiskOpen(disk);
			disks.push({ disk: forked, bus, isIndependent });
		}
		const nics = config.nics.map(({ model, mtu }, index) => ({ port: parts.port(index), model, ...(mtu === undefined ? {} : { mtu }) }));
		const options: MachineOptions = { ...config, name: parts.name, disks, nics };
		const machine = assembleMachine(options, parts.host, { snapshots: tree.branch(), isRestored: true });
		await machine.restore(record.id);
		return machine;
	} catch (error) {
		for (const { disk } of disks) await disk.close();
		throw error;
	}
}
