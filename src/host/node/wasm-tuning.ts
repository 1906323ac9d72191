import { setFlagsFromString } from "node:v8";

/**
 * How much a WebAssembly function runs in the baseline compiler's code before the optimising one takes it on, in V8's units
 * (13 million by default). What we hand to V8 has already proved hot, so its patience is wasted on us: a translated loop runs
 * three times as fast optimised (`docs/decisions/0004`). Optimisation happens on V8's own threads.
 */
const TIERING_BUDGET = 1_000_000;
export const TIERING_FLAG = `--wasm-tiering-budget=${TIERING_BUDGET}`;

let isTuned = false;

/** Tunes this process's V8 for translated code. Harmless when it knows no such setting. */
export function tuneWebAssembly(): void {
	if (isTuned) return;
	isTuned = true;
	setFlagsFromString(TIERING_FLAG);
	// What is compiled aside is compiled there, and not at its first call.
	setFlagsFromString("--no-wasm-lazy-compilation");
}
