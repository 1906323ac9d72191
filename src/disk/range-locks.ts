/** A claim on the units [first, last]. */
export interface RangeClaim {
	readonly first: number;
	readonly last: number;
	readonly isExclusive: boolean;
}

interface Waiter extends RangeClaim {
	wake: (() => void) | undefined;
}

/**
 * Shared and exclusive claims on ranges of a disk, served in order of arrival: whoever changes where something lies keeps
 * readers of it out, and everybody else goes on.
 */
export class RangeLocks {
	/** Holders and waiters, oldest first. */
	readonly #queue: Waiter[] = [];

	/** Answers at once (no promise) where nothing stands in the way. */
	acquire(first: number, last: number, isExclusive: boolean): RangeClaim | Promise<RangeClaim> {
		const waiter: Waiter = { first, last, isExclusive, wake: undefined };
		const isFree = !this.#queue.some((other) => conflict(other, waiter));
		this.#queue.push(waiter);
		if (isFree) return waiter;
		return new Promise((resolve) => {
			waiter.wake = () => resolve(waiter);
		});
	}

	/** Whether a claim would be answered at once: for work that is over before anybody else gets to run. */
	isFree(first: number, last: number, isExclusive: boolean): boolean {
		const claim: RangeClaim = { first, last, isExclusive };
		return !this.#queue.some((other) => conflict(other, claim));
	}

	release(claim: RangeClaim): void {
		this.#queue.splice(this.#queue.indexOf(claim as Waiter), 1);
		for (const [index, waiter] of this.#queue.entries()) {
			if (waiter.wake === undefined || !conflict(claim, waiter)) continue;
			if (this.#queue.slice(0, index).some((earlier) => conflict(earlier, waiter))) continue;
			const { wake } = waiter;
			waiter.wake = undefined;
			wake();
		}
	}
}

function conflict(a: RangeClaim, b: RangeClaim): boolean {
	return a.first <= b.last && b.first <= a.last && (a.isExclusive || b.isExclusive);
}
