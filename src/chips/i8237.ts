/**
 * 8237A DMA controller (Intel 231466-005, "8237A High Performance Programmable DMA Controller") with the page latches
 * that a PC/AT puts beside it. One chip, four channels; a peripheral moves its bytes through a channel all at once.
 */
import type { IoHandler } from "../machine/bus.ts";
import { type Device, unimplemented } from "../machine/device.ts";
import type { DmaPort } from "../machine/memory.ts";
import type { Wire } from "../machine/wire.ts";
import { InputPin } from "./input-pin.ts";

const COMMAND_STATUS = 8;
const REQUEST = 9;
const SINGLE_MASK = 10;
const MODE = 11;
const CLEAR_FLIP_FLOP = 12;
const MASTER_CLEAR = 13;
const CLEAR_MASK = 14;
const ALL_MASK = 15;

const COMMAND_MEMORY_TO_MEMORY = 0x01;
const COMMAND_DISABLE = 0x04;
const MODE_TRANSFER = 0x0c;
const MODE_WRITE_MEMORY = 0x04;
const MODE_READ_MEMORY = 0x08;
const MODE_AUTOINIT = 0x10;
const MODE_DECREMENT = 0x20;
const CHANNELS = 4;

type Channel = {
	baseAddress: number;
	baseCount: number;
	address: number;
	count: number;
	mode: number;
	page: number;
};

export type DmaState = {
	readonly channels: readonly Readonly<Channel>[];
	readonly command: number;
	readonly mask: number;
	readonly softwareRequests: number;
	/** DREQ inputs. */
	readonly lines: number;
	readonly terminalCounts: number;
	readonly isMsbNext: boolean;
};

export interface DmaOptions {
	readonly name: string;
	readonly memory: DmaPort;
	/** Bytes per transfer: an AT's second chip moves words, and its addresses count words. */
	readonly unitBytes: 1 | 2;
}

export class I8237 implements Device<DmaState> {
	readonly name: string;
	/** Offsets 0–15. A board that wires A0 to A1 (the word chip) scales them. */
	readonly registers: IoHandler;
	readonly #memory: DmaPort;
	readonly #unitBytes: number;
	readonly #dreq: readonly Wire[];
	readonly #pages: readonly IoHandler[];
	#channels: Channel[] = emptyChannels();
	#command = 0;
	#mask = 0xf;
	#softwareRequests = 0;
	#lines = 0;
	#terminalCounts = 0;
	#isMsbNext = false;

