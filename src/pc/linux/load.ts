import { MIB, PAGE_BYTES, type PhysAddr } from "../../base/units.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import type { GuestMemory } from "../../machine/memory.ts";
import { PcError } from "../error.ts";
import { makeBootParams, rngSeedBlock } from "./boot-params.ts";
import { isBzImage, parseBzImage } from "./bzimage.ts";
import type { E820Entry } from "./e820.ts";
import { isElf, parsePvh } from "./elf.ts";
import {
	BOOT_INFO_ADDR,
	COMMAND_LINE_ADDR,
	enterLong,
	enterProtected,
	type InitialCpuState,
	type MsrValue,
	SETUP_DATA_ADDR,
} from "./entry.ts";

export interface LinuxBoot {
	/** A bzImage, or an ELF vmlinux with a PVH note. */
	readonly kernel: Uint8Array;
	readonly initrd?: Uint8Array;
	readonly commandLine?: string;
	/** Entropy for the guest's random number generator (up to 512 bytes). */
	readonly rngSeed?: Uint8Array;
}

/** What the board's firmware part has put in place before. */
export interface LinuxBootPlace {
	readonly e820: readonly E820Entry[];
	readonly rsdpAddr: PhysAddr;
	readonly msrs: readonly MsrValue[];
}

const PVH_MAX_COMMAND_LINE_BYTES = 2047;
/** The 64-bit entry lies this far into the protected-mode part. */
const ENTRY_64 = 0x200;
const HVM_START_MAGIC = 0x336e_c578;
const HVM_MEMMAP = 0x100;
const HVM_MODULES = 0x80;

/**
 * Puts kernel, initial RAM disk and boot information into memory and says where the boot processor starts.
 * Throws `PcError` when the image is not bootable or the memory does not hold it.
 */
export function loadLinux(memory: GuestMemory, boot: LinuxBoot, place: LinuxBootPlace): InitialCpuState {
	if (boot.kernel.length === 0) throw new PcError("kernel-truncated", "the kernel image is empty");
	if (isElf(boot.kernel)) return loadPvh(memory, boot, place);
	if (isBzImage(boot.kernel)) return loadBzImage(memory, boot, place);
	throw new PcError("not-a-kernel", 'the kernel image is neither a bzImage (no "HdrS" at 0x202) nor an ELF file');
}

function loadBzImage(memory: GuestMemory, boot: LinuxBoot, place: LinuxBootPlace): InitialCpuState {
	const image = parseBzImage(boot.kernel);
	const kernelEnd = image.loadAddr + image.initBytes;
	requireRam(memory, kernelEnd);
	memory.write(image.loadAddr, image.payload);
	const initrd = placeInitrd(memory, boot.initrd, kernelEnd, image.initrdMaxAddr + 1);
	writeCommandLine(memory, boot.commandLine ?? "", image.commandLineMaxBytes);
	const seed = boot.rngSeed;
	const hasSetupData = seed !== undefined && image.version >= 0x0209;
	if (hasSetupData) memory.write(SETUP_DATA_ADDR, rngSeedBlock(seed.subarray(0, 512)));
	const params = makeBootParams(image, {
		e820: place.e820,
		rsdpAddr: place.rsdpAddr,
		commandLineAddr: COMMAND_LINE_ADDR,
		hasSetupData,
		...(initrd === undefined ? {} : { initrd }),
	});
	memory.write(BOOT_INFO_ADDR, params);
	const gpr = { rsi: BigInt(BOOT_INFO_ADDR) };
	return image.has64BitEntry
		? enterLong(memory, image.loadAddr + ENTRY_64, gpr, place.msrs)
		: enterProtected(memory, image.loadAddr, gpr, place.msrs);
}

