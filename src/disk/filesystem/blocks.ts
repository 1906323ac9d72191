import { type Disk, DiskError } from "../disk.ts";

const CHUNK_BYTES = 64 * 1024;
const MAX_CHUNKS = 512;

/** The blocks of a file system, numbered, as its journal leaves them: read-only, a part of them kept. */
export class Blocks {
	readonly blockBytes: number;
	readonly #disk: Disk;
	readonly #startBytes: number;
	readonly #chunks = new Map<number, Uint8Array>();
	/** Blocks whose present contents lie elsewhere. */
	readonly #moved = new Map<number, { readonly block: number; readonly isEscaped: boolean }>();

	constructor(disk: Disk, startBytes: number, blockBytes: number) {
		this.#disk = disk;
		this.#startBytes = startBytes;
		this.blockBytes = blockBytes;
	}

	/** `block` is to be read from `from`; an escaped one begins with the journal's own magic number, which stands there as zero. */
	move(block: number, from: number, isEscaped: boolean): void {
		this.#moved.set(block, { block: from, isEscaped });
	}

	/** @throws DiskError corrupt */
	async read(block: number): Promise<DataView> {
		const moved = this.#moved.get(block);
		const bytes = await this.readAsIs(moved?.block ?? block);
		if (moved?.isEscaped !== true) return bytes;
		const whole = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice();
		const view = new DataView(whole.buffer);
		view.setUint32(0, JOURNAL_MAGIC);
		return view;
	}

	async readAsIs(block: number): Promise<DataView> {
		const offset = this.#startBytes + block * this.blockBytes;
		if (!Number.isSafeInteger(offset) || offset < 0 || offset + this.blockBytes > this.#disk.sizeBytes)
			throw new DiskError("corrupt", "file system", `leads to block ${block}, which is not there`);
		const number = Math.floor((block * this.blockBytes) / CHUNK_BYTES);
		const chunk = this.#chunks.get(number) ?? (await this.#load(number));
		return new DataView(chunk.buffer, (block * this.blockBytes) % CHUNK_BYTES, this.blockBytes);
	}

	async #load(number: number): Promise<Uint8Array> {
		const chunk = new Uint8Array(CHUNK_BYTES);
		const from = this.#startBytes + number * CHUNK_BYTES;
		await this.#disk.read(from, chunk.subarray(0, Math.min(CHUNK_BYTES, this.#disk.sizeBytes - from)));
		if (this.#chunks.size >= MAX_CHUNKS) this.#chunks.delete(this.#chunks.keys().next().value as number);
		this.#chunks.set(number, chunk);
		return chunk;
	}
}

/** Begins every block of a journal's own. */
export const JOURNAL_MAGIC = 0xc03b_3998;
