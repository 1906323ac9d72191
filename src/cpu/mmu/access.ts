/**
 * How memory is accessed, as bits. The low ones stand where a page fault's error code has them (Intel SDM Vol. 3A §4.7,
 * "Page-Fault Exceptions"), so that a walk can pass them on.
 */
export const ACCESS = {
	read: 0,
	write: 2,
	user: 4,
	fetch: 16,
	/** An explicit supervisor access with EFLAGS.AC = 1: SMAP lets it through (§4.6.1). */
	alignmentFlag: 32,
} as const;

/** Bits of a page fault's error code. */
export const PF = { P: 1, W: 2, U: 4, RSVD: 8, I: 16 } as const;

/** Vectors that the memory side raises (Intel SDM Vol. 3A, table 6-1). */
export const VECTOR_SS = 12;
export const VECTOR_GP = 13;
export const VECTOR_PF = 14;
export const VECTOR_AC = 17;

export const CR0 = {
	PE: 1,
	MP: 2,
	EM: 4,
	TS: 8,
	ET: 16,
	NE: 32,
	WP: 0x1_0000,
	AM: 0x4_0000,
	NW: 0x2000_0000,
	CD: 0x4000_0000,
	PG: 0x8000_0000,
} as const;

export const CR4 = {
	VME: 1 << 0,
	PVI: 1 << 1,
	TSD: 1 << 2,
	DE: 1 << 3,
	PSE: 1 << 4,
	PAE: 1 << 5,
	MCE: 1 << 6,
	PGE: 1 << 7,
	PCE: 1 << 8,
	OSFXSR: 1 << 9,
	OSXMMEXCPT: 1 << 10,
	UMIP: 1 << 11,
	FSGSBASE: 1 << 16,
	PCIDE: 1 << 17,
	OSXSAVE: 1 << 18,
	SMEP: 1 << 20,
	SMAP: 1 << 21,
} as const;

export const EFER = { SCE: 1 << 0, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11, AIBRSE: 1 << 21 } as const;

/** Width of physical addresses, as CPUID leaf 0x80000008 says it. */
export const PHYS_ADDR_BITS = 40;
/** Bits 63:32 of a paging-structure entry above the physical address, up to bit 51. */
export const RESERVED_HIGH = ((1 << (52 - 32)) - 1) & ~((1 << (PHYS_ADDR_BITS - 32)) - 1);
