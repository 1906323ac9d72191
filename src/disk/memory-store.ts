import { type ByteStore, DiskError } from "./disk.ts";
import type { Pieces } from "./pieces.ts";

const PAGE_BYTES = 64 * 1024;

/** Bytes in memory, held sparsely: pages that were never written cost nothing and read as zeros. */
export class MemoryStore implements ByteStore {
	readonly name: string;
	readonly isReadOnly: boolean;
	readonly #pages = new Map<number, Uint8Array>();
	#sizeBytes = 0;

	constructor(name = "memory", contents: Uint8Array = new Uint8Array(0), options: { isReadOnly?: boolean } = {}) {
		this.name = name;
		this.isReadOnly = options.isReadOnly ?? false;
		this.#put(0, contents);
		this.#sizeBytes = contents.length;
	}

	size(): Promise<number> {
		return Promise.resolve(this.#sizeBytes);
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		this.#get(offsetBytes, into);
	}

	readNow(offsetBytes: number, into: Pieces): boolean {
		let at = offsetBytes;
		for (const piece of into) {
			this.#get(at, piece);
			at += piece.length;
		}
		return true;
	}

	writeNow(offsetBytes: number, from: Pieces): boolean {
		if (this.isReadOnly) return false;
		let at = offsetBytes;
		for (const piece of from) {
			this.#put(at, piece);
			at += piece.length;
		}
		this.#sizeBytes = Math.max(this.#sizeBytes, at);
		return true;
	}

	#get(offsetBytes: number, into: Uint8Array): void {
		for (let done = 0; done < into.length; ) {
			const from = (offsetBytes + done) % PAGE_BYTES;
			const count = Math.min(PAGE_BYTES - from, into.length - done);
			const page = this.#pages.get((offsetBytes + done - from) / PAGE_BYTES);
			if (page === undefined) into.fill(0, done, done + count);
			else into.set(page.subarray(from, from + count), done);
			done += count;
		}
	}

	async write(offsetBytes: number, from: Uint8Array): Promise<void> {
		this.#checkWritable();
		this.#put(offsetBytes, from);
		this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + from.length);
	}

	async truncate(sizeBytes: number): Promise<void> {
		this.#checkWritable();
		for (const [index, page] of this.#pages) {
			if (index * PAGE_BYTES >= sizeBytes) this.#pages.delete(index);
			else if ((index + 1) * PAGE_BYTES > sizeBytes) page.fill(0, sizeBytes - index * PAGE_BYTES);
		}
		this.#sizeBytes = sizeBytes;
	}

	async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
		this.#checkWritable();
		for (let done = 0; done < lengthBytes; ) {
			const from = (offsetBytes + done) % PAGE_BYTES;
			const count = Math.min(PAGE_BYTES - from, lengthBytes - done);
			const index = (offsetBytes + done - from) / PAGE_BYTES;
			if (count === PAGE_BYTES) this.#pages.delete(index);
			else this.#pages.get(index)?.fill(0, from, from + count);
			done += count;
		}
		this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + lengthBytes);
	}

	flush(): Promise<void> {
		return Promise.resolve();
	}

	close(): Promise<void> {
		return Promise.resolve();
	}

	/** Everything, as one array. */
	contents(): Uint8Array {
		const whole = new Uint8Array(this.#sizeBytes);
		for (const [index, page] of this.#pages) whole.set(page.subarray(0, this.#sizeBytes - index * PAGE_BYTES), index * PAGE_BYTES);
		return whole;
	}

	#put(offsetBytes: number, from: Uint8Array): void {
		for (let done = 0; done < from.length; ) {
			const at = (offsetBytes + done) % PAGE_BYTES;
			const count = Math.min(PAGE_BYTES - at, from.length - done);
			const index = (offsetBytes + done - at) / PAGE_BYTES;
			let page = this.#pages.get(index);
			if (page === undefined) this.#pages.set(index, (page = new Uint8Array(PAGE_BYTES)));
			page.set(from.subarray(done, done + count), at);
			done += count;
		}
	}

	#checkWritable(): void {
		if (this.isReadOnly) throw new DiskError("read-only", this.name, "opened for reading only");
	}
}
