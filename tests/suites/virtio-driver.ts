import { GuestMemory } from "../../src/machine/memory.ts";
import type { PciBar } from "../../src/machine/pci.ts";
import type { VirtioDevice } from "../../src/virtio/device.ts";
import { VirtioPci } from "../../src/virtio/pci-transport.ts";

export const F_INDIRECT = 1n << 28n;
export const F_EVENT_IDX = 1n << 29n;
export const F_VERSION_1 = 1n << 32n;

export interface Buffer {
	readonly addr: number;
	readonly length: number;
	readonly isWritable?: boolean;
}

/** A guest's driver, as small as can be: it lays out rings in guest RAM and rings doorbells through the BAR. */
export class Driver {
	readonly memory: GuestMemory;
	readonly pci: VirtioPci;
	readonly queues: DriverQueue[] = [];
	readonly messages: { address: number; data: number }[] = [];
	intx = false;
	readonly registers: PciBar;
	#heap = 0x20_0000;

	constructor(device: VirtioDevice, memory = new GuestMemory(8 * 1024 * 1024)) {
		this.memory = memory;
		this.pci = new VirtioPci(device, memory);
		const driver = this;
		this.pci.pci.attach({
			intx: {
				set: (high) => {
					this.intx = high;
				},
				get isHigh() {
					return driver.intx;
				},
			},
			dma: memory,
			deliverMsi: (address, data) => this.messages.push({ address, data }),
			decodeChanged: () => {},
		});
		this.pci.pci.config.write(4, 2, 6);
		this.registers = this.pci.pci.bars.find((bar) => bar.index === 4) as PciBar;
	}

	get(offset: number, bytes: number): number {
		return this.registers.handler.read(offset, bytes);
	}

	set(offset: number, bytes: number, value: number): void {
		this.registers.handler.write(offset, bytes, value);
	}

	get status(): number {
		return this.get(20, 1);
	}

	get features(): bigint {
		this.set(0, 4, 0);
		const low = BigInt(this.get(4, 4));
		this.set(0, 4, 1);
		return low | (BigInt(this.get(4, 4)) << 32n);
	}

	/** Negotiates `wanted` of what is offered, sets every queue up, and goes live. Returns what was agreed on. */
	start(wanted = ~0n, queueSize = 16): bigint {
		this.set(20, 1, 0);
		this.set(20, 1, 1);
		this.set(20, 1, 3);
		const agreed = this.features & wanted;
		this.set(8, 4, 0);
		this.set(12, 4, Number(agreed & 0xffff_ffffn));
		this.set(8, 4, 1);
		this.set(12, 4, Number(agreed >> 32n));
		this.set(20, 1, 11);
		this.queues.length = 0;
		const count = this.get(18, 2);
		for (let index = 0; index < count; index++) {
			this.set(22, 2, index);
			const size = Math.min(queueSize, this.get(24, 2));
			const queue = new DriverQueue(this, index, size, (agreed & F_EVENT_IDX) !== 0n);
			this.set(24, 2, size);
			this.set64(32, queue.desc);
			this.set64(40, queue.avail);
			this.set64(48, queue.used);
			this.set(28, 2, 1);
			this.queues.push(queue);
		}
		this.set(20, 1, 15);
		return agreed;
	}

	set64(offset: number, value: number): void {
		this.set(offset, 4, value % 2 ** 32);
		this.set(offset + 4, 4, Math.floor(value / 2 ** 32));
	}

	/** Turns MSI-X on; vector n sends data 0x100 + n. Queue q uses vector q + 1. */
	useMsix(): void {
		const { pci } = this.pci;
		const msix = pci.bars.find((bar) => bar.index === 1) as PciBar;
		for (let vector = 0; vector <= this.queues.length; vector++) {
			msix.handler.write(vector * 16, 4, 0xfee0_0000);
			msix.handler.write(vector * 16 + 8, 4, 0x100 + vector);
			msix.handler.write(vector * 16 + 12, 4, 0);
		}
		let cap = pci.config.read(0x34, 1);
		while (pci.config.read(cap, 1) !== 0x11) cap = pci.config.read(cap + 1, 1);
		pci.config.write(cap + 2, 2, 0x8000);
		this.set(16, 2, 0);
		for (const { index } of this.queues) {
			this.set(22, 2, index);
			this.set(26, 2, index + 1);
		}
	}

	alloc(bytes: number, align = 16): number {
		const addr = Math.ceil(this.#heap / align) * align;
		this.#heap = addr + bytes;
		return addr;
	}

	put(bytes: Uint8Array): number {
		const addr = this.alloc(bytes.length);
		this.memory.write(addr, bytes);
		return addr;
	}

	bytes(addr: number, length: number): Uint8Array {
		const into = new Uint8Array(length);
		this.memory.read(addr, into);
		return into;
	}
}

export class DriverQueue {
	readonly desc: number;
	readonly avail: number;
	readonly used: number;
	readonly size: number;
	readonly index: number;
	readonly #driver: Driver;
	readonly #hasEventIndex: boolean;
	#availIndex = 0;
	#usedIndex = 0;
	readonly #freeDescs: number[];
	readonly #chains = new Map<number, number[]>();

