import type { Clock } from "../net/time.ts";
import type { NodeOf } from "./model.ts";
import type { LabMachine } from "./runtime.ts";

export interface StarterOptions {
	readonly clock: Clock;
	readonly nodes: readonly NodeOf<"machine">[];
	readonly machine: (name: string) => LabMachine;
	/** Told when a machine could not be started. */
	readonly failed: (name: string, error: unknown) => void;
}

/**
 * Starts machines as their `after`, `delay` and `ready` say. It goes by the lab's clock and by what consoles print,
 * never by the host's time, so that the same lab starts the same way.
 */
export class Starter {
	readonly #options: StarterOptions;
	readonly #started = new Set<string>();
	readonly #ready = new Set<string>();
	readonly #ends: (() => void)[] = [];

	constructor(options: StarterOptions) {
		this.#options = options;
	}

	/** Machines that have been started. */
	get started(): ReadonlySet<string> {
		return this.#started;
	}

	/** Every machine is up, as far as its `ready` says. */
	get isDone(): boolean {
		return this.#options.nodes.every(({ name }) => this.#ready.has(name));
	}

	/** Starts all of them, or these and what they wait for. */
	start(names?: readonly string[]): void {
		const wanted = names === undefined ? undefined : this.#withPrerequisites(names);
		for (const node of this.#options.nodes) if (wanted?.has(node.name) ?? true) this.#schedule(node);
	}

	/** Nothing more is started. */
	stop(): void {
		for (const end of this.#ends.splice(0)) end();
	}

	#withPrerequisites(names: readonly string[]): ReadonlySet<string> {
		const wanted = new Set<string>();
		const add = (name: string): void => {
			if (wanted.has(name)) return;
			wanted.add(name);
			for (const each of this.#options.nodes.find((node) => node.name === name)?.after ?? []) add(each);
		};
		for (const name of names) add(name);
		return wanted;
	}

	#schedule(node: NodeOf<"machine">): void {
		if (this.#started.has(node.name) || !(node.after ?? []).every((name) => this.#ready.has(name))) return;
		this.#started.add(node.name);
		if (node.delay === undefined) this.#launch(node);
		else {
			const { clock } = this.#options;
			const timer = clock.timer(`start ${node.name}`, () => this.#launch(node));
			timer.arm(clock.nowNs + node.delay);
			this.#ends.push(() => timer.disarm());
		}
	}

	#launch(node: NodeOf<"machine">): void {
		const { machine } = this.#options.machine(node.name);
		// Listening begins before the first word.
		if (node.ready !== undefined) this.#ends.push(machine.console.expect(node.ready, () => this.#up(node.name)));
		if (machine.state === "created") machine.start().catch((error: unknown) => this.#options.failed(node.name, error));
		if (node.ready === undefined) this.#up(node.name);
	}

	#up(name: string): void {
		this.#ready.add(name);
		for (const node of this.#options.nodes) if (node.after?.includes(name) === true) this.#schedule(node);
	}
}
