import { NS_PER_MS, type Ns } from "../base/units.ts";
import type { CpuEngine } from "./engine.ts";
import type { Host, Sleep } from "./host.ts";
import type { PacedMachine, Pacemaker } from "./pace.ts";
import type { TimeKeeper } from "./time.ts";

/** Longest stretch without looking at the inbox and the host's events: what a key press or a finished read may have to wait. */
const SLICE_NS = 2 * NS_PER_MS;
/** With several CPUs on one thread, how long each runs before the next one does: a spin lock's holder gets on soon. */
const TURN_NS = NS_PER_MS / 5;

export interface RunnerStats {
	/** Times the machine let the host's events in. */
	slices: number;
	/** Times it had nothing to do and slept. */
	sleeps: number;
	sleptNs: number;
}

/**
 * The machine's loop: timers, CPUs, the outside's messages, sleep. Everything that touches the machine happens in here,
 * one thing after another; `post` is how the outside gets in.
 */
export class Runner implements PacedMachine {
	readonly stats: RunnerStats = { slices: 0, sleeps: 0, sleptNs: 0 };
	readonly #host: Host;
	readonly #time: TimeKeeper;
	readonly #cpus: readonly CpuEngine[];
	readonly #pacemaker: Pacemaker | undefined;
	readonly #inbox: (() => void)[] = [];
	/** Called before CPU `index` runs. */
	onTurn: (index: number) => void = () => {};
	/** Called whenever the CPUs come to a rest, before the host's events are let in. */
	onSliceEnd: () => void = () => {};
	#sleep: Sleep | undefined;
	#isAsked = false;
	#running: CpuEngine | undefined;
	/** Ends `run` when a pacemaker gives out the time. */
	#endPaced: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;
	#isAdvancing = false;

	/** @param pacemaker gives out the time; without one the machine takes it itself */
	constructor(host: Host, time: TimeKeeper, cpus: readonly CpuEngine[], pacemaker?: Pacemaker) {
		this.#pacemaker = pacemaker;
		this.#host = host;
		this.#time = time;
		this.#cpus = cpus;
		time.clock.onDeadlineMoved = (deadlineNs) => {
			this.#running?.hasten(deadlineNs);
			this.#sleep?.wake();
		};
		// A guest that polls the time sees its timers fire when their time has come, not at the end of the slice.
		time.clock.onOverdue = () => this.#running?.stop();
		for (const cpu of cpus) cpu.onWake = () => this.#sleep?.wake();
	}

	/** Has `message` carried out between two slices; soon, if the machine runs, else when it next does. */
	post(message: () => void): void {
		this.#inbox.push(message);
		this.#running?.stop();
		this.#sleep?.wake();
		this.#pacemaker?.wake();
	}

	/** Makes `run` resolve after the instruction at hand. */
	halt(): void {
		this.#isAsked = true;
		this.#running?.stop();
		this.#sleep?.wake();
		if (!this.#isAdvancing) this.#endPaced?.resolve();
	}

	/** Runs until `halt`. */
	async run(): Promise<void> {
		this.#isAsked = false;
		this.#time.start();
		try {
			if (this.#pacemaker !== undefined) await this.#runPaced(this.#pacemaker);
			while (!this.#isAsked) {
				this.#drain();
				if (this.#isAsked) break;
				const sliceEndNs = this.#time.clock.nowNs + SLICE_NS;
				const hasWork = this.#slice(sliceEndNs);
				this.onSliceEnd();
				if (this.#isAsked) break;
				if (hasWork || this.#inbox.length > 0) {
					this.stats.slices++;
					await this.#host.yield();
				} else await this.#idle();
			}
		} finally {
			this.#time.stop();
		}
	}

	async #runPaced(pacemaker: Pacemaker): Promise<void> {
		const end = new Promise<void>((resolve, reject) => {
			this.#endPaced = { resolve, reject };
		});
		pacemaker.join(this);
		try {
			await end;
		} finally {
			this.#endPaced = undefined;
			pacemaker.leave(this);
		}
	}

	get nowNs(): Ns {
		return this.#time.clock.nowNs;
	}

	get nextActionNs(): Ns {
		const { clock } = this.#time;
		const hasWork = this.#inbox.length > 0 || this.#cpus.some((cpu) => !cpu.isHalted);
		return hasWork ? clock.nowNs : clock.nextDeadlineNs;
	}

	pass(untilNs: Ns): void {
		if (this.#cpus.every((cpu) => cpu.isHalted)) this.#time.idle(Math.min(untilNs, this.#time.clock.nextDeadlineNs));
	}

	advance(untilNs: Ns): void {
		if (this.#endPaced === undefined || this.#isAsked) return;
		const { clock } = this.#time;
		this.#isAdvancing = true;
		try {
			while (!this.#isAsked) {
				this.#drain();
				const hasWork = this.#slice(untilNs);
				if (this.#inbox.length > 0) continue;
				if (hasWork || clock.nowNs >= untilNs) break;
				this.#time.idle(Math.min(clock.nextDeadlineNs, untilNs));
			}
			this.stats.slices++;
			this.onSliceEnd();
		} catch (error) {
			this.#endPaced.reject(error);
			return;
		} finally {
			this.#isAdvancing = false;
		}
		if (this.#isAsked) this.#endPaced.resolve();
	}

	/** Carries out messages until `work` is done: what it waits for may have to come in that way. */
	async drainWhile(work: Promise<void>): Promise<void> {
		let isDone = false;
		const settle = () => {
			isDone = true;
		};
		work.then(settle, settle);
		while (!isDone) {
			this.#drain();
			await this.#host.yield();
		}
		await work;
	}

	#drain(): void {
		for (let message = this.#inbox.shift(); message !== undefined; message = this.#inbox.shift()) message();
	}

	/** Timers and CPUs until `endNs`; false as soon as every CPU waits for something. */
	#slice(endNs: Ns): boolean {
		const { clock } = this.#time;
		while (!this.#isAsked && this.#inbox.length === 0) {
			clock.runDue();
			const nowNs = clock.nowNs;
			if (nowNs >= endNs) return true;
			let hasRun = false;
			for (const [index, cpu] of this.#cpus.entries()) {
				if (cpu.isHalted || this.#isAsked) continue;
				hasRun = true;
				const turnEndNs = this.#cpus.length === 1 ? endNs : Math.min(endNs, clock.nowNs + TURN_NS);
				this.#running = cpu;
				this.onTurn(index);
				try {
					cpu.run(Math.min(turnEndNs, clock.nextDeadlineNs));
				} finally {
					this.#running = undefined;
				}
			}
			if (!hasRun && clock.nextDeadlineNs > clock.nowNs) return false;
		}
		return true;
	}

	/** All CPUs wait. Work that is under way on the host may end that, so the host's events come first. */
	async #idle(): Promise<void> {
		await this.#host.yield();
		if (this.#isAsked || this.#inbox.length > 0 || this.#cpus.some((cpu) => !cpu.isHalted)) return;
		const delayNs = this.#time.idle(this.#time.clock.nextDeadlineNs);
		if (delayNs <= 0) {
			this.#time.awake();
			return;
		}
		const beganNs = this.#host.nowNs();
		this.#sleep = this.#host.sleep(delayNs);
		await this.#sleep.done;
		this.#sleep = undefined;
		this.#time.awake();
		this.stats.sleeps++;
		this.stats.sleptNs += this.#host.nowNs() - beganNs;
	}
}
