import type { StateValue } from "../base/json.ts";
import type { GuestMemory } from "../machine/memory.ts";
import type { VirtioDevice, VirtioHost } from "./device.ts";
import { Ram } from "./ram.ts";
import { Virtqueue, type VirtqueueState } from "./virtqueue.ts";

// Virtio 1.2 §2.1, "Device Status Field"
export const ACKNOWLEDGE = 1;
export const DRIVER = 2;
export const DRIVER_OK = 4;
export const FEATURES_OK = 8;
export const DEVICE_NEEDS_RESET = 64;
export const FAILED = 128;

// Virtio 1.2 §6, "Reserved Feature Bits"
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
export const VIRTIO_F_VERSION_1 = 1n << 32n;
const RING_FEATURES = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1;

export type VirtioCoreState = {
	readonly status: number;
	readonly driverFeatures: bigint;
	readonly configGeneration: number;
	readonly queues: readonly VirtqueueState[];
	readonly device: StateValue;
};

/** How news reach the driver: the transport's part. */
export interface VirtioInterrupts {
	queueUsed(queueIndex: number): void;
	configChanged(): void;
}

/** What every transport shares: status, features, queues, and the device behind them. */
export class VirtioCore implements VirtioHost {
	readonly device: VirtioDevice;
	readonly queues: readonly Virtqueue[];
	readonly #interrupts: VirtioInterrupts;
	readonly #ram: Ram;
	#status = 0;
	#driverFeatures = 0n;
	#configGeneration = 0;
	/** Why the device wants a reset, for whoever looks into it. */
	brokenBecause: string | undefined;

	constructor(device: VirtioDevice, memory: GuestMemory, interrupts: VirtioInterrupts) {
		this.device = device;
		this.#interrupts = interrupts;
		const ram = new Ram(memory);
		this.#ram = ram;
		const events = {
			interrupt: (queueIndex: number) => interrupts.queueUsed(queueIndex),
			broken: (why: string) => this.broken(why),
		};
		this.queues = device.queueSizes.map((size, index) => new Virtqueue(index, size, ram, events));
		device.connect(this);
	}

	/** What is on offer. */
	get deviceFeatures(): bigint {
		return this.device.features | RING_FEATURES;
	}

	get features(): bigint {
		return (this.#status & FEATURES_OK) !== 0 ? this.#driverFeatures : 0n;
	}

	get isLive(): boolean {
		return (this.#status & (DRIVER_OK | DEVICE_NEEDS_RESET)) === DRIVER_OK;
	}

	queue(index: number): Virtqueue {
		return this.queues[index] as Virtqueue;
	}

	get configGeneration(): number {
		return this.#configGeneration;
	}

	configChanged(): void {
		this.#configGeneration = (this.#configGeneration + 1) & 0xff;
		if (this.isLive) this.#interrupts.configChanged();
	}

	broken(why: string): void {
		if ((this.#status & DEVICE_NEEDS_RESET) !== 0) return;
		this.brokenBecause = why;
		this.#status |= DEVICE_NEEDS_RESET;
		// §2.1.2: a driver that is up is told through a configuration change.
		if ((this.#status & DRIVER_OK) !== 0) this.#interrupts.configChanged();
	}

	get status(): number {
		return this.#status;
	}

	/** A write of the status register; zero resets. Bits are never cleared singly (§2.1.1). */
	writeStatus(value: number): void {
		if (value === 0) {
			this.reset();
			return;
		}
		const before = this.#status;
		let set = value & ~before & (ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED);
		if ((set & FEATURES_OK) !== 0) {
			// §2.2.2: a set of features the device cannot serve leaves the bit clear.
			if (this.#isAcceptable()) {
				for (const queue of this.queues)
					queue.setFeatures((this.#driverFeatures & VIRTIO_F_INDIRECT_DESC) !== 0n, (this.#driverFeatures & VIRTIO_F_EVENT_IDX) !== 0n);
			} else set &= ~FEATURES_OK;
		}
		if (((before | set) & FEATURES_OK) === 0) set &= ~DRIVER_OK;
		this.#status = before | set;
		if ((set & DRIVER_OK) !== 0 && this.isLive) this.device.start();
	}

	#isAcceptable(): boolean {
		return (this.#driverFeatures & VIRTIO_F_VERSION_1) !== 0n && (this.#driverFeatures & ~this.deviceFeatures) === 0n;
	}

	get driverFeatures(): bigint {
		return this.#driverFeatures;
	}

	/** The driver's choice, 32 bits at a time; settled once FEATURES_OK stands. */
	writeDriverFeatures(word: number, value: number): void {
		if ((this.#status & FEATURES_OK) !== 0 || word > 1) return;
		const shift = BigInt(32 * word);
		this.#driverFeatures = (this.#driverFeatures & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift);
	}

	notify(queueIndex: number): void {
		const queue = this.queues[queueIndex];
		if (queue?.isEnabled && this.isLive) this.device.onNotify(queueIndex);
	}

	/** The guest turned bus mastering on or off. Doorbells rung meanwhile are answered when it comes back. */
	setMastering(isOn: boolean): void {
		if (this.#ram.isMastering === isOn) return;
		this.#ram.isMastering = isOn;
		if (isOn) for (const queue of this.queues) if (queue.pending > 0) this.notify(queue.index);
	}

	readConfig(offset: number): number {
		return offset < this.device.configBytes ? this.device.readConfig(offset) : 0;
	}

	writeConfig(offset: number, bytes: number, value: number): void {
		if (offset + bytes <= this.device.configBytes) this.device.writeConfig(offset, bytes, value);
	}

	reset(): void {
		this.#status = 0;
		this.#driverFeatures = 0n;
		this.brokenBecause = undefined;
		for (const queue of this.queues) {
			queue.reset();
			queue.setFeatures(false, false);
		}
		this.device.reset();
	}

	quiesce(): Promise<void> {
		return this.device.quiesce();
	}

	save(): VirtioCoreState {
		return {
			status: this.#status,
			driverFeatures: this.#driverFeatures,
			configGeneration: this.#configGeneration,
			queues: this.queues.map((queue) => queue.save()),
			device: this.device.save(),
		};
	}

	load(state: VirtioCoreState): void {
		this.#status = state.status;
		this.#driverFeatures = state.driverFeatures;
		this.#configGeneration = state.configGeneration;
		for (const [index, queue] of this.queues.entries()) {
			queue.setFeatures((this.features & VIRTIO_F_INDIRECT_DESC) !== 0n, (this.features & VIRTIO_F_EVENT_IDX) !== 0n);
			const saved = state.queues[index];
			if (saved !== undefined) queue.load(saved);
		}
		this.device.load(state.device);
	}
}
