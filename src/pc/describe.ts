import type { AcpiBoard } from "./acpi/board.ts";
import type { SmbiosBoard } from "./acpi/smbios.ts";
import * as at from "./layout.ts";
import type { Pc } from "./pc.ts";
import { pirqOf } from "./pci/irq-router.ts";

/** What the ACPI tables of `pc` say. */
export function acpiBoardOf(pc: Pc): AcpiBoard {
	return {
		apicIds: pc.interrupts.lapics.map((lapic) => lapic.apicId),
		ioapic: { id: 0, address: at.IOAPIC_ADDR },
		lapicAddress: at.LAPIC_ADDR,
		hpetAddress: at.HPET_ADDR,
		hpetId: pc.isa.hpet.registers.read(0, 4),
		pm: {
			eventPort: at.PM_EVENT_PORT,
			controlPort: at.PM_CONTROL_PORT,
			timerPort: at.PM_TIMER_PORT,
			isTimer32Bit: true,
			gpe0Port: at.PM_GPE0_PORT,
			gpe0Bytes: pc.isa.pm.gpe0Bytes,
			s5Type: at.S5_TYPE,
			firstPort: at.PM_PORT,
			portCount: at.PM_PORT_COUNT,
		},
		smi: { port: at.SMI_PORT, enable: at.ACPI_ENABLE, disable: at.ACPI_DISABLE },
		sciIrq: at.SCI_IRQ,
		reset: { port: at.RESET_CONTROL_PORT, value: 6 },
		pciMemory: { first: at.PCI_MEMORY_FIRST, last: at.PCI_MEMORY_LAST },
		pirqOf,
		firstPirqGsi: at.PIRQ_FIRST_GSI,
		isaBridgeSlot: at.ISA_BRIDGE_SLOT,
		serialPorts: at.SERIAL_PORTS.slice(0, pc.isa.serialPorts.length),
		hasKeyboardController: true,
		hasVga: false,
		generationGpe: at.GENERATION_GPE,
		replug: { gpe: at.REPLUG_GPE, port: at.REPLUG_PORT, slots: pc.replug.slots },
	};
}

/** What the DMI tables of `pc` say. */
export function smbiosBoardOf(pc: Pc): SmbiosBoard {
	return {
		cpuCount: pc.config.cpuCount,
		ram: pc.memory.ramRanges,
		ramBytes: pc.memory.ramBytes,
		uuid: pc.config.uuid ?? new Uint8Array(16),
	};
}
