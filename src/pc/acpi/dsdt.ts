import { REPLUG_BYTES } from "../pci/replug.ts";
import {
	type Aml,
	and,
	arg,
	call,
	concat,
	createDwordField,
	device,
	eisaId,
	field,
	integer,
	local,
	method,
	name,
	nameString,
	notify,
	operationRegion,
	or,
	pkg,
	returns,
	scope,
	store,
	string,
	when,
	ZERO,
} from "./aml.ts";
import type { AcpiBoard } from "./board.ts";
import {
	busNumbers,
	fixedMemory32,
	isaDma,
	isaIrq,
	memoryWindow32,
	pciInterrupts,
	ports,
	portWindow,
	resourceTemplate,
} from "./resources.ts";

const LINKS = ["LNKA", "LNKB", "LNKC", "LNKD"] as const;
const STEERING = ["PRQA", "PRQB", "PRQC", "PRQD"] as const;
/** ACPI 6.5 §5.6.6, "Device Object Notifications". */
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;
/** ISA interrupts offered to the links when the I/O APIC is not used. */
const LINK_IRQS = [5, 10, 11] as const;
/** The dword in the DSDT that holds the generation id's address is found by this name. */
export const GENERATION_ADDRESS_NAME = "VGIA";

/** The definition block's terms: everything that the board has and that cannot be enumerated. */
export function dsdtTerms(board: AcpiBoard): Aml {
	return concat(
		// Set by _PIC: 0 = 8259 pair, 1 = I/O APIC.
		name("\\PICM", ZERO),
		method("\\_PIC", 1, [store(arg(0), nameString("\\PICM"))]),
		name("\\_S5", pkg(integer(board.pm.s5Type), ZERO, ZERO, ZERO)),
		scope("\\_SB", ...board.apicIds.map((_, index) => processor(index)), pciRoot(board), ...interruptLinks(), hpet(board), generationId()),
		scope("\\_GPE", onEvent(board.generationGpe, [notify("\\_SB.VGEN", 0x80)])),
		board.replug.slots.length === 0 ? new Uint8Array(0) : replug(board.replug),
	);
}

function onEvent(gpe: number, terms: readonly Aml[]): Aml {
	return method(`_E${hexByte(gpe)}`, 0, terms);
}

function hexByte(value: number): string {
	return value.toString(16).toUpperCase().padStart(2, "0");
}

/** Slots whose cards may go and come (ACPI 6.5 §6.3, "Device Insertion, Removal, and Status Objects"). */
function replug({ gpe, port, slots }: AcpiBoard["replug"]): Aml {
	const nameOf = (slot: number) => `S0${hexByte(slot)}`;
	const tell = (slot: number, value: number) => when(and(local(0), integer(2 ** slot)), [notify(`\\_SB.PCI0.${nameOf(slot)}`, value)]);
	const read = (unit: string) => store(nameString(`\\_SB.PCI0.${unit}`), local(0));
	return concat(
		scope(
			"\\_SB.PCI0",
			operationRegion("RPLG", "systemIo", port, REPLUG_BYTES),
			field("RPLG", "dword", [
				["RPLV", 32],
				["RPCM", 32],
				["RPEJ", 32],
			]),
			...slots.map((slot) =>
				device(
					nameOf(slot),
					name("_ADR", integer(slot << 16)),
					name("_SUN", integer(slot)),
					method("_EJ0", 1, [store(integer(2 ** slot), nameString("\\_SB.PCI0.RPEJ"))]),
				),
			),
		),
		scope(
			"\\_GPE",
			onEvent(gpe, [
				read("RPLV"),
				...slots.map((slot) => tell(slot, EJECT_REQUEST)),
				read("RPCM"),
				...slots.map((slot) => tell(slot, DEVICE_CHECK)),
			]),
		),
	);
}

function processor(index: number): Aml {
	return device(`C${index.toString(16).toUpperCase().padStart(3, "0")}`, name("_HID", string("ACPI0007")), name("_UID", integer(index)));
}

function pnp(id: string, deviceName: string, ...terms: readonly Aml[]): Aml {
	return device(deviceName, name("_HID", eisaId(id)), ...terms);
}

function current(...resources: readonly Uint8Array[]): Aml {
	return name("_CRS", resourceTemplate(...resources));
}

function pciRoot(board: AcpiBoard): Aml {
	return pnp(
		"PNP0A03",
		"PCI0",
		name("_UID", ZERO),
		current(
			busNumbers(0, 0xff),
			ports(0xcf8, 8),
			portWindow(0x0000, 0x0cf7),
			portWindow(0x0d00, 0xffff),
			memoryWindow32(0xa0000, 0xbffff),
			memoryWindow32(board.pciMemory.first, board.pciMemory.last),
		),
		name(
			"PRTP",
			routing(board, (pirq) => [nameString(`\\_SB.${LINKS[pirq]}`), ZERO]),
		),
		name(
			"PRTA",
			routing(board, (pirq) => [ZERO, integer(board.firstPirqGsi + pirq)]),
		),
		method("_PRT", 0, [when(nameString("\\PICM"), [returns(nameString("PRTA"))]), returns(nameString("PRTP"))]),
		isaBridge(board),
		motherboard(board),
	);
}

