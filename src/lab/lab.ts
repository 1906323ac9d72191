import type { Ns } from "../base/units.ts";
import { type CapturePoint, captureLink } from "../net/capture/link-capture.ts";
import { PcapngWriter } from "../net/capture/pcapng.ts";
import { formatIpv4 } from "../net/frames/address.ts";
import { SpecError } from "../net/link/errors.ts";
import { parseTime } from "../net/link/quantity.ts";
import type { DirectionSpec, LinkSpecText } from "../net/link/spec.ts";
import type { HostNetwork } from "../net/nat/host-network.ts";
import type { Station } from "../net/nodes/station.ts";
import type { Jack } from "../net/port.ts";
import type { Action } from "./actions.ts";
import { parseCable } from "./cables.ts";
import { findLink } from "./find-link.ts";
import { suggestion } from "./issue.ts";
import { LabLink } from "./lab-link.ts";
import type { LabModel, LinkModel, NodeOf, TimedAction } from "./model.ts";
import { LabNetwork } from "./network.ts";
import type { LabMachine, LabMachineSpec, LabRuntime } from "./runtime.ts";
import { Starter } from "./start-order.ts";

/** Where a capture goes. */
export interface CaptureSink {
	/** Takes whole pcapng blocks, in order. */
	write(bytes: Uint8Array): void;
	/** Resolves when everything is where it belongs. */
	close(): Promise<void>;
}

/** What a lab asks of the program around it. */
export interface LabServices {
	/** A machine node as the core takes it: images found, files read, disks open. */
	machineSpec(node: NodeOf<"machine">, lab: LabModel): Promise<Omit<LabMachineSpec, "name" | "nics">>;
	/** What NATs lead to; without it a lab may have none. */
	readonly network?: HostNetwork;
	/** An interface of the host's. @throws an error that says why there is none */
	readonly tap?: (node: NodeOf<"tap">) => Jack;
	/** Told when the lab is gone. */
	readonly closed?: () => void;
	/** Opens a capture's file. */
	readonly capture?: (file: string) => CaptureSink;
	/** What the lab's time 0 is in Unix time, for captures in realtime. */
	readonly epochNs?: bigint;
}

export interface LabFailure {
	readonly what: string;
	readonly error: unknown;
}

/** Machines, nodes, cables and a timeline, as one thing that runs. */
export class Lab implements AsyncDisposable {
	readonly model: LabModel;
	readonly runtime: LabRuntime;
	readonly network: LabNetwork;
	readonly links: ReadonlyMap<string, LabLink>;
	/** Changes that were made while it ran, with their times: as a timeline they make them again. */
	readonly recording: TimedAction[] = [];
	/** What went wrong without anybody waiting for it. */
	readonly failures: LabFailure[] = [];
	readonly #services: LabServices;
	readonly #starter: Starter;
	readonly #captures = new Set<() => Promise<void>>();
	#isClosed = false;

