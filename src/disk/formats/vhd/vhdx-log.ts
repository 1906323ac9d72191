import { type ByteStore, DiskError } from "../../disk.ts";
import { crc32c } from "./crc32c.ts";
import { hasText } from "./vhd-disk.ts";

// [MS-VHDX] §2.3, "Log"
const SECTOR = 4096;
const ENTRY_HEADER_BYTES = 64;
const DESCRIPTOR_BYTES = 32;
const MAX_LOG_BYTES = 256 * 1024 * 1024;

interface Entry {
	readonly at: number;
	readonly length: number;
	readonly sequence: bigint;
	readonly tail: number;
	readonly bytes: Uint8Array;
}

/**
 * A VHDX file as it will be once its log has been replayed. Nothing is written: what the log changes lies in memory, over
 * the file.
 */
export class VhdxLog {
	readonly fileBytes: number;
	readonly #store: ByteStore;
	/** Changed 4 KiB sectors by their offset. */
	readonly #sectors: ReadonlyMap<number, Uint8Array>;
	readonly #zeroes: readonly { readonly offset: number; readonly length: number }[];

	private constructor(
		store: ByteStore,
		fileBytes: number,
		sectors: ReadonlyMap<number, Uint8Array>,
		zeroes: readonly { readonly offset: number; readonly length: number }[],
	) {
		this.#store = store;
		this.fileBytes = fileBytes;
		this.#sectors = sectors;
		this.#zeroes = zeroes;
	}

	static async none(store: ByteStore): Promise<VhdxLog> {
		return new VhdxLog(store, await store.size(), new Map(), []);
	}

	/** Finds the newest whole sequence of entries and plays it. */
	static async read(store: ByteStore, guid: Uint8Array, offset: number, length: number): Promise<VhdxLog> {
		const fileBytes = await store.size();
		if (length === 0 || length % SECTOR !== 0 || length > MAX_LOG_BYTES || offset + length > fileBytes)
			throw new DiskError("corrupt", store.name, `a log of ${length} bytes at ${offset}`, { offsetBytes: 64 * 1024 + 68 });
		const log = new Uint8Array(length);
		await store.read(offset, log);
		const active = activeSequence(log, guid);
		if (active.length === 0)
			throw new DiskError("corrupt", store.name, "was not closed in order, and its log holds no whole entry", { offsetBytes: offset });
		const sectors = new Map<number, Uint8Array>();
		const zeroes: { offset: number; length: number }[] = [];
		for (const entry of active) play(entry, sectors, zeroes);
		const last = active.at(-1) as Entry;
		const flushedBytes = Number(new DataView(last.bytes.buffer).getBigUint64(48, true));
		if (fileBytes < flushedBytes)
			throw new DiskError("corrupt", store.name, `has been cut off: ${fileBytes} bytes are left of ${flushedBytes}`, {
				offsetBytes: fileBytes,
			});
		const endBytes = Math.max(fileBytes, Number(new DataView(last.bytes.buffer).getBigUint64(56, true)));
		return new VhdxLog(store, endBytes, sectors, zeroes);
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		await this.#store.read(offsetBytes, into);
		for (const { offset, length } of this.#zeroes) {
			const from = Math.max(offset, offsetBytes);
			const to = Math.min(offset + length, offsetBytes + into.length);
			if (from < to) into.fill(0, from - offsetBytes, to - offsetBytes);
		}
		if (this.#sectors.size === 0) return;
		for (let at = offsetBytes - (offsetBytes % SECTOR); at < offsetBytes + into.length; at += SECTOR) {
			const sector = this.#sectors.get(at);
			if (sector === undefined) continue;
			const from = Math.max(at, offsetBytes);
			const to = Math.min(at + SECTOR, offsetBytes + into.length);
			into.set(sector.subarray(from - at, to - at), from - offsetBytes);
		}
	}
}

/** §2.3.3, "Log Replay": the valid run of entries with the highest sequence numbers, from its tail to its head. */
function activeSequence(log: Uint8Array, guid: Uint8Array): readonly Entry[] {
	let best: readonly Entry[] = [];
	const entries = new Map<number, Entry>();
	for (let at = 0; at < log.length; at += SECTOR) {
		const entry = entryAt(log, at, guid);
		if (entry !== undefined) entries.set(at, entry);
	}
	for (const head of entries.values()) {
		// From the tail it names, entry after entry, up to itself.
		const run: Entry[] = [];
		let at = head.tail;
		while (run.length <= entries.size) {
			const entry = entries.get(at);
			const previous = run.at(-1);
			if (entry === undefined || (previous !== undefined && entry.sequence !== previous.sequence + 1n)) break;
			run.push(entry);
			if (entry === head) {
				if ((best.at(-1)?.sequence ?? -1n) < head.sequence) best = run;
				break;
			}
			at = (at + entry.length) % log.length;
		}
	}
	return best;
}

/** The entry that begins at `at`, if its checksum is right. The log is a ring. */
function entryAt(log: Uint8Array, at: number, guid: Uint8Array): Entry | undefined {
	if (!hasText(log.subarray(at, at + 4), "loge")) return undefined;
	const head = new DataView(log.buffer, log.byteOffset + at, ENTRY_HEADER_BYTES);
	const length = head.getUint32(8, true);
	if (length === 0 || length % SECTOR !== 0 || length > log.length) return undefined;
	const bytes = new Uint8Array(length);
	const first = Math.min(length, log.length - at);
	bytes.set(log.subarray(at, at + first));
	bytes.set(log.subarray(0, length - first), first);
	if (!guid.every((byte, i) => bytes[32 + i] === byte)) return undefined;
	const summed = bytes.slice();
	summed.fill(0, 4, 8);
	if (crc32c(summed) !== head.getUint32(4, true)) return undefined;
	return { at, length, sequence: head.getBigUint64(16, true), tail: head.getUint32(12, true), bytes };
}

function play(entry: Entry, sectors: Map<number, Uint8Array>, zeroes: { offset: number; length: number }[]): void {
	const { bytes } = entry;
	const view = new DataView(bytes.buffer);
	const count = view.getUint32(24, true);
	let dataAt = Math.ceil((ENTRY_HEADER_BYTES + count * DESCRIPTOR_BYTES) / SECTOR) * SECTOR;
	for (let i = 0; i < count && ENTRY_HEADER_BYTES + (i + 1) * DESCRIPTOR_BYTES <= bytes.length; i++) {
		const at = ENTRY_HEADER_BYTES + i * DESCRIPTOR_BYTES;
		if (hasText(bytes.subarray(at, at + 4), "zero")) {
			const length = Number(view.getBigUint64(at + 8, true));
			const offset = Number(view.getBigUint64(at + 16, true));
			for (const changed of sectors.keys()) if (changed >= offset && changed < offset + length) sectors.delete(changed);
			zeroes.push({ offset, length });
		} else if (hasText(bytes.subarray(at, at + 4), "desc")) {
			if (dataAt + SECTOR > bytes.length) return;
			// The descriptor keeps the first eight and the last four bytes, which sequence marks displaced in the data.
			const sector = bytes.slice(dataAt, dataAt + SECTOR);
			sector.set(bytes.subarray(at + 8, at + 16), 0);
			sector.set(bytes.subarray(at + 4, at + 8), SECTOR - 4);
			sectors.set(Number(view.getBigUint64(at + 16, true)), sector);
			dataAt += SECTOR;
		}
	}
}
