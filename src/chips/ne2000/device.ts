import type { IoHandler } from "../../machine/bus.ts";
import { type PciDevice, PciFunction, type PciFunctionState } from "../../machine/pci.ts";
import { type Mac, writeMac } from "../../net/frames/address.ts";
import type { Port } from "../../net/port.ts";
import { Dp8390, type Dp8390State } from "./dp8390.ts";

const IDS = { vendorId: 0x10ec, deviceId: 0x8029, subsystemVendorId: 0x10ec, subsystemId: 0x8029 } as const;
const PORTS = 32;
const DATA_PORT = 0x10;
const RESET_PORT = 0x18;
/** Of the Realtek chip, where the 8390 has nothing: "P" and "C". */
const CHIP_ID_AT = 0x0a;
const CHIP_ID = [0x50, 0x43] as const;
/** The address PROM lies at 0, packet memory from 16 KiB to 48 KiB. */
const MEMORY_FIRST = 0x4000;
const MEMORY_END = 0xc000;
const PROM_BYTES = 32;
/** Each byte of the PROM shows twice on a 16-bit card, and this says that it is one. */
const WORD_CARD = 0x57;

export type Ne2000State = { readonly pci: PciFunctionState; readonly chip: Dp8390State; readonly memory: Uint8Array };

/** Realtek's RTL8029(AS): an NE2000 on PCI (Realtek, "RTL8029AS Realtek PCI Full-Duplex Ethernet Controller", §5). */
export class Ne2000Pci implements PciDevice<Ne2000State> {
	readonly name: string;
	readonly pci: PciFunction;
	readonly chip: Dp8390;
	readonly #memory = new Uint8Array(MEMORY_END);

	constructor(port: Port, options: { readonly name: string; readonly mac: Mac }) {
		this.name = options.name;
		this.pci = new PciFunction(options.name, { ...IDS, classCode: 0x020000, interruptPin: 1 });
		this.pci.addBar(0, { kind: "io", sizeBytes: PORTS, handler: this.#ports });
		this.chip = new Dp8390(port, this.#memory, MEMORY_FIRST, this.pci.intx);
		const prom = new Uint8Array(PROM_BYTES / 2).fill(WORD_CARD, 14);
		writeMac(prom, 0, options.mac);
		for (const [index, byte] of prom.entries()) this.#memory.fill(byte, 2 * index, 2 * index + 2);
	}

	get stats() {
		return this.chip.stats;
	}

	readonly #ports: IoHandler = {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			if (offset >= RESET_PORT) {
				this.chip.reset();
				return 0;
			}
			if (offset >= DATA_PORT) return this.chip.readData(bytes);
			let value = 0;
			for (let at = Math.min(bytes, DATA_PORT - offset) - 1; at >= 0; at--) value = value * 256 + this.#register(offset + at);
			return value;
		},
		write: (offset, bytes, value) => {
			if (offset >= RESET_PORT) this.chip.reset();
			else if (offset >= DATA_PORT) this.chip.writeData(bytes, value);
			else for (let at = 0; at < Math.min(bytes, DATA_PORT - offset); at++) this.chip.write(offset + at, (value >>> (8 * at)) & 0xff);
		},
	};

	#register(offset: number): number {
		const isPage0 = this.chip.read(0) >> 6 === 0;
		if (isPage0 && (offset === CHIP_ID_AT || offset === CHIP_ID_AT + 1)) return CHIP_ID[offset - CHIP_ID_AT]!;
		return this.chip.read(offset);
	}

	reset(): void {
		this.pci.reset();
		this.chip.reset();
	}

	save(): Ne2000State {
		return { pci: this.pci.save(), chip: this.chip.save(), memory: this.#memory.slice(MEMORY_FIRST) };
	}

	load(state: Ne2000State): void {
		this.pci.load(state.pci);
		this.chip.load(state.chip);
		this.#memory.set(state.memory, MEMORY_FIRST);
	}
}
