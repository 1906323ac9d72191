import type { PhysAddr } from "../../base/units.ts";
import type { GuestMemory } from "../../machine/memory.ts";

export const GPR_NAMES = [
	"rax",
	"rcx",
	"rdx",
	"rbx",
	"rsp",
	"rbp",
	"rsi",
	"rdi",
	"r8",
	"r9",
	"r10",
	"r11",
	"r12",
	"r13",
	"r14",
	"r15",
] as const;
export type GprName = (typeof GPR_NAMES)[number];

export const SEGMENT_NAMES = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"] as const;
export type SegmentName = (typeof SEGMENT_NAMES)[number];

export interface SegmentState {
	readonly selector: number;
	readonly base: bigint;
	/** In bytes, granularity applied. */
	readonly limit: number;
	/** As in a descriptor's high doubleword: type 11:8, S 12, DPL 14:13, P 15, L 21, D/B 22, G 23; 0 = unusable. */
	readonly attributes: number;
}

export interface MsrValue {
	readonly index: number;
	readonly value: bigint;
}

/** Where a boot loader leaves the boot processor. What is not named is as after RESET. */
export interface InitialCpuState {
	readonly mode: "real" | "protected" | "long";
	readonly gpr: Readonly<Record<GprName, bigint>>;
	readonly rip: bigint;
	readonly rflags: bigint;
	readonly cr0: bigint;
	readonly cr3: bigint;
	readonly cr4: bigint;
	readonly efer: bigint;
	readonly segments: Readonly<Record<SegmentName, SegmentState>>;
	readonly gdtr: { readonly base: bigint; readonly limit: number };
	readonly idtr: { readonly base: bigint; readonly limit: number };
	/** Model-specific registers that firmware sets before it boots anything. For every processor, not only the first. */
	readonly msrs: readonly MsrValue[];
}

/** Low memory that direct loading uses; everything below 0x9FC00 counts as free in the E820 map. */
export const GDT_ADDR: PhysAddr = 0x6000;
export const BOOT_INFO_ADDR: PhysAddr = 0x10000;
export const SETUP_DATA_ADDR: PhysAddr = 0x12000;
export const COMMAND_LINE_ADDR: PhysAddr = 0x20000;
export const PAGE_TABLES_ADDR: PhysAddr = 0x30000;
const STACK_ADDR = 0x1_f000n;

const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const BOOT_TSS = 0x20;

const CR0_PE = 1n << 0n;
const CR0_ET = 1n << 4n;
const CR0_NE = 1n << 5n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

const FLAT_LIMIT = 0xffff_ffff;
const CODE_32 = 0x00c0_9b00;
const CODE_64 = 0x00a0_9b00;
const DATA_32 = 0x00c0_9300;
const TSS_BUSY = 0x0000_8b00;

/** Protected mode, flat, paging off (Linux x86 boot protocol, "32-bit Boot Protocol"; the same serves PVH). */
export function enterProtected(
	memory: GuestMemory,
	rip: number,
	gpr: Partial<Record<GprName, bigint>>,
	msrs: readonly MsrValue[],
): InitialCpuState {
	const gdtr = writeGdt(memory, CODE_32);
	return {
		mode: "protected",
		gpr: registers(gpr),
		rip: BigInt(rip),
		rflags: 2n,
		cr0: CR0_PE | CR0_ET,
		cr3: 0n,
		cr4: 0n,
		efer: 0n,
		segments: flatSegments(CODE_32),
		gdtr,
		idtr: { base: 0n, limit: 0 },
		msrs,
	};
}

/** Long mode over an identity map of the first 4 GiB (Linux x86 boot protocol, "64-bit Boot Protocol"). */
export function enterLong(
	memory: GuestMemory,
	rip: number,
	gpr: Partial<Record<GprName, bigint>>,
	msrs: readonly MsrValue[],
): InitialCpuState {
	const gdtr = writeGdt(memory, CODE_64);
	return {
		mode: "long",
		gpr: registers(gpr),
		rip: BigInt(rip),
		rflags: 2n,
		cr0: CR0_PE | CR0_ET | CR0_NE | CR0_PG,
		cr3: BigInt(writeIdentityMap(memory)),
		cr4: CR4_PAE,
		efer: EFER_LME | EFER_LMA,
		segments: flatSegments(CODE_64),
		gdtr,
		idtr: { base: 0n, limit: 0 },
		msrs,
	};
}

