import { assert } from "../../base/assert.ts";
import { ascii, concat } from "./aml.ts";
import type { AcpiBoard } from "./board.ts";
import { dsdtTerms, GENERATION_ADDRESS_NAME } from "./dsdt.ts";

/**
 * The static tables (ACPI 6.5 §5.2, "ACPI System Description Tables") as one relocatable block: pointers hold offsets
 * into it until `placeAcpi` (or firmware, following the same lists) adds the address where it lies.
 */
export interface AcpiBlock {
	readonly bytes: Uint8Array;
	readonly rsdp: Uint8Array;
	/** Fields in `bytes` that hold offsets into `bytes`. */
	readonly pointers: readonly { readonly at: number; readonly bytes: 4 | 8 }[];
	/** Tables whose byte at +9 makes the sum over them zero. */
	readonly tables: readonly { readonly signature: string; readonly at: number; readonly sizeBytes: number }[];
	readonly rsdtOffset: number;
	readonly xsdtOffset: number;
	/** Where the 16-byte VM generation id lies. */
	readonly generationIdOffset: number;
	readonly facsOffset: number;
}

const HEADER_BYTES = 36;
const CHECKSUM = 9;

/** Little-endian fields put one after another. */
class Record {
	readonly #bytes: number[] = [];

	get length(): number {
		return this.#bytes.length;
	}

	put(bytes: number, value: number): this {
		for (let i = 0; i < bytes; i++) this.#bytes.push(Math.floor(value / 2 ** (8 * i)) & 0xff);
		return this;
	}

	raw(bytes: Uint8Array): this {
		this.#bytes.push(...bytes);
		return this;
	}

	zeros(count: number): this {
		return this.raw(new Uint8Array(count));
	}

	/** Generic Address Structure for ports (ACPI 6.5 §5.2.3.2). */
	portAddress(port: number, bits: number, accessBytes: 0 | 1 | 2 | 4): this {
		const accessSize = accessBytes === 0 ? 0 : Math.log2(accessBytes) + 1;
		return port === 0 ? this.zeros(12) : this.put(1, 1).put(1, bits).put(1, 0).put(1, accessSize).put(8, port);
	}

	done(): Uint8Array {
		return Uint8Array.from(this.#bytes);
	}
}

function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
	const header = new Record()
		.raw(ascii(signature))
		.put(4, HEADER_BYTES + body.length)
		.put(1, revision)
		.put(1, 0)
		.raw(ascii("BSNJI "))
		.raw(ascii("BSNJIPC "))
		.put(4, 1)
		.raw(ascii("BSNJ"))
		.put(4, 1);
	return concat(header.done(), body);
}

/** Sets the byte at `at + CHECKSUM` so that the bytes sum to zero. */
function checksum(bytes: Uint8Array, at: number, sizeBytes: number, checksumAt = at + CHECKSUM): void {
	bytes[checksumAt] = 0;
	let sum = 0;
	for (let i = 0; i < sizeBytes; i++) sum += bytes[at + i] as number;
	bytes[checksumAt] = -sum & 0xff;
}

// Fixed ACPI Description Table flags (ACPI 6.5 §5.2.9, table 5.10).
const FADT_WBINVD = 1 << 0;
const FADT_PROC_C1 = 1 << 2;
/** No sleep button in fixed hardware. (PWR_BUTTON clear: the power button is.) */
const FADT_SLP_BUTTON = 1 << 5;
const FADT_FIX_RTC = 1 << 6;
const FADT_TMR_VAL_EXT = 1 << 8;
const FADT_RESET_REG_SUP = 1 << 10;
// IA-PC boot architecture flags (§5.2.9.3).
const BOOT_LEGACY_DEVICES = 1 << 0;
const BOOT_8042 = 1 << 1;
const BOOT_VGA_NOT_PRESENT = 1 << 2;

const FADT_FACS = 36;
const FADT_DSDT = 40;
const FADT_X_DSDT = 140;

