import type { VirtioCore } from "./core.ts";

/** Virtio 1.2 §4.1.5.1.2, "MSI-X Vector Configuration": no interrupt for this event. */
export const NO_VECTOR = 0xffff;

export type CommonConfigState = {
	readonly deviceFeatureSelect: number;
	readonly driverFeatureSelect: number;
	readonly queueSelect: number;
	readonly configVector: number;
	readonly queueVectors: readonly number[];
};

interface Field {
	readonly at: number;
	readonly bytes: number;
	readonly read: () => number;
	readonly write?: (value: number) => void;
}

const COMMON_BYTES = 64;

/** struct virtio_pci_common_cfg (Virtio 1.2 §4.1.4.3, "Common configuration structure layout"). */
export class CommonConfig {
	readonly #core: VirtioCore;
	readonly #vectorCount: number;
	readonly #fields: readonly Field[];
	#deviceFeatureSelect = 0;
	#driverFeatureSelect = 0;
	#queueSelect = 0;
	configVector = NO_VECTOR;
	readonly #queueVectors: number[];

	constructor(core: VirtioCore, vectorCount: number, onReset: () => void) {
		this.#core = core;
		this.#vectorCount = vectorCount;
		this.#queueVectors = core.queues.map(() => NO_VECTOR);
		this.#fields = this.#layOut(onReset);
	}

	queueVector(queueIndex: number): number {
		return this.#queueVectors[queueIndex] ?? NO_VECTOR;
	}

	/** What a device reset does to the interrupt routes. */
	forgetVectors(): void {
		this.configVector = NO_VECTOR;
		this.#queueVectors.fill(NO_VECTOR);
	}

	reset(): void {
		this.forgetVectors();
		this.#deviceFeatureSelect = 0;
		this.#driverFeatureSelect = 0;
		this.#queueSelect = 0;
	}

	/** Any bytes of it; drivers read whole fields, but nothing goes wrong for those that do not. */
	read(offset: number, bytes: number): number {
		let value = 0;
		for (const field of this.#fields) {
			if (field.at >= offset + bytes || field.at + field.bytes <= offset) continue;
			const fieldValue = field.read();
			if (field.at === offset && field.bytes === bytes) return fieldValue >>> 0;
			const shift = 8 * (field.at - offset);
			value |= shift >= 0 ? fieldValue << shift : fieldValue >>> -shift;
		}
		return bytes === 4 ? value >>> 0 : value & (bytes === 2 ? 0xffff : 0xff);
	}

	/** Fields written in part stay as they are (§4.1.3.1: drivers use a field's own width). */
	write(offset: number, bytes: number, value: number): void {
		if (offset + bytes > COMMON_BYTES) return;
		for (const field of this.#fields)
			if (field.at >= offset && field.at + field.bytes <= offset + bytes) {
				const part = value >>> (8 * (field.at - offset));
				field.write?.(field.bytes === 4 ? part >>> 0 : part & (field.bytes === 2 ? 0xffff : 0xff));
			}
	}

	save(): CommonConfigState {
		return {
			deviceFeatureSelect: this.#deviceFeatureSelect,
			driverFeatureSelect: this.#driverFeatureSelect,
			queueSelect: this.#queueSelect,
			configVector: this.configVector,
			queueVectors: this.#queueVectors.slice(),
		};
	}

	load(state: CommonConfigState): void {
		this.#deviceFeatureSelect = state.deviceFeatureSelect;
		this.#driverFeatureSelect = state.driverFeatureSelect;
		this.#queueSelect = state.queueSelect;
		this.configVector = state.configVector;
		for (const index of this.#queueVectors.keys()) this.#queueVectors[index] = state.queueVectors[index] ?? NO_VECTOR;
	}

	/** A vector the function does not have is answered with NO_VECTOR (§4.1.5.1.2.1). */
	#vector(value: number): number {
		return value < this.#vectorCount ? value : NO_VECTOR;
	}

	#layOut(onReset: () => void): readonly Field[] {
		const core = this.#core;
		const queue = () => core.queues[this.#queueSelect];
		const word = (features: bigint, select: number) => (select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffff_ffffn));
		/** The queue selected, while its set-up may still change. */
		const settable = () => (queue()?.isEnabled === false ? queue() : undefined);
		const address = (at: number, key: "descAddr" | "availAddr" | "usedAddr"): Field[] => [
			{
				at,
				bytes: 4,
				read: () => (queue()?.[key] ?? 0) % 2 ** 32,
				write: (value) => {
					const target = settable();
					if (target !== undefined) target[key] = target[key] - (target[key] % 2 ** 32) + value;
				},
			},
			{
				at: at + 4,
				bytes: 4,
				read: () => Math.floor((queue()?.[key] ?? 0) / 2 ** 32),
				write: (value) => {
					const target = settable();
					if (target !== undefined) target[key] = value * 2 ** 32 + (target[key] % 2 ** 32);
				},
			},
		];
		return [
			{ at: 0, bytes: 4, read: () => this.#deviceFeatureSelect, write: (value) => (this.#deviceFeatureSelect = value) },
			{ at: 4, bytes: 4, read: () => word(core.deviceFeatures, this.#deviceFeatureSelect) },
			{ at: 8, bytes: 4, read: () => this.#driverFeatureSelect, write: (value) => (this.#driverFeatureSelect = value) },
			{
				at: 12,
				bytes: 4,
				read: () => word(core.driverFeatures, this.#driverFeatureSelect),
				write: (value) => core.writeDriverFeatures(this.#driverFeatureSelect, value),
			},
			{ at: 16, bytes: 2, read: () => this.configVector, write: (value) => (this.configVector = this.#vector(value)) },
			{ at: 18, bytes: 2, read: () => core.queues.length },
			{ at: 20, bytes: 1, read: () => core.status, write: (value) => (value === 0 ? onReset() : core.writeStatus(value)) },
			{ at: 21, bytes: 1, read: () => core.configGeneration },
			{ at: 22, bytes: 2, read: () => this.#queueSelect, write: (value) => (this.#queueSelect = value) },
			{
				at: 24,
				bytes: 2,
				// A queue that is not there has size 0 (§4.1.4.3.1).
				read: () => queue()?.size ?? 0,
				write: (value) => {
					const target = settable();
					if (target !== undefined) target.size = value;
				},
			},
			{
				at: 26,
				bytes: 2,
				read: () => this.queueVector(this.#queueSelect),
				write: (value) => {
					if (queue() !== undefined) this.#queueVectors[this.#queueSelect] = this.#vector(value);
				},
			},
			{
				at: 28,
				bytes: 2,
				read: () => (queue()?.isEnabled ? 1 : 0),
				write: (value) => {
					if (value === 1) queue()?.enable();
				},
			},
			{ at: 30, bytes: 2, read: () => (queue() === undefined ? 0 : this.#queueSelect) },
			...address(32, "descAddr"),
			...address(40, "availAddr"),
			...address(48, "usedAddr"),
		];
	}
}
