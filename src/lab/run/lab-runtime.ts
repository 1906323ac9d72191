import type { StateValue } from "../../base/json.ts";
import type { Ns } from "../../base/units.ts";
import type { Mac } from "../../net/frames/address.ts";
import type { Direction } from "../../net/link/direction.ts";
import { Link } from "../../net/link/link.ts";
import type { LinkSpecText } from "../../net/link/spec.ts";
import type { Jack, Port } from "../../net/port.ts";
import { stableMac } from "../../net/stable-mac.ts";
import type { Clock } from "../../net/time.ts";
import { assembleMachine } from "../../vm/create.ts";
import { MachineError } from "../../vm/error.ts";
import type { Machine } from "../../vm/machine.ts";
import type { LabGuest, LabMachine, LabMachineSpec, LabRuntime, LabRuntimeOptions, MachineThreads } from "../runtime.ts";
import { horizonNs } from "./lookahead.ts";
import { NicSocket } from "./nic-socket.ts";
import { OrderedDisk } from "./ordered-disk.ts";
import { punctualHost, RealtimeClock } from "./realtime.ts";
import { VirtualTime } from "./virtual.ts";
import { virtualHost } from "./virtual-host.ts";

/** 2026-01-01 00:00:00 UTC: when labs in virtual time begin. */
const VIRTUAL_EPOCH_MS = 1_767_225_600_000;
/** How often `runUntil` asks in realtime whether it is done. */
const POLL_NS: Ns = 10_000_000;

type RuntimeState = {
	readonly nowNs: Ns;
	/** Sent by guests, not in their cables yet. */
	readonly sends: readonly { readonly socket: string; readonly timeNs: Ns; readonly frame: Uint8Array; readonly rank: number }[];
};

class RuntimeMachine implements LabMachine {
	readonly name: string;
	readonly macs: ReadonlyMap<string, Mac>;
	readonly sockets: ReadonlyMap<string, NicSocket>;
	readonly disks: readonly OrderedDisk[];
	readonly machine: LabGuest;
	readonly ready: Promise<void>;
	readonly leave: () => void;

	constructor(parts: {
		readonly machine: LabGuest;
		readonly ready?: Promise<void>;
		readonly macs: ReadonlyMap<string, Mac>;
		readonly sockets: ReadonlyMap<string, NicSocket>;
		readonly disks: readonly OrderedDisk[];
		readonly leave: () => void;
	}) {
		this.name = parts.machine.name;
		this.machine = parts.machine;
		this.ready = parts.ready ?? Promise.resolve();
		this.macs = parts.macs;
		this.sockets = parts.sockets;
		this.disks = parts.disks;
		this.leave = parts.leave;
	}

	port(nic: string): Jack {
		const socket = this.sockets.get(nic);
		if (socket === undefined)
			throw new MachineError("config", `${this.name}: there is no card "${nic}"; there are: ${[...this.sockets.keys()].join(", ")}`);
		return socket.jack;
	}
}

/** @see LabRuntime */
export function createLabRuntime(options: LabRuntimeOptions): LabRuntime {
	return options.time === "virtual" ? new VirtualRuntime(options) : new RealtimeRuntime(options);
}

/** What both kinds of time share. */
abstract class Runtime implements LabRuntime {
	readonly options: LabRuntimeOptions;
	abstract readonly clock: Clock;
	readonly machines = new Map<string, RuntimeMachine>();
	readonly links = new Map<string, Link>();

	constructor(options: LabRuntimeOptions) {
		this.options = options;
	}

	abstract addMachine(spec: LabMachineSpec): LabMachine;
	abstract run(): void;
	abstract pause(): Promise<void>;
	abstract runUntil(untilNs: Ns, isDone?: () => boolean): Promise<void>;
	abstract save(): StateValue;
	abstract load(state: StateValue): void;

	async removeMachine(name: string): Promise<void> {
		const found = this.machines.get(name);
		if (found === undefined) return;
		for (const socket of found.sockets.values()) socket.jack.unplug();
		await found.machine.stop();
		found.leave();
		this.machines.delete(name);
	}

	addLink(name: string, spec: LinkSpecText = {}): Link {
		if (this.links.has(name)) throw new MachineError("config", `links: there is a link "${name}" already`);
		const link = new Link({ name, clock: this.clock, seed: this.options.seed, spec });
		this.links.set(name, link);
		return link;
	}

