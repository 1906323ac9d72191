import type { PhysAddr } from "../../base/units.ts";
import { type BzImage, HEADER_OFFSET } from "./bzimage.ts";
import type { E820Entry } from "./e820.ts";
import { SETUP_DATA_ADDR } from "./entry.ts";

/** Linux, Documentation/x86/zero-page.rst. */
const BOOT_PARAMS_BYTES = 4096;
const ACPI_RSDP_ADDR = 0x070;
const EXT_RAMDISK_IMAGE = 0x0c0;
const EXT_RAMDISK_SIZE = 0x0c4;
const E820_ENTRIES = 0x1e8;
const VID_MODE = 0x1fa;
const TYPE_OF_LOADER = 0x210;
const CODE32_START = 0x214;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;
const SETUP_DATA = 0x250;
const E820_TABLE = 0x2d0;
const E820_TABLE_MAX = 128;

const LOADER_UNDEFINED = 0xff;
const VID_MODE_NORMAL = 0xffff;
const SETUP_RNG_SEED = 9;

export interface BootParams {
	readonly e820: readonly E820Entry[];
	readonly rsdpAddr: PhysAddr;
	readonly commandLineAddr: PhysAddr;
	readonly initrd?: { readonly addr: PhysAddr; readonly sizeBytes: number };
	/** Whether a block of setup data lies at `SETUP_DATA_ADDR`. */
	readonly hasSetupData: boolean;
}

/** The zero page: the image's own header, and what a boot loader fills in. */
export function makeBootParams(image: BzImage, params: BootParams): Uint8Array {
	const bytes = new Uint8Array(BOOT_PARAMS_BYTES);
	const view = new DataView(bytes.buffer);
	bytes.set(image.header, HEADER_OFFSET);
	view.setBigUint64(ACPI_RSDP_ADDR, BigInt(params.rsdpAddr), true);
	view.setUint16(VID_MODE, VID_MODE_NORMAL, true);
	view.setUint8(TYPE_OF_LOADER, LOADER_UNDEFINED);
	view.setUint32(CODE32_START, image.loadAddr, true);
	view.setUint32(CMD_LINE_PTR, params.commandLineAddr, true);
	const { initrd } = params;
	if (initrd !== undefined) {
		view.setUint32(RAMDISK_IMAGE, initrd.addr, true);
		view.setUint32(RAMDISK_SIZE, initrd.sizeBytes, true);
		view.setUint32(EXT_RAMDISK_IMAGE, 0, true);
		view.setUint32(EXT_RAMDISK_SIZE, 0, true);
	}
	if (image.version >= 0x0209) view.setBigUint64(SETUP_DATA, params.hasSetupData ? BigInt(SETUP_DATA_ADDR) : 0n, true);
	const entries = params.e820.slice(0, E820_TABLE_MAX);
	view.setUint8(E820_ENTRIES, entries.length);
	entries.forEach((entry, i) => {
		const at = E820_TABLE + 20 * i;
		view.setBigUint64(at, BigInt(entry.first), true);
		view.setBigUint64(at + 8, BigInt(entry.sizeBytes), true);
		view.setUint32(at + 16, entry.type, true);
	});
	return bytes;
}

/** One `setup_data` block with entropy for the guest's random number generator; the last of the list. */
export function rngSeedBlock(seed: Uint8Array): Uint8Array {
	const bytes = new Uint8Array(16 + seed.length);
	const view = new DataView(bytes.buffer);
	view.setUint32(8, SETUP_RNG_SEED, true);
	view.setUint32(12, seed.length, true);
	bytes.set(seed, 16);
	return bytes;
}
