import type { ImageCheckReport } from "../../src/disk/check-report.ts";
import { type ByteStore, DiskError } from "../../src/disk/disk.ts";
import { checkQcow2 } from "../../src/disk/formats/qcow2/check.ts";
import { MemoryStore } from "../../src/disk/memory-store.ts";
import { type DiskFormat, type ImageFiles, openImage, probeFormat } from "../../src/disk/open.ts";
import { nodeCodecs } from "../../src/host/node/disk/codecs.ts";
import { Chance } from "./random.ts";
import type { Sample } from "./samples.ts";

/** Nothing about an image of this size takes so much of a processor. */
const LONGEST_MS = 3000;
const READ_BYTES = 64 * 1024;
/** What is read of a disk that says it is larger. */
const MOST_BYTES = 4 * 1024 * 1024;
/** Numbers that headers are likely to trip over. */
const TELLING = [0, 1, 0x7f, 0x80, 0xff];

export interface FuzzReport {
	readonly sample: string;
	readonly cases: number;
	/** Opened, read and written without a word: the damage was where it does not matter, or it was the contents. */
	readonly unharmed: number;
	/** Errors by kind. */
	readonly errors: Readonly<Record<string, number>>;
	readonly slowestMs: number;
}

/**
 * Damages an image so many times, each time differently, and uses it in every way there is.
 * @throws Error naming sample, seed and case where anything but a DiskError comes out, one without a place, a wait, or a
 * write to an image that could not be opened or is known to be damaged
 */
export async function runFuzz(sample: Sample, cases: number, seed: number): Promise<FuzzReport> {
	const errors: Record<string, number> = {};
	let unharmed = 0;
	let slowestMs = 0;
	for (let number = 1; number <= cases; number++) {
		const chance = new Chance(seed * 1_000_003 + number);
		const files = damage(sample, chance);
		const before = process.cpuUsage();
		try {
			const seen = await useUp(files);
			for (const kind of seen) errors[kind] = (errors[kind] ?? 0) + 1;
			if (seen.length === 0) unharmed++;
		} catch (cause) {
			const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
			throw new Error(`${sample.name}, seed ${seed}, case ${number}: ${text}`, { cause });
		}
		// Of our own processor time, since the host may be busy with others.
		const { user, system } = process.cpuUsage(before);
		const tookMs = (user + system) / 1000;
		slowestMs = Math.max(slowestMs, tookMs);
		if (tookMs > LONGEST_MS) throw new Error(`${sample.name}, seed ${seed}, case ${number}: took ${tookMs.toFixed(0)} ms`);
	}
	return { sample: sample.name, cases, unharmed, errors, slowestMs };
}

/** Changes bytes of headers and tables, copies entries over others, or cuts the file off. */
function damage(sample: Sample, chance: Chance): Map<string, Uint8Array> {
	const files = new Map<string, Uint8Array>([...sample.files].map(([name, bytes]) => [name, bytes.slice()]));
	const [name, whole] = [...files][0] as [string, Uint8Array];
	const bytes = chance.once(8) ? whole.subarray(0, chance.below(whole.length)) : whole;
	files.set(name, bytes);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
	for (let change = chance.below(4) + (bytes === whole ? 1 : 0); change > 0; change--) {
		const [from, to] = range(chance.pick(sample.tables), whole.length);
		const place = () => Math.min(Math.max(0, bytes.length - 9), from + chance.below(to - from));
		if (bytes.length < 16) break;
		const at = place();
		switch (chance.below(4)) {
			case 0:
				bytes[at] = chance.once(2) ? chance.pick(TELLING) : chance.below(256);
				break;
			case 1:
				bytes[at] = (bytes[at] as number) ^ (1 << chance.below(8));
				break;
			case 2: {
				// One entry in another's place: overlaps, circles, tables taken for data.
				const entry = at - (at % 8);
				const other = place();
				view.setBigUint64(entry, view.getBigUint64(other - (other % 8)));
				break;
			}
			default:
				view.setUint32(at - (at % 4), chance.once(2) ? 0xffff_ffff - chance.below(3) : chance.next());
		}
	}
	return files;
}

function range([from, to]: readonly [number, number], length: number): [from: number, to: number] {
	return from < 0 ? [length + from, length + to] : [from, to];
}

class Files implements ImageFiles {
	readonly stores = new Map<string, MemoryStore>();

