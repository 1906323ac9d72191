import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { CpioWriter } from "./cpio.ts";
import { aliasTable, dependencyTable, type ModuleSet } from "./modules.ts";

/**
 * Drivers a guest of ours may meet, by module name. What a kernel has built in, or lacks, is passed over.
 * Loaded when a device asks for them (or a file system is mounted), so that each costs room but no time.
 */
export const GUEST_MODULES: readonly string[] = [
	"virtio_pci",
	"virtio_blk",
	"virtio_net",
	"virtio_console",
	"virtio-rng",
	"virtio_balloon",
	"virtio_input",
	"virtio_scsi",
	"ata_piix",
	"ahci",
	"sd_mod",
	"sr_mod",
	"e1000",
	"ne2k-pci",
	"pcnet32",
	"button",
	"evdev",
	"psmouse",
	"ext4",
	"crc32c_generic",
	"crc32c-intel",
	"isofs",
	"vfat",
	"nls_ascii",
	"nls_cp437",
	"nls_utf8",
	"9p",
	"9pnet_virtio",
	"af_packet",
];

const GUEST_TEXTS = new URL("guest/", import.meta.url);

export interface InitramfsParts {
	readonly busybox: Uint8Array;
	readonly modules: ModuleSet;
	/** What the banner says about the packages inside. */
	readonly description: string;
}

/** The guest's whole first file system, gzip-compressed. */
export async function buildInitramfs(parts: InitramfsParts): Promise<Uint8Array> {
	const text = (name: string): Promise<Buffer> => readFile(new URL(name, GUEST_TEXTS));
	const cpio = new CpioWriter();
	for (const directory of [
		"dev",
		"proc",
		"sys",
		"run",
		"tmp",
		"mnt",
		"root",
		"bin",
		"sbin",
		"usr/bin",
		"usr/sbin",
		"usr/local/bin",
		"var/log",
	])
		cpio.directory(directory);
	// The kernel opens it before init can mount devtmpfs.
	cpio.characterDevice("dev/console", 5, 1);
	cpio.file("init", await text("init"), 0o755);
	cpio.file("bin/busybox", parts.busybox, 0o755);
	cpio.symlink("var/run", "../run");
	// The kernel calls it for modules it wants itself, busybox's own links not yet being there.
	cpio.symlink("sbin/modprobe", "../bin/busybox");
	cpio.file("etc/basenji/check", await text("check"), 0o755);
	cpio.file("etc/basenji/follow", await text("follow"), 0o755);
	cpio.file("etc/basenji/leave", await text("leave"), 0o755);
	cpio.file("usr/local/sbin/poweroff", await text("poweroff"), 0o755);
	for (const name of ["reboot", "halt"]) cpio.symlink(`usr/local/sbin/${name}`, "poweroff");
	cpio.file("etc/udhcpc/default.script", await text("udhcpc"), 0o755);
	cpio.file("etc/profile", await text("profile"));
	cpio.file("etc/issue", banner(parts.description));
	cpio.file("etc/passwd", "root::0:0:root:/root:/bin/sh\n");
	cpio.file("etc/group", "root:x:0:\ntty:x:5:\n");
	cpio.file("etc/hosts", "127.0.0.1 localhost basenji\n");
	cpio.file("etc/acpi/PWRF/00000080", "#!/bin/sh\nexec /usr/local/sbin/poweroff\n", 0o755);
	const root = `lib/modules/${parts.modules.release}`;
	cpio.directory(root);
	for (const module of parts.modules.modules) cpio.file(`${root}/${module.path}`, module.image);
	cpio.file(`${root}/modules.dep`, dependencyTable(parts.modules));
	cpio.file(`${root}/modules.alias`, aliasTable(parts.modules));
	cpio.file(`${root}/modules.builtin`, parts.modules.builtin);
	for (const empty of ["modules.symbols", "modules.softdep"]) cpio.file(`${root}/${empty}`, "");
	return gzipSync(cpio.toBytes(), { level: 6 });
}

function banner(description: string): string {
	return [
		"",
		`  Basenji's guest: ${description}`,
		'  You are root, and nothing you do here is kept. "poweroff" or "exit" ends the machine.',
		"",
		"",
	].join("\n");
}

/** A second archive, to stand behind the first: the kernel unpacks both, one over the other. */
export function commandArchive(command: readonly string[]): Uint8Array {
	const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
	return new CpioWriter().file("etc/basenji/command", `${quoted}\n`).toBytes();
}
