import { spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { HostError } from "../host/node/host-error.ts";
import { ensureImage } from "../host/node/image/build.ts";
import { DEFAULT_IMAGE, findRecipe } from "../host/node/image/recipes.ts";
import { imageFile } from "../host/node/image/store.ts";
import { progressOn } from "../host/node/progress.ts";
import { ask, reach } from "../host/node/snapshot/control.ts";
import { type HomeRecord, MachineHome } from "../host/node/snapshot/home.ts";
import { HostedMachine } from "../host/node/snapshot/hosted-machine.ts";
import { NatPolicy } from "../net/nat/policy.ts";
import { readConfig } from "../vm/config.ts";
import { formatSize } from "../vm/quantity.ts";
import { UsageError } from "./failure.ts";
import { type NetOptions, networkOf } from "./net-options.ts";
import { printJson, printTable } from "./output.ts";
import type { DiskOption } from "./run-options.ts";

export interface CreateOptions extends NetOptions {
	readonly kernel?: string;
	readonly initrd?: string;
	readonly append?: string;
	readonly bios?: string;
	readonly disk?: readonly DiskOption[];
	readonly memory?: string;
	readonly cpus?: number;
	readonly engine?: "auto" | "translate" | "interpret" | "kvm";
	readonly autosnapshot?: number;
	readonly json?: boolean;
}

interface Json {
	readonly json?: boolean;
}

/** How long a machine may take until it answers. */
const START_TIMEOUT_MS = 60_000;
const CTRL_RIGHT_BRACKET = 0x1d;

export async function createHome(name: string, image: string | undefined, options: CreateOptions): Promise<void> {
	const home = new MachineHome(name);
	if (await home.exists()) throw new HostError("in-use", `there is a machine "${name}" already; basenji rm ${name} removes it`);
	const machine = await machineOf(image, options);
	const { net: _, ...rest } = machine;
	readConfig({ ...rest, kernel: new Uint8Array(1), initrd: undefined, bios: undefined, disks: [] });
	await home.create({ machine, ...(options.autosnapshot === undefined ? {} : { autosnapshotNs: options.autosnapshot }) });
	if (options.json === true) printJson({ name, folder: home.path, machine });
	else process.stdout.write(`${name}: made; basenji start ${name} starts it\n`);
}

async function machineOf(image: string | undefined, options: CreateOptions): Promise<HomeRecord["machine"]> {
	const { kernel, initrd, append, bios, memory, cpus, engine } = options;
	const isOwnBoot = kernel !== undefined || bios !== undefined;
	if (isOwnBoot && image !== undefined)
		throw new UsageError(`image ${image} and --${kernel === undefined ? "bios" : "kernel"} exclude each other`);
	if (kernel === undefined && initrd !== undefined) throw new UsageError("--initrd needs --kernel");
	if (bios !== undefined && append !== undefined) throw new UsageError("--append needs --kernel: firmware does not take it");
	const disks = (options.disk ?? []).map(({ path, format, mode }) => ({
		path: resolve(path),
		...(format === undefined ? {} : { format }),
		...(mode === undefined ? {} : { mode }),
	}));
	const net = networkOf(options);
	// A wrong rule is told now, not at the first start.
	if (net !== undefined) new NatPolicy({ allow: net.allow ?? [], deny: net.deny ?? [] });
	const common = {
		...(cpus === undefined ? {} : { cpus }),
		...(engine === undefined ? {} : { engine }),
		...(net === undefined ? {} : { net }),
	};
	if (bios !== undefined) return { ...common, ...(memory === undefined ? {} : { memory }), bios: resolve(bios), disks };
	if (kernel !== undefined)
		return {
			...common,
			...(memory === undefined ? {} : { memory }),
			kernel: resolve(kernel),
			...(initrd === undefined ? {} : { initrd: resolve(initrd) }),
			append: append ?? "",
			disks,
		};
	const stored = await ensureImage(findRecipe(image ?? DEFAULT_IMAGE), { progress: progressOn(process.stderr) });
	const { manifest } = stored;
	return {
		...common,
		memory: memory ?? Math.max(manifest.memoryBytes, 256 * 1024 ** 2),
		kernel: imageFile(stored, manifest.kernel),
		initrd: imageFile(stored, manifest.initrd),
		append: [manifest.append, ...(append === undefined ? [] : [append])].join(" "),
		// An image's disk is everybody's: the machine's writes go to layers of its own.
		disks: [...manifest.disks.map((disk) => ({ path: imageFile(stored, disk.file), mode: "nonpersistent" as const })), ...disks],
	};
}

export async function startHome(name: string, options: Json): Promise<void> {
	const home = new MachineHome(name);
	await home.read();
	if (await isRunning(home)) throw new HostError("in-use", `${name} is running already`);
	await launch(home);
	if (options.json === true) printJson({ name, state: "running" });
	else process.stdout.write(`${name}: started; basenji console ${name} shows it\n`);
}

/** Starts the process that runs a machine, and waits until the machine runs. @throws HostError with what it had to say */
export async function launch(home: MachineHome): Promise<void> {
	const log = openSync(home.log, "w", 0o600);
	const main = fileURLToPath(new URL("./basenji.js", import.meta.url));
	const child = spawn(process.execPath, [main, "host-machine", home.name], { detached: true, stdio: ["ignore", log, log] });
	let hasEnded = false;
	child.on("exit", () => {
		hasEnded = true;
	});
	child.unref();
	const endMs = Date.now() + START_TIMEOUT_MS;
	while (!hasEnded && Date.now() < endMs) {
		if (await isRunning(home)) return;
		await wait(10);
	}
	const said = readFileSync(home.log, "utf8").trim().split("\n").at(-1) ?? "";
	throw new HostError("command-failed", said.replace(/^basenji: /, "") || `${home.name} did not start; see ${home.log}`);
}

export async function isRunning(home: MachineHome): Promise<boolean> {
	const socket = await reach(home);
	socket?.destroy();
	return socket !== undefined;
}

/** The process behind `start`. */
export async function hostMachine(name: string): Promise<number> {
	const hosted = await HostedMachine.start(new MachineHome(name));
	for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void hosted.machine.stop());
	process.on("SIGHUP", () => {});
	return hosted.finished();
}