	removeLink(name: string): void {
		this.links.delete(name);
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.pause();
		for (const name of [...this.machines.keys()]) await this.removeMachine(name);
	}

	/** Sockets and addresses for a machine's cards, and the options that it is made with. */
	protected outfit(spec: LabMachineSpec) {
		const { name, nics = [], ...rest } = spec;
		if (this.machines.has(name)) throw new MachineError("config", `machines: there is a machine "${name}" already`);
		const sockets = new Map<string, NicSocket>();
		const macs = new Map<string, Mac>();
		for (const nic of nics) {
			if (sockets.has(nic.name)) throw new MachineError("config", `${name}: there is a card "${nic.name}" already`);
			sockets.set(nic.name, new NicSocket(`${name}:${nic.name}`));
			macs.set(nic.name, nic.mac ?? stableMac(this.options.name, name, nic.name));
		}
		const cards = nics.map((nic) => ({
			port: (sockets.get(nic.name) as NicSocket).port,
			model: nic.model ?? ("virtio" as const),
			mac: macs.get(nic.name) as Mac,
		}));
		return { sockets, macs, options: { ...rest, name, nics: cards } };
	}
}

class RealtimeRuntime extends Runtime {
	readonly #time: RealtimeClock;
	/** Stopped by `pause`, to go on with `run`. */
	#resting: LabGuest[] = [];

	constructor(options: LabRuntimeOptions) {
		super(options);
		this.#time = new RealtimeClock(options.host);
	}

	get clock(): Clock {
		return this.#time.clock;
	}

	addMachine(spec: LabMachineSpec): LabMachine {
		const { threads } = this.options;
		const made = threads === undefined ? this.#here(spec) : this.#onThread(spec, threads);
		this.machines.set(made.name, made);
		return made;
	}

	#onThread(spec: LabMachineSpec, threads: MachineThreads): RuntimeMachine {
		const { sockets, macs, options } = this.outfit(spec);
		const { nics, ...machine } = options;
		const jacks = [...sockets.values()].map(({ jack }) => jack);
		const cards = nics.map(({ model, mac }, index) => ({ jack: jacks[index] as Jack, model, mac }));
		const { guest, ready, leave } = threads.place({
			machine: { ...machine, time: "host" },
			cards,
			startWallMs: this.options.startWallMs,
			runDue: () => {
				this.#time.runDue();
				return this.#time.untilNextNs;
			},
		});
		return new RuntimeMachine({ machine: guest, ready, macs, sockets, disks: [], leave });
	}

	#here(spec: LabMachineSpec): RuntimeMachine {
		const { sockets, macs, options } = this.outfit(spec);
		const { startWallMs } = this.options;
		const host = punctualHost(this.options.host, this.#time);
		const beganMs = host.wallMs();
		const clocked = startWallMs === undefined ? host : { ...host, wallMs: () => startWallMs + host.wallMs() - beganMs };
		const machine = assembleMachine({ ...options, time: "host" }, clocked);
		for (const socket of sockets.values())
			socket.crossing = {
				toCable: (frame, jack) => {
					// Whatever came first goes first.
					this.#time.runDue();
					jack.send(frame);
				},
				wholeToCable: (whole, jack) => {
					this.#time.runDue();
					return jack.sendWhole(whole);
				},
				toMachine: (arrive) => {
					if (machine.state === "created") arrive();
					else if (machine.state !== "stopped") machine.post(arrive);
				},
			};
		return new RuntimeMachine({ machine, macs, sockets, disks: [], leave: () => {} });
	}

	run(): void {
		this.#time.start();
		for (const machine of this.#resting.splice(0)) if (machine.state === "paused") void machine.resume();
	}

	async pause(): Promise<void> {
		const running = [...this.machines.values()].map(({ machine }) => machine).filter(({ state }) => state === "running");
		await Promise.all(running.map((machine) => machine.pause().catch(() => {})));
		this.#resting.push(...running);
		await this.#time.stop();
	}

	async runUntil(untilNs: Ns, isDone: () => boolean = () => false): Promise<void> {
		this.run();
		await new Promise<void>((resolve) => {
			const timer = this.clock.timer("run until", () => {
				if (this.clock.nowNs >= untilNs || isDone()) resolve();
				else timer.arm(Math.min(untilNs, this.clock.nowNs + POLL_NS));
			});
			timer.arm(this.clock.nowNs);
		});
		await this.pause();
	}

	save(): StateValue {
		return { nowNs: this.clock.nowNs, sends: [] };
	}

	load(state: StateValue): void {
		this.#time.set((state as RuntimeState).nowNs);
	}
}

