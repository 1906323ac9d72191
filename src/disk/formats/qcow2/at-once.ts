import type { Disk } from "../../disk.ts";
import { cut, lengthOf, type Pieces } from "../../pieces.ts";
import { isInRange } from "../../range.ts";
import type { RangeLocks } from "../../range-locks.ts";
import type { Qcow2Metadata } from "./metadata.ts";
import type { Extent, Qcow2Reader } from "./reader.ts";

/**
 * Reads and writes that need nothing which is not in memory, the host's page cache counted in: done within the call, with
 * no promise and no turn of the event loop. Nothing else runs in between, so looking whether a range is free is enough.
 */
export class Qcow2AtOnce {
	readonly #disk: Disk;
	readonly #metadata: Qcow2Metadata;
	readonly #reader: Qcow2Reader;
	readonly #locks: RangeLocks;
	readonly #clusterBytes: number;
	/** What a guest had around a write, while it is copied. */
	readonly #scratch: Uint8Array;

	constructor(disk: Disk, metadata: Qcow2Metadata, reader: Qcow2Reader, locks: RangeLocks) {
		this.#disk = disk;
		this.#metadata = metadata;
		this.#reader = reader;
		this.#locks = locks;
		this.#clusterBytes = metadata.clusterBytes;
		this.#scratch = new Uint8Array(disk.isReadOnly ? 0 : 2 * metadata.clusterBytes);
	}

	read(offsetBytes: number, into: Pieces): boolean {
		const length = lengthOf(into);
		if (!isInRange(this.#disk, offsetBytes, length)) return false;
		return (this.#disk.isReadOnly || this.#isFree(offsetBytes, length, false)) && this.#reader.readNow(offsetBytes, into);
	}

	write(offsetBytes: number, from: Pieces): boolean {
		const length = lengthOf(from);
		if (this.#disk.isReadOnly || length === 0 || !isInRange(this.#disk, offsetBytes, length)) return false;
		if (!this.#isFree(offsetBytes, length, true) || !this.#metadata.isFree) return false;
		const extents = this.#reader.extentsNow(offsetBytes, length);
		if (extents === undefined) return false;
		for (const extent of extents) {
			const part = extent.lengthBytes === length ? from : cut(from, extent.at, extent.lengthBytes);
			const isDone = isInPlace(extent)
				? this.#metadata.store.writeNow?.(extent.hostOffset, part) === true
				: this.#writeNew(offsetBytes + extent.at, part, extent.lengthBytes);
			if (!isDone) return false;
		}
		return true;
	}

	#isFree(offsetBytes: number, lengthBytes: number, isExclusive: boolean): boolean {
		const first = Math.floor(offsetBytes / this.#clusterBytes);
		const last = Math.floor((offsetBytes + lengthBytes - 1) / this.#clusterBytes);
		return this.#locks.isFree(first, last, isExclusive);
	}

	/** Puts a run of clusters into new places, as `Qcow2Disk.write` does: their data first, then the word of it. */
	#writeNew(offsetBytes: number, from: Pieces, lengthBytes: number): boolean {
		const clusterBytes = this.#clusterBytes;
		const metadata = this.#metadata;
		for (let at = 0; at < lengthBytes; ) {
			const cluster = Math.floor((offsetBytes + at) / clusterBytes);
			const within = (offsetBytes + at) % clusterBytes;
			const wanted = Math.ceil((within + lengthBytes - at) / clusterBytes);
			if (!this.#canMap(cluster, wanted)) return false;
			const run = metadata.refcounts.allocateNow(wanted);
			if (run === undefined) return false;
			const count = Math.min(lengthBytes - at, run.count * clusterBytes - within);
			const part = at === 0 && count === lengthBytes ? from : cut(from, at, count);
			if (!this.#fill(cluster, run.first * clusterBytes, within, part, count)) {
				metadata.refcounts.giveBackNow(run);
				return false;
			}
			for (let i = 0; i < run.count; i++)
				metadata.mapNow(cluster + i, { kind: "data", hostOffset: (run.first + i) * clusterBytes, isCopied: true });
			this.#reader.forgetDecompressed();
			at += count;
		}
		return true;
	}

	#canMap(cluster: number, count: number): boolean {
		const { perTable } = this.#metadata;
		for (let i = cluster; i < cluster + count; i += perTable - (i % perTable)) if (!this.#metadata.canMapNow(i)) return false;
		return true;
	}

	/** Writes new clusters from `hostOffset` on, with what the guest had around `part`. */
	#fill(cluster: number, hostOffset: number, within: number, part: Pieces, lengthBytes: number): boolean {
		const clusterBytes = this.#clusterBytes;
		const tailAt = within + lengthBytes;
		const wholeBytes = Math.ceil(tailAt / clusterBytes) * clusterBytes;
		const head = this.#scratch.subarray(0, within);
		const tail = this.#scratch.subarray(clusterBytes, clusterBytes + wholeBytes - tailAt);
		if (!this.#surroundings(cluster * clusterBytes, head) || !this.#surroundings(cluster * clusterBytes + tailAt, tail)) return false;
		// Behind the store's end zeros need no writing.
		const isFresh = hostOffset >= this.#metadata.fileBytes;
		const isHeadNeeded = head.length > 0 && !(isFresh && isZero(head));
		const isTailNeeded = tail.length > 0 && !(isFresh && isZero(tail));
		const pieces = [...(isHeadNeeded ? [head] : []), ...part, ...(isTailNeeded ? [tail] : [])];
		if (this.#metadata.store.writeNow?.(hostOffset + (isHeadNeeded ? 0 : within), pieces) !== true) return false;
		this.#metadata.noteWritten(hostOffset + (isTailNeeded ? wholeBytes : tailAt));
		return true;
	}

	/** Guest bytes around a write; the disk may end within its last cluster. */
	#surroundings(offsetBytes: number, into: Uint8Array): boolean {
		const there = Math.min(into.length, Math.max(0, this.#disk.sizeBytes - offsetBytes));
		into.fill(0, there);
		return there === 0 || this.#reader.readNow(offsetBytes, [into.subarray(0, there)]);
	}
}

function isInPlace({ mapping }: Extent): boolean {
	return mapping.kind === "data" && mapping.isCopied;
}

function isZero(bytes: Uint8Array): boolean {
	if (bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) return false;
	for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
	return true;
}
