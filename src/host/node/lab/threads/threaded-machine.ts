import { Worker } from "node:worker_threads";
import type { Disk } from "../../../../disk/disk.ts";
import type { LabGuest, ThreadOptions } from "../../../../lab/runtime.ts";
import { type MachineConfig, readConfig } from "../../../../vm/config.ts";
import { Console } from "../../../../vm/console.ts";
import { Emitter } from "../../../../vm/emitter.ts";
import { MachineError } from "../../../../vm/error.ts";
import type { MachineEvents, MachineExit, MachineState, MachineStats, WaitCondition } from "../../../../vm/machine.ts";
import { receiveError, sendError } from "../../../../vm/sent-error.ts";
import { waitForConsole } from "../../../../vm/wait.ts";
import { NodeHost } from "../../host.ts";
import { newRing } from "./frame-ring.ts";
import { LabCards } from "./lab-cards.ts";
import { CELL, CELLS_PER_CARD, type FromThread, type GuestVerb, type ThreadData, type ToThread } from "./messages.ts";
import { carryOut } from "./remote-disk.ts";

interface Asked {
	readonly resolve: () => void;
	readonly reject: (error: Error) => void;
}

/** A machine of a lab that lives on a thread of its own, as the lab sees it. */
export class ThreadedMachine implements LabGuest {
	readonly name: string;
	readonly config: MachineConfig;
	readonly consoles: readonly Console[];
	/** Resolves when the machine has been put together. */
	readonly ready: Promise<void>;
	readonly #worker: Worker;
	readonly cards: LabCards;
	readonly #framesCame: () => void;
	readonly #disks: readonly Disk[];
	readonly #host = new NodeHost();
	readonly #events = new Emitter<MachineEvents>();
	readonly #asked = new Map<number, Asked>();
	#nextId = 0;
	#state: MachineState = "created";
	#exit: MachineExit | undefined;
	#stats: MachineStats;
	#settle: Asked = { resolve: () => {}, reject: () => {} };

