/** Where everything on the board stands. Ports and addresses that are not given elsewhere by a standard are ours. */

export const LAPIC_ADDR = 0xfee0_0000;
export const IOAPIC_ADDR = 0xfec0_0000;
export const HPET_ADDR = 0xfed0_0000;
export const PAGE = 0x1000;

/** Memory and ports that the PCI host bridge hands down. */
export const PCI_MEMORY_FIRST = 0xc000_0000;
export const PCI_MEMORY_LAST = IOAPIC_ADDR - 1;
export const PCI_PORT_FIRST = 0xc000;
export const PCI_PORT_LAST = 0xffff;
export const ISA_BRIDGE_SLOT = 1;
/** Devices of the configuration begin here. */
export const FIRST_FREE_SLOT = 2;

/** I/O APIC inputs beyond the sixteen of ISA (Intel 82093AA: PIRQA–D on a PIIX3 board). */
export const PIRQ_FIRST_GSI = 16;
/** Inputs that HPET timers may be routed to. */
export const HPET_ROUTES = 0x00f0_0000;

export const PM_PORT = 0x600;
export const PM_PORT_COUNT = 0x40;
export const PM_EVENT_PORT = PM_PORT;
export const PM_CONTROL_PORT = PM_PORT + 4;
export const PM_TIMER_PORT = PM_PORT + 8;
export const PM_GPE0_PORT = PM_PORT + 0x20;
/** SLP_TYP of soft off. */
export const S5_TYPE = 5;
/** SMI command port (82371SB data sheet, "APMC") and the commands that switch ACPI mode. */
export const SMI_PORT = 0xb2;
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;
export const SCI_IRQ = 9;
/** A new generation id is told by this general-purpose event. */
export const GENERATION_GPE = 5;

/** Cards that are to be replugged are told by this one; what there is to know stands at these ports (`pci/replug.ts`). */
export const REPLUG_GPE = 6;
export const REPLUG_PORT = PM_PORT + 0x30;

export const RESET_CONTROL_PORT = 0xcf9;
export const DEBUG_EXIT_PORT = 0xf4;
export const FW_CFG_PORT = 0x510;
export const FW_CFG_DMA_PORT = 0x514;

export const SERIAL_PORTS = [
	{ port: 0x3f8, irq: 4 },
	{ port: 0x2f8, irq: 3 },
	{ port: 0x3e8, irq: 4 },
	{ port: 0x2e8, irq: 3 },
] as const;

export const IRQ_TIMER = 0;
export const IRQ_KEYBOARD = 1;
export const IRQ_CASCADE = 2;
export const IRQ_RTC = 8;
export const IRQ_MOUSE = 12;
export const IRQ_FLOAT_ERROR = 13;
/** "Coprocessor error": a write asserts IGNNE#. */
export const FLOAT_ERROR_PORT = 0xf0;
/** The I/O APIC input of the timer's interrupt; input 0 is not used. */
export const TIMER_GSI = 2;

export const CMOS_CENTURY = 0x32;
