import { assert } from "../base/assert.ts";
import type { PhysAddr } from "../base/units.ts";
import type { IoHandler } from "./bus.ts";
import type { PciConfigSpace } from "./pci-config.ts";

/** Sends one message-signalled interrupt: a 32-bit write by the function to `address`. */
export type MsiSender = (address: PhysAddr, data: number) => void;

export type MsixState = {
	readonly table: Uint8Array;
	readonly pending: readonly number[];
	readonly isEnabled: boolean;
	readonly isMasked: boolean;
};

/** Offsets from the capability's id, 64-bit form with masks (PCI 3.0 §6.8.1, "MSI Capability Structure"). */
const MSI_CONTROL = 2;
const MSI_ADDRESS = 4;
const MSI_DATA = 12;
const MSI_MASK = 16;
const MSI_PENDING = 20;
export const MSI_BODY_BYTES = 22;
const MSI_ENABLE = 1;

/**
 * MSI with up to 32 vectors: everything lies in configuration space, so this keeps no state of its own. The vector
 * replaces the low bits of the data that software wrote.
 */
export class MsiVectors {
	readonly #config: PciConfigSpace;
	readonly #at: number;
	readonly #send: MsiSender;

	constructor(config: PciConfigSpace, capabilityOffset: number, send: MsiSender) {
		this.#config = config;
		this.#at = capabilityOffset;
		this.#send = send;
		config.hook({ first: capabilityOffset + MSI_CONTROL, count: MSI_BODY_BYTES, afterWrite: () => this.#flush() });
	}

	/** The capability's bytes behind id and next pointer, and which bits the guest may write. `count` is a power of two. */
	static body(count: number): { readonly body: Uint8Array; readonly writableMask: Uint8Array } {
		assert(count >= 1 && count <= 32 && 2 ** Math.round(Math.log2(count)) === count, `MSI with ${count} vectors`);
		const body = new Uint8Array(MSI_BODY_BYTES);
		body[0] = 0x80 | (Math.log2(count) << 1);
		body[1] = 1;
		const writableMask = new Uint8Array(MSI_BODY_BYTES).fill(0xff, MSI_ADDRESS - 2, MSI_DATA);
		writableMask[0] = 0x71;
		writableMask[MSI_ADDRESS - 2] = 0xfc;
		for (let vector = 0; vector < count; vector++) {
			const byte = MSI_MASK - 2 + (vector >> 3);
			writableMask[byte] = (writableMask[byte] as number) | (1 << (vector & 7));
		}
		return { body, writableMask };
	}

	/** While true the function sends messages and leaves its INTx pin alone. */
	get isEnabled(): boolean {
		return (this.#control & MSI_ENABLE) !== 0;
	}

	/** Raises vector `index`; one that is masked waits in the pending bits. One that software did not grant becomes 0. */
	notify(index: number): void {
		if (!this.isEnabled) return;
		const granted = 1 << ((this.#control >> 4) & 7);
		const vector = index < granted ? index : 0;
		if ((this.#config.get(this.#at + MSI_MASK, 4) & (1 << vector)) !== 0) this.#setPending(vector, true);
		else this.#deliver(vector);
	}

	get #control(): number {
		return this.#config.get(this.#at + MSI_CONTROL, 2);
	}

	#setPending(vector: number, isPending: boolean): void {
		const before = this.#config.get(this.#at + MSI_PENDING, 4);
		this.#config.set(this.#at + MSI_PENDING, 4, isPending ? before | (1 << vector) : before & ~(1 << vector));
	}

	#flush(): void {
		const ready = this.#config.get(this.#at + MSI_PENDING, 4) & ~this.#config.get(this.#at + MSI_MASK, 4);
		if (!this.isEnabled || ready === 0) return;
		for (let vector = 0; vector < 32; vector++)
			if ((ready & (1 << vector)) !== 0) {
				this.#setPending(vector, false);
				this.#deliver(vector);
			}
	}

	#deliver(vector: number): void {
		const low = this.#config.get(this.#at + MSI_ADDRESS, 4);
		const high = this.#config.get(this.#at + MSI_ADDRESS + 4, 4);
		const granted = 1 << ((this.#control >> 4) & 7);
		const data = this.#config.get(this.#at + MSI_DATA, 2);
		this.#send(high * 2 ** 32 + low, (data & ~(granted - 1)) | vector);
	}
}

const ENTRY_BYTES = 16;
const VECTOR_CONTROL = 12;
const VECTOR_CONTROL_MASK = 1;

/**
 * MSI-X vectors (PCI 3.0 §6.8.2, "MSI-X Capability and Table Structures"): the table and the pending bit array lie in a
 * BAR, which the owner forwards here through `tableHandler` and `pendingHandler`.
 */
export class MsixVectors {
	readonly count: number;
	readonly tableBytes: number;
	readonly #table: Uint8Array;
	readonly #view: DataView;
	readonly #pending = new Set<number>();
	readonly #send: MsiSender;
	#isEnabled = false;
	#isMasked = false;

	constructor(count: number, send: MsiSender) {
		assert(count >= 1 && count <= 2048, `MSI-X with ${count} vectors`);
		this.count = count;
		this.tableBytes = count * ENTRY_BYTES;
		this.#table = new Uint8Array(this.tableBytes);
		this.#view = new DataView(this.#table.buffer);
		this.#send = send;
		this.reset();
	}

	/** While true the function sends messages and leaves its INTx pin alone. */
	get isEnabled(): boolean {
		return this.#isEnabled;
	}

	/** Raises vector `index`; one that is masked waits in the pending array. Indexes beyond the table are ignored. */
	notify(index: number): void {
		if (!this.#isEnabled || index >= this.count) return;
		if (this.#isMasked || this.#isVectorMasked(index)) this.#pending.add(index);
		else this.#deliver(index);
	}

	/** Message Control changed (enable and function mask). */
	control(isEnabled: boolean, isMasked: boolean): void {
		this.#isEnabled = isEnabled;
		this.#isMasked = isMasked;
		this.#flush();
	}

	reset(): void {
		this.#table.fill(0);
		for (let index = 0; index < this.count; index++) this.#table[index * ENTRY_BYTES + VECTOR_CONTROL] = VECTOR_CONTROL_MASK;
		this.#pending.clear();
		this.#isEnabled = false;
		this.#isMasked = false;
	}

	readonly tableHandler: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			let value = 0;
			for (let i = bytes - 1; i >= 0; i--) value = value * 256 + (this.#table[offset + i] ?? 0);
			return value;
		},
		write: (offset, bytes, value) => {
			for (let i = 0; i < bytes; i++) if (offset + i < this.tableBytes) this.#table[offset + i] = (value >>> (8 * i)) & 0xff;
			this.#flush();
		},
	};

	readonly pendingHandler: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			let value = 0;
			for (let bit = 0; bit < 8 * bytes; bit++) if (this.#pending.has(offset * 8 + bit)) value |= 1 << bit;
			return value >>> 0;
		},
		write: () => {},
	};

	save(): MsixState {
		return {
			table: this.#table.slice(),
			pending: [...this.#pending].sort((a, b) => a - b),
			isEnabled: this.#isEnabled,
			isMasked: this.#isMasked,
		};
	}

	load(state: MsixState): void {
		this.#table.set(state.table);
		this.#pending.clear();
		for (const index of state.pending) this.#pending.add(index);
		this.#isEnabled = state.isEnabled;
		this.#isMasked = state.isMasked;
	}

	#isVectorMasked(index: number): boolean {
		return (this.#view.getUint32(index * ENTRY_BYTES + VECTOR_CONTROL, true) & VECTOR_CONTROL_MASK) !== 0;
	}

	#flush(): void {
		if (!this.#isEnabled || this.#isMasked || this.#pending.size === 0) return;
		for (const index of [...this.#pending].sort((a, b) => a - b))
			if (!this.#isVectorMasked(index)) {
				this.#pending.delete(index);
				this.#deliver(index);
			}
	}

	#deliver(index: number): void {
		const at = index * ENTRY_BYTES;
		const address = this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
		this.#send(address, this.#view.getUint32(at + 8, true));
	}
}
