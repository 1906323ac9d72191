import type { HostOffset, PhysAddr } from "../base/units.ts";
import { Chain } from "./chain.ts";
import { NOT_RAM, type Ram } from "./ram.ts";

// Virtio 1.2 §2.7.5, "The Virtqueue Descriptor Table"
const DESC_BYTES = 16;
const VIRTQ_DESC_F_NEXT = 1;
const VIRTQ_DESC_F_WRITE = 2;
const VIRTQ_DESC_F_INDIRECT = 4;
// §2.7.6, "The Virtqueue Available Ring"
const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
const RING_HEADER_BYTES = 4;
const USED_ELEM_BYTES = 8;
/** Longest walk through one request. Drivers may make indirect tables longer than the queue; nobody makes them this long. */
const MAX_CHAIN_DESCRIPTORS = 1024;
const MAX_CHAIN_BYTES = 0xffff_ffff;

export type VirtqueueState = {
	readonly size: number;
	readonly isEnabled: boolean;
	readonly descAddr: PhysAddr;
	readonly availAddr: PhysAddr;
	readonly usedAddr: PhysAddr;
	readonly nextAvail: number;
	readonly nextUsed: number;
	readonly signalledUsed: number;
};

/** What a queue tells the transport. */
export interface VirtqueueEvents {
	/** The driver wants to hear that requests have been used. */
	interrupt(queueIndex: number): void;
	/** The driver broke the rules in a way that leaves nothing to go on with. */
	broken(why: string): void;
}

/** A split virtqueue, device side (Virtio 1.2 §2.7, "Split Virtqueues"). Nothing that stands in a ring is trusted. */
export class Virtqueue {
	readonly index: number;
	readonly maxSize: number;
	readonly #ram: Ram;
	readonly #events: VirtqueueEvents;
	/** The rings' addresses and size, as the driver sets them before it enables the queue. */
	size: number;
	descAddr: PhysAddr = 0;
	availAddr: PhysAddr = 0;
	usedAddr: PhysAddr = 0;
	#isEnabled = false;
	#hasIndirect = false;
	#hasEventIndex = false;
	#isBroken = false;
	#desc: HostOffset = 0;
	#avail: HostOffset = 0;
	#used: HostOffset = 0;
	#nextAvail = 0;
	#nextUsed = 0;
	#signalledUsed = 0;
	#epoch = 0;
	readonly #free: Chain[] = [];

	constructor(index: number, maxSize: number, ram: Ram, events: VirtqueueEvents) {
		this.index = index;
		this.maxSize = maxSize;
		this.size = maxSize;
		this.#ram = ram;
		this.#events = events;
	}

	get isEnabled(): boolean {
		return this.#isEnabled;
	}

	reset(): void {
		this.size = this.maxSize;
		this.descAddr = 0;
		this.availAddr = 0;
		this.usedAddr = 0;
		this.#isEnabled = false;
		this.#isBroken = false;
		this.#nextAvail = 0;
		this.#nextUsed = 0;
		this.#signalledUsed = 0;
		this.#epoch++;
	}

	/** Which ring features the driver took. */
	setFeatures(hasIndirect: boolean, hasEventIndex: boolean): void {
		this.#hasIndirect = hasIndirect;
		this.#hasEventIndex = hasEventIndex;
	}

	/** The driver has set it up and turns it on. Rings that are misaligned or not in RAM break the device. */
	enable(): void {
		if (this.#isEnabled) return;
		this.#isEnabled = true;
		const why = this.#locateRings();
		if (why !== undefined) this.#fail(why);
	}

	/** Finds the rings in RAM; answers what is wrong with them. */
	#locateRings(): string | undefined {
		const { size } = this;
		if (size === 0 || size > this.maxSize || (size & (size - 1)) !== 0) return `a size of ${size}`;
		// §2.7, "Split Virtqueues": alignments of 16, 2 and 4.
		if (this.descAddr % 16 !== 0 || this.availAddr % 2 !== 0 || this.usedAddr % 4 !== 0) return "a misaligned ring";
		this.#desc = this.#ram.locate(this.descAddr, DESC_BYTES * size);
		this.#avail = this.#ram.locate(this.availAddr, RING_HEADER_BYTES + 2 * size + 2);
		this.#used = this.#ram.locate(this.usedAddr, RING_HEADER_BYTES + USED_ELEM_BYTES * size + 2);
		const isRam = this.#desc !== NOT_RAM && this.#avail !== NOT_RAM && this.#used !== NOT_RAM;
		return isRam ? undefined : "a ring outside of RAM";
	}

	#fail(why: string): void {
		if (this.#isBroken) return;
		this.#isBroken = true;
		this.#events.broken(`queue ${this.index}: ${why}`);
	}

