import { Session } from "node:inspector/promises";

/** How long the host spent in one function, itself only. */
export interface FunctionTime {
	readonly name: string;
	readonly url: string;
	readonly seconds: number;
}

/** Samples this process's own main thread with the profiler that Node brings, from `start` to `stop`. */
export class CpuProfiler {
	readonly #session = new Session();

	/** @param intervalUs between two samples */
	async start(intervalUs = 1000): Promise<void> {
		this.#session.connect();
		await this.#session.post("Profiler.enable");
		await this.#session.post("Profiler.setSamplingInterval", { interval: intervalUs });
		await this.#session.post("Profiler.start");
	}

	async stop(): Promise<readonly FunctionTime[]> {
		const { profile } = await this.#session.post("Profiler.stop");
		this.#session.disconnect();
		const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
		const times = new Map<string, { name: string; url: string; seconds: number }>();
		const { samples = [], timeDeltas = [] } = profile;
		for (const [i, id] of samples.entries()) {
			const { functionName: name, url } = frames.get(id) ?? { functionName: "", url: "" };
			const key = `${name} ${url}`;
			const seconds = (timeDeltas[i] ?? 0) / 1e6;
			const known = times.get(key);
			if (known === undefined) times.set(key, { name, url, seconds });
			else known.seconds += seconds;
		}
		return [...times.values()];
	}
}
