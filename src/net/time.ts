import { assert } from "../base/assert.ts";
import type { Ns } from "../base/units.ts";

/** A one-shot alarm; structurally the machine's own timer, so that links run on a machine's clock or a lab's. */
export interface Timer {
	arm(deadlineNs: Ns): void;
	disarm(): void;
	readonly isArmed: boolean;
	/** Valid while armed. */
	readonly deadlineNs: Ns;
}

export interface Clock {
	readonly nowNs: Ns;
	timer(name: string, onExpire: (deadlineNs: Ns) => void): Timer;
}

class QueueTimer implements Timer {
	isArmed = false;
	deadlineNs: Ns = 0;
	/** Arms are numbered: of two alarms at one time, the one armed first goes off first, on every host. */
	order = 0;
	heapIndex = -1;
	readonly name: string;
	readonly onExpire: (deadlineNs: Ns) => void;
	readonly #owner: TimerHeap;

	constructor(owner: TimerHeap, name: string, onExpire: (deadlineNs: Ns) => void) {
		this.#owner = owner;
		this.name = name;
		this.onExpire = onExpire;
	}

	arm(deadlineNs: Ns): void {
		assert(Number.isFinite(deadlineNs), `timer ${this.name}: deadline ${deadlineNs}`);
		if (this.isArmed) this.#owner.remove(this);
		this.deadlineNs = Math.ceil(deadlineNs);
		this.isArmed = true;
		this.#owner.insert(this);
	}

	disarm(): void {
		if (!this.isArmed) return;
		this.isArmed = false;
		this.#owner.remove(this);
	}
}

/** Alarms by deadline. An unarmed timer is referenced by its owner only, so timers may come and go by the thousand. */
class TimerHeap {
	readonly #heap: QueueTimer[] = [];
	#armed = 0;
	readonly #onFirstChanged: () => void;

	constructor(onFirstChanged: () => void) {
		this.#onFirstChanged = onFirstChanged;
	}

	get first(): QueueTimer | undefined {
		return this.#heap[0];
	}

	insert(timer: QueueTimer): void {
		timer.order = this.#armed++;
		timer.heapIndex = this.#heap.length;
		this.#heap.push(timer);
		this.#up(timer);
		if (timer.heapIndex === 0) this.#onFirstChanged();
	}

	remove(timer: QueueTimer): void {
		const index = timer.heapIndex;
		const last = this.#heap.pop() as QueueTimer;
		if (last !== timer) {
			this.#heap[index] = last;
			last.heapIndex = index;
			this.#up(last);
			this.#down(last);
		}
		timer.heapIndex = -1;
		if (index === 0) this.#onFirstChanged();
	}

	/** Takes the earliest alarm off, if it is due at `nowNs`, and fires it. */
	fireFirst(nowNs: Ns): boolean {
		const timer = this.#heap[0];
		if (timer === undefined || timer.deadlineNs > nowNs) return false;
		timer.disarm();
		timer.onExpire(timer.deadlineNs);
		return true;
	}

	#isBefore(a: QueueTimer, b: QueueTimer): boolean {
		return a.deadlineNs < b.deadlineNs || (a.deadlineNs === b.deadlineNs && a.order < b.order);
	}

	#up(timer: QueueTimer): void {
		const heap = this.#heap;
		let index = timer.heapIndex;
		while (index > 0) {
			const above = (index - 1) >> 1;
			const parent = heap[above] as QueueTimer;
			if (!this.#isBefore(timer, parent)) break;
			heap[index] = parent;
			parent.heapIndex = index;
			index = above;
		}
		heap[index] = timer;
		timer.heapIndex = index;
	}

	#down(timer: QueueTimer): void {
		const heap = this.#heap;
		let index = timer.heapIndex;
		for (;;) {
			let below = 2 * index + 1;
			if (below >= heap.length) break;
			if (below + 1 < heap.length && this.#isBefore(heap[below + 1] as QueueTimer, heap[below] as QueueTimer)) below++;
			const child = heap[below] as QueueTimer;
			if (!this.#isBefore(child, timer)) break;
			heap[index] = child;
			child.heapIndex = index;
			index = below;
		}
		heap[index] = timer;
		timer.heapIndex = index;
	}
}

/** Many short-lived timers behind one timer of `clock`: a node with a thousand connections arms one alarm. */
export class TimerQueue implements Clock {
	readonly #clock: Clock;
	readonly #timer: Timer;
	readonly #heap: TimerHeap;
	#isFiring = false;

	constructor(clock: Clock, name: string) {
		this.#clock = clock;
		this.#heap = new TimerHeap(() => this.#rearm());
		this.#timer = clock.timer(name, (deadlineNs) => {
			// Alarms behind a deadline that has just come are fired with it, each seeing its own time.
			this.#isFiring = true;
			while (this.#heap.fireFirst(deadlineNs));
			this.#isFiring = false;
			this.#rearm();
		});
	}

	get nowNs(): Ns {
		return this.#clock.nowNs;
	}

	timer(name: string, onExpire: (deadlineNs: Ns) => void): Timer {
		return new QueueTimer(this.#heap, name, onExpire);
	}

	#rearm(): void {
		if (this.#isFiring) return;
		const first = this.#heap.first;
		if (first === undefined) this.#timer.disarm();
		else if (!this.#timer.isArmed || this.#timer.deadlineNs !== first.deadlineNs) this.#timer.arm(first.deadlineNs);
	}
}

/** Virtual time: it stands still while something happens and jumps to the next alarm, so idle time costs nothing. */
export class VirtualClock implements Clock {
	#nowNs: Ns;
	readonly #heap = new TimerHeap(() => {});

	constructor(startNs: Ns = 0) {
		this.#nowNs = startNs;
	}

	get nowNs(): Ns {
		return this.#nowNs;
	}

	/** Infinity when nothing is armed. */
	get nextDeadlineNs(): Ns {
		return this.#heap.first?.deadlineNs ?? Number.POSITIVE_INFINITY;
	}

	timer(name: string, onExpire: (deadlineNs: Ns) => void): Timer {
		return new QueueTimer(this.#heap, name, onExpire);
	}

	/** Another time, as a snapshot has it. What is armed stays so: whoever is loaded sets its own. */
	set(nowNs: Ns): void {
		this.#nowNs = nowNs;
	}

	/** Fires every alarm up to and including `endNs`, each at its own time, and stops there. */
	runUntil(endNs: Ns): void {
		while (this.nextDeadlineNs <= endNs) this.step();
		if (endNs > this.#nowNs) this.#nowNs = endNs;
	}

	advance(byNs: Ns): void {
		this.runUntil(this.#nowNs + byNs);
	}

	/** Jumps to the next alarm and fires it; false when there is none. */
	step(): boolean {
		const first = this.#heap.first;
		if (first === undefined) return false;
		if (first.deadlineNs > this.#nowNs) this.#nowNs = first.deadlineNs;
		return this.#heap.fireFirst(this.#nowNs);
	}
}