/** Revision 3 (ACPI 2.0): the newest that old systems still take, with all we need. Pointers are offsets. */
function fadt(board: AcpiBoard, facsOffset: number, dsdtOffset: number): Uint8Array {
	const { pm } = board;
	const bootFlags = BOOT_LEGACY_DEVICES | (board.hasKeyboardController ? BOOT_8042 : 0) | (board.hasVga ? 0 : BOOT_VGA_NOT_PRESENT);
	const flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG_SUP;
	const body = new Record()
		.put(4, facsOffset)
		.put(4, dsdtOffset)
		.put(1, 0)
		.put(1, 1) // preferred profile: desktop
		.put(2, board.sciIrq)
		.put(4, board.smi.port)
		.put(1, board.smi.enable)
		.put(1, board.smi.disable)
		.zeros(2) // S4BIOS_REQ, PSTATE_CNT
		.put(4, pm.eventPort)
		.put(4, 0)
		.put(4, pm.controlPort)
		.put(4, 0)
		.put(4, 0) // PM2_CNT_BLK
		.put(4, pm.timerPort)
		.put(4, pm.gpe0Port)
		.put(4, 0)
		.put(1, 4)
		.put(1, 2)
		.put(1, 0)
		.put(1, 4)
		.put(1, pm.gpe0Bytes)
		.zeros(3) // GPE1_BLK_LEN, GPE1_BASE, CST_CNT
		.put(2, 0xfff) // P_LVL2_LAT: no C2
		.put(2, 0xfff) // P_LVL3_LAT: no C3
		.zeros(6) // FLUSH_SIZE, FLUSH_STRIDE, DUTY_OFFSET, DUTY_WIDTH
		.put(1, 0x0d) // DAY_ALRM
		.put(1, 0) // MON_ALRM
		.put(1, 0x32) // CENTURY
		.put(2, bootFlags)
		.put(1, 0)
		.put(4, flags | (pm.isTimer32Bit ? FADT_TMR_VAL_EXT : 0))
		.portAddress(board.reset.port, 8, 1)
		.put(1, board.reset.value)
		.zeros(3)
		.put(8, 0) // X_FIRMWARE_CTRL: as FIRMWARE_CTRL, which is enough below 4 GiB; both set is an error in ACPI 6
		.put(8, dsdtOffset)
		.portAddress(pm.eventPort, 32, 2)
		.zeros(12)
		.portAddress(pm.controlPort, 16, 2)
		.zeros(12)
		.zeros(12)
		.portAddress(pm.timerPort, 32, 4)
		.portAddress(pm.gpe0Port, pm.gpe0Bytes * 8, 1)
		.zeros(12);
	assert(body.length + HEADER_BYTES === 244, `FADT of ${body.length + HEADER_BYTES} bytes`);
	return table("FACP", 3, body.done());
}

function facs(): Uint8Array {
	return new Record().raw(ascii("FACS")).put(4, 64).zeros(24).put(1, 1).zeros(31).done();
}

const POLARITY_HIGH_LEVEL = 0b1101;

/** Multiple APIC Description Table (ACPI 6.5 §5.2.12). */
function madt(board: AcpiBoard): Uint8Array {
	const body = new Record().put(4, board.lapicAddress).put(4, 1); // PCAT_COMPAT: a pair of 8259s as well
	board.apicIds.forEach((apicId, index) => {
		body.put(1, 0).put(1, 8).put(1, index).put(1, apicId).put(4, 1);
	});
	body.put(1, 1).put(1, 12).put(1, board.ioapic.id).put(1, 0).put(4, board.ioapic.address).put(4, 0);
	// The timer's IRQ 0 is wired to input 2; the SCI is level-triggered.
	body.put(1, 2).put(1, 10).put(1, 0).put(1, 0).put(4, 2).put(2, 0);
	body.put(1, 2).put(1, 10).put(1, 0).put(1, board.sciIrq).put(4, board.sciIrq).put(2, POLARITY_HIGH_LEVEL);
	// NMI arrives at LINT1 of every processor.
	body.put(1, 4).put(1, 6).put(1, 0xff).put(2, 0).put(1, 1);
	return table("APIC", 3, body.done());
}

