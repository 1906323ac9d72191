import type { Expr } from "../../wasm/expr.ts";

/** What goes through `Floats`, but for operands of other sizes. */
export const FLOATS: ReadonlySet<string> = new Set([
	...["FLD", "FST", "FSTP", "FXCH", "FCHS", "FABS"],
	...["FADD", "FADDP", "FSUB", "FSUBP", "FSUBR", "FSUBRP", "FMUL", "FMULP"],
]);

/** Operations that have a short way, as the core's names have them. */
export type FloatOperation = "Add" | "Sub" | "Subr" | "Mul";
export type RealBytes = 4 | 8;

/**
 * x87 instructions in line, where a reading has them so: ordinary operands are dealt with on the spot, the rest by the core function that
 * does the same. What such an instruction leaves must be all there is to it: past anything unusual the reading may go on behind it.
 */
export interface Floats {
	/** Whether the instruction must ask for CR0 and pending exceptions; asking is promising to do so. */
	mustGuard(): boolean;
	/** The instruction goes this way: it has asked, or need not. */
	readonly isGuarded: boolean;
	/** Somebody else is about to touch the x87's state. */
	forget(): void;
	/** The instruction's whereabouts, with the address of its memory operand, as `record` in semantics/x87-state.ts notes them. */
	record(address?: Expr): void;
	/** FLD of a single's or double's bits. */
	load(bits: Expr, bytes: RealBytes): void;
	/** FLD ST(i). */
	loadRegister(i: number): void;
	/** FST and FSTP to a place that can be stored at. */
	store(host: Expr, bytes: RealBytes, pops: boolean): void;
	/** FST and FSTP ST(i). */
	storeRegister(i: number, pops: boolean): void;
	exchange(i: number): void;
	/** FCHS, FABS: the sign becomes (sign & keep) ^ flip. */
	sign(keep: number, flip: number): void;
	/** ST(to) and ST(from), one of them the top. */
	compute(name: FloatOperation, to: number, from: number, pops: boolean): void;
	/** The top with a single or double. */
	computeWith(name: FloatOperation, bits: Expr, bytes: RealBytes): void;
}
