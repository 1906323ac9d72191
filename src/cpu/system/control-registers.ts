import type { CpuContext } from "../context.ts";
import { CR0, CR4, EFER, PHYS_ADDR_BITS } from "../mmu/access.ts";
import { EXIT } from "../state/layout.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { ATTR, isLongMode, isProtected, SEG, updateMode } from "./mode.ts";
import { advance, deriveAllRanges } from "./segments.ts";
import { ARG0, CPL, CR0_WORD, CR2_WORD, CR3_WORD, CR4_WORD, EFER_WORD, RAX, RCX, RDX, SEG_ATTR, setPair } from "./words.ts";

/** CR4 bits of what CPUID offers; any other is #GP. */
const CR4_MASK = Object.values(CR4).reduce((mask, bit) => mask | bit, 0);
/** Changes of these make every translation void (Intel SDM Vol. 3A §4.10.4.1). */
const CR4_FLUSH = CR4.PSE | CR4.PAE | CR4.PGE | CR4.PCIDE | CR4.SMEP | CR4.SMAP;
/** Changes of these reload the PDPTEs under PAE paging (§4.4.1). */
const CR4_RELOAD = CR4.PSE | CR4.PAE | CR4.PGE | CR4.SMEP;
const CR0_KNOWN = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;
/** Bits 63:32 of CR3 that must be 0; bit 63 is PCID's "do not flush". */
const CR3_RESERVED_HIGH = ~((1 << (PHYS_ADDR_BITS - 32)) - 1);
const NO_FLUSH_HIGH = 0x8000_0000 | 0;
/** P, PWT, PCD, the ignored 11:9 and the address; the rest of a present PDPTE must be 0 (§4.4.1, table 4-8). */
const PDPTE_RESERVED_LOW = 0x1e6;
const XCR0_X87 = 1;
const XCR0_SSE = 2;
/** What XSAVE manages here. */
export const XCR0_MASK = XCR0_X87 | XCR0_SSE;

const isPaePaging = (cr0: number, cr4: number, efer: number) => (cr0 & CR0.PG) !== 0 && (cr4 & CR4.PAE) !== 0 && (efer & EFER.LMA) === 0;

/** Loads the four PDPTEs if PAE paging is in use; #GP(0), with nothing changed, when one has reserved bits. */
export function loadPageDirectoryPointers(cpu: CpuContext, cr3Low: number): void {
	const i32 = cpu.state.i32;
	if (isPaePaging(i32[CR0_WORD] as number, i32[CR4_WORD] as number, i32[EFER_WORD] as number)) readPointers(cpu, cr3Low);
}

function readPointers(cpu: CpuContext, cr3Low: number): void {
	const table = (cr3Low & ~31) >>> 0;
	const pointers: [number, number][] = [];
	for (let n = 0; n < 4; n++) {
		const at = cpu.mmu.walker.maskA20(table + 8 * n);
		const low = cpu.memory.readPhys(at, 4) | 0;
		const high = cpu.memory.readPhys(at + 4, 4) | 0;
		if ((low & 1) !== 0 && ((low & PDPTE_RESERVED_LOW) !== 0 || (high & CR3_RESERVED_HIGH) !== 0)) raise(cpu, VECTOR.GP, 0);
		pointers.push([low, high]);
	}
	pointers.forEach(([low, high], n) => {
		cpu.state.set64("pdpte", (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0), n);
	});
}

