import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Disk } from "../../src/disk/disk.ts";
import { UndoableDisk } from "../../src/disk/layers/undoable-disk.ts";
import { checkDiskFile, createDiskFile, openDisk, openImageFile, undoFolderOf } from "../../src/host/node/disk/index.ts";
import { pattern } from "../suites/disk-contract.ts";
import { qemuCheck, qemuImg, qemuIo } from "../suites/qemu-img.ts";
import { Chance } from "./random.ts";
import { openVariant, type Variant } from "./variants.ts";

const SECTORS = 8192;
const SECTOR = 512;
/** Once in so many operations QEMU is asked about the image, and once at the end. */
const JUDGE_EVERY = 500;
const MAX_SNAPSHOTS = 4;
/** A child of a child: the longest chain of VMDK disks made here. */
const MAX_CHILDREN = 3;

export interface OperationsReport {
	readonly variant: string;
	readonly seed: number;
	/** Carried out, by name. */
	readonly operations: Readonly<Record<string, number>>;
	readonly atOnce: number;
	readonly judgements: number;
}

/**
 * Carries out random operations on a disk and on a plain array, and has QEMU compare and check every so often.
 * @throws Error naming variant, seed and operation at the first difference
 */
export async function runOperations(variant: Variant, count: number, seed: number): Promise<OperationsReport> {
	const folder = await mkdtemp(join(tmpdir(), "disk-operations-"));
	const run = new Run(variant, folder, seed);
	try {
		await run.begin();
		for (let i = 1; i <= count; i++) {
			await run.step();
			if (i % JUDGE_EVERY === 0) await run.judge();
		}
		return await run.end();
	} catch (cause) {
		await run.abandon();
		const text = cause instanceof Error ? cause.message : String(cause);
		throw new Error(`${variant.name}, seed ${seed}, operation ${run.done}: ${text}`, { cause });
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

class Run {
	readonly #variant: Variant;
	readonly #folder: string;
	readonly #seed: number;
	readonly #chance: Chance;
	readonly #counts: Record<string, number> = {};
	#model = new Uint8Array(SECTORS * SECTOR);
	#path = "";
	#disk: Disk | undefined;
	#pending: { first: number; end: number; work: Promise<void> }[] = [];
	/** Internal snapshots by name, and what the disk held then. */
	readonly #snapshots = new Map<string, Uint8Array>();
	/** For undoable disks: what there was at each mark, and what was taken back. */
	#past: Uint8Array[] = [];
	#future: Uint8Array[] = [];
	#isFresh = true;
	#made = 0;
	#atOnce = 0;
	#judgements = 0;
	done = 0;

	constructor(variant: Variant, folder: string, seed: number) {
		this.#variant = variant;
		this.#folder = folder;
		this.#seed = seed;
		this.#chance = new Chance(seed);
	}

	async begin(): Promise<void> {
		this.#path = await this.#variant.make(this.#folder, this.#model.length, this.#model);
		await this.#open();
	}

	async abandon(): Promise<void> {
		await Promise.allSettled(this.#pending.map(({ work }) => work));
		await this.#disk?.close().catch(() => {});
	}

	async step(): Promise<void> {
		this.done++;
		const kind = this.#chance.pick(KINDS);
		this.#counts[kind] = (this.#counts[kind] ?? 0) + 1;
		const first = this.#chance.below(SECTORS);
		const most = this.#chance.once(8) ? 1500 : 40;
		const end = Math.min(SECTORS, first + 1 + this.#chance.below(most));
		// Writes go side by side where they do not overlap: what does is the guest's to order.
		if (kind !== "write" || this.#pending.length > 7 || this.#pending.some((other) => other.first < end && first < other.end))
			await this.#settle();
		await this.#carryOut(kind, first, end);
	}

	async #carryOut(kind: Kind, first: number, end: number): Promise<void> {
		const disk = this.#disk as Disk;
		const at = first * SECTOR;
		const length = (end - first) * SECTOR;
		switch (kind) {
			case "write":
				return this.#write(disk, first, end);
			case "zero":
				this.#changed();
				await disk.writeZeroes(at, length);
				this.#model.fill(0, at, at + length);
				return;
			case "discard": {
				this.#changed();
				await disk.discard(at, length);
				// What it holds now is the disk's to say; anything outside of the range is not.
				await disk.read(at, this.#model.subarray(at, at + length));
				return;
			}
			case "read":
				return this.#compare(at, length);
			case "flush":
				return disk.flush();
			case "reopen":
				await disk.close();
				return this.#open();
			case "snapshot":
				return this.#chance.once(4) ? this.#snapshot() : undefined;
			case "foreign":
				return this.#chance.once(4) ? this.#foreign(at, length) : undefined;
		}
	}

	#write(disk: Disk, first: number, end: number): void {
		const at = first * SECTOR;
		const bytes = pattern((end - first) * SECTOR, this.#chance.below(256));
		this.#model.set(bytes, at);
		this.#changed();
		if (this.#chance.once(2) && disk.writeNow?.(at, this.#pieces(bytes)) === true) this.#atOnce++;
		else this.#pending.push({ first, end, work: disk.write(at, bytes) });
	}

	/** The same bytes in up to four pieces. */
	#pieces(bytes: Uint8Array): Uint8Array[] {
		const pieces: Uint8Array[] = [];
		for (let at = 0; at < bytes.length; ) {
			const count = pieces.length === 3 ? bytes.length - at : 1 + this.#chance.below(bytes.length - at);
			pieces.push(bytes.subarray(at, at + count));
			at += count;
		}
		return pieces;
	}

	#changed(): void {
		this.#future = [];
		this.#isFresh = false;
	}

	async #compare(at: number, length: number): Promise<void> {
		const disk = this.#disk as Disk;
		const bytes = new Uint8Array(length).fill(0xee);
		if (this.#chance.once(2) && disk.readNow?.(at, this.#pieces(bytes)) === true) this.#atOnce++;
		else await disk.read(at, bytes);
		const index = Buffer.from(bytes).equals(this.#model.subarray(at, at + length))
			? -1
			: bytes.findIndex((byte, i) => byte !== this.#model[at + i]);
		if (index >= 0) throw new Error(`byte ${at + index} is ${bytes[index]}, and should be ${this.#model[at + index]}`);
	}

	async #snapshot(): Promise<void> {
		const disk = this.#disk as Disk;
		if (disk instanceof UndoableDisk) return this.#undoStep(disk);
		if (this.#variant.format === "qcow2") {
			await disk.close();
			this.#internalSnapshot();
			await this.#open();
		} else if (this.#variant.name.startsWith("VMDK child") && this.#made < MAX_CHILDREN) {
			await disk.close();
			const child = join(this.#folder, `child${this.#made++}.vmdk`);
			await createDiskFile(child, { format: "vmdk", sizeBytes: this.#model.length, parentFile: basename(this.#path) });
			this.#path = child;
			await this.#open();
		}
	}

	/** QEMU makes them, deletes them and goes back to them; we keep them as they are meanwhile. */
	#internalSnapshot(): void {
		const names = [...this.#snapshots.keys()];
		const hasRoom = !this.#variant.name.includes("one bit");
		if (names.length < MAX_SNAPSHOTS && (names.length === 0 || this.#chance.once(2))) {
			// A count of one bit has no room for a second user.
			if (!hasRoom) return;
			const name = `s${this.#made++}`;
			qemuImg("snapshot", "-c", name, this.#path);
			this.#snapshots.set(name, this.#model.slice());
			return;
		}
		if (names.length === 0) return;
		const name = this.#chance.pick(names);
		if (this.#chance.once(2)) {
			qemuImg("snapshot", "-d", name, this.#path);
			this.#snapshots.delete(name);
		} else {
			qemuImg("snapshot", "-a", name, this.#path);
			this.#model = (this.#snapshots.get(name) as Uint8Array).slice();
		}
	}

	async #undoStep(disk: UndoableDisk): Promise<void> {
		const step = this.#chance.pick(["mark", "mark", "undo", "redo", "commit", "discardAll"] as const);
		if (step === "mark") {
			await disk.mark();
			if (!this.#isFresh) this.#past.push(this.#model.slice());
			this.#isFresh = true;
		} else if (step === "undo") {
			// What has been written since the last mark is a step, too.
			if (!this.#isFresh) this.#past.push(this.#model.slice());
			const undone = this.#past.pop();
			if ((await disk.undo()) !== (undone !== undefined)) throw new Error("undo does not agree on whether there is a step");
			if (undone !== undefined) this.#future.push(undone);
			this.#model = (this.#past.at(-1) ?? this.#base).slice();
			this.#isFresh = true;
		} else if (step === "redo") {
			const again = this.#isFresh ? this.#future.pop() : undefined;
			if ((await disk.redo()) !== (again !== undefined)) throw new Error("redo does not agree on whether there is a step");
			if (again !== undefined) this.#past.push(again);
			if (again !== undefined) this.#model = again.slice();
		} else {
			await disk[step === "commit" ? "commit" : "discardAll"]();
			if (step === "commit") this.#base = this.#model.slice();
			else this.#model = this.#base.slice();
			this.#past = [];
			this.#future = [];
			this.#isFresh = true;
		}
	}

	/** What an undoable disk stands on. */
	#base = new Uint8Array(0);

	/** QEMU writes to the image in its turn. */
	async #foreign(at: number, length: number): Promise<void> {
		if (this.#variant.mode === "undoable") return;
		await (this.#disk as Disk).close();
		const { format } = this.#variant;
		if (this.#chance.once(3)) {
			qemuIo(this.#path, format, `write -z ${at} ${length}`);
			this.#model.fill(0, at, at + length);
		} else {
			const byte = this.#chance.below(256);
			qemuIo(this.#path, format, `write -P ${byte} ${at} ${length}`);
			this.#model.fill(byte, at, at + length);
		}
		await this.#open();
	}

	async #open(): Promise<void> {
		this.#disk = await openVariant(this.#variant, this.#path);
		if (this.#base.length === 0) this.#base = this.#model.slice();
	}

	async #settle(): Promise<void> {
		await Promise.all(this.#pending.map(({ work }) => work));
		this.#pending = [];
	}

	/** Closes the disk and has it looked at from outside; then goes on. */
	async judge(): Promise<void> {
		await this.#settle();
		await this.#compare(0, this.#model.length);
		await (this.#disk as Disk).close();
		const raw = join(this.#folder, "model.bin");
		await writeFile(raw, this.#model);
		const { image, format } = await this.#outside();
		qemuImg("compare", "-f", format, "-F", "raw", image, raw);
		if (format === "qcow2" || (format === "vmdk" && !this.#variant.name.includes("Flat"))) {
			const { "check-errors": errors, corruptions = 0, leaks = 0 } = qemuCheck(image, format);
			if (errors + corruptions + leaks > 0) throw new Error(`qemu-img check: ${errors} errors, ${corruptions} corruptions, ${leaks} leaks`);
			const own = await checkDiskFile(image, { format });
			if (own.problems.length > 0) throw new Error(`our own check: ${own.problems[0]?.message}`);
		}
		for (const [name, expected] of this.#snapshots) await this.#judgeSnapshot(name, expected);
		this.#judgements++;
		await this.#open();
	}

	/** The file that other tools read the whole disk through. */
	async #outside(): Promise<{ image: string; format: string }> {
		if (this.#variant.mode !== "undoable") return { image: this.#path, format: this.#variant.format };
		const folder = undoFolderOf(this.#path);
		const record = JSON.parse(execFileSync("cat", [join(folder, "layers.json")], { encoding: "utf8" })) as {
			layers: string[];
			redo: string[];
		};
		const there = (await readdir(folder)).filter((name) => name.endsWith(".qcow2")).length;
		if (there !== record.layers.length + record.redo.length) throw new Error(`${there} layers lie in ${folder}, the record differs`);
		return { image: join(folder, record.layers.at(-1) as string), format: "qcow2" };
	}

	async #judgeSnapshot(name: string, expected: Uint8Array): Promise<void> {
		const { disk } = await openImageFile(this.#path, { format: "qcow2", snapshot: name });
		const bytes = new Uint8Array(expected.length);
		await disk.read(0, bytes);
		await disk.close();
		if (!Buffer.from(bytes).equals(expected)) throw new Error(`internal snapshot ${name} is not what it was`);
	}

	async end(): Promise<OperationsReport> {
		await this.judge();
		await (this.#disk as Disk).close();
		const again = await openDisk({ path: this.#path, format: this.#variant.format, mode: "nonpersistent" });
		await again.close();
		return {
			variant: this.#variant.name,
			seed: this.#seed,
			operations: this.#counts,
			atOnce: this.#atOnce,
			judgements: this.#judgements,
		};
	}
}

type Kind = "write" | "zero" | "discard" | "read" | "flush" | "reopen" | "snapshot" | "foreign";
const KINDS: readonly Kind[] = [
	...Array.from({ length: 36 }, () => "write" as const),
	...Array.from({ length: 10 }, () => "zero" as const),
	...Array.from({ length: 10 }, () => "discard" as const),
	...Array.from({ length: 30 }, () => "read" as const),
	...Array.from({ length: 8 }, () => "flush" as const),
	...Array.from({ length: 3 }, () => "reopen" as const),
	...Array.from({ length: 2 }, () => "snapshot" as const),
	"foreign",
];
