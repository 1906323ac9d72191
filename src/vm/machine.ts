import type { Ns } from "../base/units.ts";
import { Serial } from "../disk/serial.ts";
import type { SnapshotRecord } from "../snapshot/record.ts";
import type { SnapshotTree } from "../snapshot/tree.ts";
import type { BoardEvent } from "./board.ts";
import type { MachineConfig } from "./config.ts";
import { type Console, consolesOf } from "./console.ts";
import { MachineError } from "./error.ts";
import type { Sleep } from "./host.ts";
import { type MachineExit, MachineFace } from "./machine-face.ts";
import type { Pacemaker } from "./pace.ts";
import { Runner } from "./runner.ts";
import type { MachineSnapshots, RestoreOptions, SnapshotOptions, SnapshotParts, TakenSnapshot } from "./snapshot.ts";

export interface MachineStats {
	readonly engine: string;
	readonly cpus: number;
	readonly memoryBytes: number;
	readonly guestInstructions: number;
	/** Guest time since power-on. */
	readonly guestSeconds: number;
	/** Host time spent in state "running". */
	readonly wallSeconds: number;
	readonly idleSeconds: number;
	readonly slices: number;
	readonly resets: number;
	/** The engine's own figures, summed over CPUs. */
	readonly engineStats: Readonly<Record<string, number>>;
}

/** Where a machine's snapshots are, and whether it begins with one; who gives it its time. */
export interface MachineSource {
	readonly snapshots?: SnapshotTree | undefined;
	/** The tree is the machine's own, to be closed when it ends. */
	readonly ownsSnapshots?: boolean | undefined;
	/** Nothing is booted: `Machine.restore` comes before `start`. */
	readonly isRestored?: boolean | undefined;
	/** Gives out the machine's time together with others'; needs `time: "instructions"`. */
	readonly pacemaker?: Pacemaker | undefined;
}

/** What a machine is put together from. */
export type MachineParts = SnapshotParts & MachineSource;

/** One virtual PC and its life. Make it with `createMachine`. */
export class Machine extends MachineFace implements AsyncDisposable {
	readonly name: string;
	readonly config: MachineConfig;
	readonly consoles: readonly Console[];
	readonly #parts: MachineParts;
	readonly #runner: Runner;
	/** The loop that is under way; resolved while there is none. */
	#loop: Promise<void> = Promise.resolve();
	/** Snapshots, restores and the end, one at a time. */
	readonly #operations = new Serial();
	#snapshots: Promise<MachineSnapshots> | undefined;
	#resets = 0;
	#wallNs = 0;
	#runningSinceNs = 0;

