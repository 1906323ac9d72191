import type { Pieces } from "./pieces.ts";

/**
 * A disk as machines see it: numbered bytes of a fixed size. Offsets and lengths are multiples of `sectorBytes`.
 * Completion means: `read` has filled the buffer; `write` is accepted and visible to later reads; after `flush`
 * resolves, every write that completed before the call survives a crash of the host process and of the host.
 */
export interface Disk {
	readonly sizeBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly isReadOnly: boolean;
	read(offsetBytes: number, into: Uint8Array): Promise<void>;
	write(offsetBytes: number, from: Uint8Array): Promise<void>;
	/** The range reads as zeros afterwards; the space may be given back. */
	writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void>;
	/** The range's contents no longer matter. */
	discard(offsetBytes: number, lengthBytes: number): Promise<void>;
	flush(): Promise<void>;
	close(): Promise<void>;
	/**
	 * Reads into the pieces, end to end, if that can be done at once; answers whether it has been. Where it has not, what
	 * the pieces hold means nothing, and `read` is the way (which also tells what is wrong, if something is).
	 */
	readNow?(offsetBytes: number, into: Pieces): boolean;
	/** Writes at once, if that can be done; else the range may hold old bytes or new, and `write` is the way. */
	writeNow?(offsetBytes: number, from: Pieces): boolean;
}

/** Bytes behind a disk format: a host file, OPFS, an HTTP range, memory. Grows by writing past the end. */
export interface ByteStore {
	/** For messages: a path or an address. */
	readonly name: string;
	readonly isReadOnly: boolean;
	size(): Promise<number>;
	/** Bytes past the end read as zeros. */
	read(offsetBytes: number, into: Uint8Array): Promise<void>;
	write(offsetBytes: number, from: Uint8Array): Promise<void>;
	truncate(sizeBytes: number): Promise<void>;
	/** As a disk's. A store that finds its medium slow answers false for a while. */
	readNow?(offsetBytes: number, into: Pieces): boolean;
	writeNow?(offsetBytes: number, from: Pieces): boolean;
	/** Where a store has a cheaper way to zeros than writing them; the space may be given back. Grows the store like `write`. */
	writeZeroes?(offsetBytes: number, lengthBytes: number): Promise<void>;
	flush(): Promise<void>;
	close(): Promise<void>;
}

export type DiskErrorKind = "corrupt" | "unsupported" | "out-of-range" | "read-only" | "io" | "locked" | "not-found";

/** Everything that can go wrong with a disk; `where` is the store's name, `offsetBytes` the place within it. */
export class DiskError extends Error {
	override readonly name = "DiskError";
	readonly kind: DiskErrorKind;
	readonly where: string;
	readonly offsetBytes: number | undefined;

	constructor(kind: DiskErrorKind, where: string, message: string, context: { offsetBytes?: number; cause?: unknown } = {}) {
		const at = context.offsetBytes === undefined ? "" : ` at offset ${context.offsetBytes}`;
		super(`${where}${at}: ${message}`, { cause: context.cause });
		this.kind = kind;
		this.where = where;
		this.offsetBytes = context.offsetBytes;
	}
}
