/** What the ACPI tables must tell about a board. The board fills it from the numbers that it wires with. */
export interface AcpiBoard {
	/** Local APIC ids in processor order; the first is the boot processor's. */
	readonly apicIds: readonly number[];
	readonly ioapic: { readonly id: number; readonly address: number };
	readonly lapicAddress: number;
	readonly hpetAddress: number;
	/** The HPET's General Capabilities and ID register, low dword (it names the table's hardware block). */
	readonly hpetId: number;
	/** Ports of the ACPI fixed hardware. */
	readonly pm: {
		readonly eventPort: number;
		readonly controlPort: number;
		readonly timerPort: number;
		readonly isTimer32Bit: boolean;
		readonly gpe0Port: number;
		/** Status and enable bytes together. */
		readonly gpe0Bytes: number;
		/** SLP_TYP of the soft-off state. */
		readonly s5Type: number;
		/** First port and size of the whole block, kept from PCI. */
		readonly firstPort: number;
		readonly portCount: number;
	};
	/** Port and commands by which an operating system takes ACPI over and gives it back. */
	readonly smi: { readonly port: number; readonly enable: number; readonly disable: number };
	readonly sciIrq: number;
	readonly reset: { readonly port: number; readonly value: number };
	/** Memory that the PCI host bridge decodes, inclusive. */
	readonly pciMemory: { readonly first: number; readonly last: number };
	/** PIRQ line (0–3) of a slot's pin (1–4), and the I/O APIC input that line 0 drives. */
	readonly pirqOf: (slot: number, pin: number) => number;
	readonly firstPirqGsi: number;
	/** PCI address of the ISA bridge whose configuration register 0x60 steers the four PIRQs. */
	readonly isaBridgeSlot: number;
	/** Serial ports that are there. */
	readonly serialPorts: readonly { readonly port: number; readonly irq: number }[];
	readonly hasKeyboardController: boolean;
	readonly hasVga: boolean;
	/** GPE that a new generation id raises. */
	readonly generationGpe: number;
	/** Cards that can be taken out and put in while the guest runs: GPE, ports, slots. */
	readonly replug: { readonly gpe: number; readonly port: number; readonly slots: readonly number[] };
}