export async function stopHome(name: string, options: Json & { readonly force?: boolean }): Promise<void> {
	const home = new MachineHome(name);
	await home.read();
	const answer = await ask(home, { verb: "stop", force: options.force === true });
	if (answer === undefined) throw new HostError("not-found", `${name} is not running`);
	if (options.force === true) await ended(home);
	if (options.json === true) printJson({ name, isForced: options.force === true });
	else process.stdout.write(options.force === true ? `${name}: stopped\n` : `${name}: power button pressed\n`);
}

/** Resolves when a machine's process has let go of it. */
export async function ended(home: MachineHome): Promise<void> {
	for (const endMs = Date.now() + START_TIMEOUT_MS; await isRunning(home); await wait(20))
		if (Date.now() > endMs) throw new HostError("command-failed", `${home.name} does not end; see ${home.log}`);
}

export async function listHomes(options: Json): Promise<void> {
	const rows = [];
	for (const home of await MachineHome.list()) {
		if (!(await home.exists())) continue;
		const { machine, next } = await home.read();
		const info = (await ask(home, { verb: "info" }).catch(() => undefined))?.result as
			| { state: string; here?: string; memoryBytes: number }
			| undefined;
		const state = info?.state ?? (next?.isSameLife === true ? "suspended" : "stopped");
		rows.push({ name: home.name, state, here: info?.here, memory: machine.memory, folder: home.path });
	}
	if (options.json === true) printJson(rows);
	else
		printTable(
			["NAME", "STATE", "MEMORY", "HERE"],
			rows.map(({ name, state, memory, here }) => [
				name,
				state,
				typeof memory === "number" ? formatSize(memory) : (memory ?? ""),
				here ?? "",
			]),
		);
}

export async function removeHomes(names: readonly string[], options: Json): Promise<void> {
	for (const name of names) {
		const home = new MachineHome(name);
		if (!(await home.exists())) await home.read();
		if (await isRunning(home)) throw new HostError("in-use", `${name} is running; basenji stop --force ${name} ends it`);
		await home.remove();
	}
	if (options.json === true) printJson(names.map((name) => ({ name, isRemoved: true })));
}

/** Connects this terminal with a machine's console until either ends. */
export async function attachConsole(name: string): Promise<number> {
	const home = new MachineHome(name);
	await home.read();
	const answer = await ask(home, { verb: "console" });
	if (answer === undefined) throw new HostError("not-found", `${name} is not running; basenji start ${name} starts it`);
	const { socket } = answer;
	const { stdin, stdout } = process;
	stdout.write((answer.result as { text: string }).text);
	socket.on("data", (bytes) => stdout.write(bytes));
	const isPerson = stdin.isTTY === true;
	if (isPerson) stdin.setRawMode(true);
	stdin.on("data", (bytes: Buffer) => {
		if (isPerson && bytes.includes(CTRL_RIGHT_BRACKET)) socket.end();
		else socket.write(bytes);
	});
	stdin.on("end", () => socket.end());
	socket.resume();
	await new Promise<void>((done) => socket.on("close", () => done()));
	if (isPerson) stdin.setRawMode(false);
	return 0;
}
