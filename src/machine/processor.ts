import type { Wire } from "./wire.ts";

/** The pins of one CPU, as a board drives them. A CPU (whatever engine runs it) implements this. */
export interface CpuPins {
	/** Level: some interrupt controller has a vector to deliver. Masking by IF is the CPU's affair. */
	readonly intr: Wire;
	nmi(): void;
	/** INIT: architectural reset that keeps memory; an application processor then waits for SIPI. */
	init(): void;
	/** SIPI: start in real mode at `vector` << 12. Ignored unless waiting for it. */
	startup(vector: number): void;
	/** RESET as at power-on. */
	reset(): void;
}

/** What one CPU asks of the board around it. */
export interface CpuBoard {
	/** The INTA cycle: which vector (0–255). Called only while `intr` is high and IF allows. */
	acknowledgeInterrupt(): number;
	/** CR8 is the local APIC's task priority (bits 7:4 of TPR). */
	readTaskPriority(): number;
	writeTaskPriority(priority: number): void;
	/** IA32_APIC_BASE and the x2APIC registers. `undefined` / `false`: no such register, the CPU raises #GP. */
	readApicMsr(index: number): bigint | undefined;
	writeApicMsr(index: number, value: bigint): boolean;
	/**
	 * FERR#: an x87 exception waits (or does no more) while CR0.NE is 0. True: IGNNE# is asserted, the CPU goes on regardless; false: it
	 * stands still until an interrupt. Without this pin, it always goes on.
	 */
	signalFloatError?(isPending: boolean): boolean;
	/** True while the A20 gate lets address bit 20 through. */
	readonly isA20Enabled: boolean;
	/** The CPU has shut down (triple fault): the board decides what follows (PC: reset). */
	shutdown(): void;
}
