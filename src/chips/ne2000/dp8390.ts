import type { Wire } from "../../machine/wire.ts";
import { isGroupMac, readMac } from "../../net/frames/address.ts";
import { MIN_FRAME_BYTES } from "../../net/frames/ethernet.ts";
import type { Port } from "../../net/port.ts";

// National Semiconductor, DP8390D/NS32490D data sheet, §10, "Internal Registers".
const CR_STP = 1 << 0;
const CR_STA = 1 << 1;
const CR_TXP = 1 << 2;
const CR_REMOTE = 7 << 3;
const CR_REMOTE_SEND = 3 << 3;
const CR_RESET = 0x21;
const ISR_PRX = 1 << 0;
const ISR_PTX = 1 << 1;
const ISR_OVW = 1 << 4;
const ISR_RDC = 1 << 6;
const ISR_RST = 1 << 7;
const TSR_PTX = 1 << 0;
const RSR_PRX = 1 << 0;
const RSR_PHY = 1 << 5;
const RCR_AB = 1 << 2;
const RCR_AM = 1 << 3;
const RCR_PRO = 1 << 4;
const RCR_MON = 1 << 5;
const DCR_WTS = 1 << 0;
/** Loopback modes: nothing leaves the chip. */
const TCR_LOOPBACK = 6;
const PAGE_BYTES = 256;
/** Status, next page, and the length with the check sequence, in front of every packet in the ring. */
const PACKET_HEADER_BYTES = 4;
const CHECK_BYTES = 4;
const MAX_TRANSMIT_BYTES = 1518;
const MAX_RECEIVE_BYTES = 1518;

export type Dp8390State = {
	readonly page0: readonly number[];
	readonly page1: readonly number[];
	readonly command: number;
	readonly isr: number;
	readonly tsr: number;
	readonly rsr: number;
	readonly missed: number;
	readonly remoteAddress: number;
	readonly remoteCount: number;
};

/** The chip of an NE2000: registers, its ring of received packets in the card's memory, and remote DMA into it. */
export class Dp8390 {
	readonly stats = { sentFrames: 0, receivedFrames: 0, droppedFrames: 0 };
	readonly #port: Port;
	/** The card's memory as the chip addresses it; reads beyond give ones. */
	readonly #memory: Uint8Array;
	/** Where it may be written. */
	readonly #firstWritable: number;
	readonly #interrupt: Wire;
	/** What has been written to page 0's registers. */
	readonly #page0 = new Uint8Array(16);
	/** Station address, current page, multicast table. */
	readonly #page1 = new Uint8Array(16);
	#command = CR_RESET;
	#isr = ISR_RST;
	#tsr = 0;
	#rsr = 0;
	#missed = 0;
	#remoteAddress = 0;
	#remoteCount = 0;

	constructor(port: Port, memory: Uint8Array, firstWritable: number, interrupt: Wire) {
		this.#port = port;
		this.#memory = memory;
		this.#firstWritable = firstWritable;
		this.#interrupt = interrupt;
		port.onFrame = (frame) => this.#receive(frame);
	}

	reset(): void {
		this.#command = CR_RESET;
		this.#isr = ISR_RST;
		this.#page0[15] = 0;
		this.#remoteCount = 0;
		this.#drive();
	}

