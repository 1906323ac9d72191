import type { StateValue } from "../base/json.ts";
import { MIB, PAGE_BYTES } from "../base/units.ts";
import type { Disk } from "../disk/disk.ts";
import { MAX_RAM_BYTES } from "../machine/memory.ts";
import type { Mac } from "../net/frames/address.ts";
import type { Port } from "../net/port.ts";
import { formatSize } from "./quantity.ts";
import { bytes, flag, instance, integer, list, object, oneOf, optional, type Parser, refuse, size, text, withDefault } from "./schema.ts";

/** Below this no PC operating system that we know of starts, and the boot protocol's own tables get crowded. */
export const MIN_RAM_BYTES = 16 * MIB;
export const MAX_CPUS = 32;
/** Paravirtual; Intel 82545EM; Realtek RTL8029 (an NE2000 on PCI). */
export const NIC_MODELS = ["virtio", "e1000", "ne2k-pci"] as const;
export type NicModel = (typeof NIC_MODELS)[number];

const memory: Parser<number> = (value, key) => {
	const ramBytes = size(value, key);
	if (ramBytes < MIN_RAM_BYTES) refuse(key, `${formatSize(ramBytes)} is below the minimum of ${formatSize(MIN_RAM_BYTES)}`);
	if (ramBytes > MAX_RAM_BYTES) refuse(key, `${formatSize(ramBytes)} is above the maximum of ${formatSize(MAX_RAM_BYTES)}`);
	return ramBytes - (ramBytes % PAGE_BYTES);
};

const parse = object({
	/** For messages and events. */
	name: withDefault(text, "machine"),
	/** Guest RAM: bytes, or a text such as "256M"; down to whole pages. */
	memory: withDefault(memory, 256 * MIB),
	cpus: withDefault(integer(1, MAX_CPUS), 1),
	engine: withDefault(oneOf("auto", "translate", "interpret", "kvm"), "auto"),
	/** How often a block of code runs before it is translated; unless told, what has proved fastest. 1: at once. */
	translateAfter: optional(integer(1, 2 ** 31 - 1)),
	/** A Linux kernel (bzImage, or ELF with a PVH note) to boot directly. */
	kernel: optional(bytes),
	initrd: optional(bytes),
	/** The kernel's command line. */
	append: optional(text),
	/** A firmware image, mapped to end at 4 GiB. */
	bios: optional(bytes),
	disks: withDefault(
		list(
			object({
				disk: instance<Disk>("a disk", "read", "write", "flush", "close"),
				bus: withDefault(oneOf("virtio", "ide"), "virtio"),
				/** Snapshots leave it alone, and so does going back to one. */
				isIndependent: withDefault(flag, false),
			}),
		),
		[],
	),
	/** Network cards, in the order of their slots. */
	nics: withDefault(
		list(
			object({
				/** Its end of the cable. */
				port: instance<Port>("a port", "send"),
				model: withDefault(oneOf(...NIC_MODELS), "virtio"),
				/** By default made of the machine's name: the same at every start. */
				mac: optional(integer(0, 2 ** 48 - 1)),
				/** The greatest IP packet the card says it takes (virtio only). */
				mtu: optional(integer(68, 9216)),
				/** What lies behind it and is the machine's alone: snapshots hold it too. */
				network: optional(instance<OwnNetwork>("a network", "save", "load")),
			}),
		),
		[],
	),
	/** How many 16550 serial ports there are, COM1 first. */
	serialPorts: withDefault(integer(0, 4), 1),
	/** A virtio console (hvc0): the last of the machine's `consoles`. */
	virtioConsole: withDefault(flag, false),
	/** A byte written to port 0xF4 ends the machine with that exit code. */
	debugExit: withDefault(flag, false),
	/** What a reset (or a triple fault) does. */
	onReset: withDefault(oneOf("reboot", "stop"), "reboot"),
	/** Guest time follows the host's clock, or counts instructions (one nanosecond each; idle time is skipped). */
	time: withDefault(oneOf("host", "instructions"), "host"),
	/** Generated code carries names, so that a profiler of the host's tells regions and handlers apart. */
	profile: withDefault(flag, false),
});

/** A whole configuration, defaults filled in. */
export type MachineConfig = ReturnType<typeof parse>;
/** What may be written: every key may be left out. */
export type MachineOptions = {
	readonly [Key in keyof Omit<MachineConfig, "memory" | "disks" | "nics">]?: MachineConfig[Key] | undefined;
} & {
	readonly memory?: number | string;
	readonly disks?: readonly { readonly disk: Disk; readonly bus?: "virtio" | "ide"; readonly isIndependent?: boolean }[];
	readonly nics?: readonly NicOptions[];
};

export interface NicOptions {
	readonly port: Port;
	readonly model?: NicModel;
	readonly mac?: Mac;
	readonly mtu?: number;
	readonly network?: OwnNetwork;
}

/** Cables, nodes and sessions that nobody but one machine uses, as its snapshots hold them. */
export interface OwnNetwork {
	/** Between two of the guest's instructions. */
	save(): StateValue;
	/** `undefined`: the snapshot says nothing of it, and whatever it was in the middle of is over. */
	load(state: StateValue | undefined): void;
}

/** @throws MachineError `config`, its message beginning with the key at fault */
export function readConfig(options: unknown): MachineConfig {
	const config = parse(options, "");
	if (config.kernel !== undefined && config.bios !== undefined)
		refuse("bios", "a machine boots through firmware or boots a kernel directly, not both");
	if (config.translateAfter !== undefined && config.engine !== "auto" && config.engine !== "translate")
		refuse("translateAfter", `engine ${config.engine} translates nothing`);
	if (config.kernel === undefined) {
		if (config.initrd !== undefined) refuse("initrd", "there is no kernel to give it to");
		if (config.append !== undefined) refuse("append", "there is no kernel to give it to");
		if (config.bios === undefined) refuse("kernel", "nothing to boot: give a kernel or a bios");
	}
	return config;
}
