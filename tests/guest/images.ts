import { spawn } from "node:child_process";
import { findTool } from "../../src/host/node/command.ts";
import { ensureImage } from "../../src/host/node/image/build.ts";
import { findRecipe } from "../../src/host/node/image/recipes.ts";
import { ImageStore, imageFile, type StoredImage } from "../../src/host/node/image/store.ts";

/**
 * The image, built if need be; or why this host cannot have it, for tests to skip with. Only a lack of tools or of the
 * network counts: anything else that goes wrong with a build is a failure of ours.
 */
export async function imageOrReason(name: string): Promise<StoredImage | string> {
	const recipe = findRecipe(name);
	const missing = ["apt-get", "dpkg-deb", ...(recipe.kind === "debian" ? ["mmdebstrap", "mke2fs"] : [])].find(
		(tool) => findTool(tool) === undefined,
	);
	if (missing !== undefined) return `no ${missing} on this host`;
	try {
		return await ensureImage(recipe);
	} catch (error) {
		const { message } = error as Error;
		if (/Temporary failure|Could not resolve|Could not connect|Unable to fetch|Failed to fetch/.test(message)) return message;
		throw error;
	}
}

/** The image if somebody has built it, or has tests build it (BASENJI_BUILD_IMAGES=1): a whole Debian takes minutes and a network. */
export async function builtImageOrReason(name: string): Promise<StoredImage | string> {
	if (process.env.BASENJI_BUILD_IMAGES === "1") return imageOrReason(name);
	const images = await new ImageStore().list();
	return images.find(({ manifest }) => manifest.name === name) ?? `image ${name} is not built; npm run test:full builds it`;
}

export interface BootFiles {
	readonly kernel: string;
	readonly initrd: string;
	readonly append: string;
}

export function bootFiles(image: StoredImage, extra: string): BootFiles {
	const { kernel, initrd, append } = image.manifest;
	return { kernel: imageFile(image, kernel), initrd: imageFile(image, initrd), append: `${append} ${extra}` };
}

export const qemu = findTool("qemu-system-x86_64");

/** Boots the files on QEMU's own translator, the second opinion on what a PC does; resolves with its console and exit code. */
export function runQemu(files: BootFiles, args: readonly string[] = []): Promise<{ output: string; code: number | null }> {
	const boot = ["-kernel", files.kernel, "-initrd", files.initrd, "-append", files.append];
	const plain = ["-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", "-net", "none"];
	const child = spawn(qemu as string, [...plain, "-device", "isa-debug-exit,iobase=0xf4,iosize=1", ...boot, ...args], {
		stdio: ["ignore", "pipe", "pipe"],
	});
	let output = "";
	child.stdout.setEncoding("utf8").on("data", (text: string) => {
		output += text;
	});
	child.stderr.setEncoding("utf8").on("data", (text: string) => {
		output += text;
	});
	return new Promise((resolve, reject) => {
		child.on("error", reject);
		child.on("close", (code) => resolve({ output, code }));
	});
}
