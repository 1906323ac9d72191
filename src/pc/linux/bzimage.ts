import { PcError } from "../error.ts";

/** What a bzImage's setup header says (Linux, Documentation/x86/boot.rst, "The Real-Mode Kernel Header"). */
export interface BzImage {
	/** Boot protocol version, e.g. 0x020f for 2.15. */
	readonly version: number;
	/** Header bytes as they go into boot_params, from offset 0x1F1. */
	readonly header: Uint8Array;
	/** The protected-mode part. */
	readonly payload: Uint8Array;
	readonly loadAddr: number;
	/** Memory from `loadAddr` that the kernel needs before it reads the memory map. */
	readonly initBytes: number;
	/** Highest address that a byte of the initial RAM disk may have. */
	readonly initrdMaxAddr: number;
	readonly commandLineMaxBytes: number;
	/** The kernel has a 64-bit entry, 0x200 bytes into the payload. */
	readonly has64BitEntry: boolean;
}

export const HEADER_OFFSET = 0x1f1;
const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const BOOT_FLAG = 0x1fe;
const JUMP = 0x200;
const MAGIC = 0x202;
const VERSION = 0x206;
const LOADFLAGS = 0x211;
const CODE32_START = 0x214;
const INITRD_ADDR_MAX = 0x22c;
const XLOADFLAGS = 0x236;
const CMDLINE_SIZE = 0x238;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;

const HDRS = 0x5372_6448;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const OLDEST_VERSION = 0x0206;

export function isBzImage(image: Uint8Array): boolean {
	return image.length > MAGIC + 4 && new DataView(image.buffer, image.byteOffset, image.length).getUint32(MAGIC, true) === HDRS;
}

/** Reads and checks the header. Throws `PcError` where the image cannot be booted. */
export function parseBzImage(image: Uint8Array): BzImage {
	if (!isBzImage(image)) throw new PcError("not-a-kernel", 'the kernel image has no Linux setup header (no "HdrS" at 0x202)');
	if (image.length < INIT_SIZE + 4)
		throw new PcError("kernel-truncated", `the kernel image ends within its header (${image.length} bytes)`);
	const view = new DataView(image.buffer, image.byteOffset, image.length);
	if (view.getUint16(BOOT_FLAG, true) !== 0xaa55) throw new PcError("not-a-kernel", "the kernel image's boot sector has no signature");
	const version = view.getUint16(VERSION, true);
	if (version < OLDEST_VERSION)
		throw new PcError("kernel-unsupported", `the kernel speaks boot protocol ${version >> 8}.${version & 0xff}; 2.6 or newer is needed`);
	if ((view.getUint8(LOADFLAGS) & LOADED_HIGH) === 0)
		throw new PcError("kernel-unsupported", "the kernel is a zImage; a bzImage is needed");
	const setupBytes = ((view.getUint8(SETUP_SECTS) || 4) + 1) * 512;
	// The size is in paragraphs of 16 bytes, the last of which may be short.
	const promisedBytes = setupBytes + view.getUint32(SYSSIZE, true) * 16 - 15;
	if (image.length < promisedBytes)
		throw new PcError(
			"kernel-truncated",
			`the kernel image is truncated: its header promises ${promisedBytes} bytes, it has ${image.length}`,
		);
	const headerEnd = JUMP + 2 + view.getUint8(JUMP + 1);
	const payload = image.subarray(setupBytes);
	const knowsInitSize = version >= 0x020a;
	const loadAddr = knowsInitSize ? Number(view.getBigUint64(PREF_ADDRESS, true)) : view.getUint32(CODE32_START, true);
	return {
		version,
		header: image.slice(HEADER_OFFSET, headerEnd),
		payload,
		loadAddr,
		initBytes: knowsInitSize ? Math.max(view.getUint32(INIT_SIZE, true), payload.length) : payload.length * 4,
		initrdMaxAddr: view.getUint32(INITRD_ADDR_MAX, true),
		commandLineMaxBytes: view.getUint32(CMDLINE_SIZE, true),
		has64BitEntry: version >= 0x020c && (view.getUint16(XLOADFLAGS, true) & XLF_KERNEL_64) !== 0,
	};
}
