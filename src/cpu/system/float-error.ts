import type { CpuContext } from "../context.ts";
import { CR0 } from "../mmu/access.ts";
import { at, EXIT } from "../state/layout.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { CR0_WORD } from "./words.ts";

const BUDGET = at("budget") >> 2;

/** x87 exceptions, with CR0.NE and without it: FERR# and IGNNE# (Intel SDM Vol. 1 appendix D, "MS-DOS Compatibility Sub-mode"). */
export const floatErrorHelpers = {
	/** Query. An exception waits: #MF; without CR0.NE 0 if IGNNE# says to go on, else the instruction is given up, to be tried again. */
	floatError: guarded((cpu) => {
		const i32 = cpu.state.i32;
		if (((i32[CR0_WORD] as number) & CR0.NE) !== 0) raise(cpu, VECTOR.MF);
		if (cpu.board.signalFloatError?.(true) ?? true) return 0;
		// Standing still takes time, or nobody else would get any.
		i32[BUDGET] = (i32[BUDGET] as number) - 1;
		return EXIT.single;
	}),
	/** Query. The exception that waited has been cleared. */
	floatErrorGone: (cpu: CpuContext) => {
		cpu.board.signalFloatError?.(false);
		return 0;
	},
} as const;