class VirtualRuntime extends Runtime {
	readonly #time: VirtualTime;
	readonly #startWallMs: number;
	/** What comes out of each cable's end. */
	readonly #outOf = new WeakMap<Port, Direction>();

	constructor(options: LabRuntimeOptions) {
		super(options);
		this.#startWallMs = options.startWallMs ?? VIRTUAL_EPOCH_MS;
		this.#time = new VirtualTime(
			options.host,
			({ name }, nowNs) => horizonNs(nowNs, this.#incoming(name)),
			() => (this.#hasBusyDisk() || this.#isEnding() ? options.host.yield() : undefined),
		);
	}

	get clock(): Clock {
		return this.#time.clock;
	}

	override addLink(name: string, spec?: LinkSpecText): Link {
		const link = super.addLink(name, spec);
		this.#outOf.set(link.a, link.down);
		this.#outOf.set(link.b, link.up);
		return link;
	}

	addMachine(spec: LabMachineSpec): LabMachine {
		const { sockets, macs, options } = this.outfit(spec);
		const { name } = spec;
		const member = this.#time.addMember(name);
		const disks = (spec.disks ?? []).map((each) => ({ ...each, disk: new OrderedDisk(each.disk) }));
		const { host, seed } = this.options;
		const own = virtualHost({ host, clock: this.clock, seed, names: [this.options.name, name], startWallMs: this.#startWallMs });
		let machine: Machine;
		try {
			machine = assembleMachine({ ...options, disks, time: "instructions" }, own, { pacemaker: member });
		} catch (error) {
			this.#time.removeMember(member);
			throw error;
		}
		for (const event of ["console", "state", "reset", "exit"] as const) machine.on(event, () => this.#time.eventful());
		for (const socket of sockets.values())
			socket.crossing = {
				toCable: (frame, jack) => member.send(jack, frame),
				toMachine: (arrive) => {
					if (machine.state === "paused") machine.post(arrive);
					else if (machine.state !== "stopped") member.arrive(arrive);
				},
			};
		const leave = () => this.#time.removeMember(member);
		const made = new RuntimeMachine({ machine, macs, sockets, disks: disks.map(({ disk }) => disk), leave });
		this.machines.set(name, made);
		return made;
	}

	run(): void {
		if (!this.#time.isRunning) void this.#time.run();
	}

	pause(): Promise<void> {
		return this.#time.stop();
	}

	async runUntil(untilNs: Ns, isDone?: () => boolean): Promise<void> {
		await this.#time.stop();
		await this.#time.run(untilNs, isDone);
	}

	save(): StateValue {
		this.#time.align();
		const sends = this.#time.pending.map(({ timeNs, jack, frame, rank }) => ({ socket: jack.name, timeNs, frame: frame.slice(), rank }));
		return { nowNs: this.clock.nowNs, sends };
	}

	load(state: StateValue): void {
		const { nowNs, sends } = state as RuntimeState;
		const jacks = new Map([...this.machines.values()].flatMap(({ sockets }) => [...sockets.values()].map(({ jack }) => [jack.name, jack])));
		this.#time.clock.set(nowNs);
		this.#time.pending = sends.flatMap(({ socket, timeNs, frame, rank }) => {
			const jack = jacks.get(socket);
			return jack === undefined ? [] : [{ timeNs, jack, frame: frame.slice(), rank }];
		});
	}

	/** A machine that has ended is still being closed: when others learn of it must not depend on the host's speed. */
	#isEnding(): boolean {
		for (const { machine } of this.machines.values()) if (machine.exit !== undefined && machine.state !== "stopped") return true;
		return false;
	}

	#hasBusyDisk(): boolean {
		for (const { disks } of this.machines.values()) for (const disk of disks) if (disk.isBusy) return true;
		return false;
	}

	/** What leads into a machine. */
	#incoming(name: string): readonly Direction[] {
		const incoming: Direction[] = [];
		for (const { jack } of this.machines.get(name)?.sockets.values() ?? []) {
			const direction = jack.cable === undefined ? undefined : this.#outOf.get(jack.cable);
			if (direction !== undefined) incoming.push(direction);
		}
		return incoming;
	}
}
