import { type HostOffset, PAGE_BYTES, type PhysAddr } from "../base/units.ts";
import type { GuestMemory } from "../machine/memory.ts";

/** A range that is not wholly RAM. */
export const NOT_RAM = -1;

interface Span {
	readonly first: PhysAddr;
	readonly end: PhysAddr;
	/** hostOffset = physAddr + shift */
	readonly shift: number;
}

/**
 * Guest RAM as a bus master reaches it: one check per buffer, then plain memory. Addresses come from the guest and are
 * hostile; whatever is not wholly RAM answers `NOT_RAM`. Every write is announced to the engines first, as `DmaPort` asks.
 */
export class Ram {
	readonly memory: GuestMemory;
	readonly bytes: Uint8Array;
	readonly view: DataView;
	/** For ring indices, which other processors write at the same time. */
	readonly #words: Uint16Array;
	readonly #spans: readonly Span[];
	/** False while the guest has bus mastering off: nothing is taken from rings, nothing written. */
	isMastering = true;

	constructor(memory: GuestMemory) {
		this.memory = memory;
		this.bytes = memory.bytes;
		this.view = memory.view;
		this.#words = new Uint16Array(memory.bytes.buffer, 0, Math.floor(memory.bytes.length / 2));
		const spans: Span[] = [];
		for (const { first, sizeBytes } of memory.ramRanges) {
			const page = memory.pageAt(first);
			if (page.kind === "ram") spans.push({ first, end: first + sizeBytes, shift: page.hostOffset - first });
		}
		// The biggest range first: nearly every buffer lies there.
		this.#spans = spans.sort((a, b) => b.end - b.first - (a.end - a.first));
	}

	/** Where [addr, addr+count) lies, if all of it is RAM and in one piece. `count` may be 0. */
	locate(addr: PhysAddr, count: number): HostOffset {
		for (const span of this.#spans)
			if (addr >= span.first && addr + count <= span.end) {
				this.memory.pages.willReadRange(addr + span.shift, count);
				return addr + span.shift;
			}
		return this.#locateByPage(addr, count);
	}

	/** Shadow RAM comes and goes with the chipset's registers, so it is looked up page by page. */
	#locateByPage(addr: PhysAddr, count: number): HostOffset {
		if (!(addr >= 0 && addr + count <= Number.MAX_SAFE_INTEGER)) return NOT_RAM;
		const first = addr - (addr % PAGE_BYTES);
		let start = NOT_RAM;
		for (let pageAddr = first; pageAddr < addr + Math.max(count, 1); pageAddr += PAGE_BYTES) {
			const page = this.memory.pageAt(pageAddr);
			if (page.kind !== "ram") return NOT_RAM;
			if (start === NOT_RAM) start = page.hostOffset;
			else if (page.hostOffset !== start + (pageAddr - first)) return NOT_RAM;
		}
		return start + (addr - first);
	}

	/** To be called before bytes at [addr, addr+count), known to be RAM, change. */
	announce(addr: PhysAddr, count: number): void {
		this.memory.announceWrite(addr, this.locate(addr, count), count);
	}

	/** A little-endian 16-bit load that sees everything the other processor wrote before it. `at` is even. */
	loadIndex(at: HostOffset): number {
		return Atomics.load(this.#words, at >>> 1);
	}

	/** A 16-bit store after which other processors see everything written before it; also a full barrier. */
	storeIndex(at: HostOffset, value: number): void {
		Atomics.store(this.#words, at >>> 1, value & 0xffff);
	}
}
