import type { Disk } from "./disk.ts";

/** A disk that knows which of its ranges hold nothing of their own. */
export interface MappedDisk extends Disk {
	map(offsetBytes: number, lengthBytes: number): Promise<readonly { readonly kind: string; readonly lengthBytes: number }[]>;
}

export interface CopyOptions {
	/** Called now and then with how far it has come. */
	readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
	/** How a piece that is not all zeros is written; `target.write` unless told. */
	readonly write?: (offsetBytes: number, bytes: Uint8Array) => Promise<void>;
	/** Copies only what the source's own layer holds, zeros that hide a backing disk included. */
	readonly isLayerOnly?: boolean;
	/** Pieces begin and end at multiples of this. */
	readonly unitBytes?: number;
}

const PIECE_BYTES = 2 * 1024 * 1024;
const PARALLEL = 4;

/** Copies a disk into a fresh one (all zeros, at least as large), leaving out what is zeros anyway. */
export async function copyDisk(source: Disk | MappedDisk, target: Disk, options: CopyOptions = {}): Promise<void> {
	const total = source.sizeBytes;
	const unit = options.unitBytes ?? 65536;
	const pieceBytes = Math.max(unit, PIECE_BYTES - (PIECE_BYTES % unit));
	let next = 0;
	let done = 0;
	let hasFailed = false;
	const worker = async () => {
		while (next < total && !hasFailed) {
			const at = next;
			const count = Math.min(pieceBytes, total - at);
			next += count;
			try {
				await copyPiece(source, target, at, count, unit, options);
			} catch (error) {
				hasFailed = true;
				throw error;
			}
			done += count;
			options.onProgress?.(done, total);
		}
	};
	// All of them have ended before the first failure is told: nobody writes behind the caller's back.
	const ends = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
	for (const end of ends) if (end.status === "rejected") throw end.reason;
}

async function copyPiece(source: Disk | MappedDisk, target: Disk, at: number, count: number, unit: number, options: CopyOptions) {
	const ranges = "map" in source ? await source.map(at, count) : [{ kind: "data", lengthBytes: count }];
	let from = at;
	for (const { kind, lengthBytes } of ranges) {
		if (kind === "zero") {
			if (options.isLayerOnly === true) await target.writeZeroes(from, lengthBytes);
		} else if (kind !== "unallocated" || options.isLayerOnly !== true) await copyRange(source, target, from, lengthBytes, unit, options);
		from += lengthBytes;
	}
}

/** Copies neighbouring units that are not zeros together. */
async function copyRange(source: Disk, target: Disk, offset: number, length: number, unit: number, options: CopyOptions): Promise<void> {
	const bytes = new Uint8Array(length);
	await source.read(offset, bytes);
	const write = options.write ?? ((at, part) => target.write(at, part));
	const unitEnd = (at: number) => Math.min(length, (Math.floor((offset + at) / unit) + 1) * unit - offset);
	for (let at = 0; at < length; ) {
		let end = unitEnd(at);
		const isZeros = isZero(bytes, at, end);
		while (end < length && isZero(bytes, end, unitEnd(end)) === isZeros) end = unitEnd(end);
		if (!isZeros) await write(offset + at, bytes.subarray(at, end));
		else if (options.isLayerOnly === true) await target.writeZeroes(offset + at, end - at);
		at = end;
	}
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
	for (let i = from; i < to; i++) if (bytes[i] !== 0) return false;
	return true;
}
