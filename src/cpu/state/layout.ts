import type { CodeBits } from "../../x86/decode/insn.ts";

/**
 * Where a CPU's state lies in the machine's memory. One block of `CPU_BYTES` per CPU inside the engine's area; every
 * reading (interpreter, translator, TypeScript helpers, KVM loader) uses these names. Architectural fields are what a
 * snapshot keeps; runtime fields can always be rebuilt.
 */
export type FieldType = "i32" | "u64" | "v128";

interface FieldSpec {
	readonly type: FieldType;
	readonly count: number;
	readonly isArchitectural: boolean;
}

const arch = (type: FieldType, count = 1): FieldSpec => ({ type, count, isArchitectural: true });
const runtime = (type: FieldType, count = 1): FieldSpec => ({ type, count, isArchitectural: false });

/** The six segment registers in encoding order, then LDTR and TR. */
export const SEGMENT_COUNT = 8;
export const SEG_LDTR = 6;
export const SEG_TR = 7;

const FIELDS = {
	/** RAX…R15. A 32-bit guest's registers are kept zero-extended. */
	gpr: arch("u64", 16),
	/** Always 0: what an address without base or index reads. */
	zero: runtime("u64"),
	/** Offset in CS of the running block's first instruction; between slices, of the next instruction. */
	rip: arch("u64"),

	// Arithmetic flags, lazily (see flags.ts): operation and its inputs. `flags` holds the rest of RFLAGS exactly.
	ccOp: arch("i32"),
	/** RFLAGS without OF, SF, ZF, AF, PF, CF (those bits are 0 here); bit 1 is 1. */
	flags: arch("i32"),
	ccX: arch("u64"),
	ccY: arch("u64"),
	ccZ: arch("u64"),

	/** Segment registers and LDTR, TR: see SegmentField for the attribute encoding. */
	segBase: arch("u64", SEGMENT_COUNT),
	/** A segment base that is 0, for addresses without one; stands right behind segBase[7]. */
	segBaseZero: runtime("u64"),
	segSelector: arch("i32", SEGMENT_COUNT),
	/** Byte-granular limit (already scaled). */
	segLimit: arch("i32", SEGMENT_COUNT),
	/** Descriptor bits as in its high doubleword: type 11:8, S 12, DPL 14:13, P 15, AVL 20, L 21, D/B 22, G 23; 0 = unusable. */
	segAttr: arch("i32", SEGMENT_COUNT),
	/** Lowest and highest valid offset for reading and writing (empty range: low > high); derived from limit and attr. */
	segReadLow: runtime("i32", SEGMENT_COUNT),
	segReadHigh: runtime("i32", SEGMENT_COUNT),
	segWriteLow: runtime("i32", SEGMENT_COUNT),
	segWriteHigh: runtime("i32", SEGMENT_COUNT),

	gdtrBase: arch("u64"),
	idtrBase: arch("u64"),
	gdtrLimit: arch("i32"),
	idtrLimit: arch("i32"),

	cr0: arch("u64"),
	cr2: arch("u64"),
	cr3: arch("u64"),
	cr4: arch("u64"),
	xcr0: arch("u64"),
	dr: arch("u64", 8),
	efer: arch("u64"),
	star: arch("u64"),
	lstar: arch("u64"),
	cstar: arch("u64"),
	sfmask: arch("u64"),
	kernelGsBase: arch("u64"),
	sysenterCs: arch("u64"),
	sysenterEsp: arch("u64"),
	sysenterEip: arch("u64"),
	tscAux: arch("u64"),
	/** Added to guest nanoseconds to make the TSC. */
	tscOffset: arch("u64"),
	pat: arch("u64"),
	mtrrDefType: arch("u64"),
	mtrrFixed: arch("u64", 11),
	/** Base and mask, eight pairs. */
	mtrrVariable: arch("u64", 16),
	miscEnable: arch("u64"),
	debugCtl: arch("u64"),
	mcgStatus: arch("u64"),
	/** PAE's four page-directory-pointer registers, as the last load of CR3 found them in memory. */
	pdpte: arch("u64", 4),
	/** AMD's HWCR, SYSCFG and DE_CFG: kept as written. */
	hwcr: arch("u64"),
	syscfg: arch("u64"),
	deCfg: arch("u64"),

	/** x87 registers by physical number: mantissa at +0 (u64), sign and exponent at +8 (u16), 16 bytes each. */
	fpr: arch("v128", 8),
	fcw: arch("i32"),
	/** Status word with TOP = 0; `ftop` holds TOP. */
	fsw: arch("i32"),
	ftop: arch("i32"),
	/** Bit i set: physical register i is not empty. */
	ftagValid: arch("i32"),
	fop: arch("i32"),
	fipSelector: arch("i32"),
	fdpSelector: arch("i32"),
	fip: arch("u64"),
	fdp: arch("u64"),
	mxcsr: arch("i32"),
	xmm: arch("v128", 16),

	/** 0 running, 1 halted (HLT), 2 waiting for SIPI, 3 shut down. */
	activity: arch("i32"),
	/** 1: the next instruction runs before any interrupt (STI, MOV SS shadow); 2: also before debug traps. */
	interruptShadow: arch("i32"),
	/** NMI is blocked until IRET. */
	nmiBlocked: arch("i32"),
	nmiPending: arch("i32"),
	/** DR6 bits of debug traps met by the running instruction: #DB follows at the next boundary. */
	debugPending: arch("i32"),
	cpl: arch("i32"),

	/** MODE_* bits that decoded and translated code depends on. */
	modeKey: runtime("i32"),
	/** What tells jump cache entries of one mode, code segment and generation from those of others: `jumpTagOf`. */
	jumpTag: runtime("i32"),
	/** Count the times that the jump cache was emptied of supervisor and of user code; in place within `jumpTag`. */
	jumpGeneration: runtime("i32", 2),
	/** 1: supervisor code on pages that are not global has been fetched since the code TLB last forgot such pages. */
	hasLocalKernelCode: runtime("i32"),
	/** Entries of the code TLB are good when they bear one of these: pages that are not global, and that are. */
	codeLocalStamp: runtime("i32"),
	codeGlobalStamp: runtime("i32"),
	/** Level of the INTR pin. */
	intrLine: runtime("i32"),
	/** Instructions left in this slice; a block whose count exceeds it is not entered. */
	budget: runtime("i32"),
	/** What was taken from `budget` to force an exit (see `requestExit`). */
	budgetTaken: runtime("i32"),
	/** The decoded record that was running when a handler gave up. */
	exitRecord: runtime("i32"),
	/** The translated region that gave up (its slot), at which of its sites; rip is that of its entry. */
	exitRegion: runtime("i32"),
	exitSite: runtime("i32"),
	faultVector: runtime("i32"),
	/** -1: the vector pushes none. */
	faultErrorCode: runtime("i32"),
	/** Absolute offset of the TLB in force (kernel, kernel with AC, user). */
	tlbBase: runtime("i32"),
	/** Which page walks generated code may do itself: a WALK kind and its flags; 0: none. */
	walkKind: runtime("i32"),
	/** End of the RAM below 4 GiB. */
	lowRamEnd: runtime("i32"),
	/** Entries of the two TLB journals. */
	localCount: runtime("i32"),
	globalCount: runtime("i32"),
	/** Arguments and results of helpers that do not fit an i32. */
	arg0: runtime("u64"),
	arg1: runtime("u64"),
	arg2: runtime("u64"),
	arg3: runtime("u64"),
	/** Where slow loads leave data and slow stores find it; 64 bytes so that FXSAVE-sized pieces pass. */
	scratch: runtime("v128", 4),
	scratchVector: runtime("v128", 4),
	/** An x87 environment or state on its way to or from memory (FNSAVE: 108 bytes). */
	x87Image: runtime("v128", 7),
	/** Where the x87's transcendental functions keep the sum of a series. */
	x87Fixed: runtime("v128"),
	/** What the TLB has for the page that an access by the stack pointer has just been made to: write tag and addend. */
	stackTag: runtime("u64"),
	stackAddend: runtime("i32"),
	/** Where `interruptShadow` = 1 holds: once rip is elsewhere, the instruction behind STI has run. */
	shadowRip: runtime("u64"),
} as const satisfies Record<string, FieldSpec>;

