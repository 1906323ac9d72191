import type { HostOffset, PhysAddr } from "../base/units.ts";
import type { Ram } from "./ram.ts";

/** One side of a request: the buffers of one direction, end to end, as if they were one. */
export class BufferList {
	readonly #ram: Ram;
	readonly #addrs: PhysAddr[] = [];
	readonly #hostOffsets: HostOffset[] = [];
	readonly #lengths: number[] = [];
	#byteLength = 0;

	constructor(ram: Ram) {
		this.#ram = ram;
	}

	get byteLength(): number {
		return this.#byteLength;
	}

	clear(): void {
		this.#addrs.length = 0;
		this.#hostOffsets.length = 0;
		this.#lengths.length = 0;
		this.#byteLength = 0;
	}

	/** Adds a buffer that is known to be RAM. */
	append(addr: PhysAddr, hostOffset: HostOffset, count: number): void {
		if (count === 0) return;
		this.#addrs.push(addr);
		this.#hostOffsets.push(hostOffset);
		this.#lengths.push(count);
		this.#byteLength += count;
	}

	/** Copies guest bytes [at, at+into.length) out; returns how many there were. */
	read(at: number, into: Uint8Array): number {
		return this.#walk(at, into.length, (index, from, done, count) => {
			const start = (this.#hostOffsets[index] as number) + from;
			into.set(this.#ram.bytes.subarray(start, start + count), done);
		});
	}

	/** Copies bytes into the guest at [at, at+from.length); returns how many found room. */
	write(at: number, bytes: Uint8Array): number {
		if (!this.#ram.isMastering) return 0;
		return this.#walk(at, bytes.length, (index, from, done, count) => {
			const start = (this.#hostOffsets[index] as number) + from;
			this.#ram.announce((this.#addrs[index] as number) + from, count);
			this.#ram.bytes.set(done === 0 && count === bytes.length ? bytes : bytes.subarray(done, done + count), start);
		});
	}

	/** Where bytes [at, at+count) lie, neighbours together: for whoever is done with them before the guest runs again. */
	pieces(at: number, count: number): Uint8Array[] {
		const pieces: Uint8Array[] = [];
		let start = 0;
		let end = -1;
		this.#walk(at, count, (index, from, _done, span) => {
			const first = (this.#hostOffsets[index] as number) + from;
			if (first !== end) {
				if (end > start) pieces.push(this.#ram.bytes.subarray(start, end));
				start = first;
			}
			end = first + span;
		});
		if (end > start) pieces.push(this.#ram.bytes.subarray(start, end));
		return pieces;
	}

	/** The same, about to be written to; nothing where the device may not. */
	piecesToWrite(at: number, count: number): Uint8Array[] | undefined {
		if (!this.#ram.isMastering) return undefined;
		this.#walk(at, count, (index, from, _done, span) => this.#ram.announce((this.#addrs[index] as number) + from, span));
		return this.pieces(at, count);
	}

	#walk(at: number, count: number, visit: (index: number, from: number, done: number, count: number) => void): number {
		let skip = at;
		let done = 0;
		for (let index = 0; index < this.#lengths.length && done < count; index++) {
			const length = this.#lengths[index] as number;
			if (skip >= length) {
				skip -= length;
				continue;
			}
			const span = Math.min(length - skip, count - done);
			visit(index, skip, done, span);
			done += span;
			skip = 0;
		}
		return done;
	}
}

/**
 * A request taken from a queue: what the driver wrote for the device, then room for the device's answer (Virtio 1.2
 * §2.7.4.1, "Device Requirements: Message Framing": how it is cut into buffers means nothing).
 */
export class Chain {
	/** Which descriptor it began with; goes back through the used ring. */
	head = 0;
	/** Resets of the queue since it was made; a chain of an earlier life is dead. */
	epoch = 0;
	readonly readable: BufferList;
	readonly writable: BufferList;

	constructor(ram: Ram) {
		this.readable = new BufferList(ram);
		this.writable = new BufferList(ram);
	}

	clear(): void {
		this.readable.clear();
		this.writable.clear();
	}
}
