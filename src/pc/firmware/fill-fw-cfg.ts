import { GIB } from "../../base/units.ts";
import { smbiosEntryPoint, smbiosTable } from "../acpi/smbios.ts";
import { buildAcpi } from "../acpi/tables.ts";
import { acpiBoardOf, smbiosBoardOf } from "../describe.ts";
import { E820_RAM } from "../linux/e820.ts";
import type { Pc } from "../pc.ts";
import { FW_CFG, type FwCfg, little } from "./fw-cfg.ts";
import { addAcpiFiles } from "./table-loader.ts";

const E820_ENTRY_BYTES = 20;

/** What SeaBIOS asks for by name or number: memory map, processors, ACPI and SMBIOS tables. */
export function fillFwCfg(fwCfg: FwCfg, pc: Pc): void {
	const { memory, config } = pc;
	fwCfg.setItem(FW_CFG.UUID, config.uuid ?? new Uint8Array(16));
	fwCfg.setItem(FW_CFG.RAM_SIZE, little(memory.ramBytes, 8));
	fwCfg.setItem(FW_CFG.NOGRAPHIC, little(1, 2));
	fwCfg.setItem(FW_CFG.NB_CPUS, little(config.cpuCount, 2));
	fwCfg.setItem(FW_CFG.MAX_CPUS, little(config.cpuCount, 2));
	fwCfg.setItem(FW_CFG.BOOT_MENU, little(0, 2));
	// The timer's interrupt is I/O APIC input 2.
	fwCfg.setItem(FW_CFG.IRQ0_OVERRIDE, little(1, 1));
	fwCfg.addFile("etc/e820", e820File(memory.lowRamBytes, memory.ramBytes - memory.lowRamBytes));
	const smbios = smbiosTable(smbiosBoardOf(pc));
	fwCfg.addFile("etc/smbios/smbios-tables", smbios);
	fwCfg.addFile("etc/smbios/smbios-anchor", smbiosEntryPoint(0, smbios.length));
	addAcpiFiles(fwCfg, buildAcpi(acpiBoardOf(pc)));
}

/** RAM as the memory controller has it; the firmware takes its own parts out. */
function e820File(lowBytes: number, highBytes: number): Uint8Array {
	const ranges = [{ first: 0, sizeBytes: lowBytes }];
	if (highBytes > 0) ranges.push({ first: 4 * GIB, sizeBytes: highBytes });
	const bytes = new Uint8Array(E820_ENTRY_BYTES * ranges.length);
	const view = new DataView(bytes.buffer);
	ranges.forEach(({ first, sizeBytes }, i) => {
		view.setBigUint64(E820_ENTRY_BYTES * i, BigInt(first), true);
		view.setBigUint64(E820_ENTRY_BYTES * i + 8, BigInt(sizeBytes), true);
		view.setUint32(E820_ENTRY_BYTES * i + 16, E820_RAM, true);
	});
	return bytes;
}
