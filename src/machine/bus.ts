import { InternalError } from "../base/assert.ts";

/**
 * Registers as a bus sees them. `offset` counts from the claim's first address, `bytes` is 1, 2 or 4, and values are
 * unsigned 32-bit numbers. Handlers are synchronous and never await.
 */
export interface IoHandler {
	/** Access widths the chip decodes; the bus splits wider ones and widens narrower ones never (a chip sees its bytes). */
	readonly accessBytes: { readonly min: 1 | 2 | 4; readonly max: 1 | 2 | 4 };
	read(offset: number, bytes: number): number;
	write(offset: number, bytes: number, value: number): void;
}

interface Claim {
	readonly owner: string;
	readonly first: number;
	readonly count: number;
	readonly handler: IoHandler;
}

/** Thrown when two devices want the same addresses: a mistake of the board, so it names both. */
export class BusConflictError extends InternalError {}

/** Reads `bytes` from a handler, split into the widths that it takes. Unsigned. */
export function readSplit(handler: IoHandler, offset: number, bytes: number): number {
	const step = handler.accessBytes.max;
	if (bytes <= step) {
		const value = handler.read(offset, bytes) >>> 0;
		// A chip that gives its whole register: only the bytes asked for are on the bus.
		return bytes === 4 ? value : value & (bytes === 1 ? 0xff : 0xffff);
	}
	let value = 0;
	for (let i = 0; i < bytes; i += step) value |= handler.read(offset + i, step) << (8 * i);
	return value >>> 0;
}

export function writeSplit(handler: IoHandler, offset: number, bytes: number, value: number): void {
	const step = handler.accessBytes.max;
	if (bytes <= step) {
		handler.write(offset, bytes, value >>> 0);
		return;
	}
	const mask = step === 1 ? 0xff : 0xffff;
	for (let i = 0; i < bytes; i += step) handler.write(offset + i, step, (value >>> (8 * i)) & mask);
}

/** The 64 Ki x86 I/O ports. Nobody at an address: reads float high (all ones), writes are lost, as on ISA. */
export class IoBus {
	readonly #byPort: (Claim | undefined)[] = new Array<Claim | undefined>(0x10000).fill(undefined);

	claim(owner: string, first: number, count: number, handler: IoHandler): void {
		if (first < 0 || count <= 0 || first + count > 0x10000)
			throw new BusConflictError(`${owner}: ports ${first.toString(16)}+${count} lie outside the I/O space`);
		const claim: Claim = { owner, first, count, handler };
		for (let port = first; port < first + count; port++) {
			const other = this.#byPort[port];
			if (other !== undefined) throw new BusConflictError(`${owner} and ${other.owner} both claim port 0x${port.toString(16)}`);
		}
		this.#byPort.fill(claim, first, first + count);
	}

	/** Gives up whatever `owner` claimed within the range (PCI BARs move). */
	release(owner: string, first: number, count: number): void {
		for (let port = first; port < first + count && port < 0x10000; port++)
			if (this.#byPort[port]?.owner === owner) this.#byPort[port] = undefined;
	}

	/** Who answers at `port`, for messages and `info`. */
	ownerOf(port: number): string | undefined {
		return this.#byPort[port]?.owner;
	}

	read(port: number, bytes: number): number {
		const claim = this.#byPort[port & 0xffff];
		if (claim !== undefined && port + bytes <= claim.first + claim.count) return readSplit(claim.handler, port - claim.first, bytes);
		if (bytes === 1) return 0xff;
		const half = bytes >> 1;
		return (this.read(port, half) | (this.read((port + half) & 0xffff, half) << (8 * half))) >>> 0;
	}

	write(port: number, bytes: number, value: number): void {
		const claim = this.#byPort[port & 0xffff];
		if (claim !== undefined && port + bytes <= claim.first + claim.count) {
			writeSplit(claim.handler, port - claim.first, bytes, value);
			return;
		}
		if (bytes === 1) return;
		const half = bytes >> 1;
		const mask = half === 1 ? 0xff : 0xffff;
		this.write(port, half, value & mask);
		this.write((port + half) & 0xffff, half, (value >>> (8 * half)) & mask);
	}
}
