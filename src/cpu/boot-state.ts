import type { CpuContext } from "./context.ts";
import { setSegment, deriveAllRanges } from "./system/segments.ts";
import { updateMode } from "./system/mode.ts";
import { writeModelSpecific } from "./system/msr.ts";
import { resetCpu } from "./system/reset.ts";
import { writeRflags } from "./system/rflags.ts";

/** A segment register's hidden part, as a boot loader would have left it. */
export interface BootSegment {
	readonly selector: number;
	readonly base: bigint;
	/** In bytes. */
	readonly limit: number;
	/** As `segAttr` in the state layout. */
	readonly attributes: number;
}

/** Where a boot loader leaves a processor; what is not named is as after RESET. */
export interface BootState {
	/** RAX … R15 in encoding order. */
	readonly gpr: readonly bigint[];
	readonly rip: bigint;
	readonly rflags: bigint;
	readonly cr0: bigint;
	readonly cr3: bigint;
	readonly cr4: bigint;
	readonly efer: bigint;
	/** ES, CS, SS, DS, FS, GS, LDTR, TR. */
	readonly segments: readonly BootSegment[];
	readonly gdtr: { readonly base: bigint; readonly limit: number };
	readonly idtr: { readonly base: bigint; readonly limit: number };
	readonly msrs: readonly { readonly index: number; readonly value: bigint }[];
}

/** Puts a processor where `boot` says. */
export function enterBootState(cpu: CpuContext, boot: BootState): void {
	resetCpu(cpu);
	const { state } = cpu;
	for (const [i, value] of boot.gpr.entries()) state.set64("gpr", value, i);
	state.set64("rip", boot.rip);
	writeRflags(state, Number(boot.rflags), -1);
	state.set64("cr0", boot.cr0);
	state.set64("cr3", boot.cr3);
	state.set64("cr4", boot.cr4);
	state.set64("efer", boot.efer);
	for (const [i, segment] of boot.segments.entries())
		setSegment(cpu, i, segment.selector, Number(segment.base), segment.limit, segment.attributes);
	state.set64("gdtrBase", boot.gdtr.base);
	state.set("gdtrLimit", boot.gdtr.limit);
	state.set64("idtrBase", boot.idtr.base);
	state.set("idtrLimit", boot.idtr.limit);
	state.set("cpl", 0);
	state.set("activity", 0);
	for (const { index, value } of boot.msrs) writeModelSpecific(cpu, index, value);
	refresh(cpu);
}

/** Works out everything that follows from the architectural state, after it was written as a whole. */
export function refresh(cpu: CpuContext): void {
	deriveAllRanges(cpu);
	updateMode(cpu);
	cpu.mmu.clear();
}