/** MOV to CR0 and LMSW (Intel SDM Vol. 2B, "MOV—Move to/from Control Registers"; Vol. 3A §9.8.5 for IA-32e mode). */
export function writeCr0(cpu: CpuContext, low: number, high: number): void {
	const i32 = cpu.state.i32;
	const before = i32[CR0_WORD] as number;
	const next = (low & CR0_KNOWN) | CR0.ET;
	const cr4 = i32[CR4_WORD] as number;
	const efer = i32[EFER_WORD] as number;
	if (high !== 0) raise(cpu, VECTOR.GP, 0);
	if ((next & CR0.PG) !== 0 && (next & CR0.PE) === 0) raise(cpu, VECTOR.GP, 0);
	if ((next & CR0.NW) !== 0 && (next & CR0.CD) === 0) raise(cpu, VECTOR.GP, 0);
	const changed = before ^ next;
	let nextEfer = efer;
	if ((changed & CR0.PG) !== 0) {
		const csIsLong = ((i32[SEG_ATTR + SEG.CS] as number) & ATTR.L) !== 0;
		if ((next & CR0.PG) !== 0 && (efer & EFER.LME) !== 0) {
			const trType = ((i32[SEG_ATTR + SEG.TR] as number) & ATTR.code) !== 0;
			if ((cr4 & CR4.PAE) === 0 || csIsLong || !trType) raise(cpu, VECTOR.GP, 0);
			nextEfer |= EFER.LMA;
		} else if ((next & CR0.PG) === 0) {
			if ((cr4 & CR4.PCIDE) !== 0 || (isLongMode(cpu) && csIsLong)) raise(cpu, VECTOR.GP, 0);
			nextEfer &= ~EFER.LMA;
		}
	}
	if ((changed & (CR0.PG | CR0.CD | CR0.NW)) !== 0 && isPaePaging(next, cr4, nextEfer)) readPointers(cpu, i32[CR3_WORD] as number);
	i32[CR0_WORD] = next;
	i32[EFER_WORD] = nextEfer;
	if ((changed & (CR0.PG | CR0.PE | CR0.WP)) !== 0) cpu.mmu.flush(false);
	if ((changed & CR0.PE) !== 0) {
		if ((next & CR0.PE) === 0) i32[CPL] = 0;
		deriveAllRanges(cpu);
	}
	updateMode(cpu);
}

function writeCr3(cpu: CpuContext, low: number, high: number): void {
	const i32 = cpu.state.i32;
	const hasPcid = ((i32[CR4_WORD] as number) & CR4.PCIDE) !== 0;
	const keep = hasPcid ? high & ~NO_FLUSH_HIGH : high;
	if (isLongMode(cpu)) {
		if ((keep & CR3_RESERVED_HIGH) !== 0) raise(cpu, VECTOR.GP, 0);
	} else loadPageDirectoryPointers(cpu, low);
	setPair(i32, CR3_WORD, low, isLongMode(cpu) ? keep : 0);
	// TLB entries carry no PCID, so a switch always forgets what is not global; "do not flush" only permits to keep (§4.10.4.1).
	cpu.mmu.flush(((i32[CR4_WORD] as number) & CR4.PGE) !== 0);
}

function writeCr4(cpu: CpuContext, low: number, high: number): void {
	const i32 = cpu.state.i32;
	const before = i32[CR4_WORD] as number;
	if (high !== 0 || (low & ~CR4_MASK) !== 0) raise(cpu, VECTOR.GP, 0);
	const changed = before ^ low;
	if (isLongMode(cpu) && (low & CR4.PAE) === 0) raise(cpu, VECTOR.GP, 0);
	if ((changed & low & CR4.PCIDE) !== 0 && (!isLongMode(cpu) || ((i32[CR3_WORD] as number) & 0xfff) !== 0)) raise(cpu, VECTOR.GP, 0);
	if ((changed & CR4_RELOAD) !== 0 && isPaePaging(i32[CR0_WORD] as number, low, i32[EFER_WORD] as number))
		readPointers(cpu, i32[CR3_WORD] as number);
	i32[CR4_WORD] = low;
	if ((changed & CR4_FLUSH) !== 0) cpu.mmu.flush(false);
	updateMode(cpu);
}