export type FieldName = keyof typeof FIELDS;

const ELEMENT_BYTES: Record<FieldType, number> = { i32: 4, u64: 8, v128: 16 };

export interface Field extends FieldSpec {
	readonly name: FieldName;
	/** From the start of the CPU's block. */
	readonly offset: number;
}

function place(): { fields: Record<FieldName, Field>; sizeBytes: number } {
	const fields = {} as Record<FieldName, Field>;
	let offset = 0;
	for (const [name, spec] of Object.entries(FIELDS) as [FieldName, FieldSpec][]) {
		const elementBytes = ELEMENT_BYTES[spec.type];
		offset = Math.ceil(offset / elementBytes) * elementBytes;
		fields[name] = { ...spec, name, offset };
		offset += elementBytes * spec.count;
	}
	return { fields, sizeBytes: offset };
}

const placed = place();

/** Every field by name, with its offset within a CPU's block. */
export const FIELD: Readonly<Record<FieldName, Field>> = placed.fields;

/** Offset of `name[index]` from the start of the CPU's block. */
export function at(name: FieldName, index = 0): number {
	return FIELD[name].offset + index * ELEMENT_BYTES[FIELD[name].type];
}

// Beside the fields, each CPU's block holds its TLBs and jump cache.

/** A TLB entry: see TLB_ENTRY. Three TLBs of this many: kernel, kernel with EFLAGS.AC, user. */
export const TLB_ENTRIES = 1024;
export const TLB_ENTRY_BYTES = 32;
export const TLB_BYTES = TLB_ENTRIES * TLB_ENTRY_BYTES;
/**
 * Offsets in an entry. Tags are linear page addresses (bits 11:0 zero), or -1. `addend` + low 32 bits of a linear address
 * = offset in the memory. A write tag stands only when a plain store may go ahead: page writable, dirty (in its
 * translation and for snapshots), RAM, no code on it.
 */
