import type { StateValue } from "../base/json.ts";
import type { Device } from "../machine/device.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** What a device may ask of whatever carries it. */
export interface VirtioHost {
	/** Features both sides agreed on; 0n until the driver has. */
	readonly features: bigint;
	/** The driver is ready (DRIVER_OK) and nothing is broken: queues may be used. */
	readonly isLive: boolean;
	queue(index: number): Virtqueue;
	/** The device changed its configuration space: bumps the generation, interrupts the driver. */
	configChanged(): void;
	/** The driver's requests make no sense: DEVICE_NEEDS_RESET. */
	broken(why: string): void;
}

/**
 * A virtio device without its transport (Virtio 1.2 §5, "Device Types"). `reset` forgets requests in flight; `save`
 * comes after `quiesce`.
 */
export interface VirtioDevice<State extends StateValue = StateValue> extends Device<State> {
	/** Virtio 1.2 §5, table "Device Types". */
	readonly typeId: number;
	/** Base class and subclass that its PCI function shows, as 0xCCSS. */
	readonly pciClass: number;
	/** Device-specific bits it offers (0–23 and 50 up). */
	readonly features: bigint;
	/** One entry a queue: its greatest size, a power of two. */
	readonly queueSizes: readonly number[];
	readonly configBytes: number;
	/** One byte of configuration space; `offset` lies within `configBytes`. */
	readConfig(offset: number): number;
	/** Writes of 1, 2 or 4 bytes; what is read-only stays. */
	writeConfig(offset: number, bytes: number, value: number): void;
	connect(host: VirtioHost): void;
	/** DRIVER_OK: features are settled, queues may be used. */
	start(): void;
	/** The driver has put something into a queue. */
	onNotify(queueIndex: number): void;
	/** Resolves when nothing is in flight. The machine takes no new requests meanwhile, but drains its inbox. */
	quiesce(): Promise<void>;
}
