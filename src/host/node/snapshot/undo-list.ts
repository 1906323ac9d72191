import type { SnapshotRecord } from "../../../snapshot/record.ts";
import type { SnapshotTree } from "../../../snapshot/tree.ts";
import type { Machine } from "../../../vm/machine.ts";
import { HostError } from "../host-error.ts";

/**
 * Undo and redo of whole machines, as an editor has them: the first undo keeps the present in a snapshot of its own and goes back to
 * the last one; further ones go on to those before it; redo comes forward again.
 */
export class UndoList {
	readonly #machine: Machine;
	readonly #tree: SnapshotTree;
	#redo: string[];

	constructor(machine: Machine, tree: SnapshotTree, redo: readonly string[]) {
		this.#machine = machine;
		this.#tree = tree;
		this.#redo = redo.filter((id) => tree.records.some((record) => record.id === id));
	}

	/** Ids of what has been undone, the next to be redone last. */
	get redo(): readonly string[] {
		return this.#redo;
	}

	/** Another turn has been taken: nothing can be redone any more. The snapshots stay, as ordinary ones. */
	forget(): void {
		this.#redo = [];
	}

	/** @throws HostError when there is nothing to go back to */
	async undo(): Promise<SnapshotRecord> {
		const { here } = this.#tree;
		if (here === undefined) throw new HostError("bad-argument", "nothing to undo: the machine has no snapshot to go back to");
		if (this.#redo.length === 0) {
			const { record } = await this.#machine.snapshot({ isAutomatic: true, note: "before undo" });
			this.#redo = [record.id];
			return this.#machine.restore(here.id);
		}
		if (here.parent === undefined) throw new HostError("bad-argument", `nothing more to undo: ${here.name} is the first snapshot`);
		const target = await this.#machine.restore(here.parent);
		this.#redo.push(here.id);
		return target;
	}

	/** @throws HostError when nothing has been undone */
	async redoLast(): Promise<SnapshotRecord> {
		const last = this.#redo.at(-1);
		if (last === undefined) throw new HostError("bad-argument", "nothing to redo");
		const record = await this.#machine.restore(last);
		this.#redo.pop();
		return record;
	}
}
