import { copyFile, link, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ByteStore } from "../../../disk/disk.ts";
import { SnapshotError } from "../../../snapshot/error.ts";
import type { SnapshotLayers } from "../../../snapshot/layered-disk.ts";
import type { SnapshotFolder } from "../../../snapshot/snapshot-folder.ts";
import { type FileLock, lockFile } from "../disk/file-lock.ts";
import { FileStore } from "../disk/file-store.ts";
import { UndoFolder } from "../disk/undo-folder.ts";
import { replaceFile } from "../replace-file.ts";
import { PageFolder } from "./page-folder.ts";

const PAGES = "pages";
const DISKS = "disks";
const RECORD_MODE = 0o600;
const FOLDER_MODE = 0o700;

export interface NodeSnapshotFolderOptions {
	/** Any number of readers may share a folder; of those who write there is one. */
	readonly isReadOnly?: boolean;
}

/** A machine's snapshots as files: a record each, `pages/` with what memory held, `disks/N/` with the layers of disk N. */
export class NodeSnapshotFolder implements SnapshotFolder {
	readonly name: string;
	readonly pages: PageFolder;
	readonly #lock: FileLock | undefined;

	private constructor(name: string, pages: PageFolder, lock: FileLock | undefined) {
		this.name = name;
		this.pages = pages;
		this.#lock = lock;
	}

	/** @throws SnapshotError in-use, io, not-found */
	static async open(folder: string, options: NodeSnapshotFolderOptions = {}): Promise<NodeSnapshotFolder> {
		const isReadOnly = options.isReadOnly === true;
		if (!isReadOnly) await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
		let lock: FileLock | undefined;
		if (!isReadOnly) {
			try {
				lock = await lockFile(folder);
			} catch (cause) {
				throw new SnapshotError("in-use", folder, "its machine is running, or another command is at its snapshots", { cause });
			}
		}
		try {
			return new NodeSnapshotFolder(folder, PageFolder.open(join(folder, PAGES), isReadOnly), lock);
		} catch (error) {
			await lock?.release();
			throw error;
		}
	}

	async list(): Promise<readonly string[]> {
		return (await readdir(this.name)).filter((name) => name.endsWith(".json"));
	}

	async read(name: string): Promise<Uint8Array | undefined> {
		const path = join(this.name, name);
		return readFile(path).catch((cause: NodeJS.ErrnoException) => {
			if (cause.code === "ENOENT") return undefined;
			throw new SnapshotError("io", path, `cannot be read: ${cause.code}`, { cause });
		});
	}

	async write(name: string, bytes: Uint8Array): Promise<void> {
		await writeRecord(join(this.name, name), bytes);
	}

	async remove(name: string): Promise<void> {
		await rm(join(this.name, name), { force: true });
	}

	layers(index: number, basePath?: string): SnapshotLayers {
		return new DiskLayers(join(this.name, DISKS, String(index)), basePath ?? "");
	}

	async close(): Promise<void> {
		await this.#lock?.release();
	}

	/**
	 * Puts a snapshot into another folder, which then stands by itself: pages and layers are the same files, as long as both lie
	 * on one file system, else copies. Pages must have been frozen.
	 */
	async cloneTo(
		target: string,
		disks: readonly (readonly string[] | undefined)[],
		records: readonly { readonly name: string; readonly bytes: Uint8Array }[],
	): Promise<void> {
		await mkdir(join(target, PAGES), { recursive: true, mode: FOLDER_MODE });
		await this.pages.flush();
		for (const name of this.pages.segmentFiles()) await share(join(this.name, PAGES, name), join(target, PAGES, name));
		for (const name of ["hashes", "frozen.json"]) await copyFile(join(this.name, PAGES, name), join(target, PAGES, name));
		for (const [index, layers] of disks.entries()) {
			const disk = join(DISKS, String(index));
			await mkdir(join(target, disk), { recursive: true, mode: FOLDER_MODE });
			for (const name of layers ?? []) await share(join(this.name, disk, name), join(target, disk, name));
		}
		for (const { name, bytes } of records) await writeRecord(join(target, name), bytes);
	}
}

/** The layers of one disk. Those that are sealed are shared with clones, so nobody opens them for writing. */
class DiskLayers extends UndoFolder implements SnapshotLayers {
	constructor(folder: string, basePath: string) {
		super(folder, basePath);
		this.#folder = folder;
	}

	readonly #folder: string;

	override open(name: string, isReadOnly = false): Promise<ByteStore> {
		return FileStore.open(join(this.#folder, name), { isReadOnly });
	}
}

/** @throws SnapshotError io */
export async function writeRecord(path: string, bytes: Uint8Array): Promise<void> {
	try {
		await replaceFile(path, bytes, RECORD_MODE);
	} catch (cause) {
		throw new SnapshotError("io", path, `cannot be written: ${(cause as NodeJS.ErrnoException).code}`, { cause });
	}
}

async function share(from: string, to: string): Promise<void> {
	await link(from, to).catch(async (cause: NodeJS.ErrnoException) => {
		if (cause.code !== "EXDEV" && cause.code !== "EPERM" && cause.code !== "EMLINK")
			throw new SnapshotError("io", to, `cannot be made: ${cause.code}`, { cause });
		await copyFile(from, to);
	});
}
