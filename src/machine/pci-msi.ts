import { assert } from "../base/assert.ts";
import type { PhysAddr } from "../base/units.ts";
import type { IoHandler } from "./bus.ts";

/** Sends one message-signalled interrupt: a 32-bit write by the function to `address`. */
export type MsiSender = (address: PhysAddr, data: number) => void;

export type MsixState = {
	readonly table: Uint8Array;
	readonly pending: readonly number[];
	readonly isEnabled: boolean;
	readonly isMasked: boolean;
};

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
