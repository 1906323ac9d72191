import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { MachineError } from "../../../vm/error.ts";
import { Questions, type SentAnswer } from "../../../vm/questions.ts";
import type { NodeMachineOptions } from "../machine.ts";
import type { ForkResult } from "./fork-slots.ts";
import type { Request, WorkerData } from "./fork-worker.ts";

export interface ForkPoolOptions {
	/** How the machine was made: kernel and disks by their paths. */
	readonly machine: NodeMachineOptions;
	/** Its folder of snapshots, which is only read. */
	readonly folder: string;
	/** The snapshot, by name or id, with a shell waiting on the first serial port. */
	readonly snapshot: string;
	/** Most forks at a time; 8 unless told. */
	readonly alive?: number | undefined;
	/** Threads that share them; as many as there are processors unless told. */
	readonly threads?: number | undefined;
}

interface Lane {
	readonly worker: Worker;
	readonly slot: number;
}

/** Runs commands, each in a fork of its own that ends with it. */
export class ForkPool implements AsyncDisposable {
	readonly #workers: readonly Worker[];
	readonly #free: Lane[];
	readonly #queue: ((lane: Lane) => void)[] = [];
	readonly #questions = new Questions<ForkResult>();

	private constructor(workers: readonly Worker[], lanes: Lane[]) {
		this.#workers = workers;
		this.#free = lanes;
		for (const worker of workers) {
			worker.on("message", (answer: SentAnswer<ForkResult>) => this.#questions.settle(answer));
			worker.on("error", (error) => this.#questions.refuseAll(error instanceof Error ? error : new Error(String(error))));
		}
	}

	/** Resolves when its threads are ready. The folder and the snapshot must stay as they are until the pool is closed. */
	static async open(options: ForkPoolOptions): Promise<ForkPool> {
		const { alive = 8, threads = Math.min(availableParallelism(), alive), machine: machineOptions } = options;
		// Threads cannot be told a function.
		const net = machineOptions.net === undefined ? undefined : { ...machineOptions.net, onDenied: undefined };
		const workers: Worker[] = [];
		const lanes: Lane[] = [];
		for (let index = 0; index < threads; index++) {
			const slots = Math.ceil((alive - index) / threads);
			const workerData: WorkerData = { options: { ...machineOptions, net }, folder: options.folder, reference: options.snapshot, slots };
			const worker = new Worker(new URL("./fork-worker.ts", import.meta.url), { workerData });
			workers.push(worker);
			for (let slot = 0; slot < slots; slot++) lanes.push({ worker, slot });
		}
		try {
			await Promise.all(workers.map((worker) => once(worker, "message")));
		} catch (cause) {
			for (const worker of workers) await worker.terminate();
			throw new MachineError("unavailable", `forks could not be prepared: ${cause instanceof Error ? cause.message : String(cause)}`, {
				cause,
			});
		}
		// One slot of each thread in turn, so that few forks use all processors.
		lanes.sort((a, b) => a.slot - b.slot);
		return new ForkPool(workers, lanes);
	}

	/**
	 * Runs a command line in a fresh fork. More than may be alive at a time wait for their turn.
	 * @throws MachineError `timeout`, `exited`, `unavailable`; SnapshotError
	 */
	async run(command: string, timeout = "60s"): Promise<ForkResult> {
		const lane = this.#free.shift() ?? (await new Promise<Lane>((resolve) => this.#queue.push(resolve)));
		try {
			return await this.#questions.ask((id) => lane.worker.postMessage({ id, slot: lane.slot, command, timeout } satisfies Request));
		} finally {
			const next = this.#queue.shift();
			if (next === undefined) this.#free.push(lane);
			else next(lane);
		}
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.close();
	}

	async close(): Promise<void> {
		this.#questions.refuseAll(new MachineError("exited", "the pool of forks has been closed"));
		await Promise.all(
			this.#workers.map(async (worker) => {
				const left = once(worker, "exit");
				worker.postMessage("close");
				await left;
			}),
		);
	}
}
