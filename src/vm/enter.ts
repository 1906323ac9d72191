import { assert } from "../base/assert.ts";
import type { CpuContext } from "../cpu/context.ts";
import type { FieldName } from "../cpu/state/layout.ts";
import { SEG, updateMode } from "../cpu/system/mode.ts";
import { RFLAGS_MASK, writeRflags } from "../cpu/system/rflags.ts";
import { setSegment } from "../cpu/system/segments.ts";
import { GPR_NAMES, type InitialCpuState, type MsrValue, SEGMENT_NAMES } from "../pc/linux/entry.ts";

const SEGMENT_NUMBER = { es: SEG.ES, cs: SEG.CS, ss: SEG.SS, ds: SEG.DS, fs: SEG.FS, gs: SEG.GS, ldtr: SEG.LDTR, tr: SEG.TR } as const;

/** Memory type registers in the order of the CPU state's arrays (Intel SDM Vol. 4, table 2-2). */
const FIXED_MTRRS = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const FIRST_VARIABLE_MTRR = 0x200;
const VARIABLE_MTRRS = 16;
const MTRR_DEF_TYPE = 0x2ff;

/** Puts a boot loader's or firmware's first state into a CPU that has just been reset; what is said of every CPU aside (`msrs`). */
export function enterState(cpu: CpuContext, entry: InitialCpuState): void {
	const { state } = cpu;
	for (const [index, name] of GPR_NAMES.entries()) state.set64("gpr", entry.gpr[name], index);
	state.set64("rip", entry.rip);
	for (const name of ["cr0", "cr3", "cr4", "efer"] as const) state.set64(name, entry[name]);
	state.set64("gdtrBase", entry.gdtr.base);
	state.set("gdtrLimit", entry.gdtr.limit);
	state.set64("idtrBase", entry.idtr.base);
	state.set("idtrLimit", entry.idtr.limit);
	// Which offsets a segment allows depends on CR0.PE, so after the control registers.
	for (const name of SEGMENT_NAMES) {
		const { selector, base, limit, attributes } = entry.segments[name];
		setSegment(cpu, SEGMENT_NUMBER[name], selector, Number(base), limit | 0, attributes);
	}
	state.set("cpl", 0);
	writeRflags(state, Number(entry.rflags), RFLAGS_MASK);
	updateMode(cpu);
	cpu.mmu.clear();
}

/** Registers that firmware sets on every processor before it boots anything. */
export function setFirmwareMsrs(cpu: CpuContext, msrs: readonly MsrValue[]): void {
	for (const { index, value } of msrs) {
		const place = placeOf(index);
		assert(place !== undefined, `MSR 0x${index.toString(16)} is none that firmware sets`);
		cpu.state.set64(place.name, value, place.index);
	}
}

function placeOf(msr: number): { name: FieldName; index: number } | undefined {
	if (msr === MTRR_DEF_TYPE) return { name: "mtrrDefType", index: 0 };
	const fixed = FIXED_MTRRS.indexOf(msr);
	if (fixed >= 0) return { name: "mtrrFixed", index: fixed };
	const variable = msr - FIRST_VARIABLE_MTRR;
	return variable >= 0 && variable < VARIABLE_MTRRS ? { name: "mtrrVariable", index: variable } : undefined;
}
