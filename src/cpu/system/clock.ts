import type { CpuContext } from "../context.ts";
import { CR4 } from "../mmu/access.ts";
import { at } from "../state/layout.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { isProtected } from "./mode.ts";
import { ARG0, ARG1, CPL, CR4_WORD } from "./words.ts";

/** The time-stamp counter runs at 1 GHz: one tick per guest nanosecond. */
export const TSC_KHZ = 1_000_000;

const ARG0_64 = at("arg0") >> 3;
const OFFSET_64 = at("tscOffset") >> 3;
const OFFSET = at("tscOffset") >> 2;
const TSC_AUX = at("tscAux") >> 2;
const FOUR_GIB = 0x1_0000_0000;

export function timeStamp(cpu: CpuContext): bigint {
	return BigInt.asUintN(64, BigInt(cpu.clock.nowNs) + (cpu.state.u64[OFFSET_64] as bigint));
}

export function writeTimeStamp(cpu: CpuContext, value: bigint): void {
	cpu.state.u64[OFFSET_64] = BigInt.asUintN(64, value - BigInt(cpu.clock.nowNs));
}

function check(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	if (((i32[CR4_WORD] as number) & CR4.TSD) !== 0 && i32[CPL] !== 0 && isProtected(cpu)) raise(cpu, VECTOR.GP, 0);
}

export const clockHelpers = {
	/** Query; counter in arg0, TSC_AUX in arg1. RDTSC, RDTSCP. */
	rdtsc: guarded((cpu) => {
		check(cpu);
		const { i32 } = cpu.state;
		// As `timeStamp`, without big integers: programs ask millions of times a second.
		const { nowNs } = cpu.clock;
		const low = (nowNs % FOUR_GIB) + ((i32[OFFSET] as number) >>> 0);
		i32[ARG0] = low;
		i32[ARG0 + 1] = Math.floor(nowNs / FOUR_GIB) + (i32[OFFSET + 1] as number) + (low >= FOUR_GIB ? 1 : 0);
		i32[ARG1] = i32[TSC_AUX] as number;
		i32[ARG1 + 1] = i32[TSC_AUX + 1] as number;
		return 0;
	}),
	/** Query. a: counter number. There are no performance counters: always #GP(0). */
	rdpmc: guarded((cpu) => raise(cpu, VECTOR.GP, 0)),
	/** Query; 64 random bits in arg0. RDRAND, RDSEED. */
	random: (cpu) => {
		const high = BigInt(cpu.entropy.next32() >>> 0);
		cpu.state.u64[ARG0_64] = (high << 32n) | BigInt(cpu.entropy.next32() >>> 0);
		return 0;
	},
} as const satisfies Record<string, (cpu: CpuContext, a: number, b: number, c: number) => number>;
