import { createWriteStream } from "node:fs";
import type { Server, Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { exportSnapshot } from "../../../snapshot/archive.ts";
import { diskDifference, type Extent, memoryDifference } from "../../../snapshot/diff.ts";
import { type FileDifference, fileDifference } from "../../../snapshot/file-diff.ts";
import { mayDiffer } from "../../../snapshot/layered-disk.ts";
import type { SnapshotRecord } from "../../../snapshot/record.ts";
import { thinned } from "../../../snapshot/thin.ts";
import type { SnapshotTree } from "../../../snapshot/tree.ts";
import type { Machine } from "../../../vm/machine.ts";
import { HostError } from "../host-error.ts";
import { createMachine, readImages } from "../machine.ts";
import { cloneSnapshot } from "./clone.ts";
import { listen, type Request } from "./control.ts";
import { openSnapshotDisk } from "./disks.ts";
import type { MachineHome } from "./home.ts";
import { UndoList } from "./undo-list.ts";

const SUSPENDED = "suspended";

/** A machine of a home, run by this process, and what other processes may ask of it. */
export class HostedMachine {
	readonly machine: Machine;
	readonly home: MachineHome;
	readonly #tree: SnapshotTree;
	readonly #server: Server;
	readonly #undo: UndoList;
	#timer: NodeJS.Timeout | undefined;

	private constructor(machine: Machine, home: MachineHome, tree: SnapshotTree, server: Server, undo: UndoList) {
		this.machine = machine;
		this.home = home;
		this.#tree = tree;
		this.#server = server;
		this.#undo = undo;
	}

	/** Starts the machine, or has it go on where its home says. @throws SnapshotError in-use when another process runs it */
	static async start(home: MachineHome): Promise<HostedMachine> {
		const { machine: options, next, redo, autosnapshotNs } = await home.read();
		const tree = await home.openTree();
		let machine: Machine | undefined;
		try {
			const isSameLife = next?.isSameLife === true;
			const start = next === undefined ? {} : { restore: next.snapshot, isSameLife, stepsClock: next.stepsClock };
			machine = await createMachine({ ...options, name: home.name, snapshots: tree, ...start });
			if (next !== undefined) await home.change({ next: undefined });
			if (isSameLife) await machine.removeSnapshot(next?.snapshot as string);
			let self: HostedMachine | undefined;
			const server = await listen(home.socket, async (request) => {
				if (self === undefined) throw new HostError("in-use", "the machine is just starting");
				return self.#answer(request);
			});
			self = new HostedMachine(machine, home, tree, server, new UndoList(machine, tree, redo ?? []));
			if (autosnapshotNs !== undefined) self.#timer = setInterval(() => void self.#takeAutomatic(), autosnapshotNs / 1e6).unref();
			await machine.start();
			return self;
		} catch (error) {
			await machine?.stop();
			await tree.close();
			throw error;
		}
	}

	/** Resolves with the exit code once the machine has ended and everything is put away. */
	async finished(): Promise<number> {
		const exit = await this.machine.finished();
		clearInterval(this.#timer);
		await this.home.change({ redo: this.#undo.redo });
		await this.#tree.close();
		await new Promise<void>((resolve) => this.#server.close(() => resolve()));
		if (exit.error !== undefined) throw exit.error;
		return exit.code;
	}

	async #answer(request: Request): Promise<{ readonly result: unknown; readonly stream?: (socket: Socket) => void }> {
		const { machine } = this;
		const text = (key: string): string | undefined => (typeof request[key] === "string" ? (request[key] as string) : undefined);
		const needed = (key: string): string => {
			const value = text(key);
			if (value === undefined) throw new HostError("bad-argument", `${request.verb} needs "${key}"`);
			return value;
		};
		switch (request.verb) {
			case "info":
				return {
					result: { name: machine.name, state: machine.state, processId: process.pid, ...machine.stats, here: this.#tree.here?.name },
				};
			case "snapshot": {
				const isAutomatic = request.isAutomatic === true;
				const { record, pauseNs, totalNs } = await machine.snapshot({ name: text("name"), note: text("note"), isAutomatic });
				this.#undo.forget();
				return { result: { ...this.#tree.info(record), pauseMs: pauseNs / 1e6, totalMs: totalNs / 1e6 } };
			}
			case "tree":
				return { result: this.#tree.infos() };
			case "restore": {
				// What the machine is now would be lost: it stays for a while, like any automatic snapshot.
				if (request.isDiscarding !== true)
					await machine.snapshot({ isAutomatic: true, note: `before going back to ${needed("snapshot")}` });
				await this.#thin();
				const record = await machine.restore(needed("snapshot"), { stepsClock: request.stepsClock === true });
				this.#undo.forget();
				if (machine.state === "paused") await machine.resume();
				return { result: this.#tree.info(record) };
			}
			case "rmsnap":
				return { result: await machine.removeSnapshot(needed("snapshot"), request.withChildren === true) };
			case "undo":
				return { result: this.#tree.info(await this.#undo.undo()) };
			case "redo":
				return { result: this.#tree.info(await this.#undo.redoLast()) };
			case "diff":
				return { result: await difference(this.home, this.#tree, needed("a"), text("b")) };
			case "pause":
				await machine.pause();
				return { result: { state: machine.state } };
			case "resume":
				await machine.resume();
				return { result: { state: machine.state } };
			case "suspend":
				return { result: await this.#suspend() };
			case "stop":
				if (request.force === true) void machine.stop();
				else machine.pressPowerButton();
				return { result: { state: machine.state } };
			case "clone": {
				const reference = text("snapshot");
				const record =
					reference === undefined
						? (await machine.snapshot({ isAutomatic: true, note: `for ${needed("target")}` })).record
						: this.#tree.find(reference);
				await cloneSnapshot(this.home, this.#tree, record, needed("target"));
				if (reference === undefined) await machine.removeSnapshot(record.id);
				return { result: { snapshot: record.id } };
			}
			case "export":
				return { result: await exportToFile(this.home, this.#tree, this.#tree.find(needed("snapshot")), needed("path")) };
			case "console":
				return { result: { text: machine.console.text.slice(-4096) }, stream: (socket) => this.#attach(socket) };
			default:
				throw new HostError("bad-argument", `a running machine knows no "${request.verb}"`);
		}
	}

	#attach(socket: Socket): void {
		const off = this.machine.on("console", ({ port, bytes }) => {
			if (port === 0) socket.write(bytes);
		});
		this.machine.on("exit", () => socket.end());
		socket.on("data", (bytes) => this.machine.console.write(bytes));
		socket.on("close", off);
		socket.resume();
	}

	/** Everything goes to the snapshot; the home says that the next start goes on there. */
	async #suspend(): Promise<unknown> {
		const { machine } = this;
		// What the guest did while its pages are saved would be lost, and somebody might have seen it.
		if (machine.state === "running") await machine.pause();
		const { record } = await machine.snapshot({ name: this.#tree.freeName(undefined, SUSPENDED), note: "suspended" });
		await this.home.change({ next: { snapshot: record.id, isSameLife: true } });
		void machine.stop();
		return this.#tree.info(record);
	}

	async #thin(): Promise<void> {
		const needed = new Set([this.#tree.here?.id, ...this.#undo.redo]);
		for (const id of thinned(this.#tree.records, Date.now())) if (!needed.has(id)) await this.machine.removeSnapshot(id);
	}

	async #takeAutomatic(): Promise<void> {
		try {
			if (this.machine.state !== "running") return;
			await this.machine.snapshot({ isAutomatic: true });
			await this.#thin();
		} catch (error) {
			process.stderr.write(`basenji: no automatic snapshot: ${error instanceof Error ? error.message : String(error)}\n`);
		}
	}
}

/** What differs between two snapshots of a home; `b` unless told: the one where the machine is. */
export async function difference(home: MachineHome, tree: SnapshotTree, a: string, b: string | undefined) {
	const first = tree.find(a);
	const second = b === undefined ? tree.here : tree.find(b);
	if (second === undefined) throw new HostError("bad-argument", "diff needs two snapshots: the machine stands on none");
	const { machine } = await home.read();
	const disks: (readonly Extent[] | undefined)[] = [];
	const files: (readonly FileDifference[])[] = [];
	for (const [index, file] of (machine.disks ?? []).entries()) {
		const layers = [first.disks[index], second.disks[index]];
		files[index] = [];
		if (layers[0] === undefined || layers[1] === undefined) disks.push(undefined);
		else if (layers[0].join() === layers[1].join()) disks.push([]);
		else {
			const left = await openSnapshotDisk(file, index, tree.folder, layers[0]);
			const right = await openSnapshotDisk(file, index, tree.folder, layers[1]);
			try {
				const extents = await diskDifference(left, right, await mayDiffer(tree.folder.layers(index), layers[0], layers[1]));
				disks.push(extents);
				if (extents.length > 0) files[index] = await fileDifference(left, right);
			} finally {
				await left.close();
				await right.close();
			}
		}
	}
	return { a: first.name, b: second.name, memory: memoryDifference(tree, first, second), disks, files };
}

/** Writes a snapshot with all it needs into one file, compressed. */
export async function exportToFile(home: MachineHome, tree: SnapshotTree, record: SnapshotRecord, path: string): Promise<unknown> {
	const { machine } = await home.read();
	const disks = [];
	try {
		for (const [index, file] of (machine.disks ?? []).entries()) {
			const layers = record.disks[index];
			disks.push(layers === undefined ? undefined : await openSnapshotDisk(file, index, tree.folder, layers));
		}
		const images = await readImages(machine);
		const files = Object.fromEntries(Object.entries(images).flatMap(([name, bytes]) => (bytes === undefined ? [] : [[name, bytes]])));
		const { kernel: _, initrd: __, bios: ___, disks: ____, ...about } = machine;
		const source = exportSnapshot(tree, record, { disks, files, about: { machine: about } });
		await pipeline(source, createGzip({ level: 1 }), createWriteStream(path, { mode: 0o600 }));
		return { snapshot: record.name, path };
	} finally {
		for (const disk of disks) await disk?.close();
	}
}
