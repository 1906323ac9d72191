import { performance } from "node:perf_hooks";
import { Serial } from "../../../disk/serial.ts";
import type { SnapshotTree } from "../../../snapshot/tree.ts";
import type { Machine } from "../../../vm/machine.ts";
import type { NodeMachineOptions } from "../machine.ts";
import { createFork } from "./fork.ts";
import { type CommandResult, runInShell } from "./shell.ts";

/** What a fork's command came to, and how long after the request the fork ran its first instruction. */
export interface ForkResult extends CommandResult {
	readonly startMs: number;
	readonly totalMs: number;
}

/**
 * Forks that run one after another in the same place: a machine whose fork has ended is put back to the snapshot and is the next
 * fork. That takes a few milliseconds, and code that has been translated stays, as far as its pages are the same.
 */
export class ForkSlot {
	readonly #options: NodeMachineOptions;
	readonly #tree: SnapshotTree;
	readonly #reference: string;
	readonly #serial = new Serial();
	#machine: Machine | undefined;

	constructor(options: NodeMachineOptions, tree: SnapshotTree, reference: string) {
		this.#options = options;
		this.#tree = tree;
		this.#reference = reference;
	}

	run(command: string, timeout: string): Promise<ForkResult> {
		return this.#serial.run(async () => {
			const beganMs = performance.now();
			const machine = await this.#fresh();
			const startMs = performance.now() - beganMs;
			try {
				const result = await runInShell(machine, command, timeout);
				await machine.pause();
				return { ...result, startMs, totalMs: performance.now() - beganMs };
			} catch (error) {
				// Whatever state it is in, nobody is to inherit it.
				this.#machine = undefined;
				await machine.stop();
				throw error;
			}
		});
	}

	async #fresh(): Promise<Machine> {
		const machine = this.#machine;
		if (machine === undefined) {
			this.#machine = await createFork(this.#options, this.#tree, this.#reference);
			await this.#machine.start();
			return this.#machine;
		}
		await machine.restore(this.#reference, { stepsClock: this.#options.stepsClock });
		await machine.resume();
		return machine;
	}

	async close(): Promise<void> {
		await this.#serial.run(async () => {
			await this.#machine?.stop();
		});
	}
}
