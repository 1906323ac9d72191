import { readFile, stat } from "node:fs/promises";
import { totalmem } from "node:os";
import { dirname, resolve } from "node:path";
import type { Disk } from "../../disk/disk.ts";
import { Qcow2Disk, readHeader } from "../../disk/formats/qcow2/index.ts";
import { RawDisk } from "../../disk/raw.ts";
import { type MachineOptions, readConfig } from "../../vm/config.ts";
import { assembleMachine } from "../../vm/create.ts";
import { MachineError } from "../../vm/error.ts";
import type { Machine as CoreMachine } from "../../vm/machine.ts";
import { OverlayDisk } from "../../vm/overlay-disk.ts";
import { formatSize } from "../../vm/quantity.ts";
import { nodeCodecs } from "./disk/codecs.ts";
import { FileStore } from "./disk/file-store.ts";
import { NodeHost } from "./host.ts";
import { HostError } from "./host-error.ts";
import { tuneWebAssembly } from "./wasm-tuning.ts";

export type DiskFormat = "raw" | "qcow2" | "vmdk";
/** Writes go to the file; into memory, to be gone with the machine. (`undoable` comes with the undoable disks.) */
export type DiskMode = "persistent" | "nonpersistent";

export interface DiskFile {
	readonly path: string;
	readonly format?: DiskFormat;
	readonly mode?: DiskMode;
	readonly isReadOnly?: boolean;
}

/** As the core's options, but kernel, initrd and bios may be paths, and disks may be files. */
export type NodeMachineOptions = Omit<MachineOptions, "kernel" | "initrd" | "bios" | "disks"> & {
	readonly kernel?: string | Uint8Array | undefined;
	readonly initrd?: string | Uint8Array | undefined;
	readonly bios?: string | Uint8Array | undefined;
	readonly disks?: readonly ({ readonly disk: Disk; readonly bus?: "virtio" | "ide" } | (DiskFile & { readonly bus?: "virtio" | "ide" }))[];
};

/** More than anybody stacks on purpose; an image that stands on itself ends here. */
const MAX_BACKING_DEPTH = 32;
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
		const attached: { disk: Disk; bus: "virtio" | "ide" }[] = [];
		for (const spec of disks) {
			const disk = "disk" in spec ? spec.disk : await openDisk(spec);
			if (!("disk" in spec)) opened.push(disk);
			attached.push({ disk, bus: spec.bus ?? "virtio" });
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

/** @throws DiskError, HostError */
export async function openDisk(file: DiskFile): Promise<Disk> {
	const isScratch = file.mode === "nonpersistent";
	const disk = await openFormat(file.path, file.format ?? "raw", isScratch || file.isReadOnly === true);
	return isScratch ? new OverlayDisk(disk) : disk;
}

async function openFormat(path: string, format: DiskFormat, isReadOnly: boolean, depth = 0): Promise<Disk> {
	if (format === "vmdk") throw new HostError("unsupported", `disk: ${path}: format vmdk is not there yet; use raw or qcow2`);
	if (depth > MAX_BACKING_DEPTH)
		throw new HostError("bad-file", `disk: ${path}: more than ${MAX_BACKING_DEPTH} images stand on one another`);
	const store = await FileStore.open(path, { isReadOnly });
	try {
		if ((await store.size()) === 0) throw new HostError("bad-file", `disk: ${path} is empty`);
		if (format === "raw") return await RawDisk.open(store);
		const { backingFile, backingFormat } = await readHeader(store);
		// Relative to the image that names it, as every tool has it.
		const backing =
			backingFile === undefined
				? {}
				: { backing: await openFormat(resolve(dirname(path), backingFile), formatOf(backingFormat), true, depth + 1) };
		return await Qcow2Disk.open(store, { codecs: nodeCodecs, ...backing });
	} catch (error) {
		await store.close();
		throw error;
	}
}

/** An image that does not say what it stands on stands on a raw one: guessing from contents lets a guest choose. */
function formatOf(name: string | undefined): DiskFormat {
	return name === "qcow2" || name === "vmdk" ? name : "raw";
}

/** A guest larger than the host would swap, or be killed, long after the mistake. */
function checkHostMemory(ramBytes: number): void {
	const limit = process.constrainedMemory();
	const hostBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
	if (ramBytes + OVERHEAD_BYTES <= hostBytes) return;
	const mostMib = Math.max(0, Math.floor((hostBytes - OVERHEAD_BYTES) / 1024 ** 2));
	throw new MachineError("unavailable", `memory: ${formatSize(ramBytes)} is more than this host has to give (at most ${mostMib}M)`);
}
