/** Runs asynchronous work one piece at a time, in the order it came. */
export class Serial {
	#last: Promise<unknown> = Promise.resolve();
	#pending = 0;

	/** Nothing is under way or waits. */
	get isIdle(): boolean {
		return this.#pending === 0;
	}

	run<Result>(work: () => Promise<Result>): Promise<Result> {
		this.#pending++;
		const result = this.#last.then(work);
		const end = () => {
			this.#pending--;
		};
		this.#last = result.then(end, end);
		return result;
	}
}