/** ACPI 6.5 §6.2.13, "_PRT (PCI Routing Table)": every pin of every slot but the host bridge's. */
function routing(board: AcpiBoard, source: (pirq: number) => readonly [Aml, Aml]): Aml {
	const entries: Aml[] = [];
	for (let slot = 1; slot < 32; slot++)
		for (let pin = 1; pin <= 4; pin++)
			entries.push(pkg(integer(slot * 0x10000 + 0xffff), integer(pin - 1), ...source(board.pirqOf(slot, pin))));
	return pkg(...entries);
}

function isaBridge(board: AcpiBoard): Aml {
	const devices: Aml[] = [
		pnp("PNP0000", "PIC_", current(ports(0x20, 2), ports(0xa0, 2), isaIrq(2))),
		pnp("PNP0100", "TIMR", current(ports(0x40, 4), isaIrq(0))),
		pnp("PNP0200", "DMAC", current(ports(0x00, 16), ports(0x81, 15), ports(0xc0, 32), isaDma(4))),
		pnp("PNP0800", "SPKR", current(ports(0x61, 1))),
		pnp("PNP0B00", "RTC_", current(ports(0x70, 2), isaIrq(8))),
	];
	if (board.hasKeyboardController)
		devices.push(pnp("PNP0303", "KBD_", current(ports(0x60, 1), ports(0x64, 1), isaIrq(1))), pnp("PNP0F13", "MOU_", current(isaIrq(12))));
	board.serialPorts.forEach(({ port, irq }, index) => {
		devices.push(pnp("PNP0501", `COM${index + 1}`, name("_UID", integer(index + 1)), current(ports(port, 8), isaIrq(irq))));
	});
	return device(
		"ISA_",
		name("_ADR", integer(board.isaBridgeSlot << 16)),
		operationRegion("PIRQ", "pciConfig", 0x60, 4),
		field(
			"PIRQ",
			"byte",
			STEERING.map((unit) => [unit, 8] as const),
		),
		...devices,
	);
}

/** Ports of the board that no PCI device may be given. */
function motherboard(board: AcpiBoard): Aml {
	return pnp("PNP0C02", "MBRD", current(ports(0x80, 1), ports(0x92, 1), ports(0x4d0, 2), ports(board.pm.firstPort, board.pm.portCount)));
}

/** PNP0C0F: PIRQRC bit 7 set means not steered; its low bits are the ISA interrupt. */
function interruptLinks(): readonly Aml[] {
	const possible = name("_PRS", resourceTemplate(pciInterrupts(...LINK_IRQS)));
	/** Where the interrupt number lies in the buffer of an Extended Interrupt descriptor. */
	const numberOffset = 5;
	return LINKS.map((link, index) => {
		const register = nameString(`\\_SB.PCI0.ISA_.${STEERING[index]}`);
		return pnp(
			"PNP0C0F",
			link,
			name("_UID", integer(index + 1)),
			possible,
			method("_STA", 0, [when(and(register, integer(0x80)), [returns(integer(0x09))]), returns(integer(0x0b))]),
			method("_DIS", 0, [or(register, integer(0x80), register)]),
			method(
				"_CRS",
				0,
				[
					name("BUFF", resourceTemplate(pciInterrupts(0))),
					createDwordField(nameString("BUFF"), numberOffset, "IRQN"),
					when(and(register, integer(0x80)), [store(ZERO, nameString("IRQN"))], [and(register, integer(0x0f), nameString("IRQN"))]),
					returns(nameString("BUFF")),
				],
				true,
			),
			method("_SRS", 1, [createDwordField(arg(0), numberOffset, "IRQN"), store(call("IRQN"), register)], true),
		);
	});
}

function hpet(board: AcpiBoard): Aml {
	return pnp("PNP0103", "HPET", name("_UID", ZERO), current(fixedMemory32(board.hpetAddress, 0x400, false)));
}

/** Microsoft, "Virtual Machine Generation ID" (2012): ADDR gives the low and high half of the buffer's address. */
function generationId(): Aml {
	return device(
		"VGEN",
		name("_HID", string("BSNJ0001")),
		name("_CID", string("VM_Gen_Counter")),
		name("_DDN", string("VM_Gen_Counter")),
		// A DWord constant even when small: the tables' linker writes the address here.
		concat(0x08, nameString(GENERATION_ADDRESS_NAME), 0x0c, new Uint8Array(4)),
		method("ADDR", 0, [
			store(pkg(ZERO, ZERO), local(0)),
			store(nameString(GENERATION_ADDRESS_NAME), element(local(0), 0)),
			returns(local(0)),
		]),
	);
}

/** Index(source, index): a reference to one element. */
function element(source: Aml, index: number): Aml {
	return concat(0x88, source, integer(index), 0x00);
}
