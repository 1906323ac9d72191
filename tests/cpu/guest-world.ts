import { CODE_ADDRESS, CODE_BYTES, CODE_FILL, DATA_ADDRESS, DATA_BYTES, LDT, type LdtEntry, STACK_ADDRESS, STACK_BYTES } from "./format.ts";

/**
 * The tables under which Linux runs a user program, as far as one can see them from inside: four-level paging with the areas
 * where they belong, Linux's GDT, the runner's LDT, and an IDT whose every gate leads to a HLT of its own.
 */
export const RAM_BYTES = 8 * 1024 * 1024;

const PML4 = 0x10_0000;
const PDPT_LOW = 0x10_1000;
const PD_LOW = 0x10_2000;
const FIRST_PT = 0x10_3000;
const PDPT_HIGH = 0x10_6000;
const PD_HIGH = 0x10_7000;
/** Kernel memory: 2 MiB, for the supervisor only. */
const KERNEL_PHYS = 0x20_0000;
const KERNEL_LINEAR = 0xffff_ffff_8000_0000n;
const GDT_OFFSET = 0;
const LDT_OFFSET = 0x200;
const IDT_OFFSET = 0x1000;
const TSS_OFFSET = 0x2000;
const STUBS_OFFSET = 0x3000;
const STUB_BYTES = 16;
export const KERNEL_STACK_TOP = KERNEL_LINEAR + 0xf000n;

export const CODE_PHYS = 0x30_0000;
export const DATA_PHYS = 0x31_0000;
export const STACK_PHYS = 0x32_0000;
/** Copies of the code area, so that the code of many cases can stand at once. */
export const CODE_COPIES = 16;
export const codeCopyPhys = (copy: number): number => (copy === 0 ? CODE_PHYS : 0x40_0000 + copy * CODE_BYTES);

export const CR3 = BigInt(PML4);
export const GDT = { base: KERNEL_LINEAR + BigInt(GDT_OFFSET), limit: 0x7f };
export const IDT = { base: KERNEL_LINEAR + BigInt(IDT_OFFSET), limit: 0xfff };
export const TSS = { selector: 0x40, base: KERNEL_LINEAR + BigInt(TSS_OFFSET), limit: 0x67 };
export const LDT_REGISTER = { selector: 0x50, base: KERNEL_LINEAR + BigInt(LDT_OFFSET), limit: LDT.length * 8 - 1 };
export const KERNEL_CS = 0x10;
export const KERNEL_SS = 0x18;

const PTE_P = 1n;
const PTE_W = 2n;
const PTE_U = 4n;
const PTE_ACCESSED_DIRTY = 0x60n;
const PTE_PS = 0x80n;
const PTE_NX = 1n << 63n;

/** Vector of the exception whose stub has stopped at `rip` (behind its HLT), or -1. */
export function vectorOfStub(rip: bigint): number {
	const offset = Number(BigInt.asUintN(64, rip - KERNEL_LINEAR)) - STUBS_OFFSET - 1;
	return offset >= 0 && offset < 256 * STUB_BYTES && offset % STUB_BYTES === 0 ? offset / STUB_BYTES : -1;
}

/** Where a kernel linear address lies in physical memory. */
export function kernelPhys(linear: bigint): number {
	return Number(linear - KERNEL_LINEAR) + KERNEL_PHYS;
}

export type PhysWriter = (physAddr: number, bytes: Uint8Array) => void;

/** Lays out everything that stays the same for all cases. */
export function buildWorld(write: PhysWriter): void {
	writePageTables(write);
	write(KERNEL_PHYS + GDT_OFFSET, quadwords(gdt()));
	write(KERNEL_PHYS + LDT_OFFSET, quadwords(LDT.map(ldtDescriptor)));
	write(KERNEL_PHYS + IDT_OFFSET, quadwords(idt()));
	const tss = new Uint8Array(0x68);
	new DataView(tss.buffer).setBigUint64(4, KERNEL_STACK_TOP, true);
	tss[0x66] = 0x68; // no I/O permission bitmap
	write(KERNEL_PHYS + TSS_OFFSET, tss);
	const stubs = new Uint8Array(256 * STUB_BYTES).fill(CODE_FILL);
	for (let vector = 0; vector < 256; vector++) stubs[vector * STUB_BYTES] = 0xf4;
	write(KERNEL_PHYS + STUBS_OFFSET, stubs);
}

function quadwords(values: readonly bigint[]): Uint8Array {
	return new Uint8Array(BigUint64Array.from(values).buffer);
}

