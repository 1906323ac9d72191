import { readFile, stat } from "node:fs/promises";
import { totalmem } from "node:os";
import type { Disk } from "../../disk/disk.ts";
import type { SnapshotTree } from "../../snapshot/tree.ts";
import { type MachineConfig, type MachineOptions, readConfig } from "../../vm/config.ts";
import { assembleMachine } from "../../vm/create.ts";
import { MachineError } from "../../vm/error.ts";
import type { Machine as CoreMachine } from "../../vm/machine.ts";
import { formatSize } from "../../vm/quantity.ts";
import type { DiskFile } from "./disk/disk-file.ts";
import { NodeHost } from "./host.ts";
import { HostError } from "./host-error.ts";
import type { UserNetworkOptions } from "./net/user-network.ts";
import { putCompilersBehind, tuneWebAssembly } from "./wasm-tuning.ts";

/** As the core's options, but kernel, initrd and bios may be paths, and disks may be files. */
export type NodeMachineOptions = Omit<MachineOptions, "kernel" | "initrd" | "bios" | "disks"> & {
	readonly kernel?: string | Uint8Array | undefined;
	readonly initrd?: string | Uint8Array | undefined;
	readonly bios?: string | Uint8Array | undefined;
	readonly disks?: readonly (
		| { readonly disk: Disk; readonly bus?: "virtio" | "ide"; readonly isIndependent?: boolean }
		| (DiskFile & { readonly bus?: "virtio" | "ide" })
	)[];
	/**
	 * A folder for snapshots, or a tree that is open already: then snapshots outlive the process, and disks take part in them
	 * whatever their mode. Without one, snapshots stay in memory.
	 */
	readonly snapshots?: string | SnapshotTree | undefined;
	/** Go on from this snapshot, by name or id, instead of booting. */
	readonly restore?: string | undefined;
	/** One card more, in front of `nics`, behind a NAT of its own: DHCP, DNS, and what these rules let out. Snapshots hold its sessions. */
	readonly net?: Omit<UserNetworkOptions, "name"> | undefined;
	/** With `restore`: as in `RestoreOptions`. */
	readonly isSameLife?: boolean | undefined;
	readonly stepsClock?: boolean | undefined;
};

/** The engine, its code and Node itself, over and above guest RAM. */
const OVERHEAD_BYTES = 400 * 1024 * 1024;

/**
 * Makes a machine out of files of this host. It is not started yet.
 * @throws MachineError, HostError, DiskError, PcError: one line each, naming the file or key at fault
 */
export async function createMachine(options: NodeMachineOptions): Promise<CoreMachine> {
	const { kernel, initrd, bios, disks = [], snapshots, restore, isSameLife, stepsClock, net, ...told } = options;
	const rest = { ...engineOfEnvironment(process.env), ...told };
	tuneWebAssembly();
	putCompilersBehind();
	const images = await readImages({ kernel, initrd, bios });
	// Before any disk is opened, so that a mistake elsewhere leaves no lock behind.
	const config = readConfig({ ...rest, ...images });
	checkHostMemory(config.memory);
	const opened: Disk[] = [];
	let tree: SnapshotTree | undefined;
	// What most machines do not have is loaded for those that do: it would be a fifth of every start.
	const network =
		net === undefined ? undefined : new (await import("./net/user-network.ts")).UserNetwork({ ...net, name: rest.name ?? "machine" });
	try {
		tree = typeof snapshots === "string" ? await openTree(snapshots) : snapshots;
		if (restore !== undefined && tree === undefined)
			throw new MachineError("config", "restore: there is no folder of snapshots to take it from");
		const attached: { disk: Disk; bus: "virtio" | "ide"; isIndependent: boolean }[] = [];
		for (const [index, spec] of disks.entries()) {
			const isIndependent = "disk" in spec ? spec.isIndependent === true : spec.mode === "independent";
			const disk = await openAttached(spec, index, tree, isIndependent);
			if (!("disk" in spec)) opened.push(disk);
			attached.push({ disk, bus: spec.bus ?? "virtio", isIndependent });
		}
		const source = { snapshots: tree, ownsSnapshots: typeof snapshots === "string", isRestored: restore !== undefined };
		const nics = [...(network === undefined ? [] : [network.nic]), ...(rest.nics ?? [])];
		const machine = assembleMachine({ ...rest, ...images, disks: attached, nics }, new NodeHost(), source);
		if (restore !== undefined) await machine.restore(restore, { isSameLife, stepsClock });
		await network?.attach(machine);
		return machine;
	} catch (error) {
		network?.[Symbol.dispose]();
		for (const disk of opened) await disk.close();
		if (typeof snapshots === "string") await tree?.close();
		throw error;
	}
}

