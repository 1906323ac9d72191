import { GIB, MIB, type PhysAddr } from "../../base/units.ts";
import { ascii, concat } from "./aml.ts";

/** What the DMI tables tell. */
export interface SmbiosBoard {
	readonly cpuCount: number;
	/** Ranges of RAM, and their sum. */
	readonly ram: readonly { readonly first: PhysAddr; readonly sizeBytes: number }[];
	readonly ramBytes: number;
	/** 16 bytes, as the guest shall see it in text order. */
	readonly uuid: Uint8Array;
	readonly productName?: string;
	readonly serialNumber?: string;
}

const MANUFACTURER = "Basenji";
const VERSION = "1.0";
const RELEASE_DATE = "01/01/2026";

/** One structure: formatted area, then its strings (DSP0134 3.7 §6.1.3, "Text strings"). */
class Structure {
	readonly #type: number;
	readonly #handle: number;
	readonly #bytes: number[] = [];
	readonly #strings: string[] = [];

	constructor(type: number, handle: number) {
		this.#type = type;
		this.#handle = handle;
	}

	put(bytes: number, value: number): this {
		for (let i = 0; i < bytes; i++) this.#bytes.push(Math.floor(value / 2 ** (8 * i)) & 0xff);
		return this;
	}

	text(value: string): this {
		this.#strings.push(value);
		return this.put(1, this.#strings.length);
	}

	done(): Uint8Array {
		const head = Uint8Array.of(this.#type, this.#bytes.length + 4, this.#handle & 0xff, this.#handle >> 8, ...this.#bytes);
		const strings = this.#strings.flatMap((value) => [ascii(value), Uint8Array.of(0)]);
		return concat(head, ...(strings.length === 0 ? [Uint8Array.of(0)] : strings), 0);
	}
}

const HANDLE_BIOS = 0x000;
const HANDLE_SYSTEM = 0x100;
const HANDLE_CHASSIS = 0x300;
const HANDLE_CPU = 0x400;
const HANDLE_MEMORY_ARRAY = 0x1000;
const HANDLE_MEMORY_DEVICE = 0x1100;
const HANDLE_MEMORY_RANGE = 0x1300;
const HANDLE_BOOT = 0x2000;
const HANDLE_END = 0x7f00;
const NONE = 0xfffe;
const UNKNOWN = 2;
/** DSP0134 §7.4.1, "Chassis types": other. */
const CHASSIS_OTHER = 1;
/** §7.18.1, DIMM; §7.18.2, RAM. */
const FORM_DIMM = 9;
const MEMORY_RAM = 7;

/** The structure table (DMTF DSP0134, System Management BIOS Reference Specification 3.7). */
export function smbiosTable(board: SmbiosBoard): Uint8Array {
	const parts = [bios(), system(board), chassis()];
	for (let cpu = 0; cpu < board.cpuCount; cpu++) parts.push(processor(cpu));
	parts.push(memoryArray(board), memoryDevice(board));
	board.ram.forEach(({ first, sizeBytes }, i) => {
		parts.push(memoryRange(i, first, sizeBytes));
	});
	parts.push(new Structure(32, HANDLE_BOOT).put(6, 0).put(1, 0).done(), new Structure(127, HANDLE_END).done());
	return concat(...parts);
}

/** The 64-bit entry point, "_SM3_" (§5.2.2). */
export function smbiosEntryPoint(tableAddr: PhysAddr, tableBytes: number): Uint8Array {
	const entry = concat(ascii("_SM3_"), 0, 24, 3, 7, 0, 1, 0, new Uint8Array(12));
	const view = new DataView(entry.buffer);
	view.setUint32(12, tableBytes, true);
	view.setBigUint64(16, BigInt(tableAddr), true);
	entry[5] = -entry.reduce((sum, byte) => sum + byte, 0) & 0xff;
	return entry;
}

function bios(): Uint8Array {
	const characteristics = (1 << 7) | (1 << 15) | (1 << 16); // PCI; boot from CD; selectable boot
	return new Structure(0, HANDLE_BIOS)
		.text(MANUFACTURER)
		.text(VERSION)
		.put(2, 0xe000)
		.text(RELEASE_DATE)
		.put(1, 1)
		.put(8, characteristics)
		.put(1, 0x01) // ACPI
		.put(1, 0x1c) // targeted content, UEFI absent, virtual machine
		.put(1, 1)
		.put(1, 0)
		.put(1, 0xff)
		.put(1, 0xff)
		.put(2, 0)
		.done();
}

function system(board: SmbiosBoard): Uint8Array {
	const structure = new Structure(1, HANDLE_SYSTEM)
		.text(MANUFACTURER)
		.text(board.productName ?? "Basenji PC")
		.text(VERSION)
		.text(board.serialNumber ?? "0");
	// The first three fields of a UUID are little-endian (§7.2.1).
	for (const i of [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]) structure.put(1, board.uuid[i] ?? 0);
	return structure.put(1, 6).put(1, 0).put(1, 0).done(); // woken by the power switch
}

function chassis(): Uint8Array {
	return new Structure(3, HANDLE_CHASSIS)
		.text(MANUFACTURER)
		.put(1, CHASSIS_OTHER)
		.put(3, 0)
		.put(1, 3) // boot-up state: safe
		.put(1, 3)
		.put(1, 3)
		.put(1, UNKNOWN)
		.put(4, 0)
		.put(4, 0)
		.put(1, 0)
		.done();
}

function processor(cpu: number): Uint8Array {
	return new Structure(4, HANDLE_CPU + cpu)
		.text(`CPU ${cpu}`)
		.put(1, 3) // central processor
		.put(1, 1) // family: other
		.text(MANUFACTURER)
		.put(8, 0)
		.text(VERSION)
		.put(1, 0)
		.put(2, 0)
		.put(2, 2000)
		.put(2, 2000)
		.put(1, 0x41) // populated, enabled
		.put(1, 1) // upgrade: other
		.put(6, 0xffff_ffff_ffff)
		.put(3, 0)
		.put(3, 0x010101)
		.put(2, 0x0c) // 64-bit capable, multi-core
		.put(2, 1)
		.put(2, 1)
		.put(2, 1)
		.put(2, 1)
		.done();
}

function memoryArray(board: SmbiosBoard): Uint8Array {
	return new Structure(16, HANDLE_MEMORY_ARRAY)
		.put(1, 1) // location: other
		.put(1, 3) // use: system memory
		.put(1, 6) // multi-bit ECC
		.put(4, Math.ceil(board.ramBytes / 1024))
		.put(2, NONE)
		.put(2, 1)
		.done();
}

function memoryDevice(board: SmbiosBoard): Uint8Array {
	const megabytes = Math.ceil(board.ramBytes / MIB);
	return new Structure(17, HANDLE_MEMORY_DEVICE)
		.put(2, HANDLE_MEMORY_ARRAY)
		.put(2, NONE)
		.put(2, 0xffff)
		.put(2, 0xffff)
		.put(2, Math.min(megabytes, 0x7fff))
		.put(1, FORM_DIMM)
		.put(1, 0)
		.text("DIMM 0")
		.put(1, 0)
		.put(1, MEMORY_RAM)
		.put(2, 2)
		.put(2, 0)
		.text(MANUFACTURER)
		.put(4, 0)
		.put(4, megabytes >= 0x7fff ? megabytes : 0)
		.put(8, 0)
		.done();
}

function memoryRange(index: number, first: PhysAddr, sizeBytes: number): Uint8Array {
	const last = first + sizeBytes - 1;
	const isWide = last >= 4096 * GIB;
	return new Structure(19, HANDLE_MEMORY_RANGE + index)
		.put(4, isWide ? 0xffff_ffff : Math.floor(first / 1024))
		.put(4, isWide ? 0xffff_ffff : Math.floor(last / 1024))
		.put(2, HANDLE_MEMORY_ARRAY)
		.put(1, 1)
		.put(8, isWide ? first : 0)
		.put(8, isWide ? last : 0)
		.done();
}
