/**
 * The 256 bytes of a function's configuration space (PCI Local Bus Specification 3.0 §6.1, "Configuration Space
 * Organization"): each bit is fixed, writable, or cleared by writing a one. Everything else is built from these masks.
 */
export const PCI_CONFIG_BYTES = 256;

/** Offsets of the type 00h header (PCI 3.0 §6.1, figure 6-1). */
export const PCI = {
	VENDOR_ID: 0x00,
	DEVICE_ID: 0x02,
	COMMAND: 0x04,
	STATUS: 0x06,
	REVISION_ID: 0x08,
	CLASS_CODE: 0x09,
	CACHE_LINE_SIZE: 0x0c,
	LATENCY_TIMER: 0x0d,
	HEADER_TYPE: 0x0e,
	BAR0: 0x10,
	SUBSYSTEM_VENDOR_ID: 0x2c,
	SUBSYSTEM_ID: 0x2e,
	EXPANSION_ROM: 0x30,
	CAPABILITIES_POINTER: 0x34,
	INTERRUPT_LINE: 0x3c,
	INTERRUPT_PIN: 0x3d,
} as const;

/** Bits of the command register (PCI 3.0 §6.2.2, "Device Control"). */
export const PCI_COMMAND = { IO: 1, MEMORY: 2, MASTER: 4, PARITY: 0x40, SERR: 0x100, INTX_DISABLE: 0x400 } as const;

/** Bits of the status register (PCI 3.0 §6.2.3, "Device Status"). */
export const PCI_STATUS = { INTERRUPT: 8, CAPABILITIES: 0x10 } as const;

/** Called around accesses that touch [first, first+count). */
export interface ConfigHook {
	readonly first: number;
	readonly count: number;
	/** Brings the bytes up to date before they are read. */
	beforeRead?(offset: number, bytes: number): void;
	/** Acts on what has just been written; `offset` and `bytes` are the guest's access. */
	afterWrite?(offset: number, bytes: number): void;
}

export class PciConfigSpace {
	readonly bytes = new Uint8Array(PCI_CONFIG_BYTES);
	readonly #writable = new Uint8Array(PCI_CONFIG_BYTES);
	readonly #clearOnOne = new Uint8Array(PCI_CONFIG_BYTES);
	readonly #hooks: ConfigHook[] = [];

	/** Sets a register's value and which of its bits the guest may write. */
	define(offset: number, bytes: number, value: number, writableMask = 0): void {
		this.set(offset, bytes, value);
		for (let i = 0; i < bytes; i++) this.#writable[offset + i] = (writableMask >>> (8 * i)) & 0xff;
	}

	/** Bits that a guest clears by writing ones to them. */
	defineClearOnOne(offset: number, bytes: number, mask: number): void {
		for (let i = 0; i < bytes; i++) this.#clearOnOne[offset + i] = (mask >>> (8 * i)) & 0xff;
	}

	hook(hook: ConfigHook): void {
		this.#hooks.push(hook);
	}

	/** The device's own view: no hooks, no masks. */
	get(offset: number, bytes: number): number {
		let value = 0;
		for (let i = bytes - 1; i >= 0; i--) value = value * 256 + (this.bytes[offset + i] ?? 0xff);
		return value;
	}

	set(offset: number, bytes: number, value: number): void {
		for (let i = 0; i < bytes; i++) this.bytes[offset + i] = (value >>> (8 * i)) & 0xff;
	}

	/** The guest's read of 1, 2 or 4 bytes. Unsigned. */
	read(offset: number, bytes: number): number {
		for (const hook of this.#hooks) if (touches(hook, offset, bytes)) hook.beforeRead?.(offset, bytes);
		return this.get(offset, bytes);
	}

	/** The guest's write of 1, 2 or 4 bytes. */
	write(offset: number, bytes: number, value: number): void {
		for (let i = 0; i < bytes && offset + i < PCI_CONFIG_BYTES; i++) {
			const at = offset + i;
			const written = (value >>> (8 * i)) & 0xff;
			const mask = this.#writable[at] as number;
			const kept = (this.bytes[at] as number) & ~mask & ~(written & (this.#clearOnOne[at] as number));
			this.bytes[at] = kept | (written & mask);
		}
		for (const hook of this.#hooks) if (touches(hook, offset, bytes)) hook.afterWrite?.(offset, bytes);
	}
}

function touches(hook: ConfigHook, offset: number, bytes: number): boolean {
	return offset < hook.first + hook.count && hook.first < offset + bytes;
}