function loadPvh(memory: GuestMemory, boot: LinuxBoot, place: LinuxBootPlace): InitialCpuState {
	const image = parsePvh(boot.kernel);
	let kernelEnd = 0;
	for (const { addr, bytes, memoryBytes } of image.segments) {
		if (addr < MIB) throw new PcError("kernel-unsupported", `the ELF kernel wants to lie at 0x${addr.toString(16)}, below 1 MiB`);
		kernelEnd = Math.max(kernelEnd, addr + Math.max(bytes.length, memoryBytes));
	}
	requireRam(memory, kernelEnd);
	for (const { addr, bytes, memoryBytes } of image.segments) {
		memory.write(addr, bytes);
		if (memoryBytes > bytes.length) memory.write(addr + bytes.length, new Uint8Array(memoryBytes - bytes.length));
	}
	const initrd = placeInitrd(memory, boot.initrd, kernelEnd, 2 ** 31);
	writeCommandLine(memory, boot.commandLine ?? "", PVH_MAX_COMMAND_LINE_BYTES);
	memory.write(BOOT_INFO_ADDR, hvmStartInfo(place, initrd));
	return enterProtected(memory, image.entryAddr, { rbx: BigInt(BOOT_INFO_ADDR) }, place.msrs);
}

/** `hvm_start_info` version 1, its module list and its memory map in one page. */
function hvmStartInfo(place: LinuxBootPlace, initrd: Placed | undefined): Uint8Array {
	const bytes = new Uint8Array(PAGE_BYTES);
	const view = new DataView(bytes.buffer);
	view.setUint32(0, HVM_START_MAGIC, true);
	view.setUint32(4, 1, true);
	view.setUint32(12, initrd === undefined ? 0 : 1, true);
	view.setBigUint64(16, BigInt(initrd === undefined ? 0 : BOOT_INFO_ADDR + HVM_MODULES), true);
	view.setBigUint64(24, BigInt(COMMAND_LINE_ADDR), true);
	view.setBigUint64(32, BigInt(place.rsdpAddr), true);
	view.setBigUint64(40, BigInt(BOOT_INFO_ADDR + HVM_MEMMAP), true);
	view.setUint32(48, place.e820.length, true);
	if (initrd !== undefined) {
		view.setBigUint64(HVM_MODULES, BigInt(initrd.addr), true);
		view.setBigUint64(HVM_MODULES + 8, BigInt(initrd.sizeBytes), true);
	}
	place.e820.forEach((entry, i) => {
		const at = HVM_MEMMAP + 24 * i;
		view.setBigUint64(at, BigInt(entry.first), true);
		view.setBigUint64(at + 8, BigInt(entry.sizeBytes), true);
		view.setUint32(at + 16, entry.type, true);
	});
	return bytes;
}

interface Placed {
	readonly addr: PhysAddr;
	readonly sizeBytes: number;
}

function requireRam(memory: GuestMemory, end: PhysAddr): void {
	if (end <= memory.lowRamBytes) return;
	const has = Math.floor(memory.lowRamBytes / MIB);
	throw new PcError("too-little-memory", `the kernel needs ${Math.ceil(end / MIB)} MiB of memory to start, the machine has ${has} MiB`);
}

/** As high as it may lie: the kernel's own needs grow from below. */
function placeInitrd(memory: GuestMemory, initrd: Uint8Array | undefined, kernelEnd: PhysAddr, limit: PhysAddr): Placed | undefined {
	if (initrd === undefined || initrd.length === 0) return undefined;
	const top = Math.min(limit, memory.lowRamBytes);
	const addr = Math.floor((top - initrd.length) / PAGE_BYTES) * PAGE_BYTES;
	if (addr < kernelEnd) {
		const size = Math.ceil(initrd.length / MIB);
		const room = Math.max(0, Math.floor((top - kernelEnd) / MIB));
		throw new PcError(
			"initrd-too-large",
			`the initial RAM disk of ${size} MiB does not fit: ${room} MiB of memory are left beside the kernel`,
		);
	}
	memory.write(addr, initrd);
	return { addr, sizeBytes: initrd.length };
}

function writeCommandLine(memory: GuestMemory, text: string, maxBytes: number): void {
	const bytes = encodeUtf8(text);
	if (bytes.length > maxBytes)
		throw new PcError("command-line-too-long", `the kernel's command line has ${bytes.length} bytes; this kernel takes ${maxBytes}`);
	const terminated = new Uint8Array(bytes.length + 1);
	terminated.set(bytes);
	memory.write(COMMAND_LINE_ADDR, terminated);
}
