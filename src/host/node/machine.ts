import { readFile, stat } from "node:fs/promises";
import { totalmem } from "node:os";
import type { Disk } from "../../disk/disk.ts";
import { type MachineOptions, readConfig } from "../../vm/config.ts";
import { assembleMachine } from "../../vm/create.ts";
import { MachineError } from "../../vm/error.ts";
import type { Machine as CoreMachine } from "../../vm/machine.ts";
import { OverlayDisk } from "../../vm/overlay-disk.ts";
import { formatSize } from "../../vm/quantity.ts";
import { type DiskFile, openDisk } from "./disk/attach.ts";
import { NodeHost } from "./host.ts";
import { HostError } from "./host-error.ts";
import { tuneWebAssembly } from "./wasm-tuning.ts";

/** As the core's options, but kernel, initrd and bios may be paths, and disks may be files. */
export type NodeMachineOptions = Omit<MachineOptions, "kernel" | "initrd" | "bios" | "disks"> & {
	readonly kernel?: string | Uint8Array | undefined;
	readonly initrd?: string | Uint8Array | undefined;
	readonly bios?: string | Uint8Array | undefined;
	readonly disks?: readonly (
		| { readonly disk: Disk; readonly bus?: "virtio" | "ide"; readonly isIndependent?: boolean }
		| (DiskFile & { readonly bus?: "virtio" | "ide" })
	)[];
};

/** The engine, its code and Node itself, over and above guest RAM. */
const OVERHEAD_BYTES = 400 * 1024 * 1024;

/**
 * Makes a machine out of files of this host. It is not started yet.
 * @throws MachineError, HostError, DiskError, PcError: one line each, naming the file or key at fault
 */
export async function createMachine(options: NodeMachineOptions): Promise<CoreMachine> {
	const { kernel, initrd, bios, disks = [], ...rest } = options;
	tuneWebAssembly();
	const images = {
		kernel: await readImage("kernel", kernel),
		initrd: await readImage("initrd", initrd),
		bios: await readImage("bios", bios),
	};
	// Before any disk is opened, so that a mistake elsewhere leaves no lock behind.
	const config = readConfig({ ...rest, ...images });
	checkHostMemory(config.memory);
	const opened: Disk[] = [];
	try {
		const attached: { disk: Disk; bus: "virtio" | "ide"; isIndependent: boolean }[] = [];
		for (const spec of disks) {
			const disk = "disk" in spec ? spec.disk : await openDisk(spec);
			if (!("disk" in spec)) opened.push(disk);
			const isIndependent = "disk" in spec ? spec.isIndependent === true : spec.mode === "independent";
			attached.push({ disk, bus: spec.bus ?? "virtio", isIndependent });
		}
		return assembleMachine({ ...rest, ...images, disks: attached }, new NodeHost());
	} catch (error) {
		for (const disk of opened) await disk.close();
		throw error;
	}
}

/** A machine, as `await Machine.create({ kernel: "vmlinuz", … })`. */
export const Machine = { create: createMachine };
export type Machine = CoreMachine;

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
