import type { CpuContext } from "../context.ts";
import { CR4, PHYS_ADDR_BITS } from "../mmu/access.ts";
import { TSC_KHZ } from "./clock.ts";
import { MSR } from "./msr.ts";
import { ARG0, ARG1, ARG2, ARG3, CR4_WORD } from "./words.ts";

/** EAX, EBX, ECX, EDX. */
export type CpuidResult = readonly [number, number, number, number];

/** Bits set by number. */
const bits = (...numbers: number[]) => numbers.reduce((word, bit) => word | (1 << bit), 0);

const VENDOR = "AuthenticAMD";
const HYPERVISOR = "BasenjiVPC  ";
const BRAND = "Basenji Virtual CPU";
const LINEAR_ADDR_BITS = 48;
const MAX_LEAF = 0x0d;
const MAX_EXTENDED_LEAF = 0x8000_0021;
/** The leaf that other hypervisors keep the TSC's frequency in. */
const MAX_HYPERVISOR_LEAF = 0x4000_0010;

/** Family 17h, model 31h, stepping 0: what compilers and kernels take for a processor of this feature level. */
const SIGNATURE = 0x0083_0f10;
const CACHE_LINE_BYTES = 64;
/** Legacy area and header: x87 and SSE state are all that XSAVE saves. */
const XSAVE_BYTES = 576;

// Leaf 1 (AMD APM Vol. 3, appendix E.3.1).
/** FPU VME DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2; APIC and HTT depend. */
const LEAF1_EDX = bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26);
/** SSE3 PCLMUL SSSE3 CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE RDRAND hypervisor; OSXSAVE depends. */
const LEAF1_ECX = bits(0, 1, 9, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 30, 31);
/** FSGSBASE SMEP ERMS INVPCID, no x87 selectors, RDSEED SMAP CLFLUSHOPT CLWB. */
const LEAF7_EBX = bits(0, 7, 9, 10, 13, 18, 20, 23, 24);
/** UMIP. */
const LEAF7_ECX = bits(2);
/** Leaf 8000_0001: LAHF, 3DNowPrefetch, topology extensions. */
const EXTENDED_ECX = bits(0, 8, 22);
/** The bits of leaf 1 that AMD repeats; SYSCALL NX MMXEXT 1GB-pages RDTSCP LM. */
const EXTENDED_EDX = bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17, 23, 24) | bits(11, 20, 22, 26, 27, 29);
/**
 * 8000_0008 EBX: FXSAVE always saves the error pointers; and the flaws that this machine has not: SSB_NO, BTC_NO. Nothing
 * here runs ahead of the program.
 */
const LEAF8_EBX = bits(2, 26, 29);
/** 8000_0021 EAX: no nested data breakpoints, LFENCE serialises, null selectors clear the base, automatic IBRS, SRSO_NO. */
const LEAF21_EAX = bits(0, 2, 6, 8, 29);

function wordsOf(text: string): number[] {
	const words: number[] = [];
	for (let at = 0; at < text.length; at += 4) {
		let word = 0;
		for (let i = 0; i < 4; i++) word |= (text.charCodeAt(at + i) || 0) << (8 * i);
		words.push(word);
	}
	return words;
}

const vendorWords = wordsOf(VENDOR) as [number, number, number];
const hypervisorWords = wordsOf(HYPERVISOR) as [number, number, number];
const brandWords = wordsOf(BRAND.padEnd(48, "\0"));

/** Bits of an APIC ID that number the CPUs of the one package. */
function coreBits(cpu: CpuContext): number {
	return 32 - Math.clz32(cpu.cpuCount - 1);
}

function hasApic(cpu: CpuContext): boolean {
	return ((cpu.board.readApicMsr(MSR.APIC_BASE) ?? 0n) & 0x800n) !== 0n;
}

function featureLeaf(cpu: CpuContext): CpuidResult {
	const { cpuCount, state } = cpu;
	const hasOsXsave = ((state.i32[CR4_WORD] as number) & CR4.OSXSAVE) !== 0;
	return [
		SIGNATURE,
		(state.index << 24) | (cpuCount << 16) | ((CACHE_LINE_BYTES / 8) << 8),
		LEAF1_ECX | (hasOsXsave ? bits(27) : 0),
		LEAF1_EDX | (hasApic(cpu) ? bits(9) : 0) | (cpuCount > 1 ? bits(28) : 0),
	];
}

/** Leaf 0Bh: one thread per core, all cores in one package. */
function topologyLeaf(cpu: CpuContext, level: number): CpuidResult {
	const apicId = cpu.state.index;
	if (level === 0) return [0, 1, 0x100, apicId];
	if (level === 1) return [coreBits(cpu), cpu.cpuCount, 0x201, apicId];
	return [0, 0, level & 0xff, apicId];
}

function xsaveLeaf(index: number): CpuidResult {
	if (index === 0) return [3, XSAVE_BYTES, XSAVE_BYTES, 0];
	// XSAVEOPT, and XGETBV with ECX = 1.
	return index === 1 ? [bits(0, 2), 0, 0, 0] : [0, 0, 0, 0];
}