	/** @param framesCame told when there are frames, after `cards` has gone to sleep @throws MachineError `config` */
	constructor(options: ThreadOptions, labBell: SharedArrayBuffer, framesCame: () => void) {
		this.#framesCame = framesCame;
		const { disks = [], ...machine } = options.machine;
		this.name = machine.name;
		this.config = readConfig({ ...machine, disks, nics: options.cards.map(({ jack, model, mac }) => ({ port: jack, model, mac })) });
		this.#disks = disks.map(({ disk }) => disk);
		this.#stats = { ...NO_STATS, cpus: this.config.cpus, memoryBytes: this.config.memory };
		this.consoles = Array.from(
			{ length: this.config.serialPorts + (this.config.virtioConsole ? 1 : 0) },
			(_, port) => new Console(port, (bytes) => this.#post({ kind: "input", port, bytes })),
		);
		const cells = new SharedArrayBuffer(4 * (CELL.cards + CELLS_PER_CARD * options.cards.length));
		const workerData: ThreadData = {
			machine,
			disks: disks.map(({ disk: { sizeBytes, sectorBytes, isReadOnly }, bus = "virtio", isIndependent = false }) => ({
				...{ sizeBytes, sectorBytes, isReadOnly },
				...{ bus, isIndependent },
			})),
			cards: options.cards.map(({ model, mac }) => ({ model, mac })),
			startWallMs: options.startWallMs,
			cells,
			labBell,
			toMachine: newRing(),
			toLab: newRing(),
		};
		this.cards = new LabCards(options, new Int32Array(cells), workerData.toMachine, workerData.toLab);
		this.#worker = new Worker(new URL("./machine-worker.ts", import.meta.url), { workerData, name: this.name });
		this.ready = new Promise((resolve, reject) => {
			this.#settle = { resolve, reject };
		});
		// Whoever does not wait for it hears of it from `start`.
		this.ready.catch(() => {});
		this.#worker.on("message", (message: FromThread) => this.#receive(message));
		this.#worker.on("error", (error) => {
			const why = error instanceof Error ? error.message : String(error);
			this.#fail(new MachineError("engine", `${this.name}: the machine's thread failed: ${why}`, { cause: error }));
		});
		this.#worker.on("exit", () => this.#fail(new MachineError("engine", `${this.name}: the machine's thread has ended`)));
	}

	get state(): MachineState {
		return this.#state;
	}

	get exit(): MachineExit | undefined {
		return this.#exit;
	}

	get stats(): MachineStats {
		return this.#stats;
	}

	get console(): Console {
		const first = this.consoles[0];
		if (first === undefined) throw new MachineError("config", `${this.name}: serialPorts is 0`);
		return first;
	}

	on<Name extends keyof MachineEvents>(name: Name, listener: (event: MachineEvents[Name]) => void): () => void {
		return this.#events.on(name, listener);
	}

	async start(): Promise<void> {
		this.#need("start", "created");
		this.#enter("running");
		await this.ready;
		await this.#ask("start");
	}

	async pause(): Promise<void> {
		this.#need("pause", "running");
		await this.#ask("pause");
		// The guest may have ended meanwhile.
		if (this.#state === "running") this.#enter("paused");
	}

	async resume(): Promise<void> {
		this.#need("resume", "paused");
		this.#enter("running");
		await this.#ask("resume");
	}

	async stop(): Promise<void> {
		if (this.#state === "stopped") return;
		const ended = this.finished();
		await this.ready.catch(() => {});
		await this.#ask("stop");
		await ended;
	}

	pressPowerButton(): void {
		this.#need("pressPowerButton", "running");
		this.#ask("pressPowerButton").catch(() => {});
	}

	async finished(): Promise<MachineExit> {
		return this.#exit ?? this.#events.once("exit");
	}

	waitFor(condition: WaitCondition): Promise<string> {
		return waitForConsole(
			{
				name: this.name,
				consoles: this.consoles,
				endedBy: this.#exit?.reason,
				onExit: (listener) => this.on("exit", listener),
				sleep: (delayNs) => this.#host.sleep(delayNs),
			},
			condition,
		);
	}

	/** The lab has no more to do with it: its thread ends. */
	leave(): void {
		this.cards.close();
		void this.#worker.terminate();
	}

	#ask(verb: GuestVerb): Promise<void> {
		if (this.#state === "stopped") return Promise.resolve();
		return new Promise((resolve, reject) => {
			const id = this.#nextId++;
			this.#asked.set(id, { resolve, reject });
			this.#post({ kind: "call", id, verb });
		});
	}

	#post(message: ToThread): void {
		this.#worker.postMessage(message);
		this.cards.ring();
	}

	#receive(message: FromThread): void {
		switch (message.kind) {
			case "frames":
				this.#framesCame();
				break;
			case "console": {
				const { port, bytes } = message;
				this.#events.emit("console", { machine: this.name, port, bytes });
				this.consoles[port]?.receive(bytes);
				break;
			}
			case "answer": {
				const asked = this.#asked.get(message.id);
				this.#asked.delete(message.id);
				if (message.error === undefined) asked?.resolve();
				else asked?.reject(receiveError(message.error));
				break;
			}
			case "stats":
				this.#stats = message.stats;
				break;
			case "reset":
				this.#events.emit("reset", { machine: this.name, cause: message.cause });
				break;
			case "deviceError":
				this.#events.emit("deviceError", { machine: this.name, device: message.device, error: receiveError(message.error) });
				break;
			case "disk":
				this.#serveDisk(message);
				break;
			case "ready":
				this.#settle.resolve();
				break;
			case "broken":
				this.#fail(receiveError(message.error));
				break;
			case "exit": {
				const { error, ...exit } = message.exit;
				this.#stats = message.stats;
				this.#end({ ...exit, ...(error === undefined ? {} : { error: receiveError(error) }) });
				break;
			}
		}
	}

	#serveDisk({ id, request }: FromThread & { readonly kind: "disk" }): void {
		carryOut(this.#disks[request.disk] as Disk, request).then(
			(bytes) => this.#post({ kind: "disk", id, ...(bytes === undefined ? {} : { bytes }) }),
			(error: unknown) => this.#post({ kind: "disk", id, error: sendError(error) }),
		);
	}

	/** The thread, or what it was to make, is broken: nothing but the disks is left of the machine. */
	#fail(error: Error): void {
		if (this.#exit !== undefined) return;
		for (const disk of this.#disks) disk.close().catch(() => {});
		this.#settle.reject(error);
		this.#end({ reason: "failed", code: 125, error });
	}

	#end(exit: MachineExit): void {
		this.#exit = exit;
		this.#enter("stopped");
		for (const { resolve } of this.#asked.values()) resolve();
		this.#asked.clear();
		for (const target of this.consoles) target.close();
		this.leave();
		this.#events.emit("exit", exit);
	}

	#enter(state: MachineState): void {
		this.#state = state;
		this.#events.emit("state", { machine: this.name, state });
	}

	#need(call: string, state: MachineState): void {
		if (this.#state !== state)
			throw new MachineError("state", `${this.name}: ${call} needs a machine that is ${state}, this one is ${this.#state}`);
	}
}

/** Before the first figures have come. */
const NO_STATS: MachineStats = {
	engine: "none",
	cpus: 0,
	memoryBytes: 0,
	guestInstructions: 0,
	guestSeconds: 0,
	wallSeconds: 0,
	idleSeconds: 0,
	slices: 0,
	resets: 0,
	engineStats: {},
};
