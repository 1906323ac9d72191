import { assert } from "../../base/assert.ts";
import type { Ns } from "../../base/units.ts";
import type { Jack } from "../../net/port.ts";
import { VirtualClock } from "../../net/time.ts";
import type { Host } from "../../vm/host.ts";
import type { PacedMachine, Pacemaker } from "../../vm/pace.ts";

/** Longest idle stretch passed in one go. */
const IDLE_STEP_NS: Ns = 1_000_000_000;
/** Slices between two looks at the host's events. By count, so that what follows from them does not depend on the host's speed. */
const SLICES_PER_YIELD = 64;

/** A frame that a guest has sent, and the network's time has not come to yet. */
export interface PendingSend {
	readonly timeNs: Ns;
	readonly jack: Jack;
	readonly frame: Uint8Array;
	/** Of its machine among all, by name: who comes first of those who send at one moment. */
	readonly rank: number;
}

/** A machine's membership: its own time, and the lab's, differ by when it was started and how long it stood still. */
export class VirtualMember implements Pacemaker {
	readonly name: string;
	readonly #time: VirtualTime;
	machine: PacedMachine | undefined;
	/** Its place among all, by name. */
	rank = 0;
	/** Lab time less the machine's. */
	offsetNs: Ns = 0;

	constructor(time: VirtualTime, name: string) {
		this.#time = time;
		this.name = name;
	}

	join(machine: PacedMachine): void {
		this.machine = machine;
		this.offsetNs = this.#time.clock.nowNs - machine.nowNs;
		this.#time.arrived();
	}

	leave(): void {
		this.machine = undefined;
	}

	wake(): void {
		this.#time.eventful();
		this.#time.arrived();
	}

	/** The machine's present, in lab time. */
	get nowNs(): Ns {
		return this.machine === undefined ? this.#time.clock.nowNs : this.machine.nowNs + this.offsetNs;
	}

	get nextActionNs(): Ns {
		return this.machine === undefined ? Number.POSITIVE_INFINITY : this.machine.nextActionNs + this.offsetNs;
	}

	/** The guest sends: the frame goes into its cable when lab time has come to where the machine is now. */
	send(jack: Jack, frame: Uint8Array): void {
		this.#time.post({ timeNs: this.nowNs, jack, frame, rank: this.rank });
	}

	/** Something arrives at the machine: its time passes up to now, and what it does about it comes next. */
	arrive(what: () => void): void {
		const { clock } = this.#time;
		this.pass(clock.nowNs);
		what();
		this.#time.arrived();
	}

	advance(untilNs: Ns): void {
		this.machine?.advance(untilNs - this.offsetNs);
	}

	/** A machine at rest is left behind; before it does anything its time has to pass. */
	pass(untilNs: Ns): void {
		if (this.nowNs < untilNs) this.machine?.pass(untilNs - this.offsetNs);
	}
}

/**
 * One time for machines and links. Whoever is furthest behind goes on: the network up to where the first machine has
 * something to do, then that machine, alone, as far as nothing can reach it (`horizon`). So a frame meets its receiver at
 * exactly its time, and where a machine's slices end depends on its own cables only. (Conservative synchronisation: Chandy
 * and Misra, "Asynchronous distributed simulation via a sequence of parallel computations", 1981.)
 */
export class VirtualTime {
	readonly clock = new VirtualClock();
	readonly #host: Host;
	/** By name, so that nothing depends on who was there first. */
	#members: readonly VirtualMember[] = [];
	/** How far a machine may go that is at `nowNs`, the network being there too. */
	readonly #horizon: (member: VirtualMember, nowNs: Ns) => Ns;
	/** What has to be done on the host before time may go on: disks. */
	readonly #settle: () => Promise<void> | undefined;
	/** By time; of equal times, by rank, then as sent. */
	#pending: PendingSend[] = [];
	#isAsked = true;
	#isEventful = false;
	#hasArrived = false;
	#loop: Promise<void> = Promise.resolve();

	constructor(host: Host, horizon: (member: VirtualMember, nowNs: Ns) => Ns, settle: () => Promise<void> | undefined) {
		this.#host = host;
		this.#horizon = horizon;
		this.#settle = settle;
	}

	get pending(): readonly PendingSend[] {
		return this.#pending;
	}

	set pending(sends: readonly PendingSend[]) {
		this.#pending = [...sends];
	}

