import { assert } from "../base/assert.ts";
import type { StateValue } from "../base/json.ts";
import type { GuestMemory } from "../machine/memory.ts";
import { LayeredDisk } from "../snapshot/layered-disk.ts";
import { type Capture, MemoryImage } from "../snapshot/memory-image.ts";
import type { MachineShape, SnapshotRecord } from "../snapshot/record.ts";
import { MemorySnapshotFolder } from "../snapshot/snapshot-folder.ts";
import { toHex } from "../snapshot/state-text.ts";
import { SnapshotTree } from "../snapshot/tree.ts";
import type { Board } from "./board.ts";
import type { MachineConfig } from "./config.ts";
import type { CpuEngine } from "./engine.ts";
import { MachineError } from "./error.ts";
import type { Host } from "./host.ts";
import { macOfNic } from "./nic.ts";
import { formatSize } from "./quantity.ts";
import type { TimeKeeper } from "./time.ts";

export interface SnapshotOptions {
	/** Unique in the tree; "snapshot-1" and so on unless told. */
	readonly name?: string | undefined;
	readonly note?: string | undefined;
	/** It may be thinned out when it grows old. */
	readonly isAutomatic?: boolean | undefined;
	/** It is needed for a moment: it is not written down, and the machine stays where it is in its tree. */
	readonly isForNow?: boolean | undefined;
}

export interface RestoreOptions {
	/**
	 * The snapshot is where this machine stopped, and nobody else goes on from it: its guest is not told that it has become another
	 * machine (by which it would seed its random numbers afresh).
	 */
	readonly isSameLife?: boolean | undefined;
	/** Its clock chip shows the host's time of day instead of going on from the snapshot; the guest may look (`hwclock -s`). */
	readonly stepsClock?: boolean | undefined;
}

/** A snapshot that has been taken, and what it cost. */
export interface TakenSnapshot {
	readonly record: SnapshotRecord;
	/** How long the guest stood still, and until all was saved: nanoseconds of the host's clock. */
	readonly pauseNs: number;
	readonly totalNs: number;
}

export interface SnapshotParts {
	readonly config: MachineConfig;
	readonly host: Host;
	readonly time: TimeKeeper;
	readonly cpus: readonly CpuEngine[];
	readonly board: Board;
	readonly memory: GuestMemory;
	/** Where the snapshots go. Memory, unless told: they are gone with the process. */
	readonly snapshots?: SnapshotTree | undefined;
}

/** What one snapshot fixes while the guest stands still; the rest of its record is known afterwards. */
export interface FrozenMachine {
	readonly capture: Capture;
	readonly disks: readonly (readonly string[] | undefined)[];
	readonly guestNs: number;
	readonly state: StateValue;
}

type SavedMachine = {
	readonly nowNs: number;
	readonly cpus: readonly StateValue[];
	readonly board: StateValue;
	/** By network card: what lies behind it, if that is the machine's own. */
	readonly networks?: readonly StateValue[];
};

/** Pages saved before the guest gets its next turn. */
const STEP_PAGES = 256;
const SCREEN_LINES = 25;
const SCREEN_COLUMNS = 200;

/** A machine's way to its snapshot tree. */
export class MachineSnapshots {
	readonly tree: SnapshotTree;
	readonly image: MemoryImage;
	readonly #parts: SnapshotParts;

	private constructor(parts: SnapshotParts, tree: SnapshotTree) {
		this.#parts = parts;
		this.tree = tree;
		this.image = new MemoryImage(parts.memory, tree.tables);
	}

	static async open(parts: SnapshotParts): Promise<MachineSnapshots> {
		return new MachineSnapshots(parts, parts.snapshots ?? (await SnapshotTree.open(new MemorySnapshotFolder())));
	}

	/** @throws MachineError `unavailable` for a disk that cannot be put back */
	check(): void {
		for (const [index, { disk, isIndependent }] of this.#parts.config.disks.entries())
			if (!(disk instanceof LayeredDisk) && !disk.isReadOnly && !isIndependent)
				throw new MachineError(
					"unavailable",
					`disk ${index} is written in place and could not be put back: give the machine a folder for its snapshots, or the disk mode=nonpersistent or mode=independent`,
				);
	}

	get #disks(): readonly (LayeredDisk | undefined)[] {
		return this.#parts.config.disks.map(({ disk, isIndependent }) => (disk instanceof LayeredDisk && !isIndependent ? disk : undefined));
	}

