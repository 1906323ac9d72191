import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { encodeUtf8 } from "../../../base/utf8.ts";
import { SnapshotError } from "../../../snapshot/error.ts";
import { parseVersioned } from "../../../snapshot/record.ts";
import { SnapshotTree } from "../../../snapshot/tree.ts";
import type { DiskFile } from "../disk/attach.ts";
import { HostError } from "../host-error.ts";
import type { NodeMachineOptions } from "../machine.ts";
import { dataDirectory } from "../paths.js";
import { NodeSnapshotFolder, writeRecord } from "./folder.ts";

const FORMAT = "basenji-machine";
const VERSION = 1;
const RECORD = "machine.json";
const FOLDER_MODE = 0o700;

/** What a machine is made of, as its file says it: everything by path. */
export interface HomeRecord {
	readonly machine: Omit<
		NodeMachineOptions,
		"kernel" | "initrd" | "bios" | "disks" | "snapshots" | "restore" | "isSameLife" | "stepsClock" | "nics"
	> & {
		readonly kernel?: string;
		readonly initrd?: string;
		readonly bios?: string;
		readonly disks?: readonly DiskFile[];
	};
	/** Where it goes on at its next start, instead of booting: a snapshot, and whether it is the same life (a suspended machine). */
	readonly next?: { readonly snapshot: string; readonly isSameLife: boolean; readonly stepsClock?: boolean };
	/** Takes a snapshot by itself that often. */
	readonly autosnapshotNs?: number;
	/** What `redo` goes back to, the next one last. */
	readonly redo?: readonly string[];
}

/** A machine that has a name and a folder, running or not. */
export class MachineHome {
	readonly name: string;
	readonly path: string;

	constructor(name: string, root: string = machinesDirectory()) {
		if (!/^[A-Za-z0-9][\w.-]{0,62}$/.test(name))
			throw new HostError("bad-argument", `"${name}" is no name for a machine: letters, digits, dots, hyphens`);
		this.name = name;
		this.path = join(root, name);
	}

	static async list(root: string = machinesDirectory()): Promise<readonly MachineHome[]> {
		const names = await readdir(root, { withFileTypes: true }).catch(() => []);
		return names
			.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
			.map(({ name }) => name)
			.sort()
			.map((name) => new MachineHome(name, root));
	}

	get snapshots(): string {
		return join(this.path, "snapshots");
	}

	get log(): string {
		return join(this.path, "log");
	}

	/** Where the process that runs it listens. Not in the folder: the path of a Unix socket has 108 bytes at most (unix(7)). */
	get socket(): string {
		const hash = createHash("sha256").update(this.path).digest("hex").slice(0, 16);
		return join(runtimeDirectory(), `${hash}.sock`);
	}

	/** @throws HostError not-found; SnapshotError corrupt, unsupported */
	async read(): Promise<HomeRecord> {
		const path = join(this.path, RECORD);
		const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
			if (cause.code === "ENOENT")
				throw new HostError("not-found", `there is no machine "${this.name}"; basenji ls lists them, basenji create makes one`);
			throw new HostError("bad-file", `${path}: ${cause.code}`, { cause });
		});
		const { machine, next, autosnapshotNs, redo } = parseVersioned(bytes, path, FORMAT, VERSION);
		if (typeof machine !== "object" || machine === null) throw new SnapshotError("corrupt", path, '"machine" makes no sense');
		return { machine, next, autosnapshotNs, redo } as HomeRecord;
	}

	async write(record: HomeRecord): Promise<void> {
		const json = { format: FORMAT, version: VERSION, ...record };
		await writeRecord(join(this.path, RECORD), encodeUtf8(`${JSON.stringify(json, undefined, "\t")}\n`));
	}

	async change(changes: Partial<Record<keyof HomeRecord, unknown>>): Promise<void> {
		await this.write({ ...(await this.read()), ...changes } as HomeRecord);
	}

	/** Makes the folder. @throws HostError if there is a machine of that name */
	async create(record: HomeRecord): Promise<void> {
		if (await this.exists()) throw new HostError("in-use", `there is a machine "${this.name}" already; basenji rm ${this.name} removes it`);
		await mkdir(this.snapshots, { recursive: true, mode: FOLDER_MODE });
		await this.write(record);
	}

	async exists(): Promise<boolean> {
		return readFile(join(this.path, RECORD)).then(
			() => true,
			() => false,
		);
	}

	async remove(): Promise<void> {
		// First out of sight, then gone: cut off in between, nothing half there has its name.
		const aside = join(this.path, "..", `.${this.name}.removed.${process.pid}`);
		await rename(this.path, aside);
		await rm(aside, { recursive: true, force: true });
	}

	/** Its snapshots, for a machine that is off. The caller closes the tree. @throws SnapshotError in-use */
	async openTree(isReadOnly = false): Promise<SnapshotTree> {
		const folder = await NodeSnapshotFolder.open(this.snapshots, { isReadOnly });
		try {
			return await SnapshotTree.open(folder);
		} catch (error) {
			await folder.close();
			throw error;
		}
	}
}

export function machinesDirectory(env: Readonly<Record<string, string | undefined>> = process.env): string {
	return join(dataDirectory(env), "machines");
}

/** For sockets: nobody else gets in. */
function runtimeDirectory(): string {
	const given = process.env.XDG_RUNTIME_DIR;
	return given !== undefined && given.length < 60 ? join(given, "basenji") : join(tmpdir(), `basenji-${userInfo().uid}`);
}
