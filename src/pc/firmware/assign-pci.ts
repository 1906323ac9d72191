import type { PhysAddr } from "../../base/units.ts";
import { PCI, PCI_COMMAND } from "../../machine/pci-config.ts";
import type { PciBus } from "../pci/bus.ts";
import { PIRQRC_DISABLED, pirqOf } from "../pci/irq-router.ts";
import { PIRQRCA } from "../pci/piix3.ts";

/** ISA interrupts of PIRQA–D: two shared ones, as PC firmware has long done it. */
export const PIRQ_ISA_IRQS = [10, 10, 11, 11] as const;

export interface PciWindows {
	readonly memoryFirst: PhysAddr;
	readonly memoryLast: PhysAddr;
	readonly portFirst: number;
	readonly portLast: number;
}

/**
 * Does to the PCI bus what a BIOS does: gives every BAR a place (largest first, so that nothing is lost to alignment),
 * steers the interrupt lines, fills in the interrupt line registers, switches decoding on. Bus mastering stays off.
 */
export function assignPciResources(bus: PciBus, windows: PciWindows, isaBridgeSlot: number): void {
	const wanted = bus.functions.flatMap(({ pci }) => pci.bars.map((bar) => ({ pci, bar })));
	wanted.sort((a, b) => b.bar.sizeBytes - a.bar.sizeBytes);
	let memoryNext = windows.memoryFirst;
	let portNext = windows.portFirst;
	for (const { pci, bar } of wanted) {
		const isIo = bar.kind === "io";
		const first = alignUp(isIo ? portNext : memoryNext, bar.sizeBytes);
		if (first + bar.sizeBytes - 1 > (isIo ? windows.portLast : windows.memoryLast)) continue;
		if (isIo) portNext = first + bar.sizeBytes;
		else memoryNext = first + bar.sizeBytes;
		pci.config.write(PCI.BAR0 + 4 * bar.index, 4, first);
		if (bar.kind === "mem64") pci.config.write(PCI.BAR0 + 4 * bar.index + 4, 4, 0);
	}
	for (const [index, irq] of PIRQ_ISA_IRQS.entries()) bus.writeConfig(0, isaBridgeSlot, 0, PIRQRCA + index, 1, irq & ~PIRQRC_DISABLED);
	for (const { pci, slot } of bus.functions) {
		const pin = pci.identity.interruptPin ?? 0;
		if (pin !== 0) pci.config.write(PCI.INTERRUPT_LINE, 1, PIRQ_ISA_IRQS[pirqOf(slot, pin)] as number);
		if (pci.bars.length > 0) pci.config.write(PCI.COMMAND, 2, pci.command | PCI_COMMAND.IO | PCI_COMMAND.MEMORY);
	}
}

function alignUp(value: number, alignBytes: number): number {
	return Math.ceil(value / alignBytes) * alignBytes;
}
