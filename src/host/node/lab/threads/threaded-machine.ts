import { Worker } from "node:worker_threads";
import type { Disk } from "../../../../disk/disk.ts";
import type { LabGuest, ThreadOptions } from "../../../../lab/runtime.ts";
import { type MachineConfig, readConfig } from "../../../../vm/config.ts";
import { type Console, consolesOf } from "../../../../vm/console.ts";
import { MachineError } from "../../../../vm/error.ts";
import type { Sleep } from "../../../../vm/host.ts";
import type { MachineStats } from "../../../../vm/machine.ts";
import type { MachineExit } from "../../../../vm/machine-face.ts";
import { Questions, sendAnswer } from "../../../../vm/questions.ts";
import { RemoteMachine } from "../../../../vm/remote-machine.ts";
import { receiveError } from "../../../../vm/sent-error.ts";
import { NodeHost } from "../../host.ts";
import { newRing } from "./frame-ring.ts";
import { LabCards } from "./lab-cards.ts";
import { CELL, CELLS_PER_CARD, type DiskRequest, type FromThread, type GuestVerb, type ThreadData, type ToThread } from "./messages.ts";
import { carryOut } from "./remote-disk.ts";

/** A machine of a lab that lives on a thread of its own, as the lab sees it. */
export class ThreadedMachine extends RemoteMachine implements LabGuest {
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
	readonly #questions = new Questions<void>();
	readonly #made = Promise.withResolvers<void>();
	#stats: MachineStats;

	/** @param framesCame told when there are frames, after `cards` has gone to sleep @throws MachineError `config` */
	constructor(options: ThreadOptions, labBell: SharedArrayBuffer, framesCame: () => void) {
		super();
		this.#framesCame = framesCame;
		const { disks = [], ...machine } = options.machine;
		this.name = machine.name;
		this.config = readConfig({ ...machine, disks, nics: options.cards.map(({ jack, model, mac }) => ({ port: jack, model, mac })) });
		this.#disks = disks.map(({ disk }) => disk);
		this.#stats = { ...NO_STATS, cpus: this.config.cpus, memoryBytes: this.config.memory };
		this.consoles = consolesOf(this.config, (port) => (bytes) => this.#post({ kind: "input", port, bytes }));
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
		this.ready = this.#made.promise;
		// Whoever does not wait for it hears of it from `start`.
		this.ready.catch(() => {});
		this.#worker.on("message", (message: FromThread) => this.#receive(message));
		this.#worker.on("error", (error) => {
			const why = error instanceof Error ? error.message : String(error);
			this.#fail(new MachineError("engine", `${this.name}: the machine's thread failed: ${why}`, { cause: error }));
		});
		this.#worker.on("exit", () => this.#fail(new MachineError("engine", `${this.name}: the machine's thread has ended`)));
	}

	get stats(): MachineStats {
		return this.#stats;
	}

	async start(): Promise<void> {
		this.need("start", "created");
		this.enter("running");
		await this.ready;
		await this.#ask("start");
	}

	async pause(): Promise<void> {
		this.need("pause", "running");
		await this.#ask("pause");
		// The guest may have ended meanwhile.
		if (this.state === "running") this.enter("paused");
	}

	async resume(): Promise<void> {
		this.need("resume", "paused");
		this.enter("running");
		await this.#ask("resume");
	}

	async stop(): Promise<void> {
		if (this.state === "stopped") return;
		const ended = this.finished();
		await this.ready.catch(() => {});
		await this.#ask("stop");
		await ended;
	}

	pressPowerButton(): void {
		this.need("pressPowerButton", "running");
		this.#ask("pressPowerButton").catch(() => {});
	}

	/** The lab has no more to do with it: its thread ends. */
	leave(): void {
		this.cards.close();
		void this.#worker.terminate();
	}

	protected sleep(delayNs: number): Sleep {
		return this.#host.sleep(delayNs);
	}

	async #ask(verb: GuestVerb): Promise<void> {
		if (this.state === "stopped") return;
		await this.#questions.ask((id) => this.#post({ kind: "call", id, verb }));
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
			case "answer":
				this.#questions.settle(message);
				break;
			case "stats":
				this.#stats = message.stats;
				break;
			case "disk":
				this.#serveDisk(message.id, message.request);
				break;
			case "ready":
				this.#made.resolve();
				break;
			case "broken":
				this.#fail(receiveError(message.error));
				break;
			default:
				this.hear(message);
		}
	}

	#serveDisk(id: number, request: DiskRequest): void {
		void sendAnswer(id, carryOut(this.#disks[request.disk] as Disk, request), (answer) => this.#post({ kind: "disk", ...answer }));
	}

	/** The thread, or what it was to make, is broken: nothing but the disks is left of the machine. */
	#fail(error: Error): void {
		if (this.exit !== undefined) return;
		for (const disk of this.#disks) disk.close().catch(() => {});
		this.#made.reject(error);
		this.#end({ reason: "failed", code: 125, error });
	}

	protected ended(exit: MachineExit, stats: MachineStats): void {
		this.#stats = stats;
		this.#end(exit);
	}

	#end(exit: MachineExit): void {
		// Whoever waits for an answer learns from the state what became of it.
		this.#questions.answerAll();
		this.leave();
		this.conclude(exit);
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
