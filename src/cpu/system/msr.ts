import type { CpuContext } from "../context.ts";
import { EFER, PHYS_ADDR_BITS } from "../mmu/access.ts";
import type { FieldName } from "../state/layout.ts";
import { EXIT } from "../state/layout.ts";
import { timeStamp, writeTimeStamp } from "./clock.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { updateMode } from "./mode.ts";
import { advance } from "./segments.ts";
import { ARG0, CPL, CR0_WORD, EFER_WORD } from "./words.ts";

/** Numbers: Intel SDM Vol. 4, table 2-2, and AMD APM Vol. 2, appendix A. */
export const MSR = {
	TSC: 0x10,
	APIC_BASE: 0x1b,
	PATCH_LEVEL: 0x8b,
	MTRR_CAP: 0xfe,
	SYSENTER_CS: 0x174,
	SYSENTER_ESP: 0x175,
	SYSENTER_EIP: 0x176,
	MCG_CAP: 0x179,
	MCG_STATUS: 0x17a,
	MISC_ENABLE: 0x1a0,
	DEBUG_CTL: 0x1d9,
	MTRR_BASE0: 0x200,
	MTRR_FIX64K: 0x250,
	MTRR_FIX16K: 0x258,
	MTRR_FIX4K: 0x268,
	PAT: 0x277,
	MTRR_DEF_TYPE: 0x2ff,
	TSC_DEADLINE: 0x6e0,
	X2APIC_FIRST: 0x800,
	X2APIC_LAST: 0x8ff,
	EFER: 0xc000_0080,
	STAR: 0xc000_0081,
	LSTAR: 0xc000_0082,
	CSTAR: 0xc000_0083,
	SFMASK: 0xc000_0084,
	FS_BASE: 0xc000_0100,
	GS_BASE: 0xc000_0101,
	KERNEL_GS_BASE: 0xc000_0102,
	TSC_AUX: 0xc000_0103,
	SYSCFG: 0xc001_0010,
	HWCR: 0xc001_0015,
	NB_CFG: 0xc001_001f,
	DE_CFG: 0xc001_1029,
} as const;

/** Eight variable ranges, the fixed ones, write-combining (Intel SDM Vol. 3A §11.11.1). */
const MTRR_CAP = 0x508n;
/** Any non-zero revision: system software prints it. */
const PATCH_LEVEL = 0x0830_1000n;
const EFER_WRITABLE = EFER.SCE | EFER.LME | EFER.NXE | EFER.AIBRSE;
const LAST_BRANCH_FIRST = 0x1db;
const LAST_BRANCH_LAST = 0x1de;
const LOW32 = 0xffff_ffffn;
const PHYS_RESERVED = ~((1n << BigInt(PHYS_ADDR_BITS)) - 1n) & 0xffff_ffff_ffff_ffffn;

type Check = (value: bigint) => boolean;

const any: Check = () => true;
const canonical: Check = (value) => BigInt.asIntN(48, value) === BigInt.asIntN(64, value);
const low32: Check = (value) => value <= LOW32;
/** Uncacheable, write-combining, write-through, write-protected, write-back. */
const isMemoryType = (type: bigint) => type === 0n || type === 1n || (type >= 4n && type <= 6n);
const eachByte =
	(accepts: (type: bigint) => boolean): Check =>
	(value) => {
		for (let at = 0n; at < 64n; at += 8n) if (!accepts((value >> at) & 0xffn)) return false;
		return true;
	};
const variableMtrr: Check = (value) => (value & PHYS_RESERVED) === 0n;

interface Register {
	readonly field: FieldName;
	readonly index: number;
	readonly check: Check;
}

/** Registers that are only kept (and read by others): any value that passes the check. */
const kept = new Map<number, Register>();

function keep(msr: number, field: FieldName, check: Check = any, index = 0): void {
	kept.set(msr, { field, index, check });
}

