import type { Helper } from "./fault.ts";

export const pauseHelpers: Readonly<Record<string, Helper>> = {
	/** Query. The program spins on something that another processor is to change. */
	pause: (cpu) => {
		cpu.onPause?.();
		return 0;
	},
};