interface Cache {
	/** 1 data, 2 instructions, 3 both. */
	readonly type: number;
	readonly level: number;
	readonly sizeKib: number;
	readonly ways: number;
}

const CACHES: readonly Cache[] = [
	{ type: 1, level: 1, sizeKib: 32, ways: 8 },
	{ type: 2, level: 1, sizeKib: 32, ways: 8 },
	{ type: 3, level: 2, sizeKib: 512, ways: 8 },
	{ type: 3, level: 3, sizeKib: 16 * 1024, ways: 16 },
];

/** Leaf 8000_001D: what a guest may tune its loops by; the figures are a typical processor's. */
function cacheLeaf(cpu: CpuContext, index: number): CpuidResult {
	const cache = CACHES[index];
	if (cache === undefined) return [0, 0, 0, 0];
	const sharing = cache.level === 3 ? cpu.cpuCount - 1 : 0;
	const sets = (cache.sizeKib * 1024) / (cache.ways * CACHE_LINE_BYTES);
	return [cache.type | (cache.level << 5) | (1 << 8) | (sharing << 14), (CACHE_LINE_BYTES - 1) | ((cache.ways - 1) << 22), sets - 1, 0];
}

function hypervisorLeaf(leaf: number): CpuidResult {
	if (leaf === 0x4000_0000) return [MAX_HYPERVISOR_LEAF, ...hypervisorWords];
	return leaf === 0x4000_0010 ? [TSC_KHZ, 0, 0, 0] : [0, 0, 0, 0];
}

function extendedLeaf(cpu: CpuContext, leaf: number, index: number): CpuidResult {
	const { cpuCount } = cpu;
	switch (leaf) {
		case 0x8000_0000:
			return [MAX_EXTENDED_LEAF | 0, vendorWords[0], vendorWords[2], vendorWords[1]];
		case 0x8000_0001:
			return [SIGNATURE, 0, EXTENDED_ECX | (cpuCount > 1 ? bits(1) : 0), EXTENDED_EDX | (hasApic(cpu) ? bits(9) : 0)];
		case 0x8000_0002:
		case 0x8000_0003:
		case 0x8000_0004:
			return brandWords.slice((leaf - 0x8000_0002) * 4, (leaf - 0x8000_0001) * 4) as unknown as CpuidResult;
		case 0x8000_0005:
			return [0xff40_ff40 | 0, 0xff40_ff40 | 0, 0x2008_0140, 0x2008_0140];
		case 0x8000_0006:
			return [0x6400_6400, 0x6400_6400, 0x0200_6140, 0x0080_9140];
		// The TSC runs at one rate whatever happens.
		case 0x8000_0007:
			return [0, 0, 0, bits(8)];
		case 0x8000_0008:
			return [PHYS_ADDR_BITS | (LINEAR_ADDR_BITS << 8), LEAF8_EBX, (cpuCount - 1) | (coreBits(cpu) << 12), 0];
		case 0x8000_0019:
			return [0xf040_f040 | 0, 0, 0, 0];
		case 0x8000_001d:
			return cacheLeaf(cpu, index);
		case 0x8000_001e:
			return [cpu.state.index, cpu.state.index, 0, 0];
		case 0x8000_0021:
			return [LEAF21_EAX, 0, 0, 0];
		default:
			return [0, 0, 0, 0];
	}
}

/** What CPUID says of this CPU (AMD APM Vol. 3, appendix E; Intel SDM Vol. 2A, "CPUID"). Unknown leaves are all zero. */
export function cpuid(cpu: CpuContext, leaf: number, index: number): CpuidResult {
	if (leaf >= 0x8000_0000) return extendedLeaf(cpu, leaf, index);
	if (leaf >= 0x4000_0000) return hypervisorLeaf(leaf);
	switch (leaf) {
		case 0:
			return [MAX_LEAF, vendorWords[0], vendorWords[2], vendorWords[1]];
		case 1:
			return featureLeaf(cpu);
		// The APIC timer runs on in every power state.
		case 6:
			return [bits(2), 0, 0, 0];
		case 7:
			return index === 0 ? [0, LEAF7_EBX, LEAF7_ECX, 0] : [0, 0, 0, 0];
		case 0x0b:
			return topologyLeaf(cpu, index);
		case 0x0d:
			return xsaveLeaf(index);
		default:
			return [0, 0, 0, 0];
	}
}

export const cpuidHelpers = {
	/** Query; leaf in arg0, ECX in arg1; EAX, EBX, ECX, EDX in arg0…arg3. */
	cpuid: (cpu) => {
		const i32 = cpu.state.i32;
		const result = cpuid(cpu, (i32[ARG0] as number) >>> 0, (i32[ARG1] as number) >>> 0);
		for (const [at, word] of [ARG0, ARG1, ARG2, ARG3].entries()) {
			i32[word] = result[at] as number;
			i32[word + 1] = 0;
		}
		return 0;
	},
} as const satisfies Record<string, (cpu: CpuContext, a: number, b: number, c: number) => number>;
