import { assert } from "../../base/assert.ts";
import type { Ns } from "../../base/units.ts";
import type { Jack } from "../../net/port.ts";
import { VirtualClock } from "../../net/time.ts";
import type { Host } from "../../vm/host.ts";
import type { PacedMachine, Pacemaker } from "../../vm/pace.ts";

/** Longest turn: whoever watches the lab is asked at least as often. */
const MAX_TURN_NS: Ns = 10_000_000;
/** Turns between two looks at the host's events. By count, so that what follows from them does not depend on the host's speed. */
const TURNS_PER_YIELD = 64;

/** A frame that a guest has sent, and the network's time has not come to yet. */
export interface PendingSend {
	readonly timeNs: Ns;
	readonly jack: Jack;
	readonly frame: Uint8Array;
}

/** A machine's membership: its own time, and the lab's, differ by when it was started and how long it stood still. */
export class VirtualMember implements Pacemaker {
	readonly name: string;
	readonly #time: VirtualTime;
	machine: PacedMachine | undefined;
	/** Lab time less the machine's. */
	offsetNs: Ns = 0;

	constructor(time: VirtualTime, name: string) {
		this.#time = time;
		this.name = name;
	}

	join(machine: PacedMachine): void {
		this.machine = machine;
		this.offsetNs = this.#time.clock.nowNs - machine.nowNs;
	}

	leave(): void {
		this.machine = undefined;
	}

	wake(): void {
		this.#time.eventful();
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
		this.#time.pending.push({ timeNs: this.nowNs, jack, frame });
	}
}

/**
 * One time for machines and links. It goes in turns: all machines advance to the same moment, then the network does, with
 * what they have sent in the order and at the times of sending. A turn ends before anything sent in it can arrive, and
 * where the network has something to do already, so a frame meets its receiver at exactly its time. (Conservative
 * synchronisation: Chandy and Misra, "Asynchronous distributed simulation via a sequence of parallel computations", 1981.)
 */
export class VirtualTime {
	readonly clock = new VirtualClock();
	readonly #host: Host;
	/** By name, so that nothing depends on who was there first. */
	#members: readonly VirtualMember[] = [];
	/** How soon what a machine sends can be with another. */
	readonly #lookahead: () => Ns;
	/** What has to be done on the host before time may go on: disks. */
	readonly #settle: () => Promise<void> | undefined;
	pending: PendingSend[] = [];
	#isAsked = true;
	#isEventful = false;
	#loop: Promise<void> = Promise.resolve();

	constructor(host: Host, lookahead: () => Ns, settle: () => Promise<void> | undefined) {
		this.#host = host;
		this.#lookahead = lookahead;
		this.#settle = settle;
	}

	addMember(name: string): VirtualMember {
		const member = new VirtualMember(this, name);
		this.#members = [...this.#members, member].sort((a, b) => (a.name < b.name ? -1 : 1));
		return member;
	}

	removeMember(member: VirtualMember): void {
		this.#members = this.#members.filter((other) => other !== member);
	}

	/** Something has happened that somebody outside may want to act on before time goes on. */
	eventful(): void {
		this.#isEventful = true;
	}

	get isRunning(): boolean {
		return !this.#isAsked;
	}

	/** Runs until `untilNs`, `isDone` or `stop`. */
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

	async #run(untilNs: Ns, isDone: () => boolean): Promise<void> {
		for (let turns = 1; !this.#isAsked && this.clock.nowNs < untilNs && !isDone(); turns++) {
			this.#turn(untilNs);
			for (let work = this.#settle(); work !== undefined; work = this.#settle()) await work;
			if (!this.#isEventful && turns % TURNS_PER_YIELD !== 0) continue;
			this.#isEventful = false;
			await this.#host.yield();
		}
	}

	#turn(untilNs: Ns): void {
		const { clock } = this;
		const nowNs = clock.nowNs;
		let firstActionNs = Number.POSITIVE_INFINITY;
		for (const member of this.#members) firstActionNs = Math.min(firstActionNs, member.nextActionNs);
		const firstSendNs = Math.max(nowNs, firstActionNs);
		const endNs = Math.min(
			untilNs,
			clock.nextDeadlineNs,
			firstSendNs + Math.min(this.#lookahead(), MAX_TURN_NS),
			nowNs + 100 * MAX_TURN_NS,
		);
		for (const member of this.#members) member.machine?.advance(endNs - member.offsetNs);
		if (this.pending.length > 0) this.#carryAcross(endNs);
		clock.runUntil(endNs);
	}

	/** What machines have sent goes into the network, each at its time; what lies behind the turn's end waits for the next. */
	#carryAcross(endNs: Ns): void {
		// A stable sort: of two sent at one moment the machine that comes first by name is first.
		const pending = this.pending.sort((a, b) => a.timeNs - b.timeNs);
		const later = pending.findIndex(({ timeNs }) => timeNs > endNs);
		const due = later < 0 ? pending : pending.slice(0, later);
		this.pending = later < 0 ? [] : pending.slice(later);
		for (const { timeNs, jack, frame } of due) {
			this.clock.runUntil(timeNs);
			jack.send(frame);
		}
	}
}