keep(MSR.SYSENTER_CS, "sysenterCs");
keep(MSR.SYSENTER_ESP, "sysenterEsp", canonical);
keep(MSR.SYSENTER_EIP, "sysenterEip", canonical);
keep(MSR.MCG_STATUS, "mcgStatus");
keep(MSR.MISC_ENABLE, "miscEnable");
keep(MSR.DEBUG_CTL, "debugCtl", low32);
keep(
	MSR.PAT,
	"pat",
	eachByte((type) => isMemoryType(type) || type === 7n),
);
keep(MSR.MTRR_DEF_TYPE, "mtrrDefType", (value) => (value & ~0xcffn) === 0n && isMemoryType(value & 0xffn));
for (let n = 0; n < 8; n++) {
	keep(
		MSR.MTRR_BASE0 + 2 * n,
		"mtrrVariable",
		(value) => variableMtrr(value) && (value & 0xf00n) === 0n && isMemoryType(value & 0xffn),
		2 * n,
	);
	keep(MSR.MTRR_BASE0 + 2 * n + 1, "mtrrVariable", (value) => variableMtrr(value) && (value & 0x7ffn) === 0n, 2 * n + 1);
}
const fixedMtrrs = [MSR.MTRR_FIX64K, MSR.MTRR_FIX16K, MSR.MTRR_FIX16K + 1];
for (let n = 0; n < 8; n++) fixedMtrrs.push(MSR.MTRR_FIX4K + n);
for (const [n, msr] of fixedMtrrs.entries()) keep(msr, "mtrrFixed", eachByte(isMemoryType), n);
keep(MSR.STAR, "star");
keep(MSR.LSTAR, "lstar", canonical);
keep(MSR.CSTAR, "cstar", canonical);
keep(MSR.SFMASK, "sfmask", low32);
keep(MSR.FS_BASE, "segBase", canonical, 4);
keep(MSR.GS_BASE, "segBase", canonical, 5);
keep(MSR.KERNEL_GS_BASE, "kernelGsBase", canonical);
keep(MSR.TSC_AUX, "tscAux", low32);
keep(MSR.SYSCFG, "syscfg");
keep(MSR.HWCR, "hwcr");
keep(MSR.DE_CFG, "deCfg");

function isApicRegister(index: number): boolean {
	return index === MSR.APIC_BASE || index === MSR.TSC_DEADLINE || (index >= MSR.X2APIC_FIRST && index <= MSR.X2APIC_LAST);
}

/** The value of a model-specific register; undefined: there is none, RDMSR is #GP(0). */
export function readModelSpecific(cpu: CpuContext, index: number): bigint | undefined {
	const register = kept.get(index);
	if (register !== undefined) return cpu.state.get64(register.field, register.index);
	if (isApicRegister(index)) return cpu.board.readApicMsr(index);
	switch (index) {
		case MSR.TSC:
			return timeStamp(cpu);
		case MSR.PATCH_LEVEL:
			return PATCH_LEVEL;
		case MSR.MTRR_CAP:
			return MTRR_CAP;
		// No machine-check banks: nothing here breaks.
		case MSR.MCG_CAP:
			return 0n;
		case MSR.EFER:
			return cpu.state.get64("efer");
		// System software enables extended configuration cycles here, which this machine's bridge does without.
		case MSR.NB_CFG:
			return 0n;
		default:
			return index >= LAST_BRANCH_FIRST && index <= LAST_BRANCH_LAST ? 0n : undefined;
	}
}

/** False: no such register, or no such value: WRMSR is #GP(0). */
export function writeModelSpecific(cpu: CpuContext, index: number, value: bigint): boolean {
	const register = kept.get(index);
	if (register !== undefined) {
		if (!register.check(value)) return false;
		cpu.state.set64(register.field, value, register.index);
		return true;
	}
	if (isApicRegister(index)) return cpu.board.writeApicMsr(index, value);
	switch (index) {
		case MSR.TSC:
			writeTimeStamp(cpu, value);
			return true;
		case MSR.EFER:
			return writeEfer(cpu, value);
		case MSR.PATCH_LEVEL:
		case MSR.NB_CFG:
			return true;
		default:
			return false;
	}
}

/** LMA follows from LME and paging, and cannot be written; LME cannot change under paging (APM Vol. 2 §3.1.7). */
function writeEfer(cpu: CpuContext, value: bigint): boolean {
	const i32 = cpu.state.i32;
	const before = i32[EFER_WORD] as number;
	if ((value & ~BigInt(EFER_WRITABLE | EFER.LMA)) !== 0n) return false;
	const next = (Number(value) & EFER_WRITABLE) | (before & EFER.LMA);
	const isPaging = (i32[CR0_WORD] as number) < 0;
	if (isPaging && ((before ^ next) & EFER.LME) !== 0) return false;
	i32[EFER_WORD] = next;
	if (((before ^ next) & EFER.NXE) !== 0) cpu.mmu.flush(false);
	updateMode(cpu);
	return true;
}

export const msrHelpers = {
	/** Query. a: register number; value in arg0. */
	rdmsr: guarded((cpu, index) => {
		if (cpu.state.i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
		const value = readModelSpecific(cpu, index >>> 0);
		if (value === undefined) raise(cpu, VECTOR.GP, 0);
		cpu.state.set64("arg0", value);
		return 0;
	}),
	/** System. a: length, b: register number; arg0: value. */
	wrmsr: guarded((cpu, length, index) => {
		if (cpu.state.i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
		const value = (BigInt((cpu.state.i32[ARG0 + 1] as number) >>> 0) << 32n) | BigInt((cpu.state.i32[ARG0] as number) >>> 0);
		if (!writeModelSpecific(cpu, index >>> 0, value)) raise(cpu, VECTOR.GP, 0);
		advance(cpu, length);
		// An interrupt controller may have been told something.
		return isApicRegister(index >>> 0) ? EXIT.resync : EXIT.lookup;
	}),
} as const;
