import { ascii, concat } from "../acpi/aml.ts";
import type { AcpiBlock } from "../acpi/tables.ts";
import { type FwCfg, little } from "./fw-cfg.ts";

/**
 * The script by which firmware places ACPI tables itself (QEMU, docs/specs/acpi linker: "etc/table-loader"): allocate
 * the files, add their addresses to the pointers, then set the checksums.
 */
const COMMAND_BYTES = 128;
const FILE_BYTES = 56;
const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;
const WRITE_POINTER = 4;
const ZONE_HIGH = 1;
/** The segment from F0000h, where operating systems look for the RSDP. */
const ZONE_FSEG = 2;

const TABLES_FILE = "etc/acpi/tables";
const RSDP_FILE = "etc/acpi/rsdp";
const LOADER_FILE = "etc/table-loader";
/** Into which firmware writes where it has put the generation id: eight bytes, zero before. */
export const GENERATION_ADDRESS_FILE = "etc/vmgenid_addr";
const RSDP_RSDT = 16;
const RSDP_XSDT = 24;

export function addAcpiFiles(fwCfg: FwCfg, block: AcpiBlock): void {
	const script = [allocate(TABLES_FILE, 64, ZONE_HIGH), allocate(RSDP_FILE, 16, ZONE_FSEG)];
	for (const { at, bytes } of block.pointers) script.push(addPointer(TABLES_FILE, at, bytes));
	for (const { at, sizeBytes } of block.tables) script.push(addChecksum(TABLES_FILE, at + 9, at, sizeBytes));
	script.push(addPointer(RSDP_FILE, RSDP_RSDT, 4), addPointer(RSDP_FILE, RSDP_XSDT, 8));
	script.push(addChecksum(RSDP_FILE, 8, 0, 20), addChecksum(RSDP_FILE, 32, 0, 36));
	script.push(writePointer(GENERATION_ADDRESS_FILE, block.generationIdOffset));
	const rsdp = block.rsdp.slice();
	fwCfg.addFile(TABLES_FILE, block.bytes.slice());
	fwCfg.addFile(RSDP_FILE, rsdp);
	fwCfg.addFile(GENERATION_ADDRESS_FILE, new Uint8Array(8), true);
	fwCfg.addFile(LOADER_FILE, concat(...script));
}

function command(kind: number, ...fields: readonly Uint8Array[]): Uint8Array {
	const bytes = new Uint8Array(COMMAND_BYTES);
	bytes.set(concat(little(kind, 4), ...fields));
	return bytes;
}

function file(path: string): Uint8Array {
	const bytes = new Uint8Array(FILE_BYTES);
	bytes.set(ascii(path));
	return bytes;
}

function allocate(path: string, alignBytes: number, zone: number): Uint8Array {
	return command(ALLOCATE, file(path), little(alignBytes, 4), little(zone, 1));
}

/** All pointers lead into the tables' file. */
function addPointer(path: string, at: number, bytes: number): Uint8Array {
	return command(ADD_POINTER, file(path), file(TABLES_FILE), little(at, 4), little(bytes, 1));
}

/** Tells us where `offset` of the tables' file has come to lie. Firmware without DMA writes, or older than this command, passes over it. */
function writePointer(path: string, offset: number): Uint8Array {
	return command(WRITE_POINTER, file(path), file(TABLES_FILE), little(0, 4), little(offset, 4), little(8, 1));
}

function addChecksum(path: string, checksumAt: number, at: number, sizeBytes: number): Uint8Array {
	return command(ADD_CHECKSUM, file(path), little(checksumAt, 4), little(at, 4), little(sizeBytes, 4));
}
