import type { IoHandler } from "../machine/bus.ts";
import type { GuestMemory } from "../machine/memory.ts";
import { type PciDevice, PciFunction, type PciFunctionState } from "../machine/pci.ts";
import { PCI_COMMAND } from "../machine/pci-config.ts";
import { VirtioCore, type VirtioCoreState } from "./core.ts";
import type { VirtioDevice } from "./device.ts";
import { CommonConfig, type CommonConfigState, NO_VECTOR } from "./pci-common.ts";

// Virtio 1.2 §4.1.2, "PCI Device Discovery"
const VENDOR_ID = 0x1af4;
const MODERN_DEVICE_ID_BASE = 0x1040;
const MODERN_REVISION = 1;
// §4.1.4, "Virtio Structure PCI Capabilities"
const PCI_CAP_ID_VNDR = 0x09;
const VIRTIO_PCI_CAP_COMMON_CFG = 1;
const VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
const VIRTIO_PCI_CAP_ISR_CFG = 3;
const VIRTIO_PCI_CAP_DEVICE_CFG = 4;
const VIRTIO_PCI_CAP_PCI_CFG = 5;
const CAP_BAR = 4;
const CAP_OFFSET = 8;
const CAP_LENGTH = 12;
const CAP_DATA = 16;
// §4.1.4.5, "ISR status capability"
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

/** The structures' places in their BAR: a page each, so that a hypervisor in the guest can hand out doorbells alone. */
const REGISTERS_BAR = 4;
const MSIX_BAR = 1;
const PART_BYTES = 0x1000;
const COMMON_AT = 0;
const ISR_AT = 0x1000;
const DEVICE_AT = 0x2000;
const NOTIFY_AT = 0x3000;
const REGISTERS_BYTES = 0x4000;
const NOTIFY_MULTIPLIER = 4;

export type VirtioPciState = {
	readonly pci: PciFunctionState;
	readonly common: CommonConfigState;
	readonly isr: number;
	readonly core: VirtioCoreState;
};

/** A virtio device as a modern PCI function (Virtio 1.2 §4.1, "Virtio Over PCI Bus"); there is no legacy interface. */
export class VirtioPci implements PciDevice<VirtioPciState> {
	readonly name: string;
	readonly pci: PciFunction;
	readonly device: VirtioDevice;
	readonly core: VirtioCore;
	readonly #common: CommonConfig;
	#isr = 0;

	constructor(device: VirtioDevice, memory: GuestMemory) {
		this.name = device.name;
		this.device = device;
		this.core = new VirtioCore(device, memory, {
			queueUsed: (queueIndex) => this.#interrupt(ISR_QUEUE, this.#common.queueVector(queueIndex)),
			configChanged: () => this.#interrupt(ISR_CONFIG, this.#common.configVector),
		});
		const vectorCount = device.queueSizes.length + 1;
		this.#common = new CommonConfig(this.core, vectorCount, () => this.#deviceReset());
		const deviceId = MODERN_DEVICE_ID_BASE + device.typeId;
		this.pci = new PciFunction(device.name, {
			vendorId: VENDOR_ID,
			deviceId,
			revisionId: MODERN_REVISION,
			classCode: device.pciClass << 8,
			subsystemVendorId: VENDOR_ID,
			subsystemId: deviceId,
			interruptPin: 1,
		});
		this.pci.addBar(REGISTERS_BAR, {
			kind: "mem64",
			sizeBytes: REGISTERS_BYTES,
			isPrefetchable: true,
			handler: this.#registers,
		});
		this.pci.addMsix(vectorCount, { bar: MSIX_BAR });
		this.#addStructure(VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT, PART_BYTES);
		this.#addStructure(VIRTIO_PCI_CAP_ISR_CFG, ISR_AT, PART_BYTES);
		if (device.configBytes > 0) this.#addStructure(VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_AT, PART_BYTES);
		const multiplier = new Uint8Array([NOTIFY_MULTIPLIER, 0, 0, 0]);
		this.#addStructure(VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT, NOTIFY_MULTIPLIER * device.queueSizes.length, multiplier);
		this.#addConfigAccess();
		this.pci.onCommand = (command) => this.core.setMastering((command & PCI_COMMAND.MASTER) !== 0);
		this.core.setMastering(false);
	}

