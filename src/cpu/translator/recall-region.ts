import type { GuestMemory } from "../../machine/memory.ts";
import { CALLEE } from "../../wasm/expr.ts";
import { FunctionCode } from "../../wasm/function-code.ts";
import { HANDLER_PARAMS } from "../core/registry.ts";
import type { GeneratedModule } from "../engine-module.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { isLinearMode } from "../state/layout.ts";
import { CodeWindow } from "./code-window.ts";
import { PLACE } from "./open-places.ts";
import { fieldValue, keyOf, type RegionImage } from "./region-image.ts";
import type { RegionLibrary } from "./region-library.ts";

/** An entry as a CPU meets it: physically, and the linear address hi:lo. */
export interface Entry {
	readonly phys: number;
	readonly modeKey: number;
	readonly mmu: Mmu;
	readonly lo: number;
	readonly hi: number;
}

/** A region that an earlier run has made, and where its guest code stands now. */
export interface Recalled {
	readonly image: RegionImage;
	readonly window: CodeWindow;
	/** Its place in the library. */
	readonly entry: number;
}

/** Whether it is worth to look for code with this entry. */
export function mayRecall(library: RegionLibrary, memory: GuestMemory, phys: number, modeKey: number): boolean {
	const firstByte = memory.plainByteAt(phys);
	return firstByte >= 0 && library.has(keyOf(phys, modeKey, firstByte));
}

/** The best of the library whose guest code is all there. */
export function recallRegion(library: RegionLibrary, memory: GuestMemory, { phys, modeKey, mmu, lo, hi }: Entry): Recalled | undefined {
	const window = new CodeWindow(memory, mmu, phys, lo, hi, isLinearMode(modeKey));
	const found = library.find(keyOf(phys, modeKey, window.uint8At(0)), window);
	return found === undefined ? undefined : { ...found, window };
}

/** Its code for a slot, to be put into `module`. */
export function codeOf(library: RegionLibrary, { image, window }: Recalled, slot: number, module: GeneratedModule): FunctionCode {
	const code = new FunctionCode(HANDLER_PARAMS, "i32", image.body, Array.from(image.unlikely), Array.from(image.open));
	return code.with((kind, argument) => {
		if (kind === CALLEE) return module.index(library.nameOf(argument));
		return kind === PLACE.slot ? slot : fieldValue(kind, argument, window);
	});
}
