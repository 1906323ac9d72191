import { spawn } from "node:child_process";
import { createWriteStream, openSync, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openLab } from "../host/node/lab/open.ts";
import { progressOn } from "../host/node/progress.ts";
import { formatAction, parseAction } from "../lab/actions.ts";
import { describeConfigs } from "../lab/graph.ts";
import type { Lab } from "../lab/lab.ts";
import { UsageError } from "./failure.ts";
import { EXIT_UNMET, readModel } from "./lab-command.ts";
import { type Answer, ask, type Request, SessionFolder, serve } from "./lab-control.ts";
import { printJson } from "./output.ts";

interface FileOptions {
	readonly file: string;
	readonly json?: boolean;
}

export interface UpOptions extends FileOptions {
	readonly clock: "virtual" | "realtime";
	readonly nodes?: readonly string[];
	readonly detach?: boolean;
}

/** Long enough for an image to be built. */
const START_LIMIT_MS = 600_000;
const POLL_MS = 100;

export async function up(options: UpOptions): Promise<number> {
	const model = readModel(options.file);
	if (model === undefined) return EXIT_UNMET;
	for (const name of options.nodes ?? []) {
		const machines = [...model.nodes.values()].filter(({ kind }) => kind === "machine").map((node) => node.name);
		if (!machines.includes(name)) throw new UsageError(`${name} is no machine of ${options.file}; there are: ${machines.join(", ")}`);
	}
	const folder = new SessionFolder(options.file, model.name);
	if (options.detach === true) return detach(folder, options);
	folder.claim();
	try {
		await run(folder, options);
	} finally {
		folder.remove();
	}
	return 0;
}

/** Runs the lab until somebody ends it, or its last machine has ended. */
async function run(folder: SessionFolder, options: UpOptions): Promise<void> {
	const { nodes = [] } = options;
	await using lab = await openLab(options.file, { clock: options.clock, progress: progressOn(process.stderr) });
	const say = (text: string): void => {
		if (options.json !== true) process.stdout.write(`${text}\n`);
	};
	let end = (): void => {};
	const ended = new Promise<void>((resolve) => {
		end = resolve;
	});
	const machines = [...lab.runtime.machines.values()];
	for (const { name, machine } of machines) {
		const log = createWriteStream(folder.path(`${name}.console`));
		machine.on("console", ({ port, bytes }) => {
			if (port === 0) log.write(bytes);
		});
		machine.on("state", ({ state }) => {
			say(`${name}: ${state}`);
			if (machines.every((each) => each.machine.state === "stopped")) end();
		});
	}
	const server = await serve(folder.socketPath, (request, socket) => answer(lab, request, socket, end));
	const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
	for (const signal of signals) process.on(signal, end);
	try {
		lab.start(nodes.length === 0 ? undefined : nodes);
		say(
			`${lab.model.name}: ${lab.runtime.options.time}, ${lab.model.nodes.size} nodes, ${lab.links.size} links; consoles in ${folder.directory}`,
		);
		if (options.json === true) printJson(status(lab));
		await ended;
	} finally {
		for (const signal of signals) process.off(signal, end);
		server.close();
	}
}

/** Another process of ours has it up; this one waits until it answers. */
async function detach(folder: SessionFolder, options: UpOptions): Promise<number> {
	folder.claim();
	const log = openSync(folder.path("log"), "w");
	const main = fileURLToPath(new URL("basenji.js", import.meta.url));
	const words = ["lab", "up", "--file", options.file, "--clock", options.clock, ...(options.nodes ?? [])];
	folder.remove();
	const child = spawn(process.execPath, [main, ...words], { detached: true, stdio: ["ignore", log, log] });
	let hasEnded = false;
	child.once("exit", () => {
		hasEnded = true;
	});
	for (let waitedMs = 0; waitedMs < START_LIMIT_MS; waitedMs += POLL_MS) {
		await delay(POLL_MS);
		if (hasEnded) throw new UsageError(`lab ${folder.lab} did not start: ${lastLine(folder)}`);
		const state = await ask(folder, { verb: "status" }).catch(() => undefined);
		if (state === undefined) continue;
		child.unref();
		if (options.json === true) printJson(state);
		else process.stdout.write(`${folder.lab}: up (process ${child.pid}); basenji down ends it\n`);
		return 0;
	}
	child.kill();
	throw new UsageError(`lab ${folder.lab} did not start in ${START_LIMIT_MS / 1000} s`);
}