export const TLB_ENTRY = { readTag: 0, writeTag: 8, addend: 16, isGlobal: 20, physPage: 24, notes: 28 } as const;
/** An entry's notes: size of its mapping (log2), and which journals list the entry. */
export const TLB_NOTE = { shiftMask: 0x3f, inLocal: 0x40, inGlobal: 0x80 } as const;

/**
 * Kinds of page walk that generated code knows (`walkKind`), and what it must know besides: SMAP and global pages are on, supervisor
 * writes ignore protection (CR0.WP = 0), XD is reserved;
 * supervisor code must not lie on user pages (SMEP).
 */
export const WALK = {
	none: 0,
	off: 1,
	legacy: 2,
	pae: 3,
	fourLevel: 4,
	kindMask: 7,
	smap: 8,
	global: 16,
	noProtect: 32,
	noXd: 64,
	smep: 128,
} as const;

/** The jump cache: offset in CS and mode → decoded record or translated region, at a hash of the offset. */
export const JUMP_ENTRIES = 32768;
export const JUMP_ENTRY_BYTES = 16;
export const JUMP_BYTES = JUMP_ENTRIES * JUMP_ENTRY_BYTES;
/** Offset in CS (64 bits), `jumpTag`, and the slot of a region or the head record of a block to be interpreted: no slot is as large as `DECODED`. */
export const JUMP_ENTRY = { rip: 0, tag: 8, code: 12 } as const;

/** 2³² divided by the golden ratio: the high bits of the product with it are a hash. */
export const GOLDEN_RATIO = 0x9e37_79b1 | 0;

export const FIELDS_BYTES = 8192;
export const TLB_KERNEL = FIELDS_BYTES;
export const TLB_KERNEL_AC = TLB_KERNEL + TLB_BYTES;
export const TLB_USER = TLB_KERNEL_AC + TLB_BYTES;
/**
 * Two journals of TLB entries (as word numbers within the block) filled since the last flush, for pages that are not global and
 * that are: a flush costs what has been used and not what could have been.
 */
export const TLB_JOURNAL_BYTES = 3 * TLB_ENTRIES * 4;
export const TLB_LOCAL = TLB_USER + TLB_BYTES;
export const TLB_GLOBAL = TLB_LOCAL + TLB_JOURNAL_BYTES;
/** One byte per (hashed) 2 MiB and 1 GiB area: it may have entries made from a large page. */
export const TLB_LARGE_AREAS = TLB_GLOBAL + TLB_JOURNAL_BYTES;
export const TLB_HUGE_AREAS = TLB_LARGE_AREAS + 1024;
/** One byte per TLB: it has entries above 4 GiB. */
export const TLB_HAS_HIGH = TLB_HUGE_AREAS + 64;
export const JUMP_CACHE = TLB_LARGE_AREAS + 8192;

