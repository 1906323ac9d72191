import { type ByteStore, type Disk, DiskError } from "../../disk.ts";
import { checkRange, checkWritable } from "../../range.ts";
import { readVhdxInfo, type VhdxInfo } from "./vhdx-metadata.ts";

// [MS-VHDX] §2.5.1, "Block Allocation Table Entry": payload states.
const NOT_PRESENT = 0;
const UNDEFINED = 1;
const ZERO = 2;
const UNMAPPED = 3;
const FULLY_PRESENT = 6;
const PARTIALLY_PRESENT = 7;
const BITMAP_BYTES = 1024 * 1024;

/** A VHDX disk, for reading, with or without a parent. */
export class VhdxDisk implements Disk {
	readonly sizeBytes: number;
	readonly sectorBytes: 512 | 4096;
	readonly isReadOnly = true;
	readonly info: VhdxInfo;
	readonly #store: ByteStore;
	readonly #parent: Disk | undefined;
	readonly #bat: DataView;
	/** Payload blocks per sector-bitmap block; one entry for the bitmap follows so many for payload. */
	readonly #chunkRatio: number;

	private constructor(store: ByteStore, info: VhdxInfo, bat: DataView, chunkRatio: number, parent: Disk | undefined) {
		this.#store = store;
		this.info = info;
		this.#bat = bat;
		this.#chunkRatio = chunkRatio;
		this.#parent = parent;
		this.sizeBytes = info.sizeBytes;
		this.sectorBytes = info.sectorBytes;
	}

	static async open(store: ByteStore, options: { readonly parent?: Disk } = {}): Promise<VhdxDisk> {
		const info = await readVhdxInfo(store);
		if (info.hasParent && options.parent === undefined)
			throw new DiskError("not-found", store.name, `stands on ${info.parentFile ?? "a parent"}, which has not been opened`);
		const chunkRatio = (2 ** 23 * info.sectorBytes) / info.blockBytes;
		const blocks = Math.ceil(info.sizeBytes / info.blockBytes);
		const entries = info.hasParent
			? Math.ceil(blocks / chunkRatio) * (chunkRatio + 1)
			: blocks + Math.floor(Math.max(0, blocks - 1) / chunkRatio);
		if (entries * 8 > info.batBytes)
			throw new DiskError("corrupt", store.name, `a block table of ${info.batBytes} bytes for ${blocks} blocks`, {
				offsetBytes: info.batOffset,
			});
		const bat = new DataView(new ArrayBuffer(entries * 8));
		await info.log.read(info.batOffset, new Uint8Array(bat.buffer));
		return new VhdxDisk(store, info, bat, chunkRatio, options.parent);
	}

	async read(offsetBytes: number, into: Uint8Array): Promise<void> {
		checkRange(this, this.#store.name, offsetBytes, into.length);
		const { blockBytes } = this.info;
		for (let at = 0; at < into.length; ) {
			const block = Math.floor((offsetBytes + at) / blockBytes);
			const within = (offsetBytes + at) % blockBytes;
			const count = Math.min(blockBytes - within, into.length - at);
			await this.#readBlock(block, within, into.subarray(at, at + count));
			at += count;
		}
	}

	async #readBlock(block: number, within: number, into: Uint8Array): Promise<void> {
		const index = block + Math.floor(block / this.#chunkRatio);
		const { state, offset } = this.#entry(index);
		switch (state) {
			case NOT_PRESENT:
				return this.#readParent(block * this.info.blockBytes + within, into);
			case UNDEFINED:
			case ZERO:
			case UNMAPPED:
				into.fill(0);
				return;
			case FULLY_PRESENT:
				return this.info.log.read(this.#inFile(index, offset) + within, into);
			case PARTIALLY_PRESENT:
				return this.#readPartial(block, index, this.#inFile(index, offset), within, into);
			default:
				throw new DiskError("corrupt", this.#store.name, `block ${block} is in state ${state}`, {
					offsetBytes: this.info.batOffset + 8 * index,
				});
		}
	}

	/** §2.5.2: one bit a sector, in a block of its own for each chunk, says whether it is here or with the parent. */
	async #readPartial(block: number, index: number, start: number, within: number, into: Uint8Array): Promise<void> {
		const { sectorBytes, blockBytes } = this.info;
		const chunk = Math.floor(block / this.#chunkRatio);
		const bitmapIndex = chunk * (this.#chunkRatio + 1) + this.#chunkRatio;
		const bitmap = this.#entry(bitmapIndex);
		if (bitmap.state !== FULLY_PRESENT)
			throw new DiskError("corrupt", this.#store.name, `block ${block} is partly here and has no bitmap`, {
				offsetBytes: this.info.batOffset + 8 * index,
			});
		const firstBit = ((block % this.#chunkRatio) * blockBytes + within) / sectorBytes;
		const firstByte = Math.floor(firstBit / 8);
		const bits = new Uint8Array(Math.min(BITMAP_BYTES - firstByte, Math.ceil(into.length / sectorBytes / 8) + 1));
		await this.info.log.read(this.#inFile(bitmapIndex, bitmap.offset) + firstByte, bits);
		const isHere = (at: number) => {
			const bit = (firstBit % 8) + at / sectorBytes;
			return ((bits[bit >> 3] as number) & (1 << (bit & 7))) !== 0;
		};
		for (let at = 0; at < into.length; ) {
			const here = isHere(at);
			let end = at + sectorBytes;
			while (end < into.length && isHere(end) === here) end += sectorBytes;
			const part = into.subarray(at, end);
			await (here ? this.info.log.read(start + within + at, part) : this.#readParent(block * blockBytes + within + at, part));
			at = end;
		}
	}

	#entry(index: number): { readonly state: number; readonly offset: number } {
		const low = this.#bat.getUint32(8 * index, true);
		const high = this.#bat.getUint32(8 * index + 4, true);
		return { state: low & 7, offset: high * 2 ** 32 + ((low & 0xfff0_0000) >>> 0) };
	}

	#inFile(index: number, offset: number): number {
		if (offset !== 0 && offset < this.info.log.fileBytes) return offset;
		throw new DiskError("corrupt", this.#store.name, `a block is said to lie at ${offset}, in a file of ${this.info.log.fileBytes} bytes`, {
			offsetBytes: this.info.batOffset + 8 * index,
		});
	}

	async #readParent(offsetBytes: number, into: Uint8Array): Promise<void> {
		const there = this.#parent === undefined ? 0 : Math.max(0, Math.min(into.length, this.#parent.sizeBytes - offsetBytes));
		if (there > 0) await this.#parent?.read(offsetBytes, into.subarray(0, there));
		into.fill(0, there);
	}

	async write(): Promise<void> {
		checkWritable(true, this.#store.name);
	}

	async writeZeroes(): Promise<void> {
		checkWritable(true, this.#store.name);
	}

	async discard(): Promise<void> {
		checkWritable(true, this.#store.name);
	}

	flush(): Promise<void> {
		return Promise.resolve();
	}

	async close(): Promise<void> {
		await this.#store.close();
		await this.#parent?.close();
	}
}
