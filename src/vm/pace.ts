import type { Ns } from "../base/units.ts";

/** A running machine as whoever gives out its time sees it. */
export interface PacedMachine {
	readonly nowNs: Ns;
	/** When it next does something of its own accord: now while a CPU has work, else at its next alarm (infinity: none). */
	readonly nextActionNs: Ns;
	/**
	 * Runs until guest time `untilNs`; some nanoseconds further, if an instruction is longer than one. Afterwards `nowNs` is
	 * not below `untilNs`, unless the machine has come to rest for good.
	 */
	advance(untilNs: Ns): void;
	/** Lets time pass up to `untilNs`, which is not behind its next alarm; its CPUs have nothing to do, its inbox waits. */
	pass(untilNs: Ns): void;
}

/** Gives several machines their time, one as far as the others; they count instructions, so none of them waits for a host. */
export interface Pacemaker {
	/** The machine runs from now on: time it has had before stays as it is. */
	join(machine: PacedMachine): void;
	leave(machine: PacedMachine): void;
	/** Something has been put into a machine's inbox: `nextActionNs` is now. */
	wake(): void;
}
