import { assert } from "../base/assert.ts";
import type { Disk } from "../disk/disk.ts";
import { BlockConfig, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH, WRITEBACK_AT } from "./block-config.ts";
import type { Chain } from "./chain.ts";
import type { VirtioDevice, VirtioHost } from "./device.ts";
import type { Virtqueue } from "./virtqueue.ts";

// Virtio 1.2 §5.2.6, "Device Operation"
const VIRTIO_BLK_T_IN = 0;
const VIRTIO_BLK_T_OUT = 1;
const VIRTIO_BLK_T_FLUSH = 4;
const VIRTIO_BLK_T_GET_ID = 8;
const VIRTIO_BLK_T_DISCARD = 11;
const VIRTIO_BLK_T_WRITE_ZEROES = 13;
const VIRTIO_BLK_S_OK = 0;
const VIRTIO_BLK_S_IOERR = 1;
const VIRTIO_BLK_S_UNSUPP = 2;
const HEADER_BYTES = 16;
const ID_BYTES = 20;
const SEGMENT_BYTES = 16;
const SEGMENT_UNMAP = 1;
/** Sector numbers count 512 bytes whatever the disk's own sectors are. */
const SECTOR_BYTES = 512;
/** Longer requests go through the host in pieces of this size, so that no guest makes it allocate without end. */
const MAX_PIECE_BYTES = 2 * 1024 * 1024;

export type VirtioBlockState = { readonly isWriteBack: boolean };

export interface VirtioBlockOptions {
	readonly name?: string;
	/** Brings a completion into the machine's inbox, which runs it between two slices. */
	readonly post: (completion: () => void) => void;
	/** At most 20 ASCII characters, for GET_ID. */
	readonly serial?: string;
	readonly queueSize?: number;
	/** The host failed at what the guest asked; the guest has been told "I/O error". */
	readonly onHostError?: (error: unknown) => void;
}

interface Segment {
	readonly offsetBytes: number;
	readonly lengthBytes: number;
}

/** A request on its way: `run` resolves to what remains to be done to guest memory once the disk is through. */
interface Work {
	readonly writtenBytes: number;
	readonly run: () => Promise<() => void>;
}

/**
 * The block device (Virtio 1.2 §5.2). Requests run side by side and end in any order. A write has ended when the `Disk`
 * accepted it; a flush when everything that ended before it is safe. Without a write-back cache agreed on, each write
 * is flushed before it ends (§5.2.6.2, "Device Requirements: Device Operation").
 */
export class VirtioBlock implements VirtioDevice<VirtioBlockState> {
	readonly name: string;
	readonly typeId = 2;
	readonly pciClass = 0x0100;
	readonly queueSizes: readonly number[];
	readonly #options: VirtioBlockOptions;
	readonly #config: BlockConfig;
	#disk: Disk;
	#host: VirtioHost | undefined;
	#isWriteBack = true;
	#inFlight = 0;
	#epoch = 0;
	#whenIdle: (() => void)[] = [];
	/** What the disk is at. */
	readonly #running = new Set<Promise<unknown>>();
	/** After a reset, new requests wait for those of the former life: the disk may still be at them. */
	#barrier: Promise<void> | undefined;
	readonly #id: Uint8Array;
	readonly #header = new Uint8Array(HEADER_BYTES);
	readonly #headerView = new DataView(this.#header.buffer);

	constructor(disk: Disk, options: VirtioBlockOptions) {
		this.name = options.name ?? "virtio-blk";
		this.#disk = disk;
		this.#options = options;
		this.queueSizes = [options.queueSize ?? 256];
		this.#config = new BlockConfig(disk, this.queueSizes[0] as number);
		this.#id = new Uint8Array(ID_BYTES);
		for (const [i, char] of [...(options.serial ?? "")].slice(0, ID_BYTES).entries()) this.#id[i] = char.charCodeAt(0) & 0x7f;
	}