function lastLine(folder: SessionFolder): string {
	try {
		return readFileSync(folder.path("log"), "utf8").trimEnd().split("\n").at(-1) ?? "";
	} catch {
		return "its process has ended";
	}
}

export async function down({ file, json }: FileOptions): Promise<number> {
	const model = readModel(file);
	if (model === undefined) return EXIT_UNMET;
	const folder = new SessionFolder(file, model.name);
	const processId = folder.processId;
	if (processId !== undefined) {
		await ask(folder, { verb: "down" });
		while (folder.processId === processId) await delay(POLL_MS);
	} else if (json !== true) process.stdout.write(`${model.name}: was not up\n`);
	folder.remove();
	if (json === true) printJson({ lab: model.name, wasUp: processId !== undefined });
	else if (processId !== undefined) process.stdout.write(`${model.name}: down\n`);
	return 0;
}

export async function redeploy(options: FileOptions & { readonly clock: "virtual" | "realtime" }): Promise<number> {
	const model = readModel(options.file);
	if (model === undefined) return EXIT_UNMET;
	const folder = new SessionFolder(options.file, model.name);
	const processId = folder.processId;
	if (processId !== undefined) {
		await ask(folder, { verb: "down" });
		while (folder.processId === processId) await delay(POLL_MS);
	}
	return up({ ...options, detach: true });
}

function answer(lab: Lab, request: Request, socket: Socket, end: () => void): Answer {
	switch (request.verb) {
		case "status":
			return { result: status(lab) };
		case "down":
			return { result: null, afterwards: end };
		case "perform": {
			const machines = new Set(lab.runtime.machines.keys());
			const actions = (request.lines ?? []).map((line) => parseAction(line, ["do"], { links: lab.model.links, machines }));
			for (const action of actions) lab.perform(action);
			return { result: { atNs: lab.nowNs + 1 } };
		}
		case "recording":
			return {
				result: lab.recording.map(({ timeNs, action }) => ({ timeNs, line: formatAction(action, lab.model.links) ?? null, action })),
			};
		case "capture": {
			const link = lab.link(request.link ?? "");
			return { result: { link: link.name }, afterwards: () => record(lab, link.name, socket) };
		}
		default:
			throw new UsageError(`unknown verb ${String(request.verb)}`);
	}
}

function record(lab: Lab, link: string, socket: Socket): void {
	const stop = lab.capture(link, {
		write: (bytes) => {
			if (!socket.destroyed) socket.write(bytes);
		},
		close: async () => {
			socket.end();
		},
	});
	socket.once("end", () => void stop());
	socket.once("close", () => void stop());
}

function status(lab: Lab) {
	return {
		lab: lab.model.name,
		clock: lab.runtime.options.time,
		seconds: lab.nowNs / 1e9,
		nodes: [...lab.model.nodes.values()].map(({ name, kind }) => ({
			name,
			kind,
			state: lab.runtime.machines.get(name)?.machine.state ?? "running",
			address: lab.addressOf(name) ?? null,
		})),
		links: [...lab.links.values()].map((link) => ({
			name: link.name,
			quality: describeConfigs({ up: link.forth.config, down: link.back.config }),
			state: link.forth.config.state,
			forth: { ...link.forth.stats },
			back: { ...link.back.stats },
		})),
		failures: lab.failures.map(({ what, error }) => `${what}: ${error instanceof Error ? error.message : String(error)}`),
	};
}
