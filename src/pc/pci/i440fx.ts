import { PciFunction } from "../../machine/pci.ts";
import { PCI, PCI_COMMAND } from "../../machine/pci-config.ts";

/**
 * The board follows Intel's 440FX host bridge with the 82371SB (PIIX3) ISA bridge: no PCI Express, one bus, configuration
 * mechanism #1. It is the smallest chipset that Linux of any age, every Windows from 95 on, and SeaBIOS know by name; a
 * Q35 would add ECAM, root ports and an LPC bridge without giving virtio devices anything they use.
 */
const INTEL = 0x8086;
/** By this subsystem firmware recognises a virtual board with fw_cfg (SeaBIOS, for one). */
export const VIRTUAL_BOARD = { subsystemVendorId: 0x1af4, subsystemId: 0x1100 } as const;
const PAM0 = 0x59;
const PAM_COUNT = 7;
const PAM_BYTES = 0x4000;

/** One programmable-attribute range: what reads and writes of it reach. */
export interface PamRange {
	readonly first: number;
	readonly sizeBytes: number;
	/** Reads come from shadow RAM rather than from ROM. */
	readonly readsRam: boolean;
	readonly writesRam: boolean;
}

/** 82441FX PMC data sheet §3.2.19, "PAM—Programmable Attribute Map Registers": the thirteen ranges from C0000h up. */
function pamRanges(registers: Uint8Array): readonly PamRange[] {
	const range = (first: number, sizeBytes: number, bits: number): PamRange => ({
		first,
		sizeBytes,
		readsRam: (bits & 1) !== 0,
		writesRam: (bits & 2) !== 0,
	});
	const ranges: PamRange[] = [];
	for (let i = 1; i < PAM_COUNT; i++) {
		const first = 0xc0000 + (i - 1) * 2 * PAM_BYTES;
		const value = registers[i] ?? 0;
		ranges.push(range(first, PAM_BYTES, value & 15), range(first + PAM_BYTES, PAM_BYTES, value >> 4));
	}
	ranges.push(range(0xf0000, 0x10000, (registers[0] ?? 0) >> 4));
	return ranges;
}

/** Function 0 of slot 0. `onPam` hears every change of the shadow map, and at reset. */
export function makeHostBridge(onPam: (ranges: readonly PamRange[]) => void): PciFunction {
	const bridge = new PciFunction("i440fx", { vendorId: INTEL, deviceId: 0x1237, revisionId: 2, classCode: 0x060000, ...VIRTUAL_BOARD });
	const { config } = bridge;
	config.define(PCI.COMMAND, 2, PCI_COMMAND.MEMORY | PCI_COMMAND.MASTER, PCI_COMMAND.SERR);
	for (let i = 0; i < PAM_COUNT; i++) config.define(PAM0 + i, 1, 0, i === 0 ? 0x30 : 0x33);
	// DRB0–7 and SMRAM are kept for firmware that writes them; RAM sizing and SMM do not go through them here.
	for (let i = 0; i < 8; i++) config.define(0x60 + i, 1, 0, 0xff);
	config.define(0x72, 1, 0x02, 0x78);
	config.hook({ first: PAM0, count: PAM_COUNT, afterWrite: () => onPam(pamRanges(config.bytes.subarray(PAM0, PAM0 + PAM_COUNT))) });
	return bridge;
}

/** The PAM ranges as they stand now (after a reset or a load, which do not pass the write hook). */
export function currentPam(bridge: PciFunction): readonly PamRange[] {
	return pamRanges(bridge.config.bytes.subarray(PAM0, PAM0 + PAM_COUNT));
}

/** Sets every range to `bits` (3 = shadow RAM for reads and writes), as firmware does once it has copied itself. */
export function setAllPam(bridge: PciFunction, bits: 0 | 1 | 3): void {
	bridge.config.write(PAM0, 1, bits << 4);
	for (let i = 1; i < PAM_COUNT; i++) bridge.config.write(PAM0 + i, 1, bits * 0x11);
}