/** XSETBV with ECX = 0 (Intel SDM Vol. 2D). */
function writeXcr0(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	if (((i32[CR4_WORD] as number) & CR4.OSXSAVE) === 0) raise(cpu, VECTOR.UD);
	if (i32[CPL] !== 0 || i32[RCX] !== 0) raise(cpu, VECTOR.GP, 0);
	const low = i32[RAX] as number;
	if (i32[RDX] !== 0 || (low & XCR0_X87) === 0 || (low & ~XCR0_MASK) !== 0) raise(cpu, VECTOR.GP, 0);
	cpu.state.setLow("xcr0", low);
}

function requirePrivilege(cpu: CpuContext): void {
	if (cpu.state.i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
}

export const controlRegisterHelpers = {
	/** System. a: length, b: number 0, 2, 3, 4, 8; arg0: value. MOV to CR. */
	writeCr: guarded((cpu, length, number) => {
		requirePrivilege(cpu);
		const i32 = cpu.state.i32;
		const low = i32[ARG0] as number;
		const high = i32[ARG0 + 1] as number;
		switch (number) {
			case 0:
				writeCr0(cpu, low, high);
				break;
			case 2:
				setPair(i32, CR2_WORD, low, high);
				break;
			case 3:
				writeCr3(cpu, low, high);
				break;
			case 4:
				writeCr4(cpu, low, high);
				break;
			case 8:
				if (high !== 0 || (low & ~15) !== 0) raise(cpu, VECTOR.GP, 0);
				cpu.board.writeTaskPriority(low);
				advance(cpu, length);
				return EXIT.resync;
			default:
				raise(cpu, VECTOR.UD);
		}
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** Query. a: number; result in arg0. MOV from CR. */
	readCr: guarded((cpu, number) => {
		requirePrivilege(cpu);
		const state = cpu.state;
		if (number === 0) state.set64("arg0", state.get64("cr0"));
		else if (number === 2) state.set64("arg0", state.get64("cr2"));
		else if (number === 3) state.set64("arg0", state.get64("cr3"));
		else if (number === 4) state.set64("arg0", state.get64("cr4"));
		else if (number === 8) state.setLow("arg0", cpu.board.readTaskPriority());
		else raise(cpu, VECTOR.UD);
		return 0;
	}),
	/** System. a: length. */
	clts: guarded((cpu, length) => {
		requirePrivilege(cpu);
		cpu.state.i32[CR0_WORD] = (cpu.state.i32[CR0_WORD] as number) & ~CR0.TS;
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** System. a: length, b: source word. LMSW can set PE and not clear it. */
	lmsw: guarded((cpu, length, word) => {
		requirePrivilege(cpu);
		const cr0 = cpu.state.i32[CR0_WORD] as number;
		const mask = CR0.MP | CR0.EM | CR0.TS;
		writeCr0(cpu, (cr0 & ~mask) | (word & (mask | CR0.PE)), 0);
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** Query; CR0 in arg0. */
	smsw: guarded((cpu) => {
		checkUmip(cpu);
		cpu.state.set64("arg0", cpu.state.get64("cr0"));
		return 0;
	}),
	/** System. a: length; ECX, EDX:EAX from the registers. */
	xsetbv: guarded((cpu, length) => {
		writeXcr0(cpu);
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** Query; ECX in arg0, EDX:EAX in arg0. */
	xgetbv: guarded((cpu) => {
		const state = cpu.state;
		if (((state.i32[CR4_WORD] as number) & CR4.OSXSAVE) === 0) raise(cpu, VECTOR.UD);
		const index = state.i32[ARG0] as number;
		// XCR1: the components in use (XINUSE); both always count as such.
		if (index !== 0 && index !== 1) raise(cpu, VECTOR.GP, 0);
		state.set64("arg0", state.get64("xcr0"));
		return 0;
	}),
} as const;

/** SGDT, SIDT, SLDT, STR, SMSW are #GP(0) outside CPL 0 when CR4.UMIP is set. */
export function checkUmip(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	if (((i32[CR4_WORD] as number) & CR4.UMIP) !== 0 && i32[CPL] !== 0 && isProtected(cpu)) raise(cpu, VECTOR.GP, 0);
}
