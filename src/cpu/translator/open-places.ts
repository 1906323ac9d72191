/**
 * What a region's code leaves open (`wasm/function-code.ts`), besides the functions that it calls. A kernel is put somewhere else at each start: what
 * differs then is its absolute addresses, and how far apart it and its modules are. The last three stand for four bytes of an instruction, whose offset
 * from the entry is the argument; in a `RegionImage` it is theirs.
 */
export const PLACE = {
	slot: 1,
	displacement: 2,
	immediate: 3,
	/** Of a call to elsewhere: the distance of what is called from the region's entry. */
	target: 4,
} as const;

/** Kernels and their modules lie at the top of the address space, be it of 64 bits or 32: below this … */
const FIRST_ADDRESS = -0x8000_0000;
/** … there are small numbers and masks. */
const END_ADDRESS = -0x0100_0000;

/** A number of a supervisor's code that may be an address. It costs little to be wrong: nothing is folded with what is left open. */
export const mayMove = (value: number): boolean => value >= FIRST_ADDRESS && value < END_ADDRESS;

/** Instructions whose immediates are addresses at times. */
export const TAKES_ADDRESSES: ReadonlySet<string> = new Set(["MOV", "CMP", "ADD", "SUB", "PUSH"]);
