import { readFile } from "node:fs/promises";
import { freemem, totalmem } from "node:os";
import { resolve } from "node:path";
import type { Disk } from "../../../disk/disk.ts";
import { Addressing, prefixText } from "../../../lab/addressing.ts";
import { LabError } from "../../../lab/issue.ts";
import type { LabModel, NodeOf } from "../../../lab/model.ts";
import type { LabMachineSpec } from "../../../lab/runtime.ts";
import { formatIpv4 } from "../../../net/frames/address.ts";
import { formatSize } from "../../../vm/quantity.ts";
import { openDisk } from "../disk/attach.ts";
import { DISK_FORMATS, DISK_MODES, type DiskFile } from "../disk/disk-file.ts";
import { HostError } from "../host-error.ts";
import { ensureImage } from "../image/build.ts";
import { commandArchive } from "../image/initramfs.ts";
import { findRecipe } from "../image/recipes.ts";
import { ImageStore, imageFile, type StoredImage } from "../image/store.ts";
import type { Progress } from "../progress.ts";

export interface MachineFilesOptions {
	/** What relative file names start from: the lab file's directory. */
	readonly directory: string;
	readonly progress?: Progress;
}

/** The engine, its code and its tables, over and above a machine's RAM. */
const OVERHEAD_BYTES = 150 * 1024 * 1024;

/** Finds images, reads files and opens disks for a lab's machines. A file that several name is read once. */
export class MachineFiles {
	readonly #options: MachineFilesOptions;
	readonly #read = new Map<string, Promise<Uint8Array>>();
	readonly #opened: Disk[] = [];

	constructor(options: MachineFilesOptions) {
		this.#options = options;
	}

