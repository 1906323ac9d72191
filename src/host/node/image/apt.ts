import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runTool } from "../command.ts";
import { HostError } from "../host-error.ts";
import { cacheDirectory } from "../paths.js";
import type { Progress } from "../progress.ts";

export type DebianArchitecture = "amd64" | "i386";

export interface DebianPackage {
	readonly name: string;
	readonly version: string;
	/** Names only: versions and alternatives beyond the first are dropped. */
	readonly depends: readonly string[];
}

/** Package lists older than this are fetched anew. */
const LISTS_FRESH_MS = 24 * 3600 * 1000;

/**
 * The host's apt with a state of its own: it reads the host's sources, keyrings and proxies, and writes nothing of the
 * host's. Needs no root. One architecture each, whether or not the host's dpkg knows it.
 */
export class PrivateApt {
	readonly architecture: DebianArchitecture;
	readonly #directory: string;
	readonly #progress: Progress;
	#isReady = false;

	constructor(architecture: DebianArchitecture, progress: Progress, directory = join(cacheDirectory(), "apt", architecture)) {
		this.architecture = architecture;
		this.#directory = directory;
		this.#progress = progress;
	}

	get #environment(): { APT_CONFIG: string } {
		return { APT_CONFIG: join(this.#directory, "apt.conf") };
	}

	/**
	 * Brings the package lists up to date.
	 * A source that fails is a warning as long as others answer: what is then not found says so itself.
	 * @throws HostError `missing-tool` where there is no apt; `command-failed` if no list could be had
	 */
	async update(): Promise<void> {
		if (this.#isReady) return;
		for (const part of ["lists/partial", "cache/archives/partial", "parts"]) await mkdir(join(this.#directory, part), { recursive: true });
		await writeFile(join(this.#directory, "status"), "");
		await writeFile(this.#environment.APT_CONFIG, await this.#configuration());
		const stamp = join(this.#directory, "updated");
		const updatedMs = await stat(stamp).then(
			(status) => status.mtimeMs,
			() => 0,
		);
		if (Date.now() - updatedMs > LISTS_FRESH_MS) {
			this.#progress.step(`Fetching Debian package lists (${this.architecture})`);
			try {
				await this.#apt("apt-get", ["update"]);
				await writeFile(stamp, "");
			} catch (error) {
				const lists = (await readdir(join(this.#directory, "lists"))).filter((name) => name.includes("Packages"));
				if (!(error instanceof HostError) || error.kind !== "command-failed" || lists.length === 0) throw error;
				this.#progress.warn(`warning: some package lists could not be fetched (${error.message})`);
			}
		}
		this.#isReady = true;
	}

	/** @throws HostError `not-found` */
	async show(name: string): Promise<DebianPackage> {
		await this.update();
		// "apt-cache show" ends with an error for an unknown name; policy does not, and says the candidate.
		const text = await this.#apt("apt-cache", ["--no-all-versions", "show", name]).catch(() => "");
		const field = (key: string): string => new RegExp(`^${key}: (.*)$`, "m").exec(text)?.[1] ?? "";
		if (field("Package") !== name)
			throw new HostError(
				"not-found",
				`no package ${name} for ${this.architecture} in this host's apt sources (/etc/apt/sources.list*); add a Debian archive there`,
			);
		const depends = [field("Pre-Depends"), field("Depends")]
			.join(", ")
			.split(",")
			.map((part) => part.trim().split(/[\s|(:]/)[0] ?? "")
			.filter(Boolean);
		return { name, version: field("Version"), depends };
	}

	/** Downloads packages by name into `directory`; resolves with the files' paths in the same order. */
	async download(names: readonly string[], directory: string): Promise<string[]> {
		await this.update();
		await mkdir(directory, { recursive: true });
		this.#progress.step(`Downloading ${names.join(", ")}`);
		await this.#apt("apt-get", ["-o", "APT::Status-Fd=1", "download", ...names], directory, (line) => {
			// dlstatus:<item>:<percent>:<text>, apt's README.progress-reporting.
			const percent = /^dlstatus:[^:]*:([\d.]+):/.exec(line)?.[1];
			if (percent !== undefined) this.#progress.update(Number(percent) / 100);
		});
		const files = await readdir(directory);
		return names.map((name) => {
			const file = files.find((candidate) => candidate.startsWith(`${name}_`));
			if (file === undefined) throw new HostError("command-failed", `apt-get download left no file for ${name}`);
			return join(directory, file);
		});
	}

	/** The Debian archives among the host's sources, as sources.list lines. */
	async debianSources(): Promise<{ codename: string; lines: string[] }> {
		await this.update();
		const format = "$(ORIGIN)|$(CODENAME)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)";
		const text = await this.#apt("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
		const targets = text.split("\n").map((line) => line.split("|"));
		const debian = targets.filter(([origin]) => origin === "Debian");
		const codename = debian.map(([, name]) => name ?? "").find((name) => !/[-/]/.test(name));
		if (codename === undefined)
			throw new HostError("not-found", "no Debian release among this host's apt sources (/etc/apt/sources.list*); add one there");
		return { codename, lines: [...new Set(debian.map(([, , line]) => line ?? ""))] };
	}

	#apt(tool: string, args: readonly string[], cwd?: string, onLine?: (line: string) => void): Promise<string> {
		return runTool(tool, args, {
			env: this.#environment,
			...(cwd === undefined ? {} : { cwd }),
			...(onLine === undefined ? {} : { onLine }),
		});
	}

	/**
	 * Of the host's settings only those about fetching count (proxies, above all): its hooks would act on its own cache.
	 */
	async #configuration(): Promise<string> {
		const dump = await runTool("apt-config", ["dump"]);
		const fetching = dump
			.split("\n")
			.filter((line) => /^Acquire::/.test(line) && !/^Acquire::(IndexTargets|Changelogs|Languages|GzipIndexes)/.test(line));
		return [
			...fetching,
			`Dir::State "${this.#directory}";`,
			`Dir::State::lists "${this.#directory}/lists";`,
			`Dir::State::status "${this.#directory}/status";`,
			`Dir::Cache "${this.#directory}/cache";`,
			`Dir::Etc::Parts "${this.#directory}/parts";`,
			'Dir::Etc::main "/dev/null";',
			`APT::Architecture "${this.architecture}";`,
			`APT::Architectures { "${this.architecture}"; };`,
			// As root apt drops to a user who may not write where we want the files.
			'APT::Sandbox::User "root";',
			'Acquire::Languages { "none"; };',
			'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
			'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";',
			"",
		].join("\n");
	}
}

/** Unpacks packages into one new temporary tree, hands it to `use`, and removes it. */
export async function withUnpacked<T>(packages: readonly string[], use: (root: string) => Promise<T>): Promise<T> {
	const root = await mkdtemp(join(tmpdir(), "basenji-"));
	try {
		for (const file of packages) await runTool("dpkg-deb", ["--extract", file, root]);
		return await use(root);
	} finally {
		await rm(root, { recursive: true, force: true });
	}
}