	constructor(parts: MachineParts) {
		super();
		const { config, board } = parts;
		this.#parts = parts;
		this.name = config.name;
		this.config = config;
		this.#runner = new Runner(parts.host, parts.time, parts.cpus, parts.pacemaker);
		this.consoles = consolesOf(config, (port) => this.#typist(port));
		this.#runner.onTurn = (index) => board.cpuTurn(index);
		this.#runner.onSliceEnd = () => board.sliceEnded();
		board.onEvent = (event) => this.#onBoardEvent(event);
		if (parts.isRestored === true) board.clear();
		else board.reset(parts.cpus.map((cpu) => cpu.pins));
	}

	/** Powers on. Resolves when the guest runs, not when it has booted. @throws MachineError `state` */
	async start(): Promise<void> {
		this.need("start", "created");
		this.#go();
	}

	/** Stops guest time and every CPU, between two instructions. @throws MachineError `state` */
	async pause(): Promise<void> {
		this.need("pause", "running");
		this.#runner.halt();
		await this.#loop;
		// The guest may have ended meanwhile.
		if (this.state === "running") this.enter("paused");
	}

	/** Goes on after `pause`. @throws MachineError `state` */
	resume(): Promise<void> {
		return this.#operations.run(async () => {
			this.need("resume", "paused");
			this.#go();
		});
	}

	/** Pulls the plug: no word to the guest. What has been written to disks is flushed. Harmless when stopped already. */
	async stop(): Promise<void> {
		await this.#finish({ reason: "stopped", code: 0 });
	}

	/** Presses the power button; what follows is the guest's affair. @throws MachineError `state` */
	pressPowerButton(): void {
		this.need("pressPowerButton", "running");
		this.post(() => this.#parts.board.pressPowerButton());
	}

	/** Guest time since power-on, as the machine's own clock has it. */
	get nowNs(): Ns {
		return this.#parts.time.clock.nowNs;
	}

	/** Has `message` carried out on the machine's own thread, between two slices. */
	post(message: () => void): void {
		this.#runner.post(message);
	}

	get stats(): MachineStats {
		const { cpus, host, time, config } = this.#parts;
		const engineStats: Record<string, number> = {};
		for (const cpu of cpus) for (const [name, value] of Object.entries(cpu.stats())) engineStats[name] = (engineStats[name] ?? 0) + value;
		const runningNs = this.state === "running" ? host.nowNs() - this.#runningSinceNs : 0;
		return {
			engine: cpus[0]?.name ?? "none",
			cpus: cpus.length,
			memoryBytes: config.memory,
			guestInstructions: cpus.reduce((sum, cpu) => sum + cpu.instructionCount, 0),
			guestSeconds: time.clock.nowNs / 1e9,
			wallSeconds: (this.#wallNs + runningNs) / 1e9,
			idleSeconds: this.#runner.stats.sleptNs / 1e9,
			slices: this.#runner.stats.slices,
			resets: this.#resets,
			engineStats,
		};
	}

	/** The machine's snapshots. */
	async snapshots(): Promise<SnapshotTree> {
		return (await this.#openSnapshots()).tree;
	}

	/**
	 * Takes a snapshot: memory, CPUs, devices, disks, clock. The guest stands still for a few milliseconds; resolves when all is
	 * saved. Not before the machine has been started.
	 * @throws MachineError `state`; `unavailable` if a disk cannot take part; SnapshotError
	 */
	snapshot(options: SnapshotOptions = {}): Promise<TakenSnapshot> {
		return this.#operations.run(async () => {
			this.need("snapshot", "running", "paused");
			const snapshots = await this.#openSnapshots();
			snapshots.check();
			snapshots.tree.freeName(options.name);
			await snapshots.prepare();
			const { host } = this.#parts;
			const beganNs = host.nowNs();
			let pauseNs = 0;
			let screen = "";
			const frozen = await this.#hold(async () => {
				const result = await snapshots.freeze();
				screen = this.consoles[0]?.text ?? "";
				pauseNs = host.nowNs() - beganNs;
				return result;
			});
			const record = await snapshots.keep(frozen, { ...options, screen });
			return { record, pauseNs, totalNs: host.nowNs() - beganNs };
		});
	}

	/**
	 * Puts the machine back to a snapshot, by name or id. A running machine goes on from there, a paused one stays paused. What has
	 * happened since the last snapshot is lost, and the guest is told that it has become another machine. Sessions through a network of its own
	 * go on while the guest says what it said then, and end with a reset where they cannot.
	 * @throws SnapshotError not-found, corrupt; MachineError `config` if the snapshot is of another kind of machine
	 */
	restore(reference: string, options: RestoreOptions = {}): Promise<SnapshotRecord> {
		return this.#operations.run(async () => {
			this.need("restore", "created", "running", "paused");
			const snapshots = await this.#openSnapshots();
			const record = snapshots.tree.find(reference);
			await this.#hold(async () => {
				try {
					await snapshots.restore(record, options);
				} catch (error) {
					// Half of one state and half of another is no machine.
					if (!(error instanceof MachineError)) this.#end({ reason: "failed", code: 125, error });
					throw error;
				}
			});
			await snapshots.sweep();
			return record;
		});
	}

	/** Removes a snapshot, or with `withChildren` all that follow from it. @throws SnapshotError not-found */
	removeSnapshot(reference: string, withChildren = false): Promise<readonly string[]> {
		return this.#operations.run(async () => {
			const snapshots = await this.#openSnapshots();
			const removed = await snapshots.tree.remove(snapshots.tree.find(reference).id, withChildren);
			await snapshots.sweep();
			return removed;
		});
	}

	#openSnapshots(): Promise<MachineSnapshots> {
		this.#snapshots ??= import("./snapshot.ts").then(({ MachineSnapshots }) => MachineSnapshots.open(this.#parts));
		return this.#snapshots;
	}

	/** Runs `work` between two instructions with nothing in flight; a running machine goes on afterwards. */
	async #hold<Result>(work: () => Promise<Result>): Promise<Result> {
		const isRunning = (): boolean => this.state === "running" && !this.isClosing && this.ending === undefined;
		const wasRunning = isRunning();
		if (wasRunning) {
			this.#runner.halt();
			await this.#loop;
			if (!isRunning()) throw new MachineError("exited", `${this.name}: ended (${this.ending?.reason ?? "stopped"}) meanwhile`);
		}
		try {
			await this.#runner.drainWhile(this.#parts.board.quiesce());
			return await work();
		} finally {
			if (wasRunning && isRunning()) this.#launch();
			else if (this.ending !== undefined) void this.#finish(this.ending);
		}
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.stop();
	}

	#go(): void {
		this.enter("running");
		this.#launch();
	}

	#launch(): void {
		this.#runningSinceNs = this.#parts.host.nowNs();
		this.#loop = this.#runner.run().then(
			() => this.#loopEnded(),
			(error: unknown) => {
				this.ending ??= { reason: "failed", code: 125, error };
				this.#loopEnded();
			},
		);
	}

	#loopEnded(): void {
		this.#wallNs += this.#parts.host.nowNs() - this.#runningSinceNs;
		if (this.ending !== undefined) void this.#finish(this.ending);
	}

	#closing: Promise<void> | undefined;

	#finish(exit: MachineExit): Promise<void> {
		this.ending ??= exit;
		// After whatever snapshot is being taken.
		this.#closing ??= this.#operations.run(() => this.#close());
		return this.#closing;
	}

	async #close(): Promise<void> {
		this.#runner.halt();
		await this.#loop;
		let exit = this.ending as MachineExit;
		try {
			await this.#runner.drainWhile(this.#parts.board.quiesce());
			await this.#parts.board.close();
			await (await this.#snapshots)?.close();
			if (this.#parts.ownsSnapshots === true) await this.#parts.snapshots?.close();
		} catch (error) {
			// A guest's data may not have reached the disk: whoever waits has to know.
			exit = { reason: "failed", code: 125, error };
		}
		for (const cpu of this.#parts.cpus) cpu.dispose();
		this.conclude(exit);
	}

	protected override get isClosing(): boolean {
		return this.#closing !== undefined;
	}

	protected sleep(delayNs: number): Sleep {
		return this.#parts.host.sleep(delayNs);
	}

	#onBoardEvent(event: BoardEvent): void {
		switch (event.kind) {
			case "serial":
				this.printed(event.port, event.bytes);
				return;
			case "device-failed":
				this.emit("deviceError", { machine: this.name, device: event.device, error: event.error });
				return;
			case "power-off":
				this.#end({ reason: "power-off", code: 0 });
				return;
			case "debug-exit":
				this.#end({ reason: "debug-exit", code: event.code });
				return;
			case "reset":
				if (this.config.onReset === "stop")
					this.#end({ reason: event.cause === "request" ? "reset" : event.cause, code: event.cause === "request" ? 0 : 1 });
				else this.#runner.post(() => this.#restart(event.cause));
		}
	}

	#end(exit: MachineExit): void {
		this.ending ??= exit;
		this.#runner.halt();
	}

	#restart(cause: "request" | "triple-fault"): void {
		this.#resets++;
		this.#parts.board.reset(this.#parts.cpus.map((cpu) => cpu.pins));
		this.emit("reset", { machine: this.name, cause });
	}

	/** Types at a port no faster than the guest takes it; the rest waits here. */
	#typist(port: number): (bytes: Uint8Array) => void {
		const { board } = this.#parts;
		const queue: Uint8Array[] = [];
		const push = (): void => {
			for (let bytes = queue.shift(); bytes !== undefined; bytes = queue.shift()) {
				const taken = board.serialInput(port, bytes);
				if (taken < bytes.length) {
					queue.unshift(bytes.subarray(taken));
					return;
				}
			}
		};
		const before = board.onSerialRoom;
		board.onSerialRoom = (which) => (which === port ? push() : before(which));
		return (bytes) => {
			if (bytes.length === 0 || this.state === "stopped") return;
			queue.push(bytes.slice());
			if (queue.length === 1) this.#runner.post(push);
		};
	}
}
