import { PAGE_BYTES } from "../../base/units.ts";
import { type GuestMemory, JUMP_TARGETS, JUMP_TARGETS_BYTES } from "../../machine/memory.ts";
import { type Expr, i32, op } from "../../wasm/expr.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { GOLDEN_RATIO } from "../state/layout.ts";

/** Targets that are kept for a computed jump or call. */
const PER_SITE = 8;
const SITE_BYTES = PER_SITE * 4;
const SITES = JUMP_TARGETS_BYTES / SITE_BYTES;

/**
 * Where computed jumps and calls have led, as distances from the instruction: a few words for each, at a hash of where it stands in its page and of
 * its operand, which are the same wherever the page is. Regions of the first kind write them in passing; those of the second take the code there in. What
 * is kept may be another's or out of date: whoever reads it finds out whether there is code that has run.
 */
function siteOf(phys: number, modrm: number): number {
	const key = (phys & (PAGE_BYTES - 1)) * 256 + modrm;
	return JUMP_TARGETS + (Math.imul(key, GOLDEN_RATIO) >>> (32 - Math.log2(SITES))) * SITE_BYTES;
}

/** Notes a target. @param distance of it from the jump at physical address `phys`, i32 */
export function noteTarget(f: FunctionBuilder, phys: number, modrm: number, distance: Expr): void {
	const pinned = f.let(distance);
	const word = op("i32ShrU", op("i32Mul", pinned, i32(GOLDEN_RATIO)), i32(32 - Math.log2(PER_SITE)));
	f.store("i32Store", op("i32Shl", word, i32(2)), pinned, siteOf(phys, modrm));
}

/** Distances noted for the jump at `phys`. */
export function targetsOf({ view }: GuestMemory, phys: number, modrm: number): number[] {
	const found: number[] = [];
	const site = siteOf(phys, modrm);
	for (let at = site; at < site + SITE_BYTES; at += 4) {
		const distance = view.getInt32(at, true);
		if (distance !== 0) found.push(distance);
	}
	return found;
}
