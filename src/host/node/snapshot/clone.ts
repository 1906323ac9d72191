import { createReadStream } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { encodeUtf8 } from "../../../base/utf8.ts";
import { RawDisk } from "../../../disk/raw.ts";
import { importSnapshot } from "../../../snapshot/archive.ts";
import { SnapshotError } from "../../../snapshot/error.ts";
import { encodeSnapshot, type SnapshotRecord } from "../../../snapshot/record.ts";
import { SnapshotTree } from "../../../snapshot/tree.ts";
import type { DiskFile } from "../disk/attach.ts";
import { FileStore } from "../disk/file-store.ts";
import { HostError } from "../host-error.ts";
import { NodeSnapshotFolder } from "./folder.ts";
import { type HomeRecord, MachineHome } from "./home.ts";

/**
 * Makes machine `target` begin where a snapshot of `home` was: a linked clone, which shares its files and needs nothing of the
 * original but the base images of its disks. @throws HostError if there is a machine of that name
 */
export async function cloneSnapshot(home: MachineHome, tree: SnapshotTree, record: SnapshotRecord, target: string): Promise<MachineHome> {
	const clone = new MachineHome(target, join(home.path, ".."));
	if (!(tree.folder instanceof NodeSnapshotFolder)) throw new HostError("unsupported", `${home.name}: its snapshots are in no folder`);
	const { machine } = await home.read();
	for (const [index] of (machine.disks ?? []).entries())
		if (record.disks[index] === undefined)
			throw new HostError("unsupported", `${home.name}: disk ${index} is independent of snapshots, so clones cannot share it`);
	// What lies below is the original's: the clone never writes there.
	const disks = machine.disks?.map((disk): DiskFile => ({ ...disk, mode: "nonpersistent" }));
	const next = { snapshot: record.id, isSameLife: false };
	await clone.create({ machine: { ...machine, ...(disks === undefined ? {} : { disks }), net: netOfClone(machine.net) }, next });
	try {
		await cloneFolder(tree, record, clone.snapshots);
	} catch (error) {
		await clone.remove();
		throw error;
	}
	return clone;
}

/** The original's address and ports of the host stay with the original. */
export function netOfClone(net: HomeRecord["machine"]["net"]): HomeRecord["machine"]["net"] {
	return net === undefined ? undefined : { ...net, mac: undefined, forwards: undefined };
}

/** One snapshot alone in a folder of its own, sharing files with the tree it comes from. */
export async function cloneFolder(tree: SnapshotTree, record: SnapshotRecord, target: string): Promise<void> {
	if (!(tree.folder instanceof NodeSnapshotFolder)) throw new HostError("unsupported", "these snapshots are in no folder");
	await tree.tables.store.freeze();
	const alone: SnapshotRecord = { ...record, parent: undefined };
	await tree.folder.cloneTo(target, record.disks, [
		{ name: `${record.id}.snapshot.json`, bytes: encodeSnapshot(alone) },
		{ name: "tree.json", bytes: encodeUtf8(`${JSON.stringify({ format: "basenji-snapshots", version: 1, here: record.id })}\n`) },
	]);
}

/** Makes a machine of an archive: a full copy, its disks as raw images in its folder. @throws SnapshotError corrupt, unsupported */
export async function importHome(path: string, name: string): Promise<{ readonly home: MachineHome; readonly record: SnapshotRecord }> {
	const home = new MachineHome(name);
	if (await home.exists()) throw new HostError("in-use", `there is a machine "${name}" already`);
	await mkdir(home.snapshots, { recursive: true, mode: 0o700 });
	const files: DiskFile[] = [];
	try {
		const folder = await NodeSnapshotFolder.open(home.snapshots);
		const tree = await SnapshotTree.open(folder);
		try {
			const disk = async (index: number, sizeBytes: number) => {
				const place = join(home.path, `disk${index}.raw`);
				await writeFile(place, "", { mode: 0o600 });
				await truncate(place, sizeBytes);
				files[index] = { path: place, format: "raw", mode: "nonpersistent" };
				return RawDisk.open(await FileStore.open(place));
			};
			const { record, about, files: images } = await importSnapshot(createReadStream(path).pipe(createGunzip()), { tree, disk }, path);
			const { machine } = about as { machine?: HomeRecord["machine"] };
			if (typeof machine !== "object") throw new SnapshotError("corrupt", path, "does not say what its machine is made of");
			const next = { snapshot: record.id, isSameLife: false };
			const paths: Partial<Record<"kernel" | "initrd" | "bios", string>> = {};
			for (const key of ["kernel", "initrd", "bios"] as const) {
				const bytes = images.get(key);
				if (bytes === undefined) continue;
				paths[key] = join(home.path, key);
				await writeFile(paths[key], bytes, { mode: 0o600 });
			}
			await home.write({ machine: { ...machine, ...paths, disks: files, net: netOfClone(machine.net) }, next });
			return { home, record };
		} finally {
			await tree.close();
		}
	} catch (error) {
		await home.remove();
		if ((error as NodeJS.ErrnoException).code === "ENOENT") throw new HostError("not-found", `${path}: no such file`, { cause: error });
		if ((error as NodeJS.ErrnoException).code?.startsWith("Z_") === true)
			throw new SnapshotError("corrupt", path, "is no archive of a snapshot", { cause: error });
		throw error;
	}
}
