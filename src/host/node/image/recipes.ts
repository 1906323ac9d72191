import { MIB } from "../../../base/units.ts";
import { HostError } from "../host-error.ts";
import type { DebianArchitecture } from "./apt.ts";

/** How an image is made. */
export interface Recipe {
	readonly name: string;
	readonly summary: string;
	readonly architecture: DebianArchitecture;
	/** The metapackage; the kernel proper is what it depends on. */
	readonly kernelPackage: string;
	/** A BusyBox in memory, or a whole Debian on a disk. */
	readonly kind: "busybox" | "debian";
	readonly memoryBytes: number;
}

export const DEFAULT_IMAGE = "default";

export const RECIPES: readonly Recipe[] = [
	{
		name: DEFAULT_IMAGE,
		summary: "Debian's 64-bit kernel and BusyBox",
		architecture: "amd64",
		kernelPackage: "linux-image-amd64",
		kind: "busybox",
		memoryBytes: 128 * MIB,
	},
	{
		name: "cloud",
		summary: "Debian's 64-bit kernel for virtual machines and BusyBox",
		architecture: "amd64",
		kernelPackage: "linux-image-cloud-amd64",
		kind: "busybox",
		memoryBytes: 128 * MIB,
	},
	{
		name: "default-i386",
		summary: "Debian's 32-bit kernel without PAE and BusyBox",
		architecture: "i386",
		kernelPackage: "linux-image-686",
		kind: "busybox",
		memoryBytes: 96 * MIB,
	},
	{
		name: "686-pae",
		summary: "Debian's 32-bit kernel with PAE and BusyBox",
		architecture: "i386",
		kernelPackage: "linux-image-686-pae",
		kind: "busybox",
		memoryBytes: 96 * MIB,
	},
	{
		name: "debian-full",
		summary: "a Debian system on a disk: systemd, apt, perl, python3; log in as root, no password",
		architecture: "amd64",
		kernelPackage: "linux-image-amd64",
		kind: "debian",
		memoryBytes: 256 * MIB,
	},
];

/** @throws HostError `not-found`, listing what there is */
export function findRecipe(name: string): Recipe {
	const recipe = RECIPES.find((candidate) => candidate.name === name);
	if (recipe === undefined)
		throw new HostError("not-found", `no image is called "${name}"; there are: ${RECIPES.map((known) => known.name).join(", ")}`);
	return recipe;
}
