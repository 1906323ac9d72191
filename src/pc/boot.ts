import { KIB, MIB, type PhysAddr } from "../base/units.ts";
import { smbiosEntryPoint, smbiosTable } from "./acpi/smbios.ts";
import { buildAcpi, placeAcpi } from "./acpi/tables.ts";
import { acpiBoardOf, smbiosBoardOf } from "./describe.ts";
import { assignPciResources, PIRQ_ISA_IRQS } from "./firmware/assign-pci.ts";
import { GENERATION_ADDRESS_FILE } from "./firmware/table-loader.ts";
import * as at from "./layout.ts";
import { EBDA_ADDR, e820Map, TABLES_ADDR } from "./linux/e820.ts";
import { enterReset, type InitialCpuState } from "./linux/entry.ts";
import { type LinuxBoot, type LinuxBootPlace, loadLinux } from "./linux/load.ts";
import { firmwareMtrrs } from "./linux/mtrr.ts";
import type { Pc } from "./pc.ts";
import { setAllPam } from "./pci/i440fx.ts";

/** RSDP and SMBIOS entry point lie here, where operating systems look for them; the tables from `TABLES_ADDR` up. */
const ANCHORS_ADDR: PhysAddr = 0xf_0000;
const SMBIOS_ANCHOR_OFFSET = 0x40;
const SMBIOS_TABLE_ADDR: PhysAddr = 0xf_1000;
const DEFAULT_PHYS_ADDR_BITS = 40;

// BIOS data area (IBM, "PS/2 and PC BIOS Interface Technical Reference", section 3).
const BDA_SERIAL_PORTS = 0x400;
const BDA_EBDA_SEGMENT = 0x40e;
const BDA_EQUIPMENT = 0x410;
const BDA_MEMORY_KIB = 0x413;
const EQUIPMENT_FPU_MOUSE = 0x06;

// CMOS bytes that firmware of PCs keeps (the later ones as Bochs and QEMU do).
const CMOS_EQUIPMENT = 0x14;
const CMOS_BASE_KIB = 0x15;
const CMOS_EXTENDED_KIB = 0x17;
const CMOS_EXTENDED_KIB_COPY = 0x30;
const CMOS_ABOVE_16M = 0x34;
const CMOS_ABOVE_4G = 0x5b;
const CMOS_FURTHER_CPUS = 0x5f;

/**
 * Boots Linux without firmware: does what a BIOS would have done to the board, puts tables and kernel into memory, and
 * says how the boot processor starts. Call it on a board that has just been built or reset.
 * @throws PcError when the image cannot be booted
 */
export function bootLinux(pc: Pc, boot: LinuxBoot, options: { readonly physAddrBits?: number } = {}): InitialCpuState {
	return loadLinux(pc.memory, boot, actAsFirmware(pc, options.physAddrBits ?? DEFAULT_PHYS_ADDR_BITS));
}

/** Boots through the firmware image of the configuration: the boot processor starts at its reset vector. */
export function bootFirmware(pc: Pc): InitialCpuState {
	fillCmos(pc);
	return enterReset();
}

/**
 * Tells the guest that it is another machine from now on (restored or cloned): it should throw its secrets and random state
 * away. `id` is 16 bytes never used before. Nobody is told where firmware has not said yet, or does not say, where it has put the tables.
 */
export function announceGeneration(pc: Pc, id: Uint8Array): void {
	const address = generationAddress(pc);
	if (address === 0) return;
	pc.memory.write(address, id.subarray(0, 16));
	const event = pc.isa.pm.gpe(at.GENERATION_GPE);
	event.set(true);
	event.set(false);
}

function generationAddress(pc: Pc): PhysAddr {
	const told = pc.fwCfg?.file(GENERATION_ADDRESS_FILE);
	if (told === undefined) return TABLES_ADDR + buildAcpi(acpiBoardOf(pc)).generationIdOffset;
	const address = Number(new DataView(told.buffer, told.byteOffset).getBigUint64(0, true));
	return address + 16 <= pc.memory.lowRamBytes ? address : 0;
}

