import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GIB } from "../../../base/units.ts";
import { requireTool, runTool } from "../command.ts";
import type { Progress } from "../progress.ts";
import type { PrivateApt } from "./apt.ts";

export interface DebianDiskOptions {
	/** Further packages to install. */
	readonly include?: readonly string[];
	/** Size of the disk; only what is used takes room on the host. */
	readonly diskBytes?: number;
}

const PACKAGES = [
	"systemd-sysv",
	"udev",
	"dbus",
	"kmod",
	"apt",
	"perl-base",
	"python3-minimal",
	"iproute2",
	"ifupdown",
	"isc-dhcp-client",
	"procps",
	"less",
	"nano",
];

/** Run by mmdebstrap inside the new root, before it is packed. */
const CUSTOMISE = [
	'echo basenji > "$1/etc/hostname"',
	'echo "127.0.0.1 localhost basenji" > "$1/etc/hosts"',
	'echo "/dev/vda / ext4 defaults,errors=remount-ro 0 1" > "$1/etc/fstab"',
	// Nobody reaches this console but whoever started the machine.
	'chroot "$1" passwd -d root',
	'chroot "$1" systemctl enable serial-getty@ttyS0.service',
	'chroot "$1" systemctl mask getty@tty1.service systemd-resolved.service',
	'printf "auto lo\\niface lo inet loopback\\n\\nallow-hotplug eth0\\niface eth0 inet dhcp\\n" > "$1/etc/network/interfaces"',
	'rm -f "$1/etc/resolv.conf" && : > "$1/etc/resolv.conf"',
	'rm -f "$1/etc/machine-id" && : > "$1/etc/machine-id"',
];

/**
 * Makes a Debian root file system on a raw ext4 disk with the host's release and mirrors.
 * @param unpackedKernel tree of the kernel package that will boot it; its modules go onto the disk
 * @returns versions of the packages installed
 */
export async function buildDebianDisk(
	apt: PrivateApt,
	unpackedKernel: string,
	disk: string,
	progress: Progress,
	options: DebianDiskOptions,
): Promise<Record<string, string>> {
	const isRoot = process.getuid?.() === 0;
	for (const tool of ["mmdebstrap", "mke2fs", "tar", ...(isRoot ? [] : ["fakeroot"])]) requireTool(tool);
	const { codename, lines } = await apt.debianSources();
	const work = await mkdtemp(join(tmpdir(), "basenji-"));
	try {
		const tarball = join(work, "root.tar");
		progress.step(`Installing Debian ${codename}`);
		const modules = join(unpackedKernel, "lib/modules");
		const release = (await readdir(modules)).at(-1) ?? "";
		const hooks = [...CUSTOMISE, 'mkdir -p "$1/lib/modules"'];
		const installModules = [
			`copy-in ${join(modules, release)} /lib/modules`,
			`chroot "$1" chown -R 0:0 /lib/modules`,
			`chroot "$1" depmod ${release}`,
		];
		await runTool("mmdebstrap", bootstrapArguments(codename, lines, tarball, [...hooks, ...installModules], options), {
			onErrorLine: bootstrapProgress(progress),
		});
		progress.step("Writing the disk");
		await writeDisk(work, tarball, disk, options.diskBytes ?? 4 * GIB, isRoot);
		return await installedVersions(tarball);
	} finally {
		await rm(work, { recursive: true, force: true });
	}
}

function bootstrapArguments(
	codename: string,
	sources: readonly string[],
	tarball: string,
	hooks: readonly string[],
	options: DebianDiskOptions,
): string[] {
	return [
		"--variant=minbase",
		"--architectures=amd64",
		`--include=${[...PACKAGES, ...(options.include ?? [])].join(",")}`,
		'--aptopt=Acquire::Languages "none"',
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		...hooks.map((command) => `--customize-hook=${command}`),
		"--format=tar",
		codename,
		tarball,
		...sources,
	];
}

/** Six phases, each of which mmdebstrap announces with a line of its own. */
function bootstrapProgress(progress: Progress): (line: string) => void {
	const phases = [
		"running apt-get update",
		"downloading packages",
		"extracting archives",
		"installing essential",
		"installing remaining",
		"cleaning package lists",
		"creating tarball",
	];
	return (line) => {
		const phase = phases.findIndex((text) => line.includes(text));
		if (phase >= 0) progress.update((phase + 1) / (phases.length + 1));
	};
}

/** Owners and device nodes exist only for root, so an ordinary user has fakeroot remember them between tar and mke2fs. */
async function writeDisk(work: string, tarball: string, disk: string, sizeBytes: number, isRoot: boolean): Promise<void> {
	const root = join(work, "root");
	await writeFile(disk, "");
	await truncate(disk, sizeBytes);
	const script = join(work, "write-disk");
	await writeFile(
		script,
		[
			"set -e",
			`mkdir "${root}"`,
			`tar --extract --numeric-owner --file "${tarball}" --directory "${root}"`,
			`mke2fs -q -F -t ext4 -L basenji -E root_owner=0:0 -d "${root}" "${disk}"`,
			"",
		].join("\n"),
	);
	await runTool(isRoot ? "sh" : "fakeroot", isRoot ? [script] : ["sh", script]);
}

async function installedVersions(tarball: string): Promise<Record<string, string>> {
	const status = await runTool("tar", ["--extract", "--to-stdout", "--file", tarball, "./var/lib/dpkg/status"]);
	const versions: Record<string, string> = {};
	for (const entry of status.split("\n\n")) {
		const name = /^Package: (.*)$/m.exec(entry)?.[1];
		const version = /^Version: (.*)$/m.exec(entry)?.[1];
		if (name !== undefined && version !== undefined) versions[name] = version;
	}
	return versions;
}
