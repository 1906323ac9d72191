import type { StateValue } from "../base/json.ts";
import type { Ns } from "../base/units.ts";
import type { Mac } from "../net/frames/address.ts";
import type { Link } from "../net/link/link.ts";
import type { LinkSpecText } from "../net/link/spec.ts";
import type { Jack } from "../net/port.ts";
import type { Clock } from "../net/time.ts";
import type { MachineOptions } from "../vm/config.ts";
import type { Host } from "../vm/host.ts";
import type { Machine } from "../vm/machine.ts";

/** Which card the guest finds: paravirtual; Intel 82545EM; Realtek RTL8029 (an NE2000 on PCI). */
export type NicModel = "virtio" | "e1000" | "ne2k-pci";

export interface LabNicSpec {
	/** Within its machine; what `LabMachine.port` and lab files call it ("nic0", "wan"). */
	readonly name: string;
	readonly model?: NicModel;
	/** By default made of the lab's, the machine's and the card's name: the same at every start (`stableMac`). */
	readonly mac?: Mac;
}

/** A machine as the core takes it (files are read, disks are open); the runtime adds its time, its chance and its cards. */
export type LabMachineSpec = Omit<MachineOptions, "time" | "nics" | "name"> & {
	readonly name: string;
	readonly nics?: readonly LabNicSpec[];
};

/** The machine itself, or what stands for it while it lives on a thread of its own (its `stats` are then a moment old). */
export type LabGuest = Pick<
	Machine,
	| ("name" | "config" | "state" | "exit" | "stats" | "console" | "consoles" | "on" | "waitFor" | "finished")
	| ("start" | "pause" | "resume" | "stop" | "pressPowerButton")
>;

/** A machine in a lab. Its life (`start`, `pause`, `stop`, consoles, exit) is the machine's own. */
export interface LabMachine {
	readonly name: string;
	readonly machine: LabGuest;
	/** Resolves when it has been put together; rejects with what is wrong with it. */
	readonly ready: Promise<void>;
	readonly macs: ReadonlyMap<string, Mac>;
	/** Where the cable of a card goes in, as with a switch's or a router's ports: `.plug(link.a)`. @throws MachineError `config` for an unknown card */
	port(nic: string): Jack;
}

export interface LabRuntimeOptions {
	/** With `seed` and a machine's name: its MAC addresses, and in virtual time all its chance. */
	readonly name: string;
	readonly seed: number | string;
	/**
	 * `realtime`: machines and links follow the host's clock. `virtual`: machines count instructions (one nanosecond
	 * each), all in one time with the links; nobody waits, and the same lab does the same to the last byte.
	 */
	readonly time: "realtime" | "virtual";
	readonly host: Host;
	/** What guests' clocks show at the start, in milliseconds since 1970. By default the host's, in virtual time 2026-01-01. */
	readonly startWallMs?: number;
	/** The host's way to give every machine a thread of its own, in realtime; without it all of them share the lab's. */
	readonly threads?: MachineThreads;
}

export interface ThreadOptions {
	/** Its cards have no ports yet: they are those of `cards`, one for one. */
	readonly machine: Omit<MachineOptions, "nics" | "name"> & { readonly name: string };
	readonly cards: readonly { readonly jack: Jack; readonly model: NicModel; readonly mac: Mac }[];
	/** Where its clock begins, if not at the host's time. */
	readonly startWallMs: number | undefined;
	/** Lets the lab's alarms go off that are due, before frames from a machine are sent and behind them. Returns the time until the next one. */
	readonly runDue: () => Ns;
}

/** A host's threads for machines. Links and nodes stay where the lab is. */
export interface MachineThreads {
	/** Has a machine put together on a thread. @throws MachineError `config` for what can be seen at once; the rest comes by `ready` */
	place(options: ThreadOptions): { readonly guest: LabGuest; readonly ready: Promise<void>; readonly leave: () => void };
}

/**
 * Several machines and the cables between them in one time (`createLabRuntime` in `lab-runtime.ts` makes it).
 *
 * Build links, switches, routers and NATs with `clock`; they may use it before anything runs. In virtual time a frame
 * that a guest sends enters its cable at exactly the guest's time, and one that arrives is with the guest at exactly its
 * own; machines run in turns, each no further than the least time that a frame needs between two of them. In realtime
 * frames are handed on as they come.
 */
export interface LabRuntime extends AsyncDisposable {
	readonly options: LabRuntimeOptions;
	/** Lab time, from 0. Timers armed on it fire between the machines' turns: a timeline is made of those. */
	readonly clock: Clock;
	readonly machines: ReadonlyMap<string, LabMachine>;
	/** Puts a machine together, not started; on a thread of its own it takes until `ready`. @throws MachineError, PcError */
	addMachine(spec: LabMachineSpec): LabMachine;
	/** Stops it and takes it out. */
	removeMachine(name: string): Promise<void>;
	readonly links: ReadonlyMap<string, Link>;
	/**
	 * A cable in the lab's time and with its seed; plug its ends into ports. In virtual time the machines' turns are as
	 * long as a frame needs at the least through any cable that is plugged into a machine; one without delay and without
	 * rate counts as `MIN_LOOKAHEAD_NS`, by which its frames may come late. Change it with `Link.set` as you like.
	 * @throws SpecError when `spec` is wrong; MachineError `config` when the name is taken
	 */
	addLink(name: string, spec?: LinkSpecText): Link;
	/** Unplug its ends first. */
	removeLink(name: string): void;
	/** Time runs from now on; machines that are started go on with it. */
	run(): void;
	/** Time stands still; resolves when every machine has come to a rest. In virtual time all of them at the same moment. */
	pause(): Promise<void>;
	/** `run`, then `pause` at lab time `untilNs` or as soon as `isDone` (asked between turns) says so. */
	runUntil(untilNs: Ns, isDone?: () => boolean): Promise<void>;
	/** While paused: frames between cards and cables. Machines, links and nodes save themselves. */
	save(): StateValue;
	load(state: StateValue): void;
}

/** What a cable without delay and without rate costs in virtual time. */
export const MIN_LOOKAHEAD_NS: Ns = 10_000;
