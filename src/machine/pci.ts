import { assert } from "../base/assert.ts";
import type { StateValue } from "../base/json.ts";
import type { PhysAddr } from "../base/units.ts";
import type { IoHandler } from "./bus.ts";
import type { Device } from "./device.ts";
import type { DmaPort } from "./memory.ts";
import { PCI, PCI_COMMAND, PCI_STATUS, PciConfigSpace } from "./pci-config.ts";
import { MsiVectors, type MsixState, MsixVectors } from "./pci-msi.ts";
import type { Wire } from "./wire.ts";

/** What a slot gives the function in it. The board makes one for each function that it attaches. */
export interface PciSlot {
	/** This function's interrupt pin, already routed; true = asserted. */
	readonly intx: Wire;
	/** Ungated access to memory; devices use `PciFunction.dma`. */
	readonly dma: DmaPort;
	/** A message-signalled interrupt: a write of `data` to `address` (0xFEExxxxx on a PC). */
	deliverMsi(address: PhysAddr, data: number): void;
	/** The function's decoded ranges may have changed: compare `PciFunction.bars` with what is mapped. */
	decodeChanged(): void;
}

export interface PciIdentity {
	readonly vendorId: number;
	readonly deviceId: number;
	readonly revisionId?: number;
	/** Base class, subclass and programming interface as one 24-bit number, e.g. 0x010000. */
	readonly classCode: number;
	readonly subsystemVendorId?: number;
	readonly subsystemId?: number;
	/** 1–4 for INTA#–INTD#; 0 or absent when the function has no pin. */
	readonly interruptPin?: number;
	/** Function 0 of a device with further functions. */
	readonly isMultiFunction?: boolean;
}

export interface PciBarSpec {
	readonly kind: "io" | "mem32" | "mem64";
	/** A power of two: 4–256 for I/O, at least 4096 for memory (so that a page belongs to one device). */
	readonly sizeBytes: number;
	readonly isPrefetchable?: boolean;
	readonly handler: IoHandler;
}

export interface PciBar extends PciBarSpec {
	readonly index: number;
	/** Where the guest has put it, whether or not it is decoded now. */
	readonly address: number;
	readonly isDecoded: boolean;
}

export interface PciCapability {
	/** Offset of the capability's first byte (its id). */
	readonly offset: number;
}

export type PciFunctionState = { readonly config: Uint8Array; readonly isIntxRequested: boolean; readonly msix: MsixState | null };

const BAR_IO = 1;
const BAR_MEM64 = 4;
const BAR_PREFETCHABLE = 8;
const CAPABILITY_MSI = 0x05;
const CAPABILITY_MSIX = 0x11;
const FIRST_CAPABILITY = 0x40;
const MSIX_ENABLE = 0x8000;
const MSIX_FUNCTION_MASK = 0x4000;

/**
 * One function's face on the PCI bus: identity, BARs, capabilities, interrupts, and memory access gated by the bus-master
 * bit. A device owns one (or more) and gives it to a board through `PciDevice.pci`.
 */
export class PciFunction implements Device<PciFunctionState> {
	readonly name: string;
	readonly identity: PciIdentity;
	readonly config = new PciConfigSpace();
	/** Set while attached. */
	#slot: PciSlot | undefined;
	readonly #bars: PciBarSpec[] = [];
	#nextCapability = FIRST_CAPABILITY;
	#lastCapability: number = PCI.CAPABILITIES_POINTER;
	#msix: MsixVectors | undefined;
	#msi: MsiVectors | undefined;
	#isIntxRequested = false;
	/** The configuration as built, put back by `reset`. */
	#initial: Uint8Array | undefined;
	/** Called after the guest has written the command register (BAR decode, bus master, INTx disable). */
	onCommand: (command: number) => void = () => {};