	/** Requests waiting. */
	get pending(): number {
		if (!this.#isEnabled || this.#isBroken || !this.#ram.isMastering) return 0;
		const count = (this.#ram.loadIndex(this.#avail + 2) - this.#nextAvail) & 0xffff;
		if (count <= this.size) return count;
		this.#fail(`the available index runs ${count} ahead`);
		return 0;
	}

	/** The next request, or nothing (and then the driver will ring for the next one). */
	pop(): Chain | undefined {
		if (this.pending === 0) {
			if (!this.#hasEventIndex || !this.#isEnabled || this.#isBroken || !this.#ram.isMastering) return undefined;
			// §2.7.10, "Available Buffer Notification Suppression": ask to be told of the next one; the driver may have added it before it saw that.
			this.#storeAvailEvent(this.#nextAvail);
			if (this.pending === 0) return undefined;
		}
		const slot = this.#avail + RING_HEADER_BYTES + 2 * (this.#nextAvail & (this.size - 1));
		const head = this.#ram.view.getUint16(slot, true);
		const chain = this.#free.pop() ?? new Chain(this.#ram);
		chain.clear();
		chain.head = head;
		chain.epoch = this.#epoch;
		const why = this.#collect(chain, head);
		if (why !== undefined) {
			this.#fail(why);
			return undefined;
		}
		this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
		return chain;
	}

	/** Puts back the request taken last, as if it had never been: there was not enough for what it was wanted for. */
	unpop(chain: Chain): void {
		if (chain.epoch !== this.#epoch) return;
		this.#nextAvail = (this.#nextAvail - 1) & 0xffff;
		this.#free.push(chain);
	}

	/** Gathers the buffers of a chain; answers what is wrong with it. */
	#collect(chain: Chain, head: number): string | undefined {
		const { view } = this.#ram;
		let table = this.#desc;
		let tableSize = this.size;
		let index = head;
		let isIndirect = false;
		for (let walked = 0; ; walked++) {
			if (index >= tableSize) return `descriptor ${index} of ${tableSize}`;
			if (walked >= MAX_CHAIN_DESCRIPTORS || (!isIndirect && walked >= this.size)) return "descriptors form a loop";
			const at = table + DESC_BYTES * index;
			const addr = view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
			const count = view.getUint32(at + 8, true);
			const flags = view.getUint16(at + 12, true);
			const next = view.getUint16(at + 14, true);
			if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) {
				// §2.7.5.3.1, "Driver Requirements: Indirect Descriptors"
				if (!this.#hasIndirect) return "an indirect descriptor was not negotiated";
				if (isIndirect) return "an indirect table within an indirect table";
				if ((flags & VIRTQ_DESC_F_NEXT) !== 0) return "an indirect descriptor with a next one";
				if (count === 0 || count % DESC_BYTES !== 0) return `an indirect table of ${count} bytes`;
				table = this.#ram.locate(addr, count);
				if (table === NOT_RAM) return "an indirect table outside of RAM";
				tableSize = count / DESC_BYTES;
				index = 0;
				isIndirect = true;
				continue;
			}
			const hostOffset = this.#ram.locate(addr, count);
			if (hostOffset === NOT_RAM) return `a buffer outside of RAM, at 0x${addr.toString(16)}+${count}`;
			const isWritable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
			if (!isWritable && chain.writable.byteLength > 0) return "a readable buffer after a writable one";
			if (chain.readable.byteLength + chain.writable.byteLength + count > MAX_CHAIN_BYTES) return "a request of more than 4 GiB";
			(isWritable ? chain.writable : chain.readable).append(addr, hostOffset, count);
			if ((flags & VIRTQ_DESC_F_NEXT) === 0) return undefined;
			index = next;
		}
	}

	/**
	 * Hands a request back. `writtenBytes` counts from the first writable byte. The driver sees it at once; `signal`
	 * tells it so. Chains from before a reset vanish.
	 */
	push(chain: Chain, writtenBytes: number): void {
		if (chain.epoch !== this.#epoch || this.#isBroken || !this.#ram.isMastering) return;
		const slot = RING_HEADER_BYTES + USED_ELEM_BYTES * (this.#nextUsed & (this.size - 1));
		this.#ram.announce(this.usedAddr + slot, USED_ELEM_BYTES);
		this.#ram.view.setUint32(this.#used + slot, chain.head, true);
		this.#ram.view.setUint32(this.#used + slot + 4, writtenBytes, true);
		this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
		this.#ram.announce(this.usedAddr + 2, 2);
		this.#ram.storeIndex(this.#used + 2, this.#nextUsed);
		if (this.#free.length < this.maxSize) this.#free.push(chain);
	}

	/** Interrupts the driver if it wants that for what was pushed since the last call. */
	signal(): void {
		if (!this.#isEnabled || this.#isBroken || !this.#ram.isMastering) return;
		const before = this.#signalledUsed;
		if (before === this.#nextUsed) return;
		this.#signalledUsed = this.#nextUsed;
		if (this.#hasEventIndex) {
			// §2.7.7, "Used Buffer Notification Suppression": interrupt when used_event lies among the entries just written.
			const usedEvent = this.#ram.loadIndex(this.#avail + RING_HEADER_BYTES + 2 * this.size);
			const isCrossed = ((this.#nextUsed - usedEvent - 1) & 0xffff) < ((this.#nextUsed - before) & 0xffff);
			if (isCrossed) this.#events.interrupt(this.index);
		} else if ((this.#ram.loadIndex(this.#avail) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0) this.#events.interrupt(this.index);
	}

	#storeAvailEvent(value: number): void {
		const at = RING_HEADER_BYTES + USED_ELEM_BYTES * this.size;
		this.#ram.announce(this.usedAddr + at, 2);
		this.#ram.storeIndex(this.#used + at, value);
	}

	/** Requests taken and not handed back are the device's to drain first. */
	save(): VirtqueueState {
		return {
			size: this.size,
			isEnabled: this.#isEnabled,
			descAddr: this.descAddr,
			availAddr: this.availAddr,
			usedAddr: this.usedAddr,
			nextAvail: this.#nextAvail,
			nextUsed: this.#nextUsed,
			signalledUsed: this.#signalledUsed,
		};
	}

	load(state: VirtqueueState): void {
		this.reset();
		this.size = state.size;
		this.descAddr = state.descAddr;
		this.availAddr = state.availAddr;
		this.usedAddr = state.usedAddr;
		this.#nextAvail = state.nextAvail;
		this.#nextUsed = state.nextUsed;
		this.#signalledUsed = state.signalledUsed;
		this.#isEnabled = state.isEnabled;
		// Rings that were bad then are bad now, and the device's status says so already.
		if (this.#isEnabled) this.#isBroken = this.#locateRings() !== undefined;
	}
}
