import type { LabMachine, LabRuntime, LabRuntimeOptions } from "../../src/lab/index.ts";
import { Link, type LinkSpecText, VirtualClock } from "../../src/net/index.ts";

/** Virtual time for labs without machines. */
export class PlainRuntime implements LabRuntime {
	readonly options: LabRuntimeOptions;
	readonly clock = new VirtualClock();
	readonly machines: ReadonlyMap<string, LabMachine> = new Map();
	readonly links = new Map<string, Link>();

	constructor(name: string, seed: number | string) {
		this.options = { name, seed, time: "virtual", host: undefined as never };
	}

	addMachine(): never {
		throw new Error("no machines here");
	}

	async removeMachine(): Promise<void> {}

	addLink(name: string, spec?: LinkSpecText): Link {
		const link = new Link({ name, clock: this.clock, seed: this.options.seed, ...(spec === undefined ? {} : { spec }) });
		this.links.set(name, link);
		return link;
	}

	removeLink(name: string): void {
		this.links.delete(name);
	}

	run(): void {}

	async pause(): Promise<void> {}

	async runUntil(untilNs: number, isDone: () => boolean = () => false): Promise<void> {
		while (!isDone() && this.clock.nextDeadlineNs <= untilNs) this.clock.step();
		if (!isDone()) this.clock.runUntil(untilNs);
	}

	save(): never {
		throw new Error("nothing to save here");
	}

	load(): void {}

	async [Symbol.asyncDispose](): Promise<void> {}
}
