import { assert } from "../../base/assert.ts";
import { MIB, type PhysAddr } from "../../base/units.ts";
import { BusConflictError, type IoBus } from "../../machine/bus.ts";
import { unimplemented } from "../../machine/device.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import type { PciBar, PciFunction } from "../../machine/pci.ts";
import type { Wire } from "../../machine/wire.ts";

/** What bus 0 stands between. */
export interface PciBusHost {
	readonly ports: IoBus;
	readonly memory: GuestMemory;
	/** A driver of the interrupt line that pin `pin` (1–4) of slot `slot` is wired to. */
	interruptPin(slot: number, pin: number): Wire;
	deliverMsi(address: PhysAddr, data: number): void;
}

interface Mapping {
	readonly kind: PciBar["kind"];
	readonly address: number;
	readonly sizeBytes: number;
}

interface Attached {
	readonly slot: number;
	readonly functionIndex: number;
	readonly pci: PciFunction;
	/** What is on the buses now, by BAR number. */
	readonly mapped: Map<number, Mapping>;
}

/** Physical addresses beyond this cannot be reached by any CPU. */
const PHYSICAL_LIMIT = 2 ** 52;

/** Bus 0: who sits in which slot, configuration cycles, and the decoding of BARs onto ports and memory. */
export class PciBus {
	readonly #host: PciBusHost;
	readonly #attached: Attached[] = [];

	constructor(host: PciBusHost) {
		this.#host = host;
	}

	/** Functions in the order of their addresses. */
	get functions(): readonly { readonly slot: number; readonly functionIndex: number; readonly pci: PciFunction }[] {
		return this.#attached;
	}

	attach(pci: PciFunction, slot: number, functionIndex = 0): void {
		assert(slot >= 0 && slot < 32 && functionIndex >= 0 && functionIndex < 8, `PCI slot ${slot}.${functionIndex}`);
		assert(this.#at(slot, functionIndex) === undefined, `PCI slot ${slot}.${functionIndex} is taken`);
		this.#attached.push({ slot, functionIndex, pci, mapped: new Map() });
		this.#attached.sort((a, b) => a.slot - b.slot || a.functionIndex - b.functionIndex);
		const pin = pci.identity.interruptPin ?? 0;
		pci.attach({
			intx: this.#host.interruptPin(slot, pin === 0 ? 1 : pin),
			dma: this.#host.memory,
			deliverMsi: (address, data) => this.#host.deliverMsi(address, data),
			decodeChanged: () => this.#remap(),
		});
	}

	/** A configuration read of 1, 2 or 4 bytes; nobody there ends in a master abort: all ones. */
	readConfig(bus: number, slot: number, functionIndex: number, offset: number, bytes: number): number {
		const found = bus === 0 ? this.#at(slot, functionIndex) : undefined;
		if (found === undefined) return bytes === 4 ? 0xffff_ffff : 2 ** (8 * bytes) - 1;
		return found.pci.config.read(offset, bytes);
	}

	writeConfig(bus: number, slot: number, functionIndex: number, offset: number, bytes: number, value: number): void {
		if (bus === 0) this.#at(slot, functionIndex)?.pci.config.write(offset, bytes, value);
	}

	#at(slot: number, functionIndex: number): Attached | undefined {
		return this.#attached.find((one) => one.slot === slot && one.functionIndex === functionIndex);
	}

	/**
	 * Makes the maps agree with the BARs. A range that collides with something else stays unmapped until it no longer does,
	 * so every change looks at all functions again: first what goes away, then what comes.
	 */
	#remap(): void {
		for (const one of this.#attached) {
			const bars = one.pci.bars;
			for (const [index, mapping] of one.mapped) {
				const bar = bars.find((candidate) => candidate.index === index);
				if (bar?.isDecoded === true && bar.address === mapping.address) continue;
				if (mapping.kind === "io") this.#host.ports.release(ownerName(one, index), mapping.address, mapping.sizeBytes);
				else this.#host.memory.release(ownerName(one, index), mapping.address);
				one.mapped.delete(index);
			}
		}
		for (const one of this.#attached)
			for (const bar of one.pci.bars)
				if (bar.isDecoded && !one.mapped.has(bar.index) && this.#claim(ownerName(one, bar.index), bar))
					one.mapped.set(bar.index, { kind: bar.kind, address: bar.address, sizeBytes: bar.sizeBytes });
	}

	#claim(owner: string, bar: PciBar): boolean {
		if (bar.address === 0 || bar.address + bar.sizeBytes > PHYSICAL_LIMIT) return false;
		// The first megabyte is the PAM registers' to hand out between RAM, ROM and the video window: whenever those change, a BAR
		// there would have to give way. Nobody's firmware or driver puts one there.
		if (bar.kind !== "io" && bar.address < MIB) {
			unimplemented("pci", "memory BAR below 1 MiB");
			return false;
		}
		try {
			if (bar.kind === "io") this.#host.ports.claim(owner, bar.address, bar.sizeBytes, bar.handler);
			else this.#host.memory.claim(owner, bar.address, bar.sizeBytes, bar.handler);
			return true;
		} catch (error) {
			if (error instanceof BusConflictError) return false;
			throw error;
		}
	}
}

function ownerName(one: Attached, index: number): string {
	return `${one.pci.name} BAR ${index}`;
}
