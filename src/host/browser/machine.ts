import type { DiskFormat } from "../../disk/open.ts";
import type { SnapshotRecord } from "../../snapshot/record.ts";
import type { MachineOptions } from "../../vm/config.ts";
import { Console } from "../../vm/console.ts";
import { MachineError } from "../../vm/error.ts";
import type { Sleep } from "../../vm/host.ts";
import type { Machine as CoreMachine, MachineStats } from "../../vm/machine.ts";
import type { MachineExit } from "../../vm/machine-face.ts";
import { RemoteMachine } from "../../vm/remote-machine.ts";
import type { RestoreOptions, SnapshotOptions, TakenSnapshot } from "../../vm/snapshot.ts";
import { BrowserHost } from "./host.ts";
import type { SentOptions } from "./messages.ts";
import { type Source, sendSource } from "./sources.ts";
import { MachineWorker, type WorkerNews } from "./worker-link.ts";

/** As the core's options, but kernel, initrd, bios and disks may be addresses. Disks are held in memory; network cards have no cable yet. */
export type BrowserMachineOptions = Omit<MachineOptions, "kernel" | "initrd" | "bios" | "disks" | "nics"> & {
	readonly kernel?: Source | undefined;
	readonly initrd?: Source | undefined;
	readonly bios?: Source | undefined;
	readonly disks?: readonly {
		readonly source: Source;
		/** "raw" unless told. */
		readonly format?: DiskFormat;
		readonly isIndependent?: boolean;
	}[];
};

/**
 * Makes a machine in a worker of its own; it is not started yet. The page has to be cross-origin isolated: guest memory is shared.
 * @throws MachineError, DiskError, PcError: one line each, naming the key or address at fault
 */
export async function createMachine(options: BrowserMachineOptions): Promise<Machine> {
	if (!globalThis.crossOriginIsolated)
		throw new MachineError(
			"unavailable",
			'this page is not cross-origin isolated, so it may not share memory; serve it with "Cross-Origin-Opener-Policy: same-origin" and "Cross-Origin-Embedder-Policy: require-corp"',
		);
	const sent = sendOptions(options);
	const worker = new MachineWorker(sent.name ?? "machine");
	try {
		const { name, consoleCount } = (await worker.call({ name: "create", options: sent })) as { name: string; consoleCount: number };
		return new Machine(worker, name, consoleCount);
	} catch (error) {
		worker.terminate();
		throw error;
	}
}

function sendOptions(options: BrowserMachineOptions): SentOptions {
	const { kernel, initrd, bios, disks, ...rest } = options;
	if ("nics" in rest) throw new MachineError("unavailable", "nics: network cards are not there yet in a browser");
	const image = (key: string, source: Source | undefined) => (source === undefined ? undefined : sendSource(key, source));
	return {
		...rest,
		kernel: image("kernel", kernel),
		initrd: image("initrd", initrd),
		bios: image("bios", bios),
		disks: disks?.map(({ source, format = "raw", isIndependent = false }, index) => ({
			source: sendSource(`disks[${index}].source`, source),
			format,
			isIndependent,
		})),
	};
}

/** What a machine in a worker offers, beside its face, as the core's machine does; it has `stats`, too, but as a promise. */
type Shared = Pick<
	CoreMachine,
	"start" | "pause" | "resume" | "stop" | "snapshot" | "restore" | "removeSnapshot" | typeof Symbol.asyncDispose
>;

/** One virtual PC, run by a worker of this page. Make it with `createMachine`. */
export class Machine extends RemoteMachine implements Shared {
	static readonly create = createMachine;
	readonly name: string;
	readonly consoles: readonly Console[];
	readonly #worker: MachineWorker;
	readonly #host = new BrowserHost(false);
	#lastStats: MachineStats | undefined;

	/** @internal */
	constructor(worker: MachineWorker, name: string, consoleCount: number) {
		super();
		this.name = name;
		this.#worker = worker;
		this.consoles = Array.from({ length: consoleCount }, (_, port) => new Console(port, (bytes) => worker.input(port, bytes)));
		worker.onNews = (news) => this.#receive(news);
		worker.onFailure = (error) => this.#end({ reason: "failed", code: 125, error });
	}

	/** Powers on. Resolves when the guest runs, not when it has booted. @throws MachineError `state` */
	async start(): Promise<void> {
		await this.#worker.call({ name: "start" });
	}

	/** Stops guest time and every CPU, between two instructions. @throws MachineError `state` */
	async pause(): Promise<void> {
		await this.#worker.call({ name: "pause" });
	}

	/** Goes on after `pause`. @throws MachineError `state` */
	async resume(): Promise<void> {
		await this.#worker.call({ name: "resume" });
	}

	/** Pulls the plug: no word to the guest. Harmless when stopped already. */
	async stop(): Promise<void> {
		if (this.exit !== undefined) return;
		const end = this.finished();
		await this.#worker.call({ name: "stop" });
		await end;
	}

	/** Presses the power button; what follows is the guest's affair. @throws MachineError `state` */
	async pressPowerButton(): Promise<void> {
		await this.#worker.call({ name: "pressPowerButton" });
	}

	/** Figures of the run so far; of the whole run, once it has ended. */
	get stats(): Promise<MachineStats> {
		if (this.#lastStats !== undefined) return Promise.resolve(this.#lastStats);
		return this.#worker.call({ name: "stats" }) as Promise<MachineStats>;
	}

	/** As the core machine's; snapshots are kept in the worker's memory. @throws MachineError, SnapshotError */
	async snapshot(options: SnapshotOptions = {}): Promise<TakenSnapshot> {
		return (await this.#worker.call({ name: "snapshot", options })) as TakenSnapshot;
	}

	/** As the core machine's. @throws MachineError, SnapshotError */
	async restore(reference: string, options: RestoreOptions = {}): Promise<SnapshotRecord> {
		return (await this.#worker.call({ name: "restore", reference, options })) as SnapshotRecord;
	}

	/** As the core machine's. @throws SnapshotError not-found */
	async removeSnapshot(reference: string, withChildren = false): Promise<readonly string[]> {
		return (await this.#worker.call({ name: "removeSnapshot", reference, withChildren })) as readonly string[];
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.stop();
	}

	protected sleep(delayNs: number): Sleep {
		return this.#host.sleep(delayNs);
	}

	#receive(news: WorkerNews): void {
		if (news.kind === "state") this.enter(news.state);
		else this.hear(news);
	}

	protected ended(exit: MachineExit, stats: MachineStats): void {
		this.#lastStats = stats;
		this.#end(exit);
	}

	#end(exit: MachineExit): void {
		this.#worker.terminate();
		this.conclude(exit);
	}
}
