import { readdir, readFile } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { runTool } from "../command.ts";
import { HostError } from "../host-error.ts";

/** What a module says about itself in its `.modinfo` section. */
export interface ModuleInfo {
	readonly depends: readonly string[];
	readonly aliases: readonly string[];
}

export interface KernelModule extends ModuleInfo {
	/** With underscores, as the kernel names it. */
	readonly name: string;
	/** Below `lib/modules/<release>/`, uncompressed name. */
	readonly path: string;
	readonly image: Uint8Array;
}

/** The chosen modules of one kernel, dependencies before what needs them. */
export interface ModuleSet {
	readonly release: string;
	readonly modules: readonly KernelModule[];
	/** The kernel's own list of what is built in. */
	readonly builtin: string;
}

/** A module's name as the kernel has it: file names may carry hyphens. */
export function moduleName(fileName: string): string {
	return basename(fileName)
		.replace(/\.ko(\.(xz|gz|zst))?$/, "")
		.replaceAll("-", "_");
}

/** Reads `key=value` strings from a module's `.modinfo` section (Linux include/linux/moduleparam.h, `MODULE_INFO`). */
export function parseModuleInfo(image: Uint8Array): ModuleInfo {
	const depends: string[] = [];
	const aliases: string[] = [];
	for (const text of sectionStrings(image, ".modinfo")) {
		if (text.startsWith("depends=")) depends.push(...text.slice(8).split(",").filter(Boolean).map(moduleName));
		else if (text.startsWith("alias=")) aliases.push(text.slice(6));
	}
	return { depends, aliases };
}

/** The NUL-separated strings of one ELF section; none if there is no such section. */
function sectionStrings(image: Uint8Array, wanted: string): string[] {
	const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
	if (image.length < 64 || view.getUint32(0) !== 0x7f454c46) return [];
	const is64 = image[4] === 2;
	const word = (at: number): number => (is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
	const tableOffset = word(is64 ? 0x28 : 0x20);
	const entryBytes = view.getUint16(is64 ? 0x3a : 0x2e, true);
	const count = view.getUint16(is64 ? 0x3c : 0x30, true);
	const namesIndex = view.getUint16(is64 ? 0x3e : 0x32, true);
	const section = (index: number): Uint8Array => {
		const at = tableOffset + index * entryBytes;
		const offset = word(at + (is64 ? 0x18 : 0x10));
		return image.subarray(offset, offset + word(at + (is64 ? 0x20 : 0x14)));
	};
	const names = Buffer.from(section(namesIndex)).toString("latin1");
	for (let index = 0; index < count; index++) {
		const nameAt = view.getUint32(tableOffset + index * entryBytes, true);
		if (names.slice(nameAt, names.indexOf("\0", nameAt)) === wanted)
			return Buffer.from(section(index)).toString("latin1").split("\0").filter(Boolean);
	}
	return [];
}

/**
 * Picks modules and all they depend on out of an unpacked kernel package.
 * @param root directory with `lib/modules/<release>` (or `usr/lib/modules/<release>`)
 * @param wanted names; one that the kernel has built in, or does not have, is passed over
 * @throws HostError `bad-file` if the tree holds no modules
 */
export async function collectModules(root: string, wanted: readonly string[]): Promise<ModuleSet> {
	const { directory, release } = await findModuleTree(root);
	const files = new Map<string, string>();
	for (const entry of await readdir(join(directory, "kernel"), { recursive: true, withFileTypes: true }))
		if (entry.isFile() && /\.ko(\.\w+)?$/.test(entry.name)) files.set(moduleName(entry.name), join(entry.parentPath, entry.name));
	const builtin = await readFile(join(directory, "modules.builtin"), "utf8");
	const chosen = new Map<string, KernelModule>();
	const choose = async (name: string): Promise<void> => {
		const file = files.get(name);
		if (file === undefined || chosen.has(name)) return;
		const image = await readModule(file);
		const info = parseModuleInfo(image);
		for (const needed of info.depends) await choose(needed);
		const path = relative(directory, file).replace(/\.ko\.\w+$/, ".ko");
		chosen.set(name, { name, path, image, ...info });
	};
	for (const name of wanted) await choose(moduleName(name));
	return { release, modules: [...chosen.values()], builtin };
}

async function findModuleTree(root: string): Promise<{ directory: string; release: string }> {
	for (const parent of [join(root, "lib/modules"), join(root, "usr/lib/modules")]) {
		const releases = await readdir(parent).catch(() => []);
		const release = releases.at(-1);
		if (release !== undefined) return { directory: join(parent, release), release };
	}
	throw new HostError("bad-file", `${root}: no kernel modules in it`);
}

async function readModule(file: string): Promise<Uint8Array> {
	if (file.endsWith(".xz")) {
		const plain = file.slice(0, -3);
		await runTool("xz", ["--decompress", "--keep", "--force", file]);
		return readFile(plain);
	}
	const bytes = await readFile(file);
	if (file.endsWith(".gz")) return gunzipSync(bytes);
	return file.endsWith(".zst") ? zstdDecompressSync(bytes) : bytes;
}

/** `modules.dep` as modprobe reads it: a module, a colon, and everything it needs, the most basic last. */
export function dependencyTable(set: ModuleSet): string {
	const byName = new Map(set.modules.map((module) => [module.name, module]));
	const closure = (module: KernelModule, seen: Set<KernelModule>): Set<KernelModule> => {
		for (const name of module.depends) {
			const needed = byName.get(name);
			if (needed === undefined) continue;
			seen.delete(needed);
			seen.add(needed);
			closure(needed, seen);
		}
		return seen;
	};
	return set.modules
		.map((module) => `${[`${module.path}:`, ...[...closure(module, new Set())].map((needed) => needed.path)].join(" ")}\n`)
		.join("");
}

/** `modules.alias`: which module drives a device or a file system. */
export function aliasTable(set: ModuleSet): string {
	return set.modules.flatMap((module) => module.aliases.map((alias) => `alias ${alias} ${module.name}\n`)).join("");
}