	private constructor(model: LabModel, runtime: LabRuntime, services: LabServices) {
		this.model = model;
		this.runtime = runtime;
		this.#services = services;
		this.network = new LabNetwork({
			model,
			clock: runtime.clock,
			host: services.network,
			macs: (name) => runtime.machines.get(name)?.macs ?? new Map(),
			tap: services.tap,
		});
		this.links = new Map(model.links.map((each) => [each.name, this.#connect(each)]));
		this.#starter = new Starter({
			clock: runtime.clock,
			nodes: [...model.nodes.values()].filter((node) => node.kind === "machine"),
			machine: (name) => this.machine(name),
			failed: (name, error) => this.failures.push({ what: `start ${name}`, error }),
		});
		for (const each of model.links) if (each.capture !== undefined) this.capture(each.name, each.capture.file, each.capture.points);
		for (const each of model.timeline) this.#schedule(each);
	}

	/**
	 * Puts a lab together; nothing runs yet.
	 * @param runtime empty, and the lab's from now on: it is disposed of with the lab
	 * @throws LabError, SpecError, MachineError, and what services throw
	 */
	static async create(model: LabModel, runtime: LabRuntime, services: LabServices): Promise<Lab> {
		try {
			for (const node of model.nodes.values()) {
				if (node.kind !== "machine") continue;
				const spec = await services.machineSpec(node, model);
				runtime.addMachine({ ...spec, name: node.name, nics: nicsOf(model, node) });
			}
			await Promise.all([...runtime.machines.values()].map(({ ready }) => ready));
			return new Lab(model, runtime, services);
		} catch (error) {
			await runtime[Symbol.asyncDispose]();
			throw error;
		}
	}

	get nowNs(): Ns {
		return this.runtime.clock.nowNs;
	}

	/** Everything that was to be started has been, and says that it is up. */
	get isUp(): boolean {
		return this.#starter.isDone;
	}

	/** @throws SpecError for a name that is no machine's */
	machine(name: string): LabMachine {
		return this.runtime.machines.get(name) ?? this.#unknown(name, "a machine", this.runtime.machines.keys());
	}

	/** @throws SpecError for a name that is no host's */
	station(name: string): Station {
		return this.network.stations.get(name) ?? this.#unknown(name, "a host", this.network.stations.keys());
	}

	/** `pc--sw`, `pc -- sw`, whichever end comes first. @throws SpecError for what is no link, or several */
	link(text: string): LabLink {
		const exact = this.links.get(text);
		if (exact !== undefined) return exact;
		const found = findLink(this.model.links, parseCable(text, ["link"]));
		if (found.length !== 1) return this.#unknown(text, found.length === 0 ? "a link" : "one link", this.links.keys());
		return this.links.get((found[0] as { link: LinkModel }).link.name) as LabLink;
	}

	/** By which `name` is reached, as text; `undefined` while it has none. */
	addressOf(name: string): string | undefined {
		const address = this.network.addressOf(name);
		return address === undefined ? undefined : formatIpv4(address);
	}

	/** Time begins to run, and machines start in their order (all, or these and what they wait for). Resolves at once. */
	start(names?: readonly string[]): void {
		this.#starter.start(names);
		this.runtime.run();
	}

	/** Starts everything, runs until lab time `until` ("60s", or nanoseconds) or until `isDone`, and pauses. */
	async run(options: { readonly until: string | Ns; readonly isDone?: () => boolean }): Promise<void> {
		this.#starter.start();
		const untilNs = typeof options.until === "string" ? parseTime(options.until, ["until"]) : options.until;
		await this.runtime.runUntil(untilNs, options.isDone);
	}

	/** Calls `what` at lab time `time`, or as soon as that has passed. Returns what takes that back. */
	at(time: string | Ns, what: () => void): () => void {
		const timeNs = typeof time === "string" ? parseTime(time, ["time"]) : time;
		return this.#atNs(Math.max(timeNs, this.nowNs), what);
	}

	/** Does it at the lab's next nanosecond, and keeps it in `recording`. */
	perform(action: Action): void {
		const timed = { timeNs: this.nowNs + 1, action };
		this.recording.push(timed);
		this.#schedule(timed);
	}

	/**
	 * Records a link from now on. @returns what ends it and resolves when the file is complete
	 * @throws SpecError for an unknown link
	 */
	capture(link: string, sink: string | CaptureSink, points?: readonly CapturePoint[]): () => Promise<void> {
		const target = typeof sink === "string" ? this.#services.capture?.(sink) : sink;
		if (target === undefined) throw new SpecError("bad-value", ["capture"], sink, "a host that can write files");
		const writer = new PcapngWriter((bytes) => target.write(bytes), {
			comment: `lab ${this.model.name}, seed ${this.model.seed}`,
			...(this.#services.epochNs === undefined ? {} : { epochNs: this.#services.epochNs }),
		});
		const end = captureLink(this.link(link).link, writer, this.runtime.clock, points);
		const close = async (): Promise<void> => {
			if (!this.#captures.delete(close)) return;
			end();
			await target.close();
		};
		this.#captures.add(close);
		return close;
	}

	/** Stops every machine, closes what is open, and is gone. Harmless a second time. */
	async [Symbol.asyncDispose](): Promise<void> {
		if (this.#isClosed) return;
		this.#isClosed = true;
		this.#starter.stop();
		await this.runtime.pause();
		for (const close of [...this.#captures]) await close();
		this.network.close();
		await this.runtime[Symbol.asyncDispose]();
		this.#services.closed?.();
	}

	#connect(model: LinkModel): LabLink {
		const link = this.runtime.addLink(model.name, model.spec);
		this.#jack(model.a).plug(link.a);
		this.#jack(model.b).plug(link.b);
		return new LabLink(model, link, (spec, side) => {
			this.perform({ kind: "link", link: model.name, side, spec: spec as DirectionSpec });
		});
	}

	#jack(end: LinkModel["a"]): Jack {
		return this.network.jack(end) ?? this.machine(end.node).port(end.port);
	}

	/**
	 * At a time, behind everything that was to happen then: the second arming puts it there. So it makes no difference
	 * whether a change was foreseen or came from outside in the nanosecond before.
	 */
	#atNs(timeNs: Ns, what: () => void): () => void {
		const { clock } = this.runtime;
		let isLast = false;
		const timer = clock.timer("lab", () => {
			if (isLast) what();
			else {
				isLast = true;
				timer.arm(timeNs);
			}
		});
		timer.arm(timeNs);
		return () => timer.disarm();
	}

	#schedule({ timeNs, action }: TimedAction): void {
		this.#atNs(timeNs, () => this.#carryOut(action));
	}

	#carryOut(action: Action): void {
		if (action.kind === "link") {
			this.links.get(action.link)?.link.set(action.spec as LinkSpecText, action.side);
			return;
		}
		const { machine } = this.machine(action.node);
		if (action.kind === "type") machine.console.write(action.text);
		else if (action.verb === "power") {
			if (machine.state === "running") machine.pressPowerButton();
		} else if (action.verb === "stop") this.#watch(`stop ${action.node}`, machine.stop());
		else if (machine.state === "created") this.#starter.start([action.node]);
	}

	#watch(what: string, work: Promise<unknown>): void {
		work.catch((error: unknown) => this.failures.push({ what, error }));
	}

	#unknown(name: string, what: string, known: Iterable<string>): never {
		const names = [...known];
		throw new SpecError("bad-value", [this.model.name], name, `${what}: ${names.join(", ")}${suggestion(name, names)}`);
	}
}

/** A machine's cards in the order of their slots: as declared, else as cables are plugged in. */
function nicsOf(model: LabModel, node: NodeOf<"machine">): NonNullable<LabMachineSpec["nics"]> {
	const declared = [...(node.nics ?? [])].map(([name, { model: card, mac }]) => ({ name, model: card ?? node.nic?.model, mac }));
	const plugged = model.links.flatMap(({ a, b }) => [a, b]).filter((end) => end.node === node.name);
	const cards = declared.length > 0 ? declared : plugged.map(({ port }) => ({ name: port, model: node.nic?.model, mac: node.nic?.mac }));
	return cards.map(({ name, model: card, mac }) => ({
		name,
		...(card === undefined ? {} : { model: card }),
		...(mac === undefined ? {} : { mac }),
	}));
}
