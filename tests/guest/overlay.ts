import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { findTool } from "../../src/host/node/command.ts";
import { PrivateApt, withUnpacked } from "../../src/host/node/image/apt.ts";
import { CpioWriter } from "../../src/host/node/image/cpio.ts";
import { commandArchive } from "../../src/host/node/image/initramfs.ts";
import { collectModules } from "../../src/host/node/image/modules.ts";
import { imageFile, type StoredImage } from "../../src/host/node/image/store.ts";
import { cacheDirectory } from "../../src/host/node/paths.js";
import { silentProgress } from "../../src/host/node/progress.ts";

/** What a guest of ours is to have besides its own files: programs of this host, kernel modules, files, a script. */
export interface Overlay {
	/** Programs by name, with the libraries they need. */
	readonly programs?: readonly string[];
	/** Modules of the image's own kernel package, loaded in this order (with all that they need) by `sh /load-modules`. */
	readonly modules?: readonly string[];
	readonly files?: Readonly<Record<string, Uint8Array>>;
	/** Run instead of a shell. */
	readonly script?: string;
}

/** The image's initramfs with an archive behind it; the kernel unpacks both, one over the other. */
export async function initrdWith(image: StoredImage, overlay: Overlay): Promise<Uint8Array> {
	const cpio = new CpioWriter();
	for (const program of overlay.programs ?? []) await addProgram(cpio, findTool(program) as string, `usr/bin/${program}`);
	if (overlay.modules !== undefined) await addModules(cpio, image, overlay.modules);
	for (const [path, bytes] of Object.entries(overlay.files ?? {})) cpio.file(path, bytes, 0o755);
	const parts: Uint8Array[] = [await readFile(imageFile(image, image.manifest.initrd)), cpio.toBytes()];
	if (overlay.script !== undefined) parts.push(commandArchive(["sh", "-c", overlay.script]));
	return Buffer.concat(parts.flatMap((part) => [part, new Uint8Array(-part.length & 3)]));
}

async function addProgram(cpio: CpioWriter, path: string, target: string): Promise<void> {
	cpio.file(target, await readFile(path), 0o755);
	const libraries = execFileSync("ldd", [path], { encoding: "utf8" });
	for (const [, library] of libraries.matchAll(/(?:=> )?(\/\S+) \(0x/g))
		if (!cpio.has((library as string).slice(1))) cpio.file((library as string).slice(1), await readFile(library as string), 0o755);
}

/** Modules stay in the cache: a kernel package is 50 MB. */
async function addModules(cpio: CpioWriter, image: StoredImage, names: readonly string[]): Promise<void> {
	const [kernel] = Object.keys(image.manifest.packages).filter((name) => name.startsWith("linux-image-"));
	const key = `${kernel}-${image.manifest.packages[kernel as string]}-${names.join("-")}`.replaceAll(/[^\w.+-]/g, "_");
	const directory = join(cacheDirectory(), "test-modules", key);
	const list = join(directory, "list");
	let files = await readFile(list, "utf8").then(
		(text) => text.trim().split("\n"),
		() => undefined,
	);
	if (files === undefined) {
		await mkdir(directory, { recursive: true });
		const downloads = await mkdtemp(join(tmpdir(), "basenji-"));
		try {
			const apt = new PrivateApt(image.manifest.architecture, silentProgress);
			const [archive] = await apt.download([kernel as string], downloads);
			const set = await withUnpacked([archive as string], (root) => collectModules(root, names));
			files = set.modules.map(({ path }) => basename(path));
			for (const module of set.modules) await writeFile(join(directory, basename(module.path)), module.image);
			await writeFile(list, files.join("\n"));
		} finally {
			await rm(downloads, { recursive: true, force: true });
		}
	}
	for (const file of files) cpio.file(`modules/${file}`, await readFile(join(directory, file)));
	cpio.file("load-modules", files.map((file) => `insmod /modules/${file} || echo "no ${file}"\n`).join(""));
}