	constructor(options: DmaOptions) {
		this.name = options.name;
		this.#memory = options.memory;
		this.#unitBytes = options.unitBytes;
		this.registers = {
			accessBytes: { min: 1, max: 1 },
			read: (offset) => this.#read(offset),
			write: (offset, _bytes, value) => this.#write(offset, value),
		};
		this.#dreq = Array.from(
			{ length: CHANNELS },
			(_, n) =>
				new InputPin(
					() => (this.#lines & (1 << n)) !== 0,
					(high) => {
						this.#lines = high ? this.#lines | (1 << n) : this.#lines & ~(1 << n);
					},
				),
		);
		this.#pages = Array.from({ length: CHANNELS }, (_, n) => ({
			accessBytes: { min: 1, max: 1 },
			read: () => this.#channel(n).page,
			write: (_offset, _bytes, value) => {
				this.#channel(n).page = value;
			},
		}));
	}

	/** Channel `n`'s page latch: the address bits above the chip's own. */
	page(n: number): IoHandler {
		return this.#pages[n] as IoHandler;
	}

	/** Channel `n`'s request, which the status register shows. */
	dreq(n: number): Wire {
		return this.#dreq[n] as Wire;
	}

	/** True if a peripheral's transfer on channel `n` would go ahead. */
	isReady(n: number): boolean {
		return (this.#command & COMMAND_DISABLE) === 0 && (this.#mask & (1 << n)) === 0;
	}

	/** A peripheral fetches bytes from memory. Returns how many before terminal count; 0 if masked or set up otherwise. */
	readMemory(n: number, into: Uint8Array): number {
		return this.#transfer(n, into.length, MODE_READ_MEMORY, (addr, at, count) => this.#memory.read(addr, into.subarray(at, at + count)));
	}

	/** A peripheral's bytes go to memory. As `readMemory`. */
	writeMemory(n: number, from: Uint8Array): number {
		return this.#transfer(n, from.length, MODE_WRITE_MEMORY, (addr, at, count) => this.#memory.write(addr, from.subarray(at, at + count)));
	}

	reset(): void {
		this.#channels = emptyChannels();
		this.#masterClear();
	}

	save(): DmaState {
		return {
			channels: this.#channels.map((channel) => ({ ...channel })),
			command: this.#command,
			mask: this.#mask,
			softwareRequests: this.#softwareRequests,
			lines: this.#lines,
			terminalCounts: this.#terminalCounts,
			isMsbNext: this.#isMsbNext,
		};
	}

	load(state: DmaState): void {
		this.#channels = state.channels.map((channel) => ({ ...channel }));
		this.#command = state.command;
		this.#mask = state.mask;
		this.#softwareRequests = state.softwareRequests;
		this.#lines = state.lines;
		this.#terminalCounts = state.terminalCounts;
		this.#isMsbNext = state.isMsbNext;
	}

	#channel(n: number): Channel {
		return this.#channels[n & 3] as Channel;
	}

	#masterClear(): void {
		this.#command = this.#softwareRequests = this.#terminalCounts = 0;
		this.#mask = 0xf;
		this.#isMsbNext = false;
	}

	/** The physical address of a channel's current unit: the word chip drives A1–A16, and page bit 0 is not used. */
	#physAddr(channel: Channel): number {
		if (this.#unitBytes === 1) return channel.page * 0x10000 + channel.address;
		return (channel.page & 0xfe) * 0x10000 + channel.address * 2;
	}

	#transfer(n: number, lengthBytes: number, kind: number, move: (addr: number, at: number, count: number) => void): number {
		const channel = this.#channel(n);
		if (!this.isReady(n) || (channel.mode & MODE_TRANSFER) !== kind) return 0;
		let units = Math.floor(lengthBytes / this.#unitBytes);
		let at = 0;
		while (units > 0) {
			const isDown = (channel.mode & MODE_DECREMENT) !== 0;
			// Addresses wrap within the 64 Ki units of a page; downwards the bytes come one unit at a time.
			const run = isDown ? 1 : Math.min(units, channel.count + 1, 0x10000 - channel.address);
			move(this.#physAddr(channel), at, run * this.#unitBytes);
			at += run * this.#unitBytes;
			units -= run;
			channel.address = (channel.address + (isDown ? -run : run)) & 0xffff;
			const isTerminal = run > channel.count;
			channel.count = (channel.count - run) & 0xffff;
			if (isTerminal) {
				this.#terminalCount(n, channel);
				break;
			}
		}
		return at;
	}

	#terminalCount(n: number, channel: Channel): void {
		this.#terminalCounts |= 1 << n;
		this.#softwareRequests &= ~(1 << n);
		if ((channel.mode & MODE_AUTOINIT) !== 0) {
			channel.address = channel.baseAddress;
			channel.count = channel.baseCount;
		} else this.#mask |= 1 << n;
	}

	#read(offset: number): number {
		if (offset < COMMAND_STATUS) {
			const channel = this.#channel(offset >> 1);
			const value = (offset & 1) === 0 ? channel.address : channel.count;
			this.#isMsbNext = !this.#isMsbNext;
			return this.#isMsbNext ? value & 0xff : value >> 8;
		}
		if (offset === COMMAND_STATUS) {
			const status = ((this.#lines | this.#softwareRequests) << 4) | this.#terminalCounts;
			this.#terminalCounts = 0;
			return status & 0xff;
		}
		if (offset === ALL_MASK) return 0xf0 | this.#mask;
		// The temporary register holds something only after memory-to-memory transfers.
		return offset === MASTER_CLEAR ? 0 : 0xff;
	}

	#write(offset: number, value: number): void {
		const bit = 1 << (value & 3);
		switch (offset) {
			case COMMAND_STATUS:
				this.#command = value;
				if ((value & COMMAND_MEMORY_TO_MEMORY) !== 0) unimplemented(this.name, "memory-to-memory transfer");
				break;
			case REQUEST:
				this.#softwareRequests = (value & 4) !== 0 ? this.#softwareRequests | bit : this.#softwareRequests & ~bit;
				break;
			case SINGLE_MASK:
				this.#mask = (value & 4) !== 0 ? this.#mask | bit : this.#mask & ~bit;
				break;
			case MODE:
				this.#channel(value & 3).mode = value & 0xfc;
				break;
			case CLEAR_FLIP_FLOP:
				this.#isMsbNext = false;
				break;
			case MASTER_CLEAR:
				this.#masterClear();
				break;
			case CLEAR_MASK:
				this.#mask = 0;
				break;
			case ALL_MASK:
				this.#mask = value & 0xf;
				break;
			default:
				this.#writeWord(offset, value);
		}
	}

	/** Base and current registers are written together, low byte first. */
	#writeWord(offset: number, value: number): void {
		const channel = this.#channel(offset >> 1);
		const merge = (word: number) => (this.#isMsbNext ? (word & 0xff) | (value << 8) : (word & 0xff00) | value);
		if ((offset & 1) === 0) channel.address = channel.baseAddress = merge(channel.baseAddress);
		else channel.count = channel.baseCount = merge(channel.baseCount);
		this.#isMsbNext = !this.#isMsbNext;
	}
}

function emptyChannels(): Channel[] {
	return Array.from({ length: CHANNELS }, () => ({ baseAddress: 0, baseCount: 0, address: 0, count: 0, mode: 0, page: 0 }));
}