	constructor(files: ReadonlyMap<string, Uint8Array>) {
		for (const [name, bytes] of files) this.stores.set(name, new MemoryStore(name, bytes));
	}

	resolve(_from: string, name: string): string {
		return name;
	}

	async open(place: string): Promise<ByteStore> {
		const store = this.stores.get(place);
		if (store === undefined) throw new DiskError("not-found", place, "no such file");
		return store;
	}
}

/** Answers the kinds of errors that came out. */
async function useUp(contents: ReadonlyMap<string, Uint8Array>): Promise<string[]> {
	const kinds: string[] = [];
	const attempt = async <Result>(work: () => Promise<Result>): Promise<Result | undefined> => {
		try {
			return await work();
		} catch (error) {
			if (!(error instanceof DiskError)) throw error;
			if (error.where === "" || !error.message.startsWith(error.where)) throw new Error(`an error that names no file: ${error.message}`);
			if (error.kind === "corrupt" && error.offsetBytes === undefined && !/stands on itself/.test(error.message))
				throw new Error(`an error that names no place: ${error.message}`);
			kinds.push(error.kind);
			return undefined;
		}
	};
	const place = [...contents.keys()][0] as string;
	const files = new Files(contents);
	const store = files.stores.get(place) as MemoryStore;
	const format = await probeFormat(store);
	let report: ImageCheckReport | undefined;
	if (format === "qcow2") report = await attempt(() => checkQcow2(store));
	await attempt(() => readAll(files, place, format));
	for (const [name, bytes] of contents)
		if (!Buffer.from((files.stores.get(name) as MemoryStore).contents()).equals(bytes)) throw new Error(`reading has changed ${name}`);
	if (format !== "raw") await attempt(() => writeSome(files, place, format, contents, report));
	return kinds;
}

async function readAll(files: ImageFiles, place: string, format: DiskFormat): Promise<void> {
	const { disk } = await openImage(files, place, { format, isReadOnly: true, codecs: nodeCodecs });
	const failures: unknown[] = [];
	for (let at = 0; at < Math.min(disk.sizeBytes, MOST_BYTES); at += READ_BYTES) {
		const count = Math.min(READ_BYTES, disk.sizeBytes - at);
		await disk.read(at, new Uint8Array(count)).catch((error: unknown) => failures.push(error));
	}
	await disk.close();
	if (failures.length > 0) throw failures.find((error) => !(error instanceof DiskError)) ?? failures[0];
}

async function writeSome(
	files: Files,
	place: string,
	format: DiskFormat,
	contents: ReadonlyMap<string, Uint8Array>,
	report: ImageCheckReport | undefined,
): Promise<void> {
	let disk: Awaited<ReturnType<typeof openImage>>["disk"];
	try {
		({ disk } = await openImage(files, place, { format, codecs: nodeCodecs }));
	} catch (error) {
		for (const [name, bytes] of contents)
			if (!Buffer.from((files.stores.get(name) as MemoryStore).contents()).equals(bytes))
				throw new Error(`${name} could not be opened, and has been written to`);
		throw error;
	}
	const errorsBefore = report?.errorCount ?? 0;
	let failure: unknown;
	const note = (error: unknown) => {
		failure ??= error;
	};
	const unit = disk.sectorBytes * 8;
	for (let at = 0; !disk.isReadOnly && at + 4 * unit <= Math.min(disk.sizeBytes, MOST_BYTES); at += 16 * unit) {
		await disk.write(at, new Uint8Array(unit).fill(at & 0xff)).catch(note);
		if (disk.writeNow !== undefined && disk.readNow !== undefined)
			try {
				disk.writeNow(at + unit, [new Uint8Array(unit).fill(1)]);
				disk.readNow(at, [new Uint8Array(unit)]);
			} catch (error) {
				note(error);
			}
		await disk.discard(at + 2 * unit, 2 * unit).catch(note);
	}
	await disk.close().catch(note);
	if (failure !== undefined) throw failure;
	if (disk.isReadOnly || report === undefined) return;
	// An image that was sound enough to be written to is no worse afterwards.
	const after = await checkQcow2(files.stores.get(place) as MemoryStore);
	if (after.errorCount > errorsBefore)
		throw new Error(
			`writing has made ${after.errorCount} errors out of ${errorsBefore}: ${after.problems.map(({ message }) => message).join("; ")}`,
		);
}