	constructor(driver: Driver, index: number, size: number, hasEventIndex: boolean) {
		this.#driver = driver;
		this.index = index;
		this.size = size;
		this.#hasEventIndex = hasEventIndex;
		this.desc = driver.alloc(16 * size, 16);
		this.avail = driver.alloc(6 + 2 * size, 2);
		this.used = driver.alloc(6 + 8 * size, 4);
		driver.memory.write(this.desc, new Uint8Array(16 * size));
		driver.memory.write(this.avail, new Uint8Array(6 + 2 * size));
		driver.memory.write(this.used, new Uint8Array(6 + 8 * size));
		this.#freeDescs = Array.from({ length: size }, (_, i) => i);
	}

	get freeCount(): number {
		return this.#freeDescs.length;
	}

	writeDesc(at: number, index: number, buffer: Buffer, flags: number, next: number): void {
		const desc = new DataView(new ArrayBuffer(16));
		desc.setBigUint64(0, BigInt(buffer.addr), true);
		desc.setUint32(8, buffer.length, true);
		desc.setUint16(12, flags | (buffer.isWritable === true ? 2 : 0), true);
		desc.setUint16(14, next, true);
		this.#driver.memory.write(at + 16 * index, new Uint8Array(desc.buffer));
	}

	/** Makes a request available without ringing; answers its head. */
	add(buffers: readonly Buffer[], options: { indirect?: boolean } = {}): number {
		const slots: number[] = [];
		if (options.indirect === true) {
			const table = this.#driver.alloc(16 * buffers.length);
			buffers.forEach((buffer, i) => {
				this.writeDesc(table, i, buffer, i + 1 < buffers.length ? 1 : 0, i + 1);
			});
			const slot = this.#freeDescs.shift() as number;
			slots.push(slot);
			this.writeDesc(this.desc, slot, { addr: table, length: 16 * buffers.length }, 4, 0);
		} else {
			for (const _ of buffers) slots.push(this.#freeDescs.shift() as number);
			buffers.forEach((buffer, i) => {
				this.writeDesc(this.desc, slots[i] as number, buffer, i + 1 < buffers.length ? 1 : 0, slots[i + 1] ?? 0);
			});
		}
		this.#chains.set(slots[0] as number, slots);
		this.publish(slots[0] as number);
		return slots[0] as number;
	}

	/** Puts a head into the available ring, whatever it is. */
	publish(head: number): void {
		const { memory } = this.#driver;
		memory.writePhys(this.avail + 4 + 2 * (this.#availIndex % this.size), 2, head);
		this.#availIndex = (this.#availIndex + 1) & 0xffff;
		memory.writePhys(this.avail + 2, 2, this.#availIndex);
	}

	/** Where the device asks to be rung next (EVENT_IDX). */
	get availEvent(): number {
		return this.#driver.memory.readPhys(this.used + 4 + 8 * this.size, 2);
	}

	ring(): void {
		this.#driver.set(0x3000 + 4 * this.index, 2, this.index);
	}

	/** Interrupts: none at all, or (EVENT_IDX) not before `usedEvent`. */
	suppress(isSuppressed: boolean): void {
		this.#driver.memory.writePhys(this.avail, 2, isSuppressed ? 1 : 0);
	}

	setUsedEvent(usedEvent: number): void {
		this.#driver.memory.writePhys(this.avail + 4 + 2 * this.size, 2, usedEvent);
	}

	/** Requests handed back since the last call. */
	collect(): { head: number; length: number }[] {
		const { memory } = this.#driver;
		const done: { head: number; length: number }[] = [];
		const end = memory.readPhys(this.used + 2, 2);
		while (this.#usedIndex !== end) {
			const at = this.used + 4 + 8 * (this.#usedIndex % this.size);
			const head = memory.readPhys(at, 4);
			done.push({ head, length: memory.readPhys(at + 4, 4) });
			this.#freeDescs.push(...(this.#chains.get(head) ?? []));
			this.#chains.delete(head);
			this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
		}
		if (this.#hasEventIndex) this.setUsedEvent(this.#usedIndex);
		return done;
	}
}

/** The machine's inbox as tests drain it. */
export class TestInbox {
	readonly #actions: (() => void)[] = [];
	readonly post = (action: () => void): void => {
		this.#actions.push(action);
	};

	drain(): number {
		let count = 0;
		for (let action = this.#actions.shift(); action !== undefined; action = this.#actions.shift()) {
			action();
			count++;
		}
		return count;
	}

	/** Lets the host work and drains, until `isDone`. */
	async until(isDone: () => boolean): Promise<void> {
		for (let i = 0; i < 10_000; i++) {
			this.drain();
			if (isDone()) return;
			await new Promise((resolve) => setImmediate(resolve));
		}
		throw new Error("the device never finished");
	}
}
