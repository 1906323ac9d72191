import { mkdtemp, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { HostError } from "../host/node/host-error.ts";
import { cloneFolder, cloneSnapshot, importHome, netOfClone } from "../host/node/snapshot/clone.ts";
import { ask } from "../host/node/snapshot/control.ts";
import { ForkPool } from "../host/node/snapshot/fork-pool.ts";
import { type HomeRecord, MachineHome, machinesDirectory } from "../host/node/snapshot/home.ts";
import { difference, exportToFile } from "../host/node/snapshot/hosted-machine.ts";
import type { Extent } from "../snapshot/diff.ts";
import type { FileDifference } from "../snapshot/file-diff.ts";
import type { SnapshotInfo, SnapshotTree } from "../snapshot/tree.ts";
import { macOfNic } from "../vm/nic.ts";
import { formatSize } from "../vm/quantity.ts";
import { UsageError } from "./failure.ts";
import { ended, isRunning, launch } from "./machine-command.ts";
import { printJson } from "./output.ts";
import { drawTree } from "./snapshot-tree.ts";

interface Json {
	readonly json?: boolean;
}

interface ForkChoices {
	readonly stepClock?: boolean;
	readonly keepMac?: boolean;
}

interface Place {
	readonly home: MachineHome;
	readonly snapshot: string | undefined;
}

/** NAME or NAME@SNAPSHOT. */
function placeOf(text: string): Place {
	const at = text.indexOf("@");
	return at < 0
		? { home: new MachineHome(text), snapshot: undefined }
		: { home: new MachineHome(text.slice(0, at)), snapshot: text.slice(at + 1) };
}

function snapshotOf({ home, snapshot }: Place): string {
	if (snapshot === undefined || snapshot === "")
		throw new UsageError(`which snapshot of ${home.name}? ${home.name}@SNAPSHOT; basenji tree ${home.name} lists them`);
	return snapshot;
}

/** Asks the process that runs the machine; if none does, `offline` does it on the machine's folder. */
async function askOr<Result>(
	home: MachineHome,
	request: { readonly verb: string; readonly [key: string]: unknown },
	offline?: (tree: SnapshotTree) => Promise<Result>,
): Promise<Result> {
	await home.read();
	const answer = await ask(home, request);
	if (answer !== undefined) {
		answer.socket.destroy();
		return answer.result as Result;
	}
	if (offline === undefined) throw new HostError("not-found", `${home.name} is not running; basenji start ${home.name} starts it`);
	const tree = await home.openTree();
	try {
		return await offline(tree);
	} finally {
		await tree.close();
	}
}

export async function takeSnapshot(text: string, options: Json & { readonly message?: string }): Promise<void> {
	const { home, snapshot } = placeOf(text);
	const request = { verb: "snapshot", name: snapshot, note: options.message };
	const info = await askOr<SnapshotInfo & { readonly pauseMs: number; readonly totalMs: number }>(home, request);
	if (options.json === true) printJson(info);
	else
		process.stdout.write(
			`${home.name}@${info.name}: ${formatSize(info.changedBytes)} changed, paused for ${info.pauseMs.toFixed(1)} ms, saved in ${info.totalMs.toFixed(0)} ms\n`,
		);
}

export async function showTree(text: string, options: Json): Promise<void> {
	const { home } = placeOf(text);
	const infos = await askOr<readonly SnapshotInfo[]>(home, { verb: "tree" }, async (tree) => tree.infos());
	if (options.json === true) printJson(infos);
	else process.stdout.write(infos.length === 0 ? `${home.name} has no snapshots yet\n` : drawTree(infos, Date.now()));
}

export async function restoreSnapshot(
	text: string,
	options: Json & { readonly discard?: boolean; readonly stepClock?: boolean },
): Promise<void> {
	const { home, snapshot } = placeOf(text);
	await home.read();
	const infos = await askOr<readonly SnapshotInfo[]>(home, { verb: "tree" }, async (tree) => tree.infos());
	const wanted = snapshot ?? infos.find(({ isHere }) => isHere)?.id;
	if (wanted === undefined) throw new UsageError(`${home.name} stands on no snapshot; say which: ${home.name}@SNAPSHOT`);
	const info = await askOr<SnapshotInfo>(
		home,
		{ verb: "restore", snapshot: wanted, isDiscarding: options.discard === true, stepsClock: options.stepClock === true },
		async (tree) => tree.info(tree.find(wanted)),
	);
	if (!(await isRunning(home))) {
		await home.change({ next: { snapshot: info.id, isSameLife: false, stepsClock: options.stepClock === true } });
		await launch(home);
	}
	if (options.json === true) printJson({ ...info, isHere: true });
	else process.stdout.write(`${home.name}: goes on from ${info.name}\n`);
}

export async function removeSnapshots(texts: readonly string[], options: Json & { readonly children?: boolean }): Promise<void> {
	const removed: string[] = [];
	for (const place of texts.map(placeOf)) {
		const snapshot = snapshotOf(place);
		const withChildren = options.children === true;
		const offline = async (tree: SnapshotTree): Promise<readonly string[]> => tree.remove(tree.find(snapshot).id, withChildren);
		removed.push(...(await askOr(place.home, { verb: "rmsnap", snapshot, withChildren }, offline)));
	}
	if (options.json === true) printJson(removed);
}

export async function forkMachines(
	text: string,
	command: readonly string[],
	options: Json & ForkChoices & { readonly count: number; readonly alive: number; readonly full?: boolean },
): Promise<number> {
	const place = placeOf(text);
	await place.home.read();
	if (command.length > 0) return runInForks(place, command, options);
	const taken = new Set((await MachineHome.list()).map(({ name }) => name));
	const names: string[] = [];
	for (let number = 1; names.length < options.count; number++)
		if (!taken.has(`${place.home.name}-${number}`)) names.push(`${place.home.name}-${number}`);
	for (const name of names) {
		if (options.full === true) await copyWhole(place, name);
		else await cloneTo(place, name);
		await asAsked(new MachineHome(name), place.home, options);
		await launch(new MachineHome(name));
	}
	if (options.json === true) printJson(names.map((name) => ({ name, state: "running" })));
	else process.stdout.write(names.map((name) => `${name}: goes on from ${text}\n`).join(""));
	return 0;
}

/** What a fork takes along otherwise than by default. */
async function asAsked(fork: MachineHome, original: MachineHome, { stepClock, keepMac }: ForkChoices): Promise<void> {
	const { next, machine } = await fork.read();
	if (stepClock === true) await fork.change({ next: { ...next, stepsClock: true } });
	if (keepMac === true) await fork.change({ machine: { ...machine, net: await netWithMac(original) } });
}

/** Behind a NAT of its own nobody minds two machines with one address. */
async function netWithMac(original: MachineHome): Promise<HomeRecord["machine"]["net"]> {
	const net = (await original.read()).machine.net;
	return net === undefined ? undefined : { ...netOfClone(net), mac: macOfNic(net, original.name, "nic0") };
}

async function cloneTo({ home, snapshot }: Place, target: string): Promise<void> {
	await askOr(home, { verb: "clone", snapshot, target }, async (tree) => {
		await cloneSnapshot(home, tree, snapshot === undefined ? hereOf(home, tree) : tree.find(snapshot), target);
	});
}

function hereOf(home: MachineHome, tree: SnapshotTree) {
	if (tree.here === undefined)
		throw new UsageError(`${home.name} is off and stands on no snapshot; start it, or say which: ${home.name}@SNAPSHOT`);
	return tree.here;
}

async function copyWhole(place: Place, target: string): Promise<void> {
	const file = join(machinesDirectory(), `.${target}.${process.pid}.copy`);
	try {
		const snapshot =
			place.snapshot ??
			(await askOr<SnapshotInfo>(place.home, { verb: "snapshot", isAutomatic: true }, async (tree) => tree.info(hereOf(place.home, tree))))
				.id;
		await writeArchive({ ...place, snapshot }, file);
		await importHome(file, target);
	} finally {
		await rm(file, { force: true });
	}
}

/** Runs a command in each of `count` forks; they are gone afterwards. Ends with the highest exit code. */
async function runInForks(
	place: Place,
	command: readonly string[],
	options: Json & ForkChoices & { readonly count: number; readonly alive: number },
): Promise<number> {
	const { home } = place;
	const { machine: original } = await home.read();
	const net = options.keepMac === true ? await netWithMac(home) : netOfClone(original.net);
	const machine = { ...original, name: home.name, net, stepsClock: options.stepClock === true };
	const scratch = new MachineHome(`fork.${process.pid}`, join(home.path, ".."));
	const folder = await mkdtemp(join(machinesDirectory(), ".fork-"));
	try {
		let snapshot: string;
		let snapshots: string;
		if (await isRunning(home)) {
			snapshot = (await askOr<{ snapshot: string }>(home, { verb: "clone", snapshot: place.snapshot, target: scratch.name })).snapshot;
			snapshots = scratch.snapshots;
		} else {
			const tree = await home.openTree();
			try {
				const record = place.snapshot === undefined ? hereOf(home, tree) : tree.find(place.snapshot);
				await cloneFolder(tree, record, join(folder, "snapshots"));
				snapshot = record.id;
				snapshots = join(folder, "snapshots");
			} finally {
				await tree.close();
			}
		}
		const alive = Math.min(options.alive, options.count);
		await using pool = await ForkPool.open({ machine, folder: snapshots, snapshot, alive });
		const words = command.map(quoted).join(" ");
		// A guest looks at its clock chip when it is told to.
		const line = options.stepClock === true ? `hwclock -s; ${words}` : words;
		const results = await Promise.all(
			Array.from({ length: options.count }, async (_, index) => {
				const result = await pool.run(line);
				if (options.json !== true)
					for (const text of result.output.split("\n").slice(0, -1)) process.stdout.write(`${index + 1}: ${text}\n`);
				return { fork: index + 1, ...result };
			}),
		);
		if (options.json === true) printJson(results);
		return Math.max(...results.map(({ code }) => code));
	} finally {
		if (await scratch.exists()) await scratch.remove();
		await rm(folder, { recursive: true, force: true });
	}
}

/** One word alone is a line of the shell's; several are words, whatever is in them. */
function quoted(word: string, _index: number, all: readonly string[]): string {
	return all.length === 1 || /^[\w./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export async function showDifference(
	text: string,
	other: string | undefined,
	options: Json & { readonly blocks?: boolean },
): Promise<void> {
	const place = placeOf(text);
	const a = snapshotOf(place);
	const b = other === undefined ? undefined : (placeOf(other.includes("@") ? other : `${place.home.name}@${other}`).snapshot as string);
	type Result = {
		readonly a: string;
		readonly b: string;
		readonly memory: readonly Extent[];
		readonly disks: readonly (readonly Extent[] | null)[];
		readonly files: readonly (readonly FileDifference[])[];
	};
	const result = await askOr<Result>(
		place.home,
		{ verb: "diff", a, b },
		async (tree) => (await difference(place.home, tree, a, b)) as Result,
	);
	if (options.json === true) {
		printJson(result);
		return;
	}
	const { memory, disks, files } = result;
	process.stdout.write(`memory: ${summary(memory)}\n`);
	for (const [index, extents] of disks.entries()) {
		process.stdout.write(`disk ${index}: ${extents === null || extents === undefined ? "no part of the snapshots" : summary(extents)}\n`);
		const systems = files[index] ?? [];
		for (const system of systems) process.stdout.write(fileLines(system));
		if (systems.length > 0 && options.blocks !== true) continue;
		for (const { offsetBytes, lengthBytes } of extents ?? []) process.stdout.write(`  ${offsetBytes}+${lengthBytes}\n`);
	}
}

/** One path a line, as version control lists them. */
function fileLines({ partition, added, removed, changed, problem }: FileDifference): string {
	const marked = [
		...added.map((path) => [path, "A"] as const),
		...removed.map((path) => [path, "D"] as const),
		...changed.map((path) => [path, "M"] as const),
	].sort(([a], [b]) => (a < b ? -1 : 1));
	const head = partition === 0 ? "" : ` of partition ${partition}`;
	const note = problem === undefined ? "" : `  the files${head} cannot be told: ${problem}\n`;
	return `${note}${marked.length === 0 ? "" : `  files${head}:\n`}${marked.map(([path, mark]) => `  ${mark} ${path}\n`).join("")}`;
}

function summary(extents: readonly Extent[]): string {
	const bytes = extents.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
	return bytes === 0 ? "alike" : `${formatSize(bytes)} differ, in ${extents.length} ${extents.length === 1 ? "run" : "runs"}`;
}

export async function undoOrRedo(verb: "undo" | "redo", name: string, options: Json): Promise<void> {
	const { home } = placeOf(name);
	const info = await askOr<SnapshotInfo>(home, { verb });
	if (options.json === true) printJson(info);
	else process.stdout.write(`${home.name}: goes on from ${info.name}\n`);
}

export async function pause(name: string, options: Json): Promise<void> {
	await say(name, await askOr(placeOf(name).home, { verb: "pause" }), options);
}

export async function resume(name: string, options: Json): Promise<void> {
	const { home } = placeOf(name);
	await home.read();
	if (await isRunning(home)) await say(name, await askOr(home, { verb: "resume" }), options);
	else {
		if ((await home.read()).next === undefined)
			throw new HostError("not-found", `${name} is neither paused nor suspended; basenji start ${name} starts it`);
		await launch(home);
		await say(name, { state: "running" }, options);
	}
}

export async function suspend(name: string, options: Json): Promise<void> {
	const { home } = placeOf(name);
	await askOr(home, { verb: "suspend" });
	await ended(home);
	await say(name, { state: "suspended" }, options);
}

async function say(name: string, result: { readonly state: string }, options: Json): Promise<void> {
	if (options.json === true) printJson({ name, ...result });
	else process.stdout.write(`${name}: ${result.state}\n`);
}

async function writeArchive(place: Place, file: string): Promise<unknown> {
	const snapshot = snapshotOf(place);
	const path = resolve(file);
	return askOr(place.home, { verb: "export", snapshot, path }, (tree) => exportToFile(place.home, tree, tree.find(snapshot), path));
}

export async function exportSnapshotTo(text: string, file: string, options: Json): Promise<void> {
	const result = await writeArchive(placeOf(text), file);
	if (options.json === true) printJson(result);
	else process.stdout.write(`${text}: in ${file}\n`);
}

export async function importMachine(file: string, name: string, options: Json): Promise<void> {
	const { home, record } = await importHome(resolve(file), name);
	if (options.json === true) printJson({ name, folder: home.path, snapshot: record.name });
	else process.stdout.write(`${name}: made; basenji start ${name} goes on from ${record.name}\n`);
}
