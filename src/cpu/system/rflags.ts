import type { CpuState } from "../state/cpu-state.ts";
import { ARITHMETIC_FLAGS, CC, FLAG, materialiseFlags } from "../state/flags.ts";
import { at } from "../state/layout.ts";
import { CC_OP, CC_X, FLAGS } from "./words.ts";

const CC_X64 = at("ccX") >> 3;
const CC_Y64 = at("ccY") >> 3;
const CC_Z64 = at("ccZ") >> 3;

/** Every bit that software can set in RFLAGS. */
export const RFLAGS_MASK =
	ARITHMETIC_FLAGS | FLAG.TF | FLAG.IF | FLAG.DF | FLAG.IOPL | FLAG.NT | FLAG.RF | FLAG.VM | FLAG.AC | FLAG.VIF | FLAG.VIP | FLAG.ID;

/** RFLAGS whole (its upper half is always 0). */
export function readRflags(state: CpuState): number {
	const i32 = state.i32;
	const rest = (i32[FLAGS] as number) & ~ARITHMETIC_FLAGS;
	const op = i32[CC_OP] as number;
	if ((op & 15) === CC.image) return rest | 2 | ((i32[CC_X] as number) & ARITHMETIC_FLAGS);
	if (state.arithmeticFlags !== undefined) return rest | 2 | state.arithmeticFlags(state.base);
	const u64 = state.u64;
	const signed = (index: number) => BigInt.asIntN(64, u64[index] as bigint);
	return rest | 2 | materialiseFlags(op, signed(CC_X64), signed(CC_Y64), signed(CC_Z64));
}

/** Replaces the bits of `mask` by those of `value`. Callers see to `updateMode` when AC, VM or TF may have changed. */
export function writeRflags(state: CpuState, value: number, mask: number): void {
	const i32 = state.i32;
	const next = (readRflags(state) & ~mask) | (value & mask & RFLAGS_MASK) | 2;
	i32[FLAGS] = next & ~ARITHMETIC_FLAGS;
	i32[CC_OP] = CC.image;
	i32[CC_X] = next & ARITHMETIC_FLAGS;
	i32[CC_X + 1] = 0;
}

export function iopl(state: CpuState): number {
	return ((state.i32[FLAGS] as number) >> 12) & 3;
}

export function isVirtual8086(state: CpuState): boolean {
	return ((state.i32[FLAGS] as number) & FLAG.VM) !== 0;
}
