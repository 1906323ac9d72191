import type { IoBus } from "../machine/bus.ts";
import type { Clock } from "../machine/clock.ts";
import type { GuestMemory } from "../machine/memory.ts";
import type { CpuBoard } from "../machine/processor.ts";
import type { Mmu } from "./mmu/mmu.ts";
import type { CpuState } from "./state/cpu-state.ts";

/** What the memory side must know of decoded and translated code. */
export interface CodeTracker {
	/** True when code from this physical page (address >> 12) has been decoded. */
	hasCode(physPage: number): boolean;
	/**
	 * A store of `bytes` at `physAddr` is about to happen on a code page. True: the store must be run by single step, because
	 * it hits the region that is running.
	 */
	beforeStore(physAddr: number, bytes: number): boolean;
	/** Linear addresses mean something else now: cached jump targets are void (but for those on global pages, if `keepGlobal`). */
	flushJumps(keepGlobal: boolean): void;
	/** A small number for a code segment with a base or a limit: cached jump targets are offsets in it. Never 0. */
	codeSegmentId(base: number, limit: number): number;
}

/** Where RDRAND and RDSEED get their bits. The host seeds it; a replay seeds it the same. */
export interface EntropySource {
	next32(): number;
}

/** Everything that helpers of one CPU reach. */
export interface CpuContext {
	readonly state: CpuState;
	readonly memory: GuestMemory;
	readonly io: IoBus;
	readonly board: CpuBoard;
	readonly clock: Clock;
	readonly mmu: Mmu;
	readonly code: CodeTracker;
	readonly entropy: EntropySource;
	/** CPUs of the machine, for CPUID's topology. */
	readonly cpuCount: number;
	/** Called at PAUSE, if there is anybody whom this CPU could wait for. */
	readonly onPause?: () => void;
}