	/** What can be done while the guest still runs, so that it need not stand still for it. */
	async prepare(): Promise<void> {
		for (const disk of this.#disks) await disk?.prepare();
	}

	/** Between two instructions, with nothing in flight. */
	async freeze(): Promise<FrozenMachine> {
		const disks = [];
		for (const disk of this.#disks) disks.push(await disk?.seal());
		const { time, cpus, board } = this.#parts;
		const guestNs = time.clock.nowNs;
		const parts = { nowNs: guestNs, cpus: cpus.map((cpu) => cpu.save()), board: board.save() };
		const networks = this.#parts.config.nics.map(({ network }) => network?.save() ?? null);
		const state = networks.some((network) => network !== null) ? { ...parts, networks } : parts;
		return { capture: this.image.capture(), disks, guestNs, state };
	}

	/** Saves what was frozen, giving way to the guest again and again, and adds it to the tree. */
	async keep(frozen: FrozenMachine, options: SnapshotOptions & { readonly screen: string }): Promise<SnapshotRecord> {
		const { capture } = frozen;
		const { host } = this.#parts;
		// Who wants it for a moment waits for it.
		while (options.isForNow !== true && capture.step(STEP_PAGES)) await host.yield();
		const table = capture.finish();
		if (options.isForNow !== true) for (const disk of this.#disks) await disk?.settle();
		const id = new Uint8Array(6);
		host.random(id);
		const record: SnapshotRecord = {
			id: toHex(id),
			name: this.tree.freeName(options.name, options.isAutomatic === true ? "auto" : "snapshot"),
			note: options.note ?? "",
			parent: this.tree.here?.id,
			createdMs: host.wallMs(),
			guestNs: frozen.guestNs,
			isAutomatic: options.isAutomatic === true,
			machine: this.shape,
			leaves: table.leaves,
			changedPages: capture.changedPages,
			disks: frozen.disks,
			screen: lastLines(options.screen),
			state: frozen.state,
		};
		if (options.isForNow === true) this.tree.addForNow(record);
		else await this.tree.add(record);
		return record;
	}

	/** Between two instructions, with nothing in flight: puts the machine back. */
	async restore(record: SnapshotRecord, options: RestoreOptions): Promise<void> {
		checkShape(record.machine, this.shape);
		for (const [index, disk] of this.#disks.entries()) {
			const layers = record.disks[index];
			if (disk !== undefined && layers !== undefined) await disk.restore(layers);
		}
		this.image.restore(this.tree.tableOf(record));
		const state = record.state as SavedMachine;
		const { time, cpus, board } = this.#parts;
		assert(state.cpus.length === cpus.length, "the shape says how many CPUs there are");
		time.set(state.nowNs);
		board.load(state.board);
		for (const [index, cpu] of cpus.entries()) cpu.load(state.cpus[index] as StateValue);
		for (const [index, { network }] of this.#parts.config.nics.entries()) network?.load(state.networks?.[index] ?? undefined);
		if (options.isSameLife !== true) this.#becomeAnother(record.machine, options);
		await this.tree.setHere(record.id);
	}

	/** Tells the guest what is not as it was. */
	#becomeAnother({ macs }: MachineShape, { stepsClock }: RestoreOptions): void {
		const { board } = this.#parts;
		board.announceGeneration();
		if (stepsClock === true) board.setClock();
		for (const [index, mac] of this.#macs.entries()) if (macs?.[index] !== undefined && macs[index] !== mac) board.replugNic(index);
	}

	/** Removes layers of disks that nobody needs any more. */
	async sweep(): Promise<void> {
		for (const [index, disk] of this.#disks.entries()) await disk?.sweep(this.tree.layersInUse(index));
	}

	/** The machine has ended: what was only kept for its memory goes. */
	async close(): Promise<void> {
		this.image.close();
	}

	get shape(): MachineShape {
		const { memory, cpus, serialPorts, disks, nics } = this.#parts.config;
		const diskBytes = disks.map(({ disk }) => disk.sizeBytes);
		return { memoryBytes: memory, cpus, serialPorts, diskBytes, nics: nics.map(({ model }) => model), macs: this.#macs };
	}

	get #macs(): readonly number[] {
		const { nics, name } = this.#parts.config;
		return nics.map((nic, index) => macOfNic(nic, name, `nic${index}`));
	}
}

function checkShape(saved: MachineShape, own: MachineShape): void {
	const refuse = (what: string, has: unknown, wants: unknown) => {
		throw new MachineError("config", `the snapshot is of a machine with ${what} ${wants}, this one has ${has}`);
	};
	if (saved.memoryBytes !== own.memoryBytes) refuse("memory", formatSize(own.memoryBytes), formatSize(saved.memoryBytes));
	if (saved.cpus !== own.cpus) refuse("cpus", own.cpus, saved.cpus);
	if (saved.serialPorts !== own.serialPorts) refuse("serialPorts", own.serialPorts, saved.serialPorts);
	if (saved.nics !== undefined && own.nics !== undefined && saved.nics.join() !== own.nics.join())
		refuse("nics", own.nics.join(", ") || "none", saved.nics.join(", ") || "none");
	if (saved.diskBytes.join() !== own.diskBytes.join())
		refuse("disks of", own.diskBytes.map(formatSize).join(", ") || "none", saved.diskBytes.map(formatSize).join(", ") || "none");
}

function lastLines(text: string): string {
	const lines = text.split("\n").slice(-SCREEN_LINES);
	return lines.map((line) => line.replace(/\r$/, "").slice(-SCREEN_COLUMNS)).join("\n");
}