/** Leaves board and memory as a PC BIOS leaves them for an operating system. */
function actAsFirmware(pc: Pc, physAddrBits: number): LinuxBootPlace {
	setAllPam(pc.hostBridge, 3);
	fillCmos(pc);
	assignPciResources(
		pc.pci,
		{ memoryFirst: at.PCI_MEMORY_FIRST, memoryLast: at.PCI_MEMORY_LAST, portFirst: at.PCI_PORT_FIRST, portLast: at.PCI_PORT_LAST },
		at.ISA_BRIDGE_SLOT,
	);
	setLevelTriggered(pc, [...PIRQ_ISA_IRQS, at.SCI_IRQ]);
	initInterruptControllers(pc);
	writeBiosData(pc);
	writeTables(pc);
	return { e820: e820Map(pc.memory), rsdpAddr: ANCHORS_ADDR, msrs: firmwareMtrrs(at.PCI_MEMORY_FIRST, physAddrBits) };
}

/** The 8259 pair at the vectors that a BIOS gives it, all masked: nobody is there to take an interrupt yet. */
function initInterruptControllers(pc: Pc): void {
	const { pic1, pic2, lapics } = pc.interrupts;
	for (const [pic, vector, cascade] of [
		[pic1, 0x08, 1 << at.IRQ_CASCADE],
		[pic2, 0x70, at.IRQ_CASCADE],
	] as const) {
		pic.registers.write(0, 1, 0x11);
		for (const word of [vector, cascade, 0x01, 0xff]) pic.registers.write(1, 1, word);
	}
	lapics[0]?.enterVirtualWireMode();
}

function setLevelTriggered(pc: Pc, irqs: readonly number[]): void {
	const mask = irqs.reduce((bits, irq) => bits | (1 << irq), 0);
	pc.interrupts.pic1.edgeLevelControl.write(0, 1, mask & 0xff);
	pc.interrupts.pic2.edgeLevelControl.write(0, 1, mask >> 8);
}

function writeBiosData(pc: Pc): void {
	const bytes = new Uint8Array(0x100);
	const view = new DataView(bytes.buffer);
	pc.isa.serialPorts.forEach((_, index) => {
		view.setUint16(2 * index, (at.SERIAL_PORTS[index] as (typeof at.SERIAL_PORTS)[number]).port, true);
	});
	view.setUint16(BDA_EBDA_SEGMENT - BDA_SERIAL_PORTS, EBDA_ADDR >> 4, true);
	view.setUint16(BDA_EQUIPMENT - BDA_SERIAL_PORTS, EQUIPMENT_FPU_MOUSE | (pc.isa.serialPorts.length << 9), true);
	view.setUint16(BDA_MEMORY_KIB - BDA_SERIAL_PORTS, EBDA_ADDR / KIB, true);
	pc.memory.write(BDA_SERIAL_PORTS, bytes);
	// The EBDA begins with its own size in KiB.
	pc.memory.write(EBDA_ADDR, Uint8Array.of(1));
}

function writeTables(pc: Pc): void {
	const { memory } = pc;
	const acpi = placeAcpi(buildAcpi(acpiBoardOf(pc)), TABLES_ADDR);
	memory.write(TABLES_ADDR, acpi.bytes);
	memory.write(ANCHORS_ADDR, acpi.rsdp);
	const smbios = smbiosTable(smbiosBoardOf(pc));
	memory.write(SMBIOS_TABLE_ADDR, smbios);
	memory.write(ANCHORS_ADDR + SMBIOS_ANCHOR_OFFSET, smbiosEntryPoint(SMBIOS_TABLE_ADDR, smbios.length));
}

/** Memory sizes and the count of processors, as a setup program would have stored them. */
function fillCmos(pc: Pc): void {
	const { memory } = pc;
	const { rtc } = pc.isa;
	const put = (index: number, bytes: number, value: number) => {
		for (let i = 0; i < bytes; i++) rtc.writeByte(index + i, Math.floor(value / 2 ** (8 * i)) & 0xff);
	};
	const low = memory.lowRamBytes;
	const extendedKib = Math.min(0xffff, Math.max(0, (low - MIB) / KIB));
	put(CMOS_EQUIPMENT, 1, EQUIPMENT_FPU_MOUSE);
	put(CMOS_BASE_KIB, 2, 640);
	put(CMOS_EXTENDED_KIB, 2, extendedKib);
	put(CMOS_EXTENDED_KIB_COPY, 2, extendedKib);
	put(CMOS_ABOVE_16M, 2, Math.max(0, (low - 16 * MIB) / (64 * KIB)));
	put(CMOS_ABOVE_4G, 3, (memory.ramBytes - low) / (64 * KIB));
	put(CMOS_FURTHER_CPUS, 1, pc.config.cpuCount - 1);
}
