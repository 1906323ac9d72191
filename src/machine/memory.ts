import { assert } from "../base/assert.ts";
import { GIB, type HostOffset, PAGE_BYTES, type PhysAddr } from "../base/units.ts";
import { BusConflictError, type IoHandler, readSplit, writeSplit } from "./bus.ts";
import { RamPages } from "./ram-pages.ts";

/**
 * Guest-physical memory. One shared `WebAssembly.Memory` holds, from 0, the engine's own area (CPU states, TLBs, decoded
 * code) of `ENGINE_BYTES`, then guest RAM, then ROM. It is never grown, so typed views stay valid for ever.
 *
 * Physical layout: RAM from 0 up to `LOW_RAM_LIMIT`, the rest from 4 GiB; between them ROM and devices.
 */
export const ENGINE_BYTES = 64 * 1024 * 1024;
/** In the engine's area: a flag byte for each page of RAM (see RamPages), and one for each physical page below 4 GiB that holds code. */
export const RAM_FLAGS: HostOffset = 22 * 1024 * 1024;
export const CODE_FLAGS: HostOffset = 23 * 1024 * 1024;
export const CODE_FLAG_PAGES = 1024 * 1024;
/** Likewise: where computed jumps have led (`cpu/translator/jump-targets.ts`). */
export const JUMP_TARGETS_BYTES = 128 * 1024;
export const JUMP_TARGETS: HostOffset = RAM_FLAGS - JUMP_TARGETS_BYTES;
/** Likewise: where decoded code is found by physical address (`cpu/interpreter/code-index.ts`). */
export const CODE_INDEX: HostOffset = 24 * 1024 * 1024;
export const CODE_INDEX_BYTES = 2 * 1024 * 1024;
/** Likewise: what the interpreter decodes, and how it decodes it (`cpu/interpreter/decoded-area.ts`). */
export const DECODED: HostOffset = CODE_INDEX + CODE_INDEX_BYTES;
/** RAM below 4 GiB ends here at the latest; PCI windows, I/O APIC, HPET and local APIC stand above. */
export const LOW_RAM_LIMIT: PhysAddr = 0xc000_0000;
/** What a 32-bit WebAssembly memory leaves for the guest. */
export const MAX_RAM_BYTES = 4 * GIB - ENGINE_BYTES - 16 * 1024 * 1024;

interface Region {
	readonly owner: string;
	readonly first: PhysAddr;
	readonly sizeBytes: number;
	/** RAM and ROM: where the bytes are. */
	readonly hostOffset?: HostOffset;
	readonly isWritable?: boolean;
	readonly handler?: IoHandler;
}

/** What stands at one physical page. */
export type PageKind =
	| { readonly kind: "ram"; readonly hostOffset: HostOffset }
	| { readonly kind: "rom"; readonly hostOffset: HostOffset }
	| { readonly kind: "mmio" }
	| { readonly kind: "none" };

const NONE: PageKind = { kind: "none" };
const MMIO: PageKind = { kind: "mmio" };

/** Bus-master access to guest RAM: the one choke point for devices, so that translated code and dirty pages stay true. */
export interface DmaPort {
	read(from: PhysAddr, into: Uint8Array): void;
	write(to: PhysAddr, from: Uint8Array): void;
}

export class GuestMemory implements DmaPort {
	readonly memory: WebAssembly.Memory;
	readonly bytes: Uint8Array;
	readonly view: DataView;
	/** The engine's own area. */
	readonly engineWords: Int32Array;
	readonly ramBytes: number;
	readonly lowRamBytes: number;
	/** Which pages of RAM were written, or are yet to be brought in. */
	readonly pages: RamPages;
	/** Sorted by `first`; overlap is refused. */
	readonly #regions: Region[] = [];
	#romEnd: HostOffset;
	/** Engines listen here: a device is about to have changed [addr, addr+count). */
	onDmaWrite: (addr: PhysAddr, count: number) => void = () => {};
	/** Engines listen here: the map changed, cached translations of physical pages are void. */
	onMapChanged: () => void = () => {};