	/** @throws HostError, DiskError: one line, naming the file */
	async spec(node: NodeOf<"machine">, lab: LabModel): Promise<Omit<LabMachineSpec, "name" | "nics">> {
		const { memory, cpus, engine } = node;
		const common = {
			...(cpus === undefined ? {} : { cpus }),
			...(engine === undefined ? {} : { engine }),
			...(memory === undefined ? {} : { memory }),
		};
		const disks = await this.#disks(node);
		if (node.bios !== undefined) return { ...common, bios: await this.#file(node.bios), disks };
		if (node.kernel !== undefined) {
			const initrd = node.initrd === undefined ? {} : { initrd: await this.#file(node.initrd) };
			return { ...common, kernel: await this.#file(node.kernel), ...initrd, append: node.append ?? "", disks };
		}
		const image = await this.#image(node.image as string);
		const { manifest } = image;
		const own = await Promise.all(
			manifest.disks.map(async ({ file }) => ({
				disk: await this.#open({ path: imageFile(image, file), mode: "nonpersistent" as const }),
			})),
		);
		return {
			memory: manifest.memoryBytes,
			...common,
			kernel: await this.#file(imageFile(image, manifest.kernel)),
			initrd: await this.#initrd(image, node),
			append: [
				manifest.append,
				...(manifest.isSelfChecking ? guestWords(node, lab) : []),
				...(node.append === undefined ? [] : [node.append]),
			].join(" "),
			disks: [...own, ...disks],
		};
	}

	/** Closes disks of machines that were not made after all. */
	async close(): Promise<void> {
		for (const disk of this.#opened.splice(0)) await disk.close().catch(() => {});
	}

	async #image(name: string): Promise<StoredImage> {
		const stored = await new ImageStore().find(name);
		const recipe = (() => {
			try {
				return findRecipe(name);
			} catch (error) {
				if (stored === undefined) throw error;
				return undefined;
			}
		})();
		if (recipe === undefined) return stored as StoredImage;
		return ensureImage(recipe, this.#options.progress === undefined ? {} : { progress: this.#options.progress });
	}

	async #initrd(image: StoredImage, node: NodeOf<"machine">): Promise<Uint8Array> {
		const initrd = await this.#file(imageFile(image, image.manifest.initrd));
		if (node.command === undefined) return initrd;
		if (!image.manifest.isSelfChecking) throw new HostError("unsupported", `${node.name}: image ${image.manifest.name} takes no command`);
		// The kernel takes an uncompressed archive for one only where it begins at a multiple of four (Linux, init/initramfs.c).
		return Buffer.concat([initrd, new Uint8Array(-initrd.length & 3), commandArchive(["sh", "-c", node.command])]);
	}

	#file(name: string): Promise<Uint8Array> {
		const path = resolve(this.#options.directory, name);
		let reading = this.#read.get(path);
		if (reading === undefined) {
			reading = readFile(path).catch((error: unknown) => {
				throw new HostError("not-found", `${path}: ${(error as Error).message}`, { cause: error });
			});
			this.#read.set(path, reading);
		}
		return reading;
	}

	async #disks(node: NodeOf<"machine">): Promise<NonNullable<LabMachineSpec["disks"]>> {
		const disks = [];
		for (const text of node.disks ?? []) {
			const { bus, ...file } = parseDisk(text, node.name);
			const disk = await this.#open({ ...file, path: resolve(this.#options.directory, file.path) });
			disks.push({ disk, ...(bus === undefined ? {} : { bus }), isIndependent: file.mode === "independent" });
		}
		return disks;
	}

	async #open(file: DiskFile): Promise<Disk> {
		const disk = await openDisk(file);
		this.#opened.push(disk);
		return disk;
	}
}

const DISK_KEYS: Readonly<Record<string, readonly string[]>> = { format: DISK_FORMATS, mode: DISK_MODES, bus: ["virtio", "ide"] };

/** `FILE[,format=…][,mode=…][,bus=…]`; a comma that belongs to the name is written twice. */
function parseDisk(text: string, machine: string): DiskFile & { readonly bus?: "virtio" | "ide" } {
	const parts = text.replaceAll(",,", "\0").split(",");
	const [path = "", ...settings] = parts.map((part) => part.replaceAll("\0", ","));
	const found: Record<string, string> = { path };
	for (const setting of settings) {
		const [key = "", value = ""] = setting.split("=", 2);
		const known = DISK_KEYS[key];
		if (known?.includes(value) !== true)
			throw new HostError(
				"unsupported",
				`${machine}: disks: ${setting} in ${text}; ${known === undefined ? `keys are ${Object.keys(DISK_KEYS).join(", ")}` : `${key} is one of ${known.join(", ")}`}`,
			);
		found[key] = value;
	}
	return found as unknown as DiskFile & { readonly bus?: "virtio" | "ide" };
}

/** What the init of our own images goes by: its name, and how it comes to addresses. */
function guestWords(node: NodeOf<"machine">, lab: LabModel): string[] {
	const words = [`basenji.name=${node.name}`];
	if (node.command !== undefined) words.push("panic=-1");
	const { ip } = node;
	if (ip !== undefined && ip.lengthBits < 32) {
		const gateway = new Addressing(lab).gatewayOf(ip);
		return [...words, `basenji.ip=eth0,${prefixText(ip)}${gateway === undefined ? "" : `,${formatIpv4(gateway)}`}`];
	}
	const hasDhcp = [...lab.nodes.values()].some(
		(each) =>
			(each.kind === "nat" && each.dhcp !== false) ||
			((each.kind === "router" || each.kind === "server") && each.dhcp !== undefined && each.dhcp !== false),
	);
	return hasDhcp ? [...words, "basenji.dhcp"] : words;
}

/** A lab larger than the host would swap, or be killed, long after the mistake. @throws LabError */
export function checkLabMemory(lab: LabModel, sizes: ReadonlyMap<string, number>): void {
	let wantedBytes = 0;
	for (const bytes of sizes.values()) wantedBytes += bytes + OVERHEAD_BYTES;
	const limit = process.constrainedMemory();
	const hostBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
	if (wantedBytes <= hostBytes) return;
	throw new LabError([
		{
			kind: "out-of-range",
			severity: "error",
			path: ["nodes"],
			at: "key",
			problem: `the machines of ${lab.name} need ${formatSize(wantedBytes)}`,
			expected: `at most ${formatSize(hostBytes)}, which is what this host has (${formatSize(freemem())} of it free)`,
		},
	]);
}