	constructor(name: string, identity: PciIdentity) {
		this.name = name;
		this.identity = identity;
		const { config } = this;
		config.define(PCI.VENDOR_ID, 2, identity.vendorId);
		config.define(PCI.DEVICE_ID, 2, identity.deviceId);
		config.define(PCI.COMMAND, 2, 0, PCI_COMMAND.MASTER | PCI_COMMAND.PARITY | PCI_COMMAND.SERR | PCI_COMMAND.INTX_DISABLE);
		config.define(PCI.REVISION_ID, 4, ((identity.classCode << 8) | (identity.revisionId ?? 0)) >>> 0);
		config.define(PCI.CACHE_LINE_SIZE, 1, 0, 0xff);
		config.define(PCI.LATENCY_TIMER, 1, 0, 0xff);
		config.define(PCI.HEADER_TYPE, 1, identity.isMultiFunction === true ? 0x80 : 0);
		config.define(PCI.SUBSYSTEM_VENDOR_ID, 2, identity.subsystemVendorId ?? 0);
		config.define(PCI.SUBSYSTEM_ID, 2, identity.subsystemId ?? 0);
		config.define(PCI.INTERRUPT_LINE, 1, 0, 0xff);
		config.define(PCI.INTERRUPT_PIN, 1, identity.interruptPin ?? 0);
		config.hook({
			first: PCI.COMMAND,
			count: 2,
			afterWrite: () => {
				this.#driveIntx();
				this.#slot?.decodeChanged();
				this.onCommand(this.command);
			},
		});
		config.hook({ first: PCI.STATUS, count: 2, beforeRead: () => this.#showInterruptStatus() });
		config.hook({ first: PCI.BAR0, count: 24, afterWrite: () => this.#slot?.decodeChanged() });
	}

	get command(): number {
		return this.config.get(PCI.COMMAND, 2);
	}

	/** Present once `addMsix` has been called. */
	get msix(): MsixVectors | undefined {
		return this.#msix;
	}

	/** Present once `addMsi` has been called. */
	get msi(): MsiVectors | undefined {
		return this.#msi;
	}

	/** The BARs with where they stand now. */
	get bars(): readonly PciBar[] {
		return this.#bars.map((spec, index) => this.#barAt(spec, index)).filter((bar) => bar !== undefined);
	}

	/** Declares BAR `index`; a mem64 BAR takes `index + 1` too. Only before the function is attached. */
	addBar(index: number, spec: PciBarSpec): void {
		assert(this.#bars[index] === undefined && index >= 0 && index <= (spec.kind === "mem64" ? 4 : 5), `${this.name}: BAR ${index} twice`);
		const size = spec.sizeBytes;
		assert(2 ** Math.round(Math.log2(size)) === size, `${this.name}: BAR ${index} of ${size} bytes`);
		assert(spec.kind === "io" ? size >= 4 && size <= 256 : size >= 4096 && size <= 2 ** 31, `${this.name}: BAR ${index} of ${size} bytes`);
		this.#bars[index] = spec;
		const at = PCI.BAR0 + 4 * index;
		const mask = -size >>> 0;
		if (spec.kind === "io") this.config.define(at, 4, BAR_IO, mask & 0xffff);
		else {
			const flags = (spec.kind === "mem64" ? BAR_MEM64 : 0) | (spec.isPrefetchable === true ? BAR_PREFETCHABLE : 0);
			this.config.define(at, 4, flags, mask);
			if (spec.kind === "mem64") this.config.define(at + 4, 4, 0, 0xffff_ffff);
		}
		const decode = this.#bars.reduce((bits, bar) => bits | (bar.kind === "io" ? PCI_COMMAND.IO : PCI_COMMAND.MEMORY), 0);
		const writable = decode | PCI_COMMAND.MASTER | PCI_COMMAND.PARITY | PCI_COMMAND.SERR | PCI_COMMAND.INTX_DISABLE;
		this.config.define(PCI.COMMAND, 2, 0, writable);
	}

	/**
	 * Appends a capability: `body` follows the id and next-pointer bytes. `writableMask` (same length as `body`) says which
	 * bits the guest may write; the rest is fixed. Hooks take offsets from the capability's id byte through `offset`.
	 */
	addCapability(id: number, body: Uint8Array, writableMask?: Uint8Array): PciCapability {
		const offset = this.#nextCapability;
		assert(offset + 2 + body.length <= 256, `${this.name}: no room for capability ${id}`);
		this.config.define(this.#lastCapability, 1, offset);
		this.config.define(offset, 1, id);
		this.config.define(offset + 1, 1, 0);
		body.forEach((value, i) => {
			this.config.define(offset + 2 + i, 1, value, writableMask?.[i] ?? 0);
		});
		this.config.set(PCI.STATUS, 2, this.config.get(PCI.STATUS, 2) | PCI_STATUS.CAPABILITIES);
		this.#lastCapability = offset + 1;
		this.#nextCapability = (offset + 2 + body.length + 3) & ~3;
		return { offset };
	}

	/**
	 * MSI-X with `vectorCount` vectors in BAR `bar`: the table at `tableOffset`, the pending array at `pendingOffset`, both
	 * multiples of 8. Without a BAR of that number yet, makes a mem32 one that holds just the two.
	 */
	addMsix(
		vectorCount: number,
		place: { readonly bar: number; readonly tableOffset?: number; readonly pendingOffset?: number },
	): MsixVectors {
		const vectors = new MsixVectors(vectorCount, (address, data) => this.#sendMessage(address, data));
		this.#msix = vectors;
		const tableOffset = place.tableOffset ?? 0;
		const pendingOffset = place.pendingOffset ?? Math.ceil(vectors.tableBytes / 2048) * 2048;
		if (this.#bars[place.bar] === undefined) {
			const end = Math.max(tableOffset + vectors.tableBytes, pendingOffset + Math.ceil(vectorCount / 64) * 8);
			const sizeBytes = Math.max(4096, 2 ** Math.ceil(Math.log2(end)));
			this.addBar(place.bar, { kind: "mem32", sizeBytes, handler: msixBarHandler(vectors, tableOffset, pendingOffset) });
		}
		const body = new Uint8Array(10);
		const view = new DataView(body.buffer);
		view.setUint16(0, vectorCount - 1, true);
		view.setUint32(2, tableOffset | place.bar, true);
		view.setUint32(6, pendingOffset | place.bar, true);
		const { offset } = this.addCapability(CAPABILITY_MSIX, body, Uint8Array.of(0, (MSIX_ENABLE | MSIX_FUNCTION_MASK) >> 8));
		this.config.hook({
			first: offset + 2,
			count: 2,
			afterWrite: () => {
				const control = this.config.get(offset + 2, 2);
				vectors.control((control & MSIX_ENABLE) !== 0, (control & MSIX_FUNCTION_MASK) !== 0);
				this.#driveIntx();
			},
		});
		return vectors;
	}

	/** MSI with `vectorCount` vectors (a power of two up to 32), 64-bit addresses and masks. */
	addMsi(vectorCount: number): MsiVectors {
		const { body, writableMask } = MsiVectors.body(vectorCount);
		const { offset } = this.addCapability(CAPABILITY_MSI, body, writableMask);
		this.config.hook({ first: offset + 2, count: 2, afterWrite: () => this.#driveIntx() });
		this.#msi = new MsiVectors(this.config, offset, (address, data) => this.#sendMessage(address, data));
		return this.#msi;
	}

	/** The function's INTx# request: true = asserted. Kept off the pin while disabled or while messages are on. */
	readonly intx: Wire = this.#intxWire();

	/** Bus-master memory access: reads give ones and writes are lost while the guest has bus mastering off. */
	readonly dma: DmaPort = {
		read: (from, into) => {
			if ((this.command & PCI_COMMAND.MASTER) !== 0 && this.#slot !== undefined) this.#slot.dma.read(from, into);
			else into.fill(0xff);
		},
		write: (to, from) => {
			if ((this.command & PCI_COMMAND.MASTER) !== 0) this.#slot?.dma.write(to, from);
		},
	};

	/** Called by the board; what is built so far is the reset state. */
	attach(slot: PciSlot): void {
		assert(this.#slot === undefined, `${this.name} is in a slot already`);
		this.#slot = slot;
		this.#initial = this.config.bytes.slice();
	}

	reset(): void {
		if (this.#initial !== undefined) this.config.bytes.set(this.#initial);
		this.#isIntxRequested = false;
		this.#msix?.reset();
		this.#driveIntx();
		this.#slot?.decodeChanged();
	}

	save(): PciFunctionState {
		return { config: this.config.bytes.slice(), isIntxRequested: this.#isIntxRequested, msix: this.#msix?.save() ?? null };
	}

	load(state: PciFunctionState): void {
		this.config.bytes.set(state.config);
		this.#isIntxRequested = state.isIntxRequested;
		if (state.msix !== null) this.#msix?.load(state.msix);
		this.#driveIntx();
		this.#slot?.decodeChanged();
	}

	#barAt(spec: PciBarSpec, index: number): PciBar {
		const at = PCI.BAR0 + 4 * index;
		const low = this.config.get(at, 4);
		const isIo = spec.kind === "io";
		const base = low - (low & (isIo ? 3 : 15));
		const address = spec.kind === "mem64" ? this.config.get(at + 4, 4) * 2 ** 32 + base : base;
		const enable = isIo ? PCI_COMMAND.IO : PCI_COMMAND.MEMORY;
		return { ...spec, index, address, isDecoded: (this.command & enable) !== 0 };
	}

	#intxWire(): Wire {
		const requested = () => this.#isIntxRequested;
		return {
			set: (high) => {
				this.#isIntxRequested = high;
				this.#driveIntx();
			},
			get isHigh() {
				return requested();
			},
		};
	}

	#sendMessage(address: PhysAddr, data: number): void {
		if ((this.command & PCI_COMMAND.MASTER) !== 0) this.#slot?.deliverMsi(address, data);
	}

	#driveIntx(): void {
		const isSilent = (this.command & PCI_COMMAND.INTX_DISABLE) !== 0 || this.#msix?.isEnabled === true || this.#msi?.isEnabled === true;
		this.#slot?.intx.set(this.#isIntxRequested && !isSilent);
	}

	#showInterruptStatus(): void {
		const status = this.config.get(PCI.STATUS, 2) & ~PCI_STATUS.INTERRUPT;
		this.config.set(PCI.STATUS, 2, status | (this.#isIntxRequested ? PCI_STATUS.INTERRUPT : 0));
	}
}

/** A device that sits in a slot: its own state (which includes its function's), and the function. */
export interface PciDevice<State extends StateValue = StateValue> extends Device<State> {
	readonly pci: PciFunction;
}

function msixBarHandler(vectors: MsixVectors, tableOffset: number, pendingOffset: number): IoHandler {
	const pick = (offset: number): { handler: IoHandler; offset: number } | undefined => {
		if (offset >= tableOffset && offset < tableOffset + vectors.tableBytes)
			return { handler: vectors.tableHandler, offset: offset - tableOffset };
		if (offset >= pendingOffset) return { handler: vectors.pendingHandler, offset: offset - pendingOffset };
		return undefined;
	};
	return {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			const part = pick(offset);
			return part === undefined ? 0 : part.handler.read(part.offset, bytes);
		},
		write: (offset, bytes, value) => {
			const part = pick(offset);
			part?.handler.write(part.offset, bytes, value);
		},
	};
}
