import { execFileSync } from "node:child_process";

/** QEMU's own tool, where it is installed: the foreign opinion on our images. */
export const hasQemuImg = (() => {
	try {
		execFileSync("qemu-img", ["--version"], { stdio: "ignore" });
		return true;
	} catch {
		console.warn("qemu-img is not installed (package qemu-utils): tests that ask it are skipped");
		return false;
	}
})();

export const hasQemuIo = (() => {
	try {
		execFileSync("qemu-io", ["--version"], { stdio: "ignore" });
		return true;
	} catch {
		return false;
	}
})();

export function qemuImg(...args: string[]): string {
	return execFileSync("qemu-img", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs qemu-io commands on an image. */
export function qemuIo(path: string, format: string, ...commands: string[]): string {
	return execFileSync("qemu-io", ["-f", format, ...commands.flatMap((command) => ["-c", command]), path], {
		encoding: "utf8",
		stdio: ["ignore", "pipe", "pipe"],
	});
}

export interface QemuCheck {
	readonly "check-errors": number;
	readonly corruptions?: number;
	readonly leaks?: number;
}

/** `qemu-img check`, whose exit code says what it found. */
export function qemuCheck(path: string, format = "qcow2"): QemuCheck {
	try {
		return JSON.parse(qemuImg("check", "-f", format, "--output=json", path)) as QemuCheck;
	} catch (error) {
		const { stdout } = error as { stdout?: string };
		if (stdout === undefined || stdout === "") throw error;
		return JSON.parse(stdout) as QemuCheck;
	}
}
