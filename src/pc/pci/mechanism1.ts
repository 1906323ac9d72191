import type { IoHandler } from "../../machine/bus.ts";
import type { Device } from "../../machine/device.ts";
import type { PciBus } from "./bus.ts";

export type ConfigMechanismState = { readonly address: number };

const ENABLE = 0x8000_0000;
/** Bits 30:24 and 1:0 of CONFIG_ADDRESS are reserved and read as zero. */
const ADDRESS_MASK = 0x80ff_fffc;

/**
 * Configuration mechanism #1 (PCI Local Bus Specification 3.0 §3.2.2.3.2, "Software Generation of Configuration
 * Transactions"). Only a dword access reaches CONFIG_ADDRESS; the second byte of the same four ports is the reset control
 * register of the ISA bridge, which the board passes in.
 */
export class ConfigMechanism1 implements Device<ConfigMechanismState> {
	readonly name = "pci-config";
	readonly #bus: PciBus;
	#address = 0;

	constructor(bus: PciBus) {
		this.#bus = bus;
	}

	/** Ports 0xCF8–0xCFB; `resetControl` answers byte accesses to 0xCF9. */
	addressPorts(resetControl: IoHandler): IoHandler {
		return {
			accessBytes: { min: 1, max: 4 },
			read: (offset, bytes) => {
				if (offset === 0 && bytes === 4) return this.#address;
				if (offset === 1 && bytes === 1) return resetControl.read(0, 1);
				return 2 ** (8 * bytes) - 1;
			},
			write: (offset, bytes, value) => {
				if (offset === 0 && bytes === 4) this.#address = (value & ADDRESS_MASK) >>> 0;
				else if (offset === 1 && bytes === 1) resetControl.write(0, 1, value);
			},
		};
	}

	/** Ports 0xCFC–0xCFF. */
	readonly dataPorts: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			if (!this.#isEnabled) return bytes === 4 ? 0xffff_ffff : 2 ** (8 * bytes) - 1;
			const { bus, slot, functionIndex, register } = this.#target;
			return this.#bus.readConfig(bus, slot, functionIndex, register + offset, bytes);
		},
		write: (offset, bytes, value) => {
			if (!this.#isEnabled) return;
			const { bus, slot, functionIndex, register } = this.#target;
			this.#bus.writeConfig(bus, slot, functionIndex, register + offset, bytes, value);
		},
	};

	reset(): void {
		this.#address = 0;
	}

	save(): ConfigMechanismState {
		return { address: this.#address };
	}

	load(state: ConfigMechanismState): void {
		this.#address = state.address;
	}

	get #isEnabled(): boolean {
		return (this.#address & ENABLE) !== 0;
	}

	get #target() {
		const address = this.#address;
		return {
			bus: (address >>> 16) & 0xff,
			slot: (address >>> 11) & 0x1f,
			functionIndex: (address >>> 8) & 7,
			register: address & 0xfc,
		};
	}
}
