import { PciFunction } from "../../machine/pci.ts";
import { PCI, PCI_COMMAND } from "../../machine/pci-config.ts";
import { VIRTUAL_BOARD } from "./i440fx.ts";
import { PIRQ_COUNT, PIRQRC_DISABLED } from "./irq-router.ts";

export const PIRQRCA = 0x60;

/** The 82371SB's ISA bridge (function 0). `onSteer` hears the PIRQRC registers (82371SB data sheet, "PIRQRC[A:D]"). */
export function makeIsaBridge(onSteer: (pirq: number, control: number) => void, isMultiFunction = false): PciFunction {
	const bridge = new PciFunction("piix3", {
		vendorId: 0x8086,
		deviceId: 0x7000,
		classCode: 0x060100,
		...VIRTUAL_BOARD,
		isMultiFunction,
	});
	const { config } = bridge;
	config.define(PCI.COMMAND, 2, PCI_COMMAND.IO | PCI_COMMAND.MEMORY | PCI_COMMAND.MASTER, PCI_COMMAND.SERR);
	for (let i = 0; i < PIRQ_COUNT; i++) config.define(PIRQRCA + i, 1, PIRQRC_DISABLED, 0x8f);
	config.define(0x4c, 1, 0x4d, 0xff); // ISA I/O recovery timer
	config.define(0x4e, 2, 0x0003, 0xffff); // X-bus chip select: RTC and keyboard controller decoded
	config.define(0x69, 1, 0x02, 0xfe); // top of memory
	config.define(0x82, 1, 0x02, 0x0f); // deterministic latency: passive release on, as firmware leaves it
	config.define(0xa0, 1, 0x08, 0x1f); // SMI control: SMIGATE closed, no timers
	config.hook({ first: PIRQRCA, count: PIRQ_COUNT, afterWrite: () => showSteering(bridge, onSteer) });
	return bridge;
}

/** Reports every PIRQRC register as it stands (after a reset or a load, which do not pass the write hook). */
export function showSteering(bridge: PciFunction, onSteer: (pirq: number, control: number) => void): void {
	for (let i = 0; i < PIRQ_COUNT; i++) onSteer(i, bridge.config.get(PIRQRCA + i, 1));
}