/** What a machine is run by unless it is told: the variables of the command line's flags, so that any program can be tried with any. */
function engineOfEnvironment(env: Readonly<Record<string, string | undefined>>): Pick<MachineOptions, "engine" | "translateAfter"> {
	const { BASENJI_ENGINE: engine, BASENJI_TRANSLATE_AFTER: runs } = env;
	return {
		...(engine === undefined ? {} : { engine: engine as MachineConfig["engine"] }),
		...(runs === undefined ? {} : { translateAfter: Number(runs) }),
	};
}

async function openTree(folder: string): Promise<SnapshotTree> {
	const [{ SnapshotTree }, { NodeSnapshotFolder }] = await Promise.all([import("../../snapshot/tree.ts"), import("./snapshot/folder.ts")]);
	return SnapshotTree.open(await NodeSnapshotFolder.open(folder));
}

/** A disk so that the machine's snapshots can put it back, where that is possible. */
async function openAttached(
	spec: { readonly disk: Disk } | DiskFile,
	index: number,
	tree: SnapshotTree | undefined,
	isIndependent: boolean,
): Promise<Disk> {
	if ("disk" in spec && (isIndependent || tree === undefined)) return spec.disk;
	const { layerOver, openLayered } = await import("./snapshot/disks.ts");
	if ("disk" in spec) return layerOver(spec.disk, index, tree?.folder);
	if (tree !== undefined) return openLayered(spec, index, tree.folder);
	const { openDisk } = await import("./disk/attach.ts");
	const disk = await openDisk(spec);
	return spec.mode === "nonpersistent" ? layerOver(disk, index, undefined) : disk;
}

/** A machine, as `await Machine.create({ kernel: "vmlinuz", … })`. */
export const Machine = { create: createMachine };
export type Machine = CoreMachine;

/** What a machine boots from, read from files where they are named. @throws HostError naming the key and file */
export async function readImages({ kernel, initrd, bios }: Pick<NodeMachineOptions, "kernel" | "initrd" | "bios">) {
	return {
		kernel: await readImage("kernel", kernel),
		initrd: await readImage("initrd", initrd),
		bios: await readImage("bios", bios),
	};
}

async function readImage(key: string, source: string | Uint8Array | undefined): Promise<Uint8Array | undefined> {
	if (typeof source !== "string") return source;
	try {
		if ((await stat(source)).isDirectory()) throw new HostError("bad-file", `${key}: ${source} is a directory`);
		return await readFile(source);
	} catch (error) {
		if (error instanceof HostError) throw error;
		const { code, message } = error as NodeJS.ErrnoException;
		if (code === "ENOENT") throw new HostError("not-found", `${key}: ${source}: no such file`, { cause: error });
		if (code === "EACCES") throw new HostError("bad-file", `${key}: ${source}: no permission to read it`, { cause: error });
		throw new HostError("bad-file", `${key}: ${source}: ${message}`, { cause: error });
	}
}

/** A guest larger than the host would swap, or be killed, long after the mistake. */
function checkHostMemory(ramBytes: number): void {
	const limit = process.constrainedMemory();
	const hostBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
	if (ramBytes + OVERHEAD_BYTES <= hostBytes) return;
	const mostMib = Math.max(0, Math.floor((hostBytes - OVERHEAD_BYTES) / 1024 ** 2));
	throw new MachineError("unavailable", `memory: ${formatSize(ramBytes)} is more than this host has to give (at most ${mostMib}M)`);
}
