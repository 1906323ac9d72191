import type { Disk } from "../../../disk/disk.ts";
import type { SnapshotTree } from "../../../snapshot/tree.ts";
import { assembleMachine } from "../../../vm/create.ts";
import { MachineError } from "../../../vm/error.ts";
import type { Machine } from "../../../vm/machine.ts";
import { NodeHost } from "../host.ts";
import { type NodeMachineOptions, readImages } from "../machine.ts";
import { UserNetwork } from "../net/user-network.ts";
import { tuneWebAssembly } from "../wasm-tuning.ts";
import { openLayered } from "./disks.ts";

/**
 * A machine that begins with a snapshot of another one, which may have been made in another process: what it writes is gone when
 * it ends, and neither the tree nor the disks of the snapshot are touched. It is not started yet; the tree must stay open.
 * @throws SnapshotError not-found, corrupt; MachineError, DiskError, HostError
 */
export async function createFork(options: NodeMachineOptions, tree: SnapshotTree, reference: string): Promise<Machine> {
	const { kernel, initrd, bios, disks = [], snapshots: _, restore: __, isSameLife: ___, stepsClock, net, ...rest } = options;
	tuneWebAssembly();
	const record = tree.find(reference);
	const images = await readImages({ kernel, initrd, bios });
	const opened: { disk: Disk; bus: "virtio" | "ide"; isIndependent: boolean }[] = [];
	// The host's ports are the original's. An address that is given stays; without one it follows from the fork's name.
	const network = net === undefined ? undefined : new UserNetwork({ ...net, name: rest.name ?? "fork", forwards: [] });
	try {
		for (const [index, spec] of disks.entries()) {
			if ("disk" in spec || (spec.mode === "independent" && spec.isReadOnly !== true))
				throw new MachineError("unavailable", `disk ${index} cannot be shared with forks: give it as a file, and not independent`);
			const disk = await openLayered(spec, index, tree.folder, record.disks[index] ?? []);
			opened.push({ disk, bus: spec.bus ?? "virtio", isIndependent: false });
		}
		const source = { snapshots: tree.branch(), isRestored: true };
		const nics = [...(network === undefined ? [] : [network.nic]), ...(rest.nics ?? [])];
		const machine = assembleMachine({ ...rest, ...images, disks: opened, nics }, new NodeHost(), source);
		await machine.restore(record.id, { stepsClock });
		await network?.attach(machine);
		return machine;
	} catch (error) {
		network?.[Symbol.dispose]();
		for (const { disk } of opened) await disk.close();
		throw error;
	}
}