function writePageTables(write: PhysWriter): void {
	const entry = (table: number, index: number, value: bigint): void => write(table + index * 8, quadwords([value]));
	const link = PTE_P | PTE_W | PTE_U | PTE_ACCESSED_DIRTY;
	entry(PML4, 0, BigInt(PDPT_LOW) | link);
	entry(PDPT_LOW, 0, BigInt(PD_LOW) | link);
	const areas = [
		{ linear: CODE_ADDRESS, bytes: CODE_BYTES, phys: CODE_PHYS, isCode: true },
		{ linear: DATA_ADDRESS, bytes: DATA_BYTES, phys: DATA_PHYS, isCode: false },
		{ linear: STACK_ADDRESS, bytes: STACK_BYTES, phys: STACK_PHYS, isCode: false },
	];
	for (const [index, { linear, bytes, phys, isCode }] of areas.entries()) {
		const table = FIRST_PT + index * 0x1000;
		entry(PD_LOW, linear >>> 21, BigInt(table) | link);
		for (let page = 0; page < bytes; page += 0x1000)
			entry(table, ((linear + page) >>> 12) & 511, BigInt(phys + page) | link | (isCode ? 0n : PTE_NX));
	}
	entry(PML4, 511, BigInt(PDPT_HIGH) | link);
	entry(PDPT_HIGH, 510, BigInt(PD_HIGH) | link);
	entry(PD_HIGH, 0, BigInt(KERNEL_PHYS) | PTE_P | PTE_W | PTE_ACCESSED_DIRTY | PTE_PS);
}

/** Maps the code area to another place of physical memory. Cached translations are the caller's affair. */
export function mapCode(write: PhysWriter, codePhys: number): void {
	const entries: bigint[] = [];
	for (let page = 0; page < CODE_BYTES; page += 0x1000) entries.push(BigInt(codePhys + page) | PTE_P | PTE_W | PTE_U | PTE_ACCESSED_DIRTY);
	write(FIRST_PT + ((CODE_ADDRESS >>> 12) & 511) * 8, quadwords(entries));
}

/** Linux's, in its order: kernel code (32-bit, 64-bit) and data, user code and data, TSS, LDT, TLS, the CPU's number. */
function gdt(): bigint[] {
	const [tssLow, tssHigh] = systemDescriptor(TSS.base, TSS.limit, 0x8b);
	const [ldtLow, ldtHigh] = systemDescriptor(LDT_REGISTER.base, LDT_REGISTER.limit, 0x82);
	return [
		0n,
		0x00cf_9b00_0000_ffffn,
		0x00af_9b00_0000_ffffn,
		0x00cf_9300_0000_ffffn,
		0x00cf_fb00_0000_ffffn,
		0x00cf_f300_0000_ffffn,
		0x00af_fb00_0000_ffffn,
		0n,
		tssLow,
		tssHigh,
		ldtLow,
		ldtHigh,
		0n,
		0n,
		0n,
		0x0040_f500_0000_0000n,
	];
}

function systemDescriptor(base: bigint, limit: number, access: number): [bigint, bigint] {
	const low = (BigInt(limit) & 0xffffn) | ((base & 0xff_ffffn) << 16n) | (BigInt(access) << 40n) | (((base >> 24n) & 0xffn) << 56n);
	return [low, base >> 32n];
}

const DESCRIPTOR_AVL = 1n << 52n;
const DESCRIPTOR_DB = 1n << 54n;

/** As Linux builds it: accessed, privilege 3, AVL for "useable". */
export function ldtDescriptor(entry: LdtEntry): bigint {
	let type = 1n;
	if (!entry.isReadOnly) type |= 2n;
	if (entry.kind === "expand-down") type |= 4n;
	if (entry.kind === "code") type |= 8n;
	const access = type | 0x10n | 0x60n | (entry.isPresent ? 0x80n : 0n);
	const base = BigInt(entry.base);
	return (
		BigInt(entry.limit & 0xffff) |
		((base & 0xff_ffffn) << 16n) |
		(access << 40n) |
		(BigInt(entry.limit >> 16) << 48n) |
		DESCRIPTOR_AVL |
		(entry.is32 ? DESCRIPTOR_DB : 0n) |
		((base >> 24n) << 56n)
	);
}

/** Interrupt gates; user mode may use those of INT3 and INTO. */
function idt(): bigint[] {
	const gates: bigint[] = [];
	for (let vector = 0; vector < 256; vector++) {
		const offset = KERNEL_LINEAR + BigInt(STUBS_OFFSET + vector * STUB_BYTES);
		const access = vector === 3 || vector === 4 ? 0xeen : 0x8en;
		gates.push((offset & 0xffffn) | (BigInt(KERNEL_CS) << 16n) | (access << 40n) | (((offset >> 16n) & 0xffffn) << 48n), offset >> 32n);
	}
	return gates;
}

/** Vectors that push an error code (Intel SDM Vol. 3A §6.15). */
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17, 21]);

export const hasErrorCode = (vector: number): boolean => WITH_ERROR_CODE.has(vector);