/** As after RESET (Intel SDM Vol. 3A §10.1.4, "First Instruction Executed"): real mode at F000:FFF0, 16 bytes below 4 GiB. */
export function enterReset(): InitialCpuState {
	const data: SegmentState = { selector: 0, base: 0n, limit: 0xffff, attributes: 0x9300 };
	const system: SegmentState = { ...data, attributes: 0x8200 };
	return {
		mode: "real",
		gpr: registers({}),
		rip: 0xfff0n,
		rflags: 2n,
		cr0: 0x6000_0010n,
		cr3: 0n,
		cr4: 0n,
		efer: 0n,
		segments: {
			es: data,
			cs: { selector: 0xf000, base: 0xffff_0000n, limit: 0xffff, attributes: 0x9b00 },
			ss: data,
			ds: data,
			fs: data,
			gs: data,
			ldtr: system,
			tr: { ...system, attributes: 0x8b00 },
		},
		gdtr: { base: 0n, limit: 0xffff },
		idtr: { base: 0n, limit: 0xffff },
		msrs: [],
	};
}

function registers(given: Partial<Record<GprName, bigint>>): Record<GprName, bigint> {
	const all = Object.fromEntries(GPR_NAMES.map((register) => [register, 0n])) as Record<GprName, bigint>;
	return { ...all, rsp: STACK_ADDR, ...given };
}

function flatSegments(code: number): Record<SegmentName, SegmentState> {
	const data: SegmentState = { selector: BOOT_DS, base: 0n, limit: FLAT_LIMIT, attributes: DATA_32 };
	return {
		es: data,
		cs: { selector: BOOT_CS, base: 0n, limit: FLAT_LIMIT, attributes: code },
		ss: data,
		ds: data,
		fs: data,
		gs: data,
		ldtr: { selector: 0, base: 0n, limit: 0xffff, attributes: 0 },
		tr: { selector: BOOT_TSS, base: 0n, limit: 0x67, attributes: TSS_BUSY },
	};
}

function writeGdt(memory: GuestMemory, code: number): { base: bigint; limit: number } {
	const descriptors = [0n, 0n, descriptor(code), descriptor(DATA_32), (BigInt(TSS_BUSY) << 32n) | 0x67n, 0n];
	const bytes = new Uint8Array(8 * descriptors.length);
	const view = new DataView(bytes.buffer);
	descriptors.forEach((value, i) => {
		view.setBigUint64(8 * i, value, true);
	});
	memory.write(GDT_ADDR, bytes);
	return { base: BigInt(GDT_ADDR), limit: bytes.length - 1 };
}

/** Base 0, limit 4 GiB. */
function descriptor(attributes: number): bigint {
	return (BigInt(attributes | 0xf_0000) << 32n) | 0xffffn;
}

/** One PML4, one page-directory-pointer table, four directories of 2 MiB pages. */
function writeIdentityMap(memory: GuestMemory): PhysAddr {
	const PRESENT_WRITABLE = 3;
	const LARGE = 0x80;
	const bytes = new Uint8Array(6 * 4096);
	const view = new DataView(bytes.buffer);
	const pointers = PAGE_TABLES_ADDR + 4096;
	view.setUint32(0, pointers | PRESENT_WRITABLE, true);
	for (let gib = 0; gib < 4; gib++) view.setUint32(4096 + 8 * gib, (pointers + 4096 * (gib + 1)) | PRESENT_WRITABLE, true);
	for (let page = 0; page < 4 * 512; page++) view.setUint32(2 * 4096 + 8 * page, page * 0x20_0000 + (PRESENT_WRITABLE | LARGE), true);
	memory.write(PAGE_TABLES_ADDR, bytes);
	return PAGE_TABLES_ADDR;
}
