import { spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { HostError } from "./host-error.ts";

export interface CommandOptions {
	readonly cwd?: string;
	readonly env?: Readonly<Record<string, string>>;
	/** Each whole line of standard output, as it comes. */
	readonly onLine?: (line: string) => void;
	/** Each whole line of standard error, as it comes. */
	readonly onErrorLine?: (line: string) => void;
}

/** System tools such as mke2fs live where an ordinary user's PATH does not reach. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The Debian package that brings each tool we call. */
export const PACKAGE_OF_TOOL: Readonly<Record<string, string>> = {
	"apt-get": "apt",
	"apt-cache": "apt",
	"apt-config": "apt",
	"dpkg-deb": "dpkg",
	mmdebstrap: "mmdebstrap",
	mke2fs: "e2fsprogs",
	e2fsck: "e2fsprogs",
	fakeroot: "fakeroot",
	fakechroot: "fakechroot",
	newuidmap: "uidmap",
	xz: "xz-utils",
	tar: "tar",
};

function searchPath(): string {
	return [...(process.env.PATH ?? "").split(delimiter), ...SYSTEM_DIRECTORIES].filter((part) => part !== "").join(delimiter);
}

/** The full path of a tool, or `undefined` where the host has none. */
export function findTool(name: string): string | undefined {
	for (const directory of searchPath().split(delimiter)) {
		const path = join(directory, name);
		try {
			accessSync(path, constants.X_OK);
			if (statSync(path).isFile()) return path;
		} catch {
			// Not here: try the next directory.
		}
	}
	return undefined;
}

/** @throws HostError `missing-tool`, naming the package to install */
export function requireTool(name: string): string {
	const path = findTool(name);
	if (path === undefined)
		throw new HostError("missing-tool", `${name} is missing; install it with: apt-get install ${PACKAGE_OF_TOOL[name] ?? name}`);
	return path;
}

/**
 * Runs a tool to its end and resolves with its standard output.
 * @throws HostError `missing-tool`, or `command-failed` with the last lines of what it complained about
 */
export async function runTool(name: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
	const path = requireTool(name);
	const child = spawn(path, args, {
		cwd: options.cwd,
		env: { ...process.env, PATH: searchPath(), LC_ALL: "C", ...options.env },
		stdio: ["ignore", "pipe", "pipe"],
	});
	let stdout = "";
	const complaints: string[] = [];
	const splitOut = lineSplitter((line) => options.onLine?.(line));
	const splitError = lineSplitter((line) => {
		if (line.trim() !== "") complaints.push(line);
		options.onErrorLine?.(line);
	});
	child.stdout.setEncoding("utf8").on("data", (text: string) => {
		if (options.onLine === undefined) stdout += text;
		else splitOut(text);
	});
	child.stderr.setEncoding("utf8").on("data", splitError);
	const code = await new Promise<number | null>((resolve, reject) => {
		child.on("error", reject);
		child.on("close", resolve);
	});
	if (code !== 0) {
		const errors = complaints.filter((line) => /^E:|error/i.test(line));
		const said = (errors.length > 0 ? errors : complaints).slice(-3).join(" · ");
		throw new HostError("command-failed", `${name} ${args[0] ?? ""} ended with ${code ?? "a signal"}${said === "" ? "" : `: ${said}`}`);
	}
	return stdout;
}

function lineSplitter(onLine: (line: string) => void): (text: string) => void {
	let rest = "";
	return (text) => {
		const lines = (rest + text).split(/[\r\n]/);
		rest = lines.pop() ?? "";
		for (const line of lines) if (line !== "") onLine(line);
	};
}