	/** @param romBytes room for firmware and option ROMs beside the RAM */
	constructor(ramBytes: number, romBytes = 1024 * 1024) {
		assert(ramBytes % PAGE_BYTES === 0 && ramBytes > 0 && ramBytes <= MAX_RAM_BYTES, `guest RAM of ${ramBytes} bytes`);
		this.ramBytes = ramBytes;
		const pages = Math.ceil((ENGINE_BYTES + ramBytes + romBytes) / 65536);
		this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
		this.bytes = new Uint8Array(this.memory.buffer);
		this.view = new DataView(this.memory.buffer);
		this.engineWords = new Int32Array(this.memory.buffer, 0, ENGINE_BYTES >> 2);
		this.lowRamBytes = Math.min(ramBytes, LOW_RAM_LIMIT);
		this.pages = new RamPages(ENGINE_BYTES, this.bytes.subarray(RAM_FLAGS, RAM_FLAGS + ramBytes / PAGE_BYTES));
		this.#romEnd = ENGINE_BYTES + ramBytes;
		// The legacy video and option-ROM window is a hole in RAM: devices and ROM go there.
		const legacyHole = 0xa0000;
		this.#insert({ owner: "ram", first: 0, sizeBytes: Math.min(legacyHole, ramBytes), hostOffset: ENGINE_BYTES, isWritable: true });
		if (ramBytes > 0x100000)
			this.#insert({
				owner: "ram",
				first: 0x100000,
				sizeBytes: this.lowRamBytes - 0x100000,
				hostOffset: ENGINE_BYTES + 0x100000,
				isWritable: true,
			});
		if (ramBytes > LOW_RAM_LIMIT)
			this.#insert({
				owner: "ram",
				first: 4 * GIB,
				sizeBytes: ramBytes - LOW_RAM_LIMIT,
				hostOffset: ENGINE_BYTES + LOW_RAM_LIMIT,
				isWritable: true,
			});
	}

	/** Ranges of RAM as firmware would report them. */
	get ramRanges(): readonly { first: PhysAddr; sizeBytes: number }[] {
		return this.#regions.filter((region) => region.owner === "ram").map(({ first, sizeBytes }) => ({ first, sizeBytes }));
	}

	/** Physical address of the byte of RAM at `hostOffset`. */
	physOf(hostOffset: HostOffset): PhysAddr {
		const at = hostOffset - ENGINE_BYTES;
		return at < LOW_RAM_LIMIT ? at : 4 * GIB + (at - LOW_RAM_LIMIT);
	}

	/** Puts a read-only image at `first`. Page-aligned; it keeps its own bytes beside the RAM. */
	addRom(owner: string, first: PhysAddr, image: Uint8Array): void {
		const sizeBytes = Math.ceil(image.length / PAGE_BYTES) * PAGE_BYTES;
		assert(this.#romEnd + sizeBytes <= this.bytes.length, `no room for ROM ${owner}`);
		this.bytes.set(image, this.#romEnd);
		this.#insert({ owner, first, sizeBytes, hostOffset: this.#romEnd, isWritable: false });
		this.#romEnd += sizeBytes;
	}

	/** Puts the shadow RAM that a chipset has under the legacy hole at [first, first+sizeBytes), write-protected or not. */
	addShadowRam(owner: string, first: PhysAddr, sizeBytes: number, isWritable = true): void {
		this.#insert({ owner, first, sizeBytes, hostOffset: ENGINE_BYTES + first, isWritable });
	}

	/** Shows the bytes of the ROM at `of` a second time at `first`; false when no ROM reaches that far. */
	addRomAlias(owner: string, first: PhysAddr, sizeBytes: number, of: PhysAddr): boolean {
		const rom = this.#find(of);
		if (rom?.hostOffset === undefined || rom.isWritable === true || of + sizeBytes > rom.first + rom.sizeBytes) return false;
		this.#insert({ owner, first, sizeBytes, hostOffset: rom.hostOffset + (of - rom.first), isWritable: false });
		return true;
	}

	/** Registers at [first, first+count). Page-aligned in start and size, so that a page is one thing. */
	claim(owner: string, first: PhysAddr, sizeBytes: number, handler: IoHandler): void {
		this.#insert({ owner, first, sizeBytes, handler });
	}

	release(owner: string, first: PhysAddr): void {
		const at = this.#regions.findIndex((region) => region.owner === owner && region.first === first);
		if (at >= 0) {
			this.#regions.splice(at, 1);
			this.onMapChanged();
		}
	}

	#insert(region: Region): void {
		for (const other of this.#regions)
			if (region.first < other.first + other.sizeBytes && other.first < region.first + region.sizeBytes)
				throw new BusConflictError(`${region.owner} and ${other.owner} both claim address 0x${region.first.toString(16)}`);
		this.#regions.push(region);
		this.#regions.sort((a, b) => a.first - b.first);
		this.onMapChanged();
	}

	#find(addr: PhysAddr): Region | undefined {
		let low = 0;
		let high = this.#regions.length - 1;
		while (low <= high) {
			const mid = (low + high) >> 1;
			const region = this.#regions[mid] as Region;
			if (addr < region.first) high = mid - 1;
			else if (addr >= region.first + region.sizeBytes) low = mid + 1;
			else return region;
		}
		return undefined;
	}

	pageAt(addr: PhysAddr): PageKind {
		const region = this.#find(addr);
		if (region === undefined) return NONE;
		if (region.hostOffset === undefined) return MMIO;
		const pageAddr = addr - (addr % PAGE_BYTES);
		const hostOffset = region.hostOffset + (pageAddr - region.first);
		this.pages.willReadRange(hostOffset, 1);
		return { kind: region.isWritable === true ? "ram" : "rom", hostOffset };
	}

	/** The byte of RAM or ROM at an address; -1 where a device would have to be asked. */
	plainByteAt(addr: PhysAddr): number {
		const page = this.pageAt(addr);
		return page.kind === "ram" || page.kind === "rom" ? (this.bytes[page.hostOffset + (addr % PAGE_BYTES)] as number) : -1;
	}

	/** One access of 1, 2 or 4 bytes that lies within a page, wherever it leads. Nobody there: all ones. */
	readPhys(addr: PhysAddr, bytes: number): number {
		const region = this.#find(addr);
		if (region === undefined) return bytes === 4 ? 0xffff_ffff : bytes === 2 ? 0xffff : 0xff;
		if (region.handler !== undefined) return readSplit(region.handler, addr - region.first, bytes);
		const at = (region.hostOffset as number) + (addr - region.first);
		this.pages.willReadRange(at, 1);
		if (bytes === 4) return this.view.getUint32(at, true);
		return bytes === 2 ? this.view.getUint16(at, true) : this.view.getUint8(at);
	}

	/** As `readPhys`; a write to ROM or to nobody is lost. Not for devices: they use `write`. */
	writePhys(addr: PhysAddr, bytes: number, value: number): void {
		const region = this.#find(addr);
		if (region === undefined) return;
		if (region.handler !== undefined) {
			writeSplit(region.handler, addr - region.first, bytes, value);
			return;
		}
		if (region.isWritable !== true) return;
		const at = (region.hostOffset as number) + (addr - region.first);
		this.pages.willWriteRange(at, 1);
		if (bytes === 4) this.view.setUint32(at, value, true);
		else if (bytes === 2) this.view.setUint16(at, value, true);
		else this.view.setUint8(at, value);
	}

	read(from: PhysAddr, into: Uint8Array): void {
		this.#spans(from, into.length, (region, addr, at, count) => {
			if (region?.hostOffset === undefined) into.fill(0xff, at, at + count);
			else {
				const start = region.hostOffset + (addr - region.first);
				this.pages.willReadRange(start, count);
				into.set(this.bytes.subarray(start, start + count), at);
			}
		});
	}

	write(to: PhysAddr, from: Uint8Array): void {
		this.#spans(to, from.length, (region, addr, at, count) => {
			if (region?.hostOffset === undefined || region.isWritable !== true) return;
			const start = region.hostOffset + (addr - region.first);
			this.announceWrite(addr, start, count);
			this.bytes.set(from.subarray(at, at + count), start);
		});
	}

	/** To be called before a device changes RAM at [addr, addr+count), which lies at `hostOffset`. */
	announceWrite(addr: PhysAddr, hostOffset: HostOffset, count: number): void {
		this.pages.willWriteRange(hostOffset, count);
		this.onDmaWrite(addr, count);
	}

	#spans(first: PhysAddr, count: number, visit: (region: Region | undefined, addr: PhysAddr, at: number, count: number) => void) {
		let at = 0;
		while (at < count) {
			const addr = first + at;
			const region = this.#find(addr);
			const left = region === undefined ? PAGE_BYTES - (addr % PAGE_BYTES) : region.first + region.sizeBytes - addr;
			const span = Math.min(left, count - at);
			visit(region, addr, at, span);
			at += span;
		}
	}
}
