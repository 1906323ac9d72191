import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { HostError } from "../host-error.ts";
import { dataDirectory } from "../paths.js";

export const MANIFEST_VERSION = 1;

/** What an image consists of. File names are relative to the image's directory. */
export interface ImageManifest {
	readonly version: typeof MANIFEST_VERSION;
	readonly name: string;
	readonly description: string;
	readonly architecture: "amd64" | "i386";
	readonly kernel: string;
	readonly initrd: string;
	/** Kernel command line to start from. */
	readonly append: string;
	readonly disks: readonly { readonly file: string; readonly format: "raw" }[];
	/** Least memory it boots with. */
	readonly memoryBytes: number;
	/** Whether its init understands `basenji.check` and an appended command. */
	readonly isSelfChecking: boolean;
	/** Debian package versions, by name. */
	readonly packages: Readonly<Record<string, string>>;
	/** Changes whenever what the builder would make changes: an older image is then built anew. */
	readonly recipe: string;
}

export interface StoredImage {
	readonly manifest: ImageManifest;
	readonly directory: string;
	readonly sizeBytes: number;
}

/** Images on this host, one directory each. */
export class ImageStore {
	readonly directory: string;

	constructor(directory = join(dataDirectory(), "images")) {
		this.directory = directory;
	}

	/** `undefined` if there is none, or only one that this version cannot read. */
	async find(name: string): Promise<StoredImage | undefined> {
		if (!/^[a-z0-9][a-z0-9.-]*$/.test(name)) return undefined;
		const directory = join(this.directory, name);
		let manifest: ImageManifest;
		try {
			manifest = JSON.parse(await readFile(join(directory, "manifest.json"), "utf8")) as ImageManifest;
		} catch {
			return undefined;
		}
		if (manifest.version !== MANIFEST_VERSION) return undefined;
		let sizeBytes = 0;
		for (const file of [manifest.kernel, manifest.initrd, ...manifest.disks.map((disk) => disk.file)]) {
			const status = await stat(join(directory, file)).catch(() => undefined);
			if (status === undefined) return undefined;
			// Disks are sparse: what they take, not what they show.
			sizeBytes += status.blocks * 512;
		}
		return { manifest, directory, sizeBytes };
	}

	async list(): Promise<StoredImage[]> {
		const names = await readdir(this.directory).catch(() => []);
		const images = await Promise.all(names.sort().map((name) => this.find(name)));
		return images.filter((image) => image !== undefined);
	}

	/** @throws HostError `not-found` */
	async remove(name: string): Promise<void> {
		if ((await this.find(name)) === undefined) throw new HostError("not-found", `there is no image "${name}" in ${this.directory}`);
		await rm(join(this.directory, name), { recursive: true, force: true });
	}

	/**
	 * Lets `fill` write an image's files into a directory of its own, then puts that in the place of any older one:
	 * whoever looks sees the old image or the new one, and a build cut short leaves neither half.
	 */
	async replace(name: string, fill: (directory: string) => Promise<ImageManifest>): Promise<StoredImage> {
		const target = join(this.directory, name);
		const fresh = join(this.directory, `.${name}.${process.pid}.new`);
		const old = join(this.directory, `.${name}.${process.pid}.old`);
		await this.#sweep();
		await mkdir(fresh, { recursive: true });
		try {
			const manifest = await fill(fresh);
			await writeFile(join(fresh, "manifest.json"), `${JSON.stringify(manifest, null, "\t")}\n`);
			await rename(target, old).catch(() => {});
			await rename(fresh, target);
		} finally {
			await rm(fresh, { recursive: true, force: true });
			await rm(old, { recursive: true, force: true });
		}
		const image = await this.find(name);
		if (image === undefined) throw new HostError("bad-file", `${target}: the image just written cannot be read back`);
		return image;
	}

	/** Removes what builders that were killed have left. */
	async #sweep(): Promise<void> {
		for (const name of await readdir(this.directory).catch(() => [])) {
			const builder = /^\..*\.(\d+)\.(new|old)$/.exec(name)?.[1];
			if (builder !== undefined && !isAlive(Number(builder))) await rm(join(this.directory, name), { recursive: true, force: true });
		}
	}
}

function isAlive(processId: number): boolean {
	try {
		process.kill(processId, 0);
		return true;
	} catch (error) {
		return (error as NodeJS.ErrnoException).code === "EPERM";
	}
}

/** The path of one of an image's files. */
export function imageFile(image: StoredImage, file: string): string {
	return join(image.directory, basename(file));
}
