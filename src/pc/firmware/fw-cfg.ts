import { assert } from "../../base/assert.ts";
import type { IoHandler } from "../../machine/bus.ts";
import type { Device } from "../../machine/device.ts";
import type { DmaPort } from "../../machine/memory.ts";
import { ascii, concat } from "../acpi/aml.ts";

/**
 * The firmware configuration device by which SeaBIOS and OVMF learn about a virtual PC (QEMU, docs/specs/fw_cfg.rst):
 * numbered blobs, a directory of named ones, read byte by byte through two ports or by DMA.
 */
export type FwCfgState = {
	readonly key: number;
	readonly offset: number;
	readonly dmaHigh: number;
	/** Files that firmware may write to, by path; the first states have none. */
	readonly written?: { readonly [path: string]: Uint8Array };
};

export const FW_CFG = {
	SIGNATURE: 0x00,
	ID: 0x01,
	UUID: 0x02,
	RAM_SIZE: 0x03,
	NOGRAPHIC: 0x04,
	NB_CPUS: 0x05,
	BOOT_MENU: 0x0e,
	MAX_CPUS: 0x0f,
	FILE_DIR: 0x19,
	FIRST_FILE: 0x20,
	IRQ0_OVERRIDE: 0x8002,
} as const;

const ID_TRADITIONAL = 1;
const ID_DMA = 2;
const FILE_NAME_BYTES = 56;
const DMA_ERROR = 1;
const DMA_READ = 2;
const DMA_SKIP = 4;
const DMA_SELECT = 8;
const DMA_WRITE = 16;
const MAX_ZEROS = 0x10000;
/** "QEMU CFG", which a read of the DMA address register gives. */
const DMA_SIGNATURE = ascii("QEMU CFG");

export class FwCfg implements Device<FwCfgState> {
	readonly name = "fw-cfg";
	readonly #items = new Map<number, Uint8Array>();
	readonly #files: { readonly path: string; readonly key: number; readonly bytes: Uint8Array; readonly isWritable: boolean }[] = [];
	readonly #dma: DmaPort;
	#key = 0;
	#offset = 0;
	#dmaHigh = 0;

	constructor(dma: DmaPort) {
		this.#dma = dma;
		this.setItem(FW_CFG.SIGNATURE, ascii("QEMU"));
		this.setItem(FW_CFG.ID, little(ID_TRADITIONAL | ID_DMA, 4));
		this.#setDirectory();
	}

	setItem(key: number, bytes: Uint8Array): void {
		this.#items.set(key, bytes);
	}

	/** Adds a file to the directory. Paths are at most 55 characters. */
	addFile(path: string, bytes: Uint8Array, isWritable = false): void {
		assert(path.length < FILE_NAME_BYTES && !this.#files.some((file) => file.path === path), `fw_cfg file ${path}`);
		const key = FW_CFG.FIRST_FILE + this.#files.length;
		this.#files.push({ path, key, bytes, isWritable });
		this.#items.set(key, bytes);
		this.#setDirectory();
	}

	/** What a file holds now. */
	file(path: string): Uint8Array | undefined {
		return this.#files.find((file) => file.path === path)?.bytes;
	}

	/** Ports 0x510 (selector, 16 bits wide) and 0x511 (data): the data port overlaps the selector's second byte. */
	readonly ports: IoHandler = {
		accessBytes: { min: 1, max: 2 },
		read: (offset) => (offset === 1 ? this.#next() : 0),
		write: (offset, bytes, value) => {
			if (offset === 0) this.#select(bytes === 2 ? value : value & 0xff);
		},
	};

	/** Ports 0x514–0x51B: the big-endian address of a command; writing its low half starts it. */
	readonly dmaPorts: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			let value = 0;
			for (let i = bytes - 1; i >= 0; i--) value = value * 256 + (DMA_SIGNATURE[offset + i] as number);
			return value;
		},
		write: (offset, bytes, value) => {
			if (bytes !== 4) return;
			if (offset === 0) this.#dmaHigh = swap32(value);
			else if (offset === 4) {
				const addr = this.#dmaHigh * 2 ** 32 + swap32(value);
				this.#dmaHigh = 0;
				this.#runDma(addr);
			}
		},
	};

	reset(): void {
		this.#select(0);
		this.#dmaHigh = 0;
		// Whatever firmware has said was of the memory that it had laid out.
		for (const { bytes, isWritable } of this.#files) if (isWritable) bytes.fill(0);
	}

	save(): FwCfgState {
		const written = this.#files.filter(({ isWritable }) => isWritable).map(({ path, bytes }) => [path, bytes.slice()] as const);
		return { key: this.#key, offset: this.#offset, dmaHigh: this.#dmaHigh, written: Object.fromEntries(written) };
	}

	load(state: FwCfgState): void {
		this.#key = state.key;
		this.#offset = state.offset;
		this.#dmaHigh = state.dmaHigh;
		for (const { path, bytes, isWritable } of this.#files) if (isWritable) bytes.set(state.written?.[path] ?? new Uint8Array(bytes.length));
	}

	#select(key: number): void {
		this.#key = key;
		this.#offset = 0;
	}

	/** Beyond the end, and where there is nothing, zeros. */
	#next(): number {
		return this.#items.get(this.#key)?.[this.#offset++] ?? 0;
	}

	#runDma(addr: number): void {
		const command = new Uint8Array(16);
		this.#dma.read(addr, command);
		const view = new DataView(command.buffer);
		const control = view.getUint32(0);
		const lengthBytes = view.getUint32(4);
		const target = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
		let error = 0;
		if ((control & DMA_SELECT) !== 0) this.#select(control >>> 16);
		if ((control & DMA_READ) !== 0) this.#readDma(target, lengthBytes);
		else if ((control & DMA_WRITE) !== 0) error = this.#writeDma(target, lengthBytes) ? 0 : DMA_ERROR;
		else if ((control & DMA_SKIP) !== 0) this.#offset += lengthBytes;
		view.setUint32(0, error);
		this.#dma.write(addr, command.subarray(0, 4));
	}

	#readDma(target: number, lengthBytes: number): void {
		const item = this.#items.get(this.#key) ?? new Uint8Array(0);
		const rest = item.subarray(this.#offset, this.#offset + lengthBytes);
		this.#dma.write(target, rest);
		// Zeros follow an item, but nobody means a gigabyte of them.
		const zeros = Math.min(lengthBytes - rest.length, MAX_ZEROS);
		if (zeros > 0) this.#dma.write(target + rest.length, new Uint8Array(zeros));
		this.#offset += lengthBytes;
	}

	/** False where nothing may be written, or not that much. */
	#writeDma(source: number, lengthBytes: number): boolean {
		const file = this.#files.find(({ key }) => key === this.#key);
		if (file === undefined || !file.isWritable || this.#offset + lengthBytes > file.bytes.length) return false;
		this.#dma.read(source, file.bytes.subarray(this.#offset, this.#offset + lengthBytes));
		this.#offset += lengthBytes;
		return true;
	}

	#setDirectory(): void {
		const entries = this.#files.map(({ path, key, bytes }) => {
			const entry = new Uint8Array(8 + FILE_NAME_BYTES);
			const view = new DataView(entry.buffer);
			view.setUint32(0, bytes.length);
			view.setUint16(4, key);
			entry.set(ascii(path), 8);
			return entry;
		});
		const count = new Uint8Array(4);
		new DataView(count.buffer).setUint32(0, entries.length);
		this.#items.set(FW_CFG.FILE_DIR, concat(count, ...entries));
	}
}

export function little(value: number, bytes: number): Uint8Array {
	return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
}

function swap32(value: number): number {
	return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}