	/** Resolves when no request is in flight; the machine must go on draining its inbox until then. */
	quiesce(): Promise<void> {
		return this.core.quiesce();
	}

	reset(): void {
		this.pci.reset();
		this.core.setMastering(false);
		this.#deviceReset();
		this.#common.reset();
	}

	save(): VirtioPciState {
		return { pci: this.pci.save(), common: this.#common.save(), isr: this.#isr, core: this.core.save() };
	}

	load(state: VirtioPciState): void {
		this.core.reset();
		this.pci.load(state.pci);
		this.core.setMastering((this.pci.command & PCI_COMMAND.MASTER) !== 0);
		this.#common.load(state.common);
		this.#isr = state.isr;
		this.core.load(state.core);
	}

	/** Status was written with 0 (§2.4, "Device Reset"). */
	#deviceReset(): void {
		this.core.reset();
		this.#common.forgetVectors();
		this.#isr = 0;
		this.pci.intx.set(false);
	}

	#interrupt(cause: number, vector: number): void {
		if (this.pci.msix?.isEnabled === true) {
			if (vector !== NO_VECTOR) this.pci.msix.notify(vector);
			return;
		}
		this.#isr |= cause;
		this.pci.intx.set(true);
	}

	readonly #registers: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			switch (offset & -PART_BYTES) {
				case COMMON_AT:
					return this.#common.read(offset, bytes);
				case ISR_AT:
					return offset === ISR_AT ? this.#readIsr() : 0;
				case DEVICE_AT: {
					let value = 0;
					for (let i = bytes - 1; i >= 0; i--) value = value * 256 + this.core.readConfig(offset - DEVICE_AT + i);
					return value;
				}
				default:
					return 0;
			}
		},
		write: (offset, bytes, value) => {
			if (offset >= NOTIFY_AT) this.core.notify((offset - NOTIFY_AT) / NOTIFY_MULTIPLIER);
			else if (offset >= DEVICE_AT) this.core.writeConfig(offset - DEVICE_AT, bytes, value);
			else if (offset < ISR_AT) this.#common.write(offset, bytes, value);
		},
	};

	/** Reading acknowledges (§4.1.4.5.1). */
	#readIsr(): number {
		const isr = this.#isr;
		this.#isr = 0;
		this.pci.intx.set(false);
		return isr;
	}

	/** struct virtio_pci_cap (§4.1.4), less the id and next pointer that `addCapability` writes. */
	#addStructure(type: number, offset: number, length: number, extra: Uint8Array = new Uint8Array(0)): void {
		const body = new Uint8Array(14 + extra.length);
		const view = new DataView(body.buffer);
		body[0] = 2 + body.length;
		body[1] = type;
		body[2] = REGISTERS_BAR;
		view.setUint32(6, offset, true);
		view.setUint32(10, length, true);
		body.set(extra, 14);
		this.pci.addCapability(PCI_CAP_ID_VNDR, body);
	}

	/** A window through configuration space for firmware that cannot map the BAR (§4.1.4.9, "PCI configuration access capability"). */
	#addConfigAccess(): void {
		const body = new Uint8Array(18);
		body[0] = 2 + body.length;
		body[1] = VIRTIO_PCI_CAP_PCI_CFG;
		const writable = new Uint8Array(18);
		writable[CAP_BAR - 2] = 0xff;
		writable.fill(0xff, CAP_OFFSET - 2);
		const { offset: cap } = this.pci.addCapability(PCI_CAP_ID_VNDR, body, writable);
		const { config } = this.pci;
		const target = () => {
			const offset = config.get(cap + CAP_OFFSET, 4);
			const length = config.get(cap + CAP_LENGTH, 4);
			const isValid = (length === 1 || length === 2 || length === 4) && offset % length === 0 && offset < REGISTERS_BYTES;
			return isValid && config.get(cap + CAP_BAR, 1) === REGISTERS_BAR ? { offset, length } : undefined;
		};
		config.hook({
			first: cap + CAP_DATA,
			count: 4,
			beforeRead: () => {
				const at = target();
				if (at !== undefined) config.set(cap + CAP_DATA, at.length, this.#registers.read(at.offset, at.length));
			},
			afterWrite: () => {
				const at = target();
				if (at !== undefined) this.#registers.write(at.offset, at.length, config.get(cap + CAP_DATA, at.length));
			},
		});
	}
}