function hpetTable(board: AcpiBoard): Uint8Array {
	const body = new Record()
		.put(4, board.hpetId)
		.put(1, 0)
		.put(1, 64)
		.put(1, 0)
		.put(1, 0)
		.put(8, board.hpetAddress)
		.put(1, 0)
		.put(2, 0x80) // minimum ticks in periodic mode
		.put(1, 0);
	return table("HPET", 1, body.done());
}

/** All tables of a board, unplaced. */
export function buildAcpi(board: AcpiBoard): AcpiBlock {
	const parts: Uint8Array[] = [];
	const tables: { signature: string; at: number; sizeBytes: number }[] = [];
	const pointers: { at: number; bytes: 4 | 8 }[] = [];
	let end = 0;
	const append = (bytes: Uint8Array, alignBytes: number): number => {
		const at = Math.ceil(end / alignBytes) * alignBytes;
		parts.push(new Uint8Array(at - end), bytes);
		end = at + bytes.length;
		return at;
	};
	const appendTable = (bytes: Uint8Array): number => {
		const at = append(bytes, 16);
		tables.push({ signature: String.fromCharCode(...bytes.subarray(0, 4)), at, sizeBytes: bytes.length });
		return at;
	};

	const facsOffset = append(facs(), 64);
	const generationIdOffset = append(new Uint8Array(16), 16);
	const dsdt = table("DSDT", 2, dsdtTerms(board));
	const addressAt = generationAddressAt(dsdt);
	new DataView(dsdt.buffer).setUint32(addressAt, generationIdOffset, true);
	const dsdtOffset = appendTable(dsdt);
	pointers.push({ at: dsdtOffset + addressAt, bytes: 4 });
	const fadtOffset = appendTable(fadt(board, facsOffset, dsdtOffset));
	pointers.push(
		{ at: fadtOffset + FADT_FACS, bytes: 4 },
		{ at: fadtOffset + FADT_DSDT, bytes: 4 },
		{ at: fadtOffset + FADT_X_DSDT, bytes: 8 },
	);
	const listed = [fadtOffset, appendTable(madt(board)), appendTable(hpetTable(board))];
	const rsdtOffset = appendTable(table("RSDT", 1, listed.reduce((list, at) => list.put(4, at), new Record()).done()));
	const xsdtOffset = appendTable(table("XSDT", 1, listed.reduce((list, at) => list.put(8, at), new Record()).done()));
	listed.forEach((_, i) => {
		pointers.push({ at: rsdtOffset + HEADER_BYTES + 4 * i, bytes: 4 }, { at: xsdtOffset + HEADER_BYTES + 8 * i, bytes: 8 });
	});

	const rsdp = new Record().raw(ascii("RSD PTR ")).put(1, 0).raw(ascii("BSNJI ")).put(1, 2);
	rsdp.put(4, rsdtOffset).put(4, 36).put(8, xsdtOffset).put(1, 0).zeros(3);
	return { bytes: concat(...parts), rsdp: rsdp.done(), pointers, tables, rsdtOffset, xsdtOffset, generationIdOffset, facsOffset };
}

/** The block and its RSDP for a given place: pointers resolved, checksums set. */
export function placeAcpi(block: AcpiBlock, blockAddr: number): { readonly bytes: Uint8Array; readonly rsdp: Uint8Array } {
	const bytes = block.bytes.slice();
	const view = new DataView(bytes.buffer);
	for (const { at } of block.pointers) view.setUint32(at, view.getUint32(at, true) + blockAddr, true);
	for (const { at, sizeBytes } of block.tables) checksum(bytes, at, sizeBytes);
	const rsdp = block.rsdp.slice();
	const rsdpView = new DataView(rsdp.buffer);
	rsdpView.setUint32(16, block.rsdtOffset + blockAddr, true);
	rsdpView.setUint32(24, block.xsdtOffset + blockAddr, true);
	checksum(rsdp, 0, 20, 8);
	checksum(rsdp, 0, 36, 32);
	return { bytes, rsdp };
}

function generationAddressAt(dsdt: Uint8Array): number {
	const marker = concat(0x08, ascii(GENERATION_ADDRESS_NAME), 0x0c);
	const at = dsdt.findIndex((_, i) => marker.every((byte, j) => dsdt[i + j] === byte));
	assert(at >= 0, "the DSDT has no generation id");
	return at + marker.length;
}
