import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { type ByteStore, DiskError } from "../../../disk/disk.ts";
import type { LayerFolder } from "../../../disk/layers/layer-folder.ts";
import { UndoableDisk } from "../../../disk/layers/undoable-disk.ts";
import type { OpenImageOptions } from "../../../disk/open.ts";
import { replaceFile } from "../replace-file.ts";
import { nodeCodecs } from "./codecs.ts";
import { FileStore } from "./file-store.ts";
import { type NodeFilesOptions, openImageFile, resolvePath } from "./files.ts";

const RECORD = "layers.json";
/** How qcow2 headers call the formats. */
const QCOW2_NAMES = { raw: "raw", qcow2: "qcow2", vmdk: "vmdk", vhd: "vpc", vhdx: "vhdx" } as const;

/** The layers of an undoable disk, in a folder beside its image. */
export class UndoFolder implements LayerFolder {
	readonly name: string;
	readonly baseName: string;

	readonly #options: NodeFilesOptions;

	constructor(folder: string, basePath: string, options: NodeFilesOptions = {}) {
		this.name = folder;
		this.baseName = relative(folder, basePath);
		this.#options = options;
	}

	async list(): Promise<readonly string[]> {
		return readdir(this.name).catch(() => []);
	}

	async create(name: string): Promise<ByteStore> {
		await mkdir(this.name, { recursive: true });
		return FileStore.open(join(this.name, name), { ...this.#options, create: true });
	}

	open(name: string): Promise<ByteStore> {
		return FileStore.open(join(this.name, name), this.#options);
	}

	async remove(name: string): Promise<void> {
		await rm(join(this.name, name), { force: true });
	}

	async readRecord(): Promise<Uint8Array | undefined> {
		return readFile(join(this.name, RECORD)).catch((cause: NodeJS.ErrnoException) => {
			if (cause.code === "ENOENT") return undefined;
			throw new DiskError("io", join(this.name, RECORD), `cannot read: ${cause.code}`, { cause });
		});
	}

	async writeRecord(bytes: Uint8Array): Promise<void> {
		const path = join(this.name, RECORD);
		try {
			await replaceFile(path, bytes);
		} catch (cause) {
			throw new DiskError("io", path, `cannot write: ${(cause as NodeJS.ErrnoException).code}`, { cause });
		}
	}
}

/** Where the layers of an undoable disk lie. */
export function undoFolderOf(place: string): string {
	return join(dirname(place), `${basename(place)}.undo`);
}

/**
 * Opens an image of any format as an undoable disk; its layers lie in `<image>.undo/` beside it.
 * @throws DiskError naming the file at fault
 */
export async function openUndoableFile(path: string, options: OpenImageOptions & NodeFilesOptions = {}): Promise<UndoableDisk> {
	const place = resolvePath("", path);
	const { disk, format } = await openImageFile(place, options);
	try {
		const { blockingBytes } = options;
		const shared = blockingBytes === undefined ? {} : { blockingBytes };
		const folder = new UndoFolder(undoFolderOf(place), place, shared);
		return await UndoableDisk.open(disk, folder, { baseFormat: QCOW2_NAMES[format], codecs: nodeCodecs });
	} catch (error) {
		await disk.close();
		throw error;
	}
}