	addMember(name: string): VirtualMember {
		const member = new VirtualMember(this, name);
		this.#members = [...this.#members, member].sort((a, b) => (a.name < b.name ? -1 : 1));
		for (const [rank, each] of this.#members.entries()) each.rank = rank;
		return member;
	}

	removeMember(member: VirtualMember): void {
		this.#members = this.#members.filter((other) => other !== member);
		for (const [rank, each] of this.#members.entries()) each.rank = rank;
	}

	/** Something has happened that somebody outside may want to act on before time goes on. */
	eventful(): void {
		this.#isEventful = true;
	}

	/** A machine has got something: it may be the next to act. */
	arrived(): void {
		this.#hasArrived = true;
	}

	post(send: PendingSend): void {
		const pending = this.#pending;
		let at = pending.length;
		for (; at > 0; at--) {
			const before = pending[at - 1] as PendingSend;
			if (before.timeNs < send.timeNs || (before.timeNs === send.timeNs && before.rank <= send.rank)) break;
		}
		pending.splice(at, 0, send);
	}

	get isRunning(): boolean {
		return !this.#isAsked;
	}

	/** Runs until `untilNs`, `isDone` or `stop`. Machines may be a little ahead afterwards (`align`). */
	run(untilNs: Ns = Number.POSITIVE_INFINITY, isDone: () => boolean = () => false): Promise<void> {
		assert(this.#isAsked, "time runs already");
		this.#isAsked = false;
		this.#loop = this.#run(untilNs, isDone).finally(() => {
			this.#isAsked = true;
		});
		return this.#loop;
	}

	async stop(): Promise<void> {
		this.#isAsked = true;
		await this.#loop.catch(() => {});
	}

	/** While it stands still: takes everybody to the moment at which the foremost is. */
	align(): void {
		const present = this.#members.filter(({ machine }) => machine !== undefined);
		const toNs = Math.max(this.clock.nowNs, ...present.map(({ nowNs }) => nowNs));
		for (let member = this.#first(); member !== undefined && member.nextActionNs < toNs; member = this.#first()) {
			const nowNs = Math.max(this.clock.nowNs, member.nextActionNs);
			if (!this.#network(nowNs)) this.#act(member, nowNs, toNs);
		}
		while (this.#network(toNs));
		for (const member of present) if (member.nowNs < toNs) member.advance(toNs);
	}

	async #run(untilNs: Ns, isDone: () => boolean): Promise<void> {
		for (let slices = 1; !this.#isAsked && this.clock.nowNs < untilNs && !isDone(); slices++) {
			this.#step(untilNs);
			for (let work = this.#settle(); work !== undefined; work = this.#settle()) await work;
			if (!this.#isEventful && slices % SLICES_PER_YIELD !== 0) continue;
			this.#isEventful = false;
			await this.#host.yield();
		}
	}

	/** Who acts first; of those at one moment, the first by name. */
	#first(): VirtualMember | undefined {
		let first: VirtualMember | undefined;
		let firstNs = Number.POSITIVE_INFINITY;
		for (const member of this.#members) {
			const actionNs = member.nextActionNs;
			if (actionNs < firstNs) [first, firstNs] = [member, actionNs];
		}
		return first;
	}

	#step(untilNs: Ns): void {
		const { clock } = this;
		const member = this.#first();
		const actionNs = Math.max(clock.nowNs, member?.nextActionNs ?? Number.POSITIVE_INFINITY);
		// Without end, idle time would have to be passed in one go.
		const toNs = Math.min(actionNs, untilNs, clock.nowNs + IDLE_STEP_NS);
		if (this.#network(toNs) || member === undefined || toNs < actionNs || toNs >= untilNs) return;
		this.#act(member, actionNs, Number.POSITIVE_INFINITY);
	}

	#act(member: VirtualMember, nowNs: Ns, limitNs: Ns): void {
		member.pass(nowNs);
		member.advance(Math.min(limitNs, this.#horizon(member, nowNs)));
	}

	/** Links and nodes up to `toNs`, with what machines have sent, each at its time. True as soon as a machine has got something. */
	#network(toNs: Ns): boolean {
		const { clock } = this;
		this.#hasArrived = false;
		for (;;) {
			const sendNs = this.#pending[0]?.timeNs ?? Number.POSITIVE_INFINITY;
			const eventNs = clock.nextDeadlineNs;
			if (Math.min(sendNs, eventNs) > toNs) break;
			if (eventNs <= sendNs) clock.step();
			else {
				const { timeNs, jack, frame } = this.#pending.shift() as PendingSend;
				clock.runUntil(timeNs);
				jack.send(frame);
			}
			if (this.#hasArrived || this.#isAsked) return true;
		}
		clock.runUntil(toNs);
		return false;
	}
}
