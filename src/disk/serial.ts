/** Runs asynchronous work one piece at a time, in the order it came. */
export class Serial {
	#last: Promise<unknown> = Promise.resolve();

	run<Result>(work: () => Promise<Result>): Promise<Result> {
		const result = this.#last.then(work);
		this.#last = result.catch(() => {});
		return result;
	}
}
