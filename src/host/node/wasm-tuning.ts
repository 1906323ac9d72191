import { readdirSync, readFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { setFlagsFromString } from "node:v8";

/**
 * How much a WebAssembly function runs in the baseline compiler's code before the optimising one takes it on, in V8's units
 * (13 million by default). What we hand to V8 has already proved hot, so its patience is wasted on us: a translated loop runs
 * three times as fast optimised (`docs/decisions/0004`). Optimisation happens on V8's own threads.
 */
const TIERING_BUDGET = 300_000;

/** V8's settings for translated code. */
export const TUNING_FLAGS: readonly string[] = [
	`--wasm-tiering-budget=${TIERING_BUDGET}`,
	// Regions reach each other by tail calls through the table, and the core's functions as imports; no optimiser takes either into its caller. To note
	// what is called would be time lost. Both flags or none: with the first alone V8 14.6 ends the process. An older V8 does not know the second, and complains.
	...(Number.parseInt(process.versions.v8, 10) >= 14 ? ["--no-wasm-inlining", "--no-wasm-inlining-call-indirect"] : []),
];

/** How much further back V8's own threads stand than a machine's (nice values). */
const YIELD = 5;
const LAST_PRIORITY = 19;

let isTuned = false;

/** Tunes this process's V8 for translated code. */
export function tuneWebAssembly(): void {
	if (isTuned) return;
	isTuned = true;
	for (const flag of TUNING_FLAGS) setFlagsFromString(flag);
}

let hasYielded = false;

/**
 * Puts V8's own threads behind this one, which runs a guest. There are four of them on however few processors, and what they compile can wait a
 * little. Only on Linux, where each thread has a priority of its own; not where several threads of the process run guests, which would
 * leave V8 nothing (docs/decisions/0015).
 */
export function putCompilersBehind(): void {
	if (hasYielded) return;
	hasYielded = true;
	try {
		const priority = Math.min(getPriority() + YIELD, LAST_PRIORITY);
		for (const thread of readdirSync("/proc/self/task"))
			if (readFileSync(`/proc/self/task/${thread}/comm`, "latin1").endsWith("V8Worker\n")) setPriority(Number(thread), priority);
	} catch {
		// Threads come and go, and other systems have no such folder: guests run a little slower then.
	}
}
