/** Typed events: `Events` maps a name to what its listeners get. */
export class Emitter<Events extends object> {
	readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>();

	/** Listens from now on; the function returned ends it. */
	on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
		const listeners = this.#listeners.get(name) ?? new Set();
		this.#listeners.set(name, listeners);
		listeners.add(listener);
		return () => listeners.delete(listener);
	}

	/** The next event of that name. */
	once<Name extends keyof Events>(name: Name): Promise<Events[Name]> {
		return new Promise((resolve) => {
			const off = this.on(name, (event) => {
				off();
				resolve(event);
			});
		});
	}

	emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
		for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(event as never);
	}
}
