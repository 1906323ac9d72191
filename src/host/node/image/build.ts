import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostError } from "../host-error.ts";
import { type Progress, silentProgress } from "../progress.ts";
import { PrivateApt, withUnpacked } from "./apt.ts";
import { buildDebianDisk, type DebianDiskOptions } from "./debian.ts";
import { buildInitramfs, GUEST_MODULES } from "./initramfs.ts";
import { collectModules } from "./modules.ts";
import type { Recipe } from "./recipes.ts";
import { type ImageManifest, ImageStore, MANIFEST_VERSION, type StoredImage } from "./store.ts";

export interface BuildOptions extends DebianDiskOptions {
	readonly progress?: Progress;
	readonly store?: ImageStore;
}

/** One console, which both a person and a script can read. */
const CONSOLE_APPEND = "console=ttyS0";

/**
 * Makes an image from Debian packages and puts it into the store, in the place of any older one. Needs the network
 * and the host's apt, no root.
 * @throws HostError
 */
export async function buildImage(recipe: Recipe, options: BuildOptions = {}): Promise<StoredImage> {
	const progress = options.progress ?? silentProgress;
	const apt = new PrivateApt(recipe.architecture, progress);
	const store = options.store ?? new ImageStore();
	const downloads = await mkdtemp(join(tmpdir(), "basenji-"));
	try {
		return await store.replace(recipe.name, async (directory) => {
			const kernel = await resolveKernel(apt, recipe.kernelPackage);
			const busybox = await apt.show("busybox-static");
			const files = await apt.download([kernel.name, busybox.name], downloads);
			const packages: Record<string, string> = { [kernel.name]: kernel.version, [busybox.name]: busybox.version };
			progress.step("Writing the initramfs");
			await withUnpacked(files, async (root) => {
				const description = `Debian's ${kernel.name} ${kernel.version}, BusyBox ${busybox.version}`;
				const modules = await collectModules(root, GUEST_MODULES);
				const busyboxImage = await readFirst([join(root, "bin/busybox"), join(root, "usr/bin/busybox")]);
				await writeFile(join(directory, "initrd"), await buildInitramfs({ busybox: busyboxImage, modules, description }));
				const kernelFile = (await readdir(join(root, "boot"))).find((name) => name.startsWith("vmlinuz-"));
				if (kernelFile === undefined) throw new HostError("bad-file", `${kernel.name}: no kernel in it`);
				await writeFile(join(directory, "kernel"), await readFile(join(root, "boot", kernelFile)));
				if (recipe.kind === "debian")
					Object.assign(packages, await buildDebianDisk(apt, root, join(directory, "disk.raw"), progress, options));
			});
			progress.done();
			return manifestOf(recipe, packages);
		});
	} finally {
		await rm(downloads, { recursive: true, force: true });
	}
}

/** The image, built if it is not there yet or was made by another version of the recipe. */
export async function ensureImage(recipe: Recipe, options: BuildOptions = {}): Promise<StoredImage> {
	const store = options.store ?? new ImageStore();
	const image = await store.find(recipe.name);
	if (image !== undefined && image.manifest.recipe === (await recipeHash(recipe))) return image;
	return buildImage(recipe, { ...options, store });
}

/** A metapackage's kernel: the first `linux-image-…` that it depends on. */
async function resolveKernel(apt: PrivateApt, metapackage: string) {
	const meta = await apt.show(metapackage);
	const name = meta.depends.find((dependency) => dependency.startsWith("linux-image-"));
	return name === undefined ? meta : apt.show(name);
}

async function manifestOf(recipe: Recipe, packages: Record<string, string>): Promise<ImageManifest> {
	const isDebian = recipe.kind === "debian";
	return {
		version: MANIFEST_VERSION,
		name: recipe.name,
		description: recipe.summary,
		architecture: recipe.architecture,
		kernel: "kernel",
		initrd: "initrd",
		append: isDebian ? `${CONSOLE_APPEND} root=/dev/vda rw` : CONSOLE_APPEND,
		disks: isDebian ? [{ file: "disk.raw", format: "raw" }] : [],
		memoryBytes: recipe.memoryBytes,
		isSelfChecking: !isDebian,
		packages,
		recipe: await recipeHash(recipe),
	};
}

/** Covers the recipe and everything of ours that goes into an image. */
async function recipeHash(recipe: Recipe): Promise<string> {
	const hash = createHash("sha256").update(JSON.stringify([recipe, GUEST_MODULES, CONSOLE_APPEND]));
	const sources = [
		"guest/init",
		"guest/check",
		"guest/follow",
		"guest/leave",
		"guest/poweroff",
		"guest/udhcpc",
		"guest/profile",
		"initramfs.ts",
		"debian.ts",
		"modules.ts",
	];
	for (const source of sources) hash.update(await readFile(new URL(source, import.meta.url)));
	return hash.digest("hex").slice(0, 16);
}

async function readFirst(paths: readonly string[]): Promise<Uint8Array> {
	for (const path of paths) {
		const bytes = await readFile(path).catch(() => undefined);
		if (bytes !== undefined) return bytes;
	}
	throw new HostError("bad-file", `none of ${paths.join(", ")} in the package`);
}
