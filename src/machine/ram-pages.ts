import { type HostOffset, PAGE_BYTES } from "../base/units.ts";

/** What a page's flag byte says. A page that is neither dirty nor absent holds what it held at the last seal (at first: zeros). */
export const PAGE_FLAG = {
	/** Written since the last seal. */
	dirty: 1,
	/** Its contents have yet to be brought in, by `onAbsent`. */
	absent: 2,
	/** Sealed and not yet saved: whoever writes it first has `onHeld` keep the old contents. */
	held: 4,
} as const;

const { dirty: DIRTY, absent: ABSENT, held: HELD } = PAGE_FLAG;

/**
 * What snapshots know of guest RAM, page by page. Generated code never looks here: it writes through TLB entries, and an entry
 * lets writes pass only while its page is dirty already. So each first write comes by the slow path, as do bus masters.
 */
export class RamPages {
	readonly count: number;
	/** One byte for each page of RAM, in the order in which they lie in the memory; page walks in generated code read them. */
	readonly flags: Uint8Array;
	/** Must fill the page. */
	onAbsent: (page: number) => void = () => {};
	/** Must keep the page's contents, which are about to change. */
	onHeld: (page: number) => void = () => {};
	/** The dirty flags are about to go: TLB entries must let no write pass any more. */
	onSeal: () => void = () => {};
	readonly #firstOffset: HostOffset;

	/** @param flags one byte per page, zero */
	constructor(firstOffset: HostOffset, flags: Uint8Array) {
		this.#firstOffset = firstOffset;
		this.count = flags.length;
		this.flags = flags;
	}

	/** Index of the page at `hostOffset`; not below `count` when that is no RAM. */
	indexOf(hostOffset: HostOffset): number {
		return Math.floor((hostOffset - this.#firstOffset) / PAGE_BYTES);
	}

	offsetOf(page: number): HostOffset {
		return this.#firstOffset + page * PAGE_BYTES;
	}

	/** To be called before the page is read. */
	willRead(page: number): void {
		if (((this.flags[page] as number) & ABSENT) !== 0) this.#bringIn(page);
	}

	/** To be called before the page is written, be it in part. */
	willWrite(page: number): void {
		if (this.flags[page] !== DIRTY) this.#firstWrite(page);
	}

	isDirty(page: number): boolean {
		return this.flags[page] === DIRTY;
	}

	/** The same for all pages that [hostOffset, hostOffset+count) touches. */
	willReadRange(hostOffset: HostOffset, count: number): void {
		for (let page = this.indexOf(hostOffset), last = this.indexOf(hostOffset + Math.max(count, 1) - 1); page <= last; page++)
			if (page < this.count) this.willRead(page);
	}

	willWriteRange(hostOffset: HostOffset, count: number): void {
		for (let page = this.indexOf(hostOffset), last = this.indexOf(hostOffset + Math.max(count, 1) - 1); page <= last; page++)
			if (page < this.count) this.willWrite(page);
	}

	#bringIn(page: number): void {
		this.flags[page] = (this.flags[page] as number) & ~ABSENT;
		this.onAbsent(page);
	}

	#firstWrite(page: number): void {
		const flags = this.flags[page] as number;
		if ((flags & ABSENT) !== 0) this.#bringIn(page);
		if ((flags & HELD) !== 0) this.onHeld(page);
		this.flags[page] = DIRTY;
	}

	/** Pages written since the last seal, in order. They are held from now on, and count as unwritten. */
	seal(): Uint32Array {
		this.onSeal();
		const { flags } = this;
		const found: number[] = [];
		for (let page = flags.indexOf(DIRTY); page >= 0; page = flags.indexOf(DIRTY, page + 1)) {
			found.push(page);
			flags[page] = HELD;
		}
		return Uint32Array.from(found);
	}

	/** A held page has been saved. */
	release(page: number): void {
		this.flags[page] = (this.flags[page] as number) & ~HELD;
	}

	/** The page's contents are another snapshot's from now on, to be brought in when somebody wants them. */
	markAbsent(page: number): void {
		this.flags[page] = ABSENT;
	}
}