/** The code TLB: linear page → physical page that code is fetched from, by page number. */
export const CODE_TLB_ENTRIES = 512;
export const CODE_TLB_ENTRY_BYTES = 16;
/** The tag is the page's linear address, plus 1 at CPL 3; the page is a number (address >> 12). See `codeLocalStamp`. */
export const CODE_TLB_ENTRY = { tag: 0, physPage: 8, stamp: 12 } as const;
export const CODE_TLB = JUMP_CACHE + JUMP_BYTES;
/**
 * Where code may have been fetched from: the stamp of the last fetch by hashed linear page, one table for pages that are not global
 * and one for those that are; and a flag for each hashed 2 MiB and 1 GiB area fetched from through a large page.
 */
export const CODE_SEEN_ENTRIES = 2048;
export const CODE_SEEN_LOCAL = CODE_TLB + CODE_TLB_ENTRIES * CODE_TLB_ENTRY_BYTES;
export const CODE_SEEN_GLOBAL = CODE_SEEN_LOCAL + CODE_SEEN_ENTRIES * 4;
export const CODE_LARGE_AREAS = CODE_SEEN_GLOBAL + CODE_SEEN_ENTRIES * 4;
export const CODE_HUGE_AREAS = CODE_LARGE_AREAS + 1024;
/** Whole pages. */
export const CPU_BYTES = Math.ceil((CODE_HUGE_AREAS + 1024) / 4096) * 4096;

if (placed.sizeBytes > FIELDS_BYTES) throw new Error(`CPU fields take ${placed.sizeBytes} bytes, more than ${FIELDS_BYTES}`);

/** Bits of `modeKey`: what the same bytes may mean differently under. */
export const MODE = {
	code16: 0,
	code32: 1,
	code64: 2,
	codeMask: 3,
	/** SS.B = 1 or long mode: pushes move ESP/RSP, not SP. */
	stack32: 4,
	/** ES, CS, SS, DS have base 0 and no limit to check (always so in 64-bit mode). */
	flat: 8,
	/** CPL 3: which linear addresses may be fetched differs. */
	user: 16,
	/** One instruction per block: single-step, interrupt shadow, the last instructions of a slice. */
	step: 32,
} as const;

/** Bits of the code that runs in a mode; 16 counts for real mode too. */
export const codeBitsOf = (modeKey: number): CodeBits => CODE_BITS[modeKey & MODE.codeMask] as CodeBits;
const CODE_BITS: readonly CodeBits[] = [16, 32, 64];

/** Offsets in CS are linear addresses: the segment has no base and no limit to check. */
export function isLinearMode(modeKey: number): boolean {
	return (modeKey & MODE.flat) !== 0 && (modeKey & MODE.codeMask) !== MODE.code16;
}

/** Code segments (with a base or a limit) that `jumpTag` can tell apart, 0 left out. */
export const JUMP_SEGMENTS = 1023;
/** `jumpGeneration` counts in these steps. */
export const JUMP_GENERATION = 1 << 16;

/** @param segment number of the code segment where its base and limit matter, else 0 */
export function jumpTagOf(modeKey: number, segment: number, generation: number): number {
	return (modeKey & ~MODE.step) | (segment << 6) | generation;
}

/** In `faultVector`: no fault, but the instruction must be run by single step (it writes the code that runs it, say). */
export const SINGLE_STEP = -1;

/** What a handler or region returns to the run loop. */
export const EXIT = {
	/** No code known for `rip` in this mode. */
	lookup: 0,
	/** `faultVector` (and error code) at the instruction given by `exitRecord`. */
	fault: 1,
	/** The slice is used up, or somebody asked for attention. `rip` is exact. */
	budget: 2,
	/** State changed so that the run loop must look again (mode, HLT, interrupt flag); `rip` is exact. */
	resync: 3,
	/** The instruction at exitRecord must be run by single step (it writes the code that runs it, say). */
	single: 4,
	/** A block became hot: `exitRecord` is its head; `rip` is exact. */
	hot: 5,
	/** The slice ended inside a repeated instruction, the one at exitRecord; it goes on from its registers. */
	interrupted: 6,
	/** The record at exitRecord has gone stale; the instruction has not run. */
	stale: 7,
	/** A translated region leaves in the middle: its site tells why and where. */
	region: 8,
} as const;