	get #page(): number {
		return this.#command >> 6;
	}

	/** @param register 0–15 */
	read(register: number): number {
		if (register === 0) return this.#command;
		if (this.#page === 1) return this.#page1[register]!;
		if (this.#page === 2) return this.#page0[register]!;
		if (this.#page === 3) return 0;
		switch (register) {
			case 1:
			case 8:
				return this.#remoteAddress & 0xff;
			case 2:
			case 9:
				return this.#remoteAddress >> 8;
			case 3:
				return this.#page0[3]!;
			case 4:
				return this.#tsr;
			case 7:
				return this.#isr;
			case 12:
				return this.#rsr;
			case 15: {
				const missed = this.#missed;
				this.#missed = 0;
				return missed;
			}
			default:
				return 0;
		}
	}

	write(register: number, value: number): void {
		if (register === 0) this.#writeCommand(value);
		else if (this.#page === 1) this.#page1[register] = value;
		else if (this.#page === 0) this.#writePage0(register, value);
	}

	#writePage0(register: number, value: number): void {
		if (register === 7) {
			this.#isr &= ~value | ISR_RST;
			this.#drive();
			return;
		}
		this.#page0[register] = value;
		if (register === 8) this.#remoteAddress = (this.#remoteAddress & 0xff00) | value;
		else if (register === 9) this.#remoteAddress = (this.#remoteAddress & 0xff) | (value << 8);
		else if (register === 10) this.#remoteCount = (this.#remoteCount & 0xff00) | value;
		else if (register === 11) this.#remoteCount = (this.#remoteCount & 0xff) | (value << 8);
		else if (register === 15) this.#drive();
	}

	#writeCommand(value: number): void {
		this.#command = value & ~CR_TXP;
		if ((value & CR_STP) !== 0) {
			this.#isr |= ISR_RST;
			this.#drive();
			return;
		}
		if ((value & CR_STA) !== 0) this.#isr &= ~ISR_RST;
		const remote = value & CR_REMOTE;
		// A transfer of nothing is over at once; "send packet" takes the one at the boundary.
		if (remote === CR_REMOTE_SEND) this.#remoteAddress = this.#page0[3]! * PAGE_BYTES;
		if (remote > 0 && remote < 4 << 3 && this.#remoteCount === 0) this.#raise(ISR_RDC);
		if ((value & CR_TXP) !== 0 && (value & CR_STA) !== 0) this.#transmit();
	}

	#transmit(): void {
		const start = this.#page0[4]! * PAGE_BYTES;
		const count = this.#page0[5]! | (this.#page0[6]! << 8);
		const bytes = Math.min(count, MAX_TRANSMIT_BYTES - CHECK_BYTES);
		this.#tsr = TSR_PTX;
		if (bytes >= 14 && start >= this.#firstWritable && start + bytes <= this.#memory.length && (this.#page0[13]! & TCR_LOOPBACK) === 0) {
			const frame = new Uint8Array(Math.max(bytes, MIN_FRAME_BYTES));
			frame.set(this.#memory.subarray(start, start + bytes));
			this.stats.sentFrames++;
			this.#port.send(frame);
		}
		this.#raise(ISR_PTX);
	}

	/** How far one access to the data port goes: in word mode (DCR.WTS) a byte takes its neighbour with it. */
	#stride(bytes: number): number {
		return bytes === 1 && (this.#page0[14]! & DCR_WTS) !== 0 ? 2 : bytes;
	}

	/** One access of `bytes` bytes to the data port. */
	readData(bytes: number): number {
		let value = 0;
		for (let at = 0; at < bytes; at++) value += (this.#memory[this.#remoteAddress + at] ?? 0xff) * 2 ** (8 * at);
		this.#stepRemote(this.#stride(bytes));
		return value;
	}

	writeData(bytes: number, value: number): void {
		if (this.#remoteCount === 0) return;
		for (let at = 0; at < bytes; at++) {
			const address = this.#remoteAddress + at;
			if (address >= this.#firstWritable && address < this.#memory.length) this.#memory[address] = value >>> (8 * at);
		}
		this.#stepRemote(this.#stride(bytes));
	}

	/** Remote DMA goes round in the ring too. */
	#stepRemote(bytes: number): void {
		const stop = this.#page0[2]! * PAGE_BYTES;
		this.#remoteAddress = (this.#remoteAddress + bytes) & 0xffff;
		if (this.#remoteAddress === stop) this.#remoteAddress = this.#page0[1]! * PAGE_BYTES;
		if (this.#remoteCount <= bytes) {
			this.#remoteCount = 0;
			this.#raise(ISR_RDC);
		} else this.#remoteCount -= bytes;
	}

	#isWanted(frame: Uint8Array): boolean {
		const rcr = this.#page0[12]!;
		if ((rcr & RCR_PRO) !== 0) return true;
		const destination = readMac(frame, 0);
		if (destination === 0xffff_ffff_ffff) return (rcr & RCR_AB) !== 0;
		if (isGroupMac(destination)) {
			const hash = multicastHash(frame);
			return (rcr & RCR_AM) !== 0 && ((this.#page1[8 + (hash >> 3)]! >> (hash & 7)) & 1) !== 0;
		}
		return destination === readMac(this.#page1, 1);
	}

	#receive(frame: Uint8Array): void {
		if ((this.#command & CR_STP) !== 0 || frame.length < 14 || frame.length + CHECK_BYTES > MAX_RECEIVE_BYTES) return;
		if ((this.#page0[12]! & RCR_MON) !== 0 || !this.#isWanted(frame)) return;
		const [start, stop, boundary] = [this.#page0[1]!, this.#page0[2]!, this.#page0[3]!];
		const current = this.#page1[7]!;
		if (start >= stop || current < start || current >= stop || boundary < start || boundary >= stop) return;
		const length = Math.max(frame.length, MIN_FRAME_BYTES);
		const pages = Math.ceil((PACKET_HEADER_BYTES + length + CHECK_BYTES) / PAGE_BYTES);
		const free = current < boundary ? boundary - current : stop - start - (current - boundary);
		if (pages >= free) {
			this.stats.droppedFrames++;
			this.#missed = Math.min(0xff, this.#missed + 1);
			this.#raise(ISR_OVW);
			return;
		}
		const next = current + pages < stop ? current + pages : current + pages - stop + start;
		this.#rsr = RSR_PRX | ((frame[0]! & 1) !== 0 ? RSR_PHY : 0);
		const count = length + CHECK_BYTES;
		const packet = new Uint8Array(PACKET_HEADER_BYTES + length);
		packet.set([this.#rsr, next, count & 0xff, count >> 8]);
		packet.set(frame, PACKET_HEADER_BYTES);
		this.#store(packet, current * PAGE_BYTES, start * PAGE_BYTES, stop * PAGE_BYTES);
		this.#page1[7] = next;
		this.stats.receivedFrames++;
		this.#raise(ISR_PRX);
	}

	#store(packet: Uint8Array, at: number, ringStart: number, ringStop: number): void {
		const first = Math.min(packet.length, ringStop - at);
		this.#put(packet.subarray(0, first), at);
		if (first < packet.length) this.#put(packet.subarray(first), ringStart);
	}

	#put(bytes: Uint8Array, at: number): void {
		if (at < this.#firstWritable || at >= this.#memory.length) return;
		this.#memory.set(bytes.subarray(0, this.#memory.length - at), at);
	}

	#raise(causes: number): void {
		this.#isr |= causes;
		this.#drive();
	}

	#drive(): void {
		this.#interrupt.set((this.#isr & this.#page0[15]! & 0x7f) !== 0);
	}

	save(): Dp8390State {
		return {
			page0: [...this.#page0],
			page1: [...this.#page1],
			command: this.#command,
			isr: this.#isr,
			tsr: this.#tsr,
			rsr: this.#rsr,
			missed: this.#missed,
			remoteAddress: this.#remoteAddress,
			remoteCount: this.#remoteCount,
		};
	}

	load(state: Dp8390State): void {
		this.#page0.set(state.page0);
		this.#page1.set(state.page1);
		this.#command = state.command;
		this.#isr = state.isr;
		this.#tsr = state.tsr;
		this.#rsr = state.rsr;
		this.#missed = state.missed;
		this.#remoteAddress = state.remoteAddress;
		this.#remoteCount = state.remoteCount;
	}
}

/** The upper six bits of the CRC over the destination, most significant first (§7.3). */
function multicastHash(frame: Uint8Array): number {
	let crc = 0xffff_ffff;
	for (let at = 0; at < 6; at++)
		for (let bit = 0; bit < 8; bit++) {
			const carry = (crc >>> 31) ^ ((frame[at]! >> bit) & 1);
			crc = (crc << 1) >>> 0;
			if (carry !== 0) crc = (crc ^ 0x04c1_1db7) >>> 0;
		}
	return crc >>> 26;
}