	get features(): bigint {
		return this.#config.features;
	}

	get configBytes(): number {
		return this.#config.bytes.length;
	}

	get inFlight(): number {
		return this.#inFlight;
	}

	/** Puts another disk underneath (a grown one, another layer), as writable as the old. The guest is told of a new size. */
	replaceDisk(disk: Disk): void {
		assert(disk.isReadOnly === this.#disk.isReadOnly, `${this.name}: the guest has been told already whether it may write`);
		this.#disk = disk;
		if (this.#config.describe(disk)) this.#host?.configChanged();
	}

	connect(host: VirtioHost): void {
		this.#host = host;
	}

	start(): void {
		this.onNotify(0);
	}

	reset(): void {
		this.#epoch++;
		this.#isWriteBack = true;
		this.#config.bytes[WRITEBACK_AT] = 1;
		if (this.#running.size === 0) return;
		const barrier = Promise.allSettled(this.#running).then(() => {
			if (this.#barrier === barrier) this.#barrier = undefined;
		});
		this.#barrier = barrier;
	}

	readConfig(offset: number): number {
		return this.#config.bytes[offset] as number;
	}

	writeConfig(offset: number, bytes: number, value: number): void {
		if (offset !== WRITEBACK_AT || bytes !== 1 || (this.#negotiated & VIRTIO_BLK_F_CONFIG_WCE) === 0n) return;
		this.#isWriteBack = (value & 1) !== 0;
		this.#config.bytes[WRITEBACK_AT] = value & 1;
	}

	get #negotiated(): bigint {
		return this.#host?.features ?? 0n;
	}

	/** §5.2.5.1: a driver that cannot flush gets a cache that writes through. */
	get #isWriteThrough(): boolean {
		const features = this.#negotiated;
		if ((features & VIRTIO_BLK_F_CONFIG_WCE) !== 0n) return !this.#isWriteBack;
		return (features & VIRTIO_BLK_F_FLUSH) === 0n;
	}

	onNotify(_queueIndex: number): void {
		const host = this.#host as VirtioHost;
		const queue = host.queue(0);
		for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) this.#begin(queue, chain);
		queue.signal();
	}

	quiesce(): Promise<void> {
		if (this.#inFlight === 0) return Promise.resolve();
		return new Promise((resolve) => this.#whenIdle.push(resolve));
	}

	save(): VirtioBlockState {
		return { isWriteBack: this.#isWriteBack };
	}

	load(state: VirtioBlockState): void {
		this.#epoch++;
		this.#isWriteBack = state.isWriteBack;
		this.#config.bytes[WRITEBACK_AT] = state.isWriteBack ? 1 : 0;
	}

	#begin(queue: Virtqueue, chain: Chain): void {
		if (chain.readable.byteLength < HEADER_BYTES || chain.writable.byteLength < 1) {
			this.#host?.broken(`${this.name}: a request without a header or without room for its status`);
			return;
		}
		chain.readable.read(0, this.#header);
		const type = this.#headerView.getUint32(0, true);
		const sector = this.#headerView.getUint32(8, true) + this.#headerView.getUint32(12, true) * 2 ** 32;
		if (this.#doneAtOnce(chain, type, sector)) {
			finish(queue, chain, VIRTIO_BLK_S_OK, type === VIRTIO_BLK_T_IN ? chain.writable.byteLength - 1 : 0);
			return;
		}
		const work = this.#plan(chain, type, sector);
		if (typeof work === "number") finish(queue, chain, work, 0);
		else this.#submit(queue, chain, work);
	}

	/** Reads and writes that the disk carries out within the call, straight from and to guest memory. */
	#doneAtOnce(chain: Chain, type: number, sector: number): boolean {
		const disk = this.#disk;
		if (this.#barrier !== undefined) return false;
		const offsetBytes = sector * SECTOR_BYTES;
		try {
			if (type === VIRTIO_BLK_T_IN && disk.readNow !== undefined) {
				const count = chain.writable.byteLength - 1;
				const into = this.#fits(offsetBytes, count) ? chain.writable.piecesToWrite(0, count) : undefined;
				return into !== undefined && disk.readNow(offsetBytes, into);
			}
			if (type === VIRTIO_BLK_T_OUT && disk.writeNow !== undefined && !this.#isWriteThrough) {
				const count = chain.readable.byteLength - HEADER_BYTES;
				return this.#fits(offsetBytes, count) && disk.writeNow(offsetBytes, chain.readable.pieces(HEADER_BYTES, count));
			}
		} catch {
			// What is wrong comes to light again in the ordinary way, and is told there.
		}
		return false;
	}

	/** What the request comes to; or the status that ends it at once. */
	#plan(chain: Chain, type: number, sector: number): Work | number {
		switch (type) {
			case VIRTIO_BLK_T_IN:
				return this.#planRead(chain, sector);
			case VIRTIO_BLK_T_OUT:
				return this.#planWrite(chain, sector);
			case VIRTIO_BLK_T_FLUSH:
				return { writtenBytes: 0, run: () => this.#disk.flush().then(() => nothing) };
			case VIRTIO_BLK_T_GET_ID:
				chain.writable.write(0, this.#id.subarray(0, chain.writable.byteLength - 1));
				return VIRTIO_BLK_S_OK;
			case VIRTIO_BLK_T_DISCARD:
			case VIRTIO_BLK_T_WRITE_ZEROES:
				return this.#planClear(chain, type === VIRTIO_BLK_T_DISCARD);
			default:
				return VIRTIO_BLK_S_UNSUPP;
		}
	}

	#planRead(chain: Chain, sector: number): Work | number {
		const count = chain.writable.byteLength - 1;
		const offsetBytes = sector * SECTOR_BYTES;
		if (!this.#fits(offsetBytes, count)) return VIRTIO_BLK_S_IOERR;
		const epoch = this.#epoch;
		const readPiece = async (at: number) => {
			const buffer = new Uint8Array(Math.min(count - at, MAX_PIECE_BYTES));
			await this.#disk.read(offsetBytes + at, buffer);
			return () => {
				if (epoch === this.#epoch) chain.writable.write(at, buffer);
			};
		};
		const run = async () => {
			let at = 0;
			for (; at + MAX_PIECE_BYTES < count; at += MAX_PIECE_BYTES) await this.#inInbox(await readPiece(at));
			return readPiece(at);
		};
		return { writtenBytes: count, run };
	}

	#planWrite(chain: Chain, sector: number): Work | number {
		const count = chain.readable.byteLength - HEADER_BYTES;
		const offsetBytes = sector * SECTOR_BYTES;
		if (this.#disk.isReadOnly || !this.#fits(offsetBytes, count)) return VIRTIO_BLK_S_IOERR;
		const isThrough = this.#isWriteThrough;
		const epoch = this.#epoch;
		const buffer = new Uint8Array(Math.min(count, MAX_PIECE_BYTES));
		chain.readable.read(HEADER_BYTES, buffer);
		const run = async () => {
			await this.#disk.write(offsetBytes, buffer);
			for (let at = buffer.length; at < count && epoch === this.#epoch; at += buffer.length) {
				const piece = buffer.subarray(0, Math.min(count - at, buffer.length));
				await this.#inInbox(() => {
					if (epoch === this.#epoch) chain.readable.read(HEADER_BYTES + at, piece);
				});
				if (epoch === this.#epoch) await this.#disk.write(offsetBytes + at, piece);
			}
			if (isThrough) await this.#disk.flush();
			return nothing;
		};
		return { writtenBytes: 0, run };
	}

	#planClear(chain: Chain, isDiscard: boolean): Work | number {
		const segments = this.#segments(chain, isDiscard);
		if (typeof segments === "number") return segments;
		const isThrough = this.#isWriteThrough;
		const run = async () => {
			for (const { offsetBytes, lengthBytes } of segments)
				await (isDiscard ? this.#disk.discard(offsetBytes, lengthBytes) : this.#disk.writeZeroes(offsetBytes, lengthBytes));
			if (isThrough) await this.#disk.flush();
			return nothing;
		};
		return { writtenBytes: 0, run };
	}

	/** struct virtio_blk_discard_write_zeroes, as many as there are; or the status that refuses them. */
	#segments(chain: Chain, isDiscard: boolean): readonly Segment[] | number {
		const count = chain.readable.byteLength - HEADER_BYTES;
		if (this.#disk.isReadOnly || count === 0 || count % SEGMENT_BYTES !== 0) return VIRTIO_BLK_S_IOERR;
		if (count / SEGMENT_BYTES > this.#config.maxClearSegments) return VIRTIO_BLK_S_IOERR;
		const bytes = new Uint8Array(count);
		chain.readable.read(HEADER_BYTES, bytes);
		const view = new DataView(bytes.buffer);
		const segments: Segment[] = [];
		for (let at = 0; at < count; at += SEGMENT_BYTES) {
			const sector = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
			const sectors = view.getUint32(at + 8, true);
			const flags = view.getUint32(at + 12, true);
			// §5.2.6.2: unknown flags, or "unmap" on a discard, are unsupported.
			if ((flags & ~SEGMENT_UNMAP) !== 0 || (isDiscard && flags !== 0)) return VIRTIO_BLK_S_UNSUPP;
			const lengthBytes = sectors * SECTOR_BYTES;
			if (sectors > this.#config.maxClearSectors || !this.#fits(sector * SECTOR_BYTES, lengthBytes)) return VIRTIO_BLK_S_IOERR;
			segments.push({ offsetBytes: sector * SECTOR_BYTES, lengthBytes });
		}
		return segments;
	}

	#fits(offsetBytes: number, lengthBytes: number): boolean {
		const unit = this.#disk.sectorBytes;
		return offsetBytes % unit === 0 && lengthBytes % unit === 0 && offsetBytes + lengthBytes <= this.#disk.sizeBytes;
	}

	/** Guest memory is touched from the machine's inbox only. */
	#inInbox(action: () => void): Promise<void> {
		return new Promise((resolve) =>
			this.#options.post(() => {
				action();
				resolve();
			}),
		);
	}

	/** Starts the work at once, so that requests reach the disk in their order; the rest happens in the inbox. */
	#submit(queue: Virtqueue, chain: Chain, work: Work): void {
		const epoch = this.#epoch;
		this.#inFlight++;
		const settle = (status: number, answer: () => void, error?: unknown) =>
			this.#options.post(() => {
				this.#inFlight--;
				if (error !== undefined) this.#options.onHostError?.(error);
				if (epoch === this.#epoch) {
					answer();
					finish(queue, chain, status, status === VIRTIO_BLK_S_OK ? work.writtenBytes : 0);
					queue.signal();
				}
				if (this.#inFlight === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
			});
		const started = this.#barrier === undefined ? work.run() : this.#barrier.then(work.run);
		this.#running.add(started);
		started
			.finally(() => this.#running.delete(started))
			.then(
				(answer) => settle(VIRTIO_BLK_S_OK, answer),
				(error: unknown) => settle(VIRTIO_BLK_S_IOERR, nothing, error ?? new Error("the disk failed without saying why")),
			);
	}
}

/** The status is the last writable byte. What counts as written are the bytes from the first one on without a gap. */
function finish(queue: Virtqueue, chain: Chain, status: number, writtenBytes: number): void {
	const statusAt = chain.writable.byteLength - 1;
	chain.writable.write(statusAt, Uint8Array.of(status));
	queue.push(chain, writtenBytes === statusAt ? statusAt + 1 : writtenBytes);
}

function nothing(): void {}
