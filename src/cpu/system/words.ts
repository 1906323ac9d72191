import { at } from "../state/layout.ts";

/** Where fields stand in `CpuState.i32`: 64-bit fields take two words, low half first. */
export const GPR = at("gpr") >> 2;
export const RAX = GPR;
export const RCX = GPR + 2;
export const RDX = GPR + 4;
export const RBX = GPR + 6;
export const RSP = GPR + 8;
export const R11 = GPR + 22;
export const RIP = at("rip") >> 2;
export const FLAGS = at("flags") >> 2;
export const CC_OP = at("ccOp") >> 2;
export const CC_X = at("ccX") >> 2;
export const SEG_BASE = at("segBase") >> 2;
export const SEG_SELECTOR = at("segSelector") >> 2;
export const SEG_LIMIT = at("segLimit") >> 2;
export const SEG_ATTR = at("segAttr") >> 2;
export const SEG_READ_LOW = at("segReadLow") >> 2;
export const SEG_READ_HIGH = at("segReadHigh") >> 2;
export const SEG_WRITE_LOW = at("segWriteLow") >> 2;
export const SEG_WRITE_HIGH = at("segWriteHigh") >> 2;
export const GDTR_BASE = at("gdtrBase") >> 2;
export const GDTR_LIMIT = at("gdtrLimit") >> 2;
export const IDTR_BASE = at("idtrBase") >> 2;
export const IDTR_LIMIT = at("idtrLimit") >> 2;
export const CR0_WORD = at("cr0") >> 2;
export const CR2_WORD = at("cr2") >> 2;
export const CR3_WORD = at("cr3") >> 2;
export const CR4_WORD = at("cr4") >> 2;
export const EFER_WORD = at("efer") >> 2;
export const CPL = at("cpl") >> 2;
export const MODE_KEY = at("modeKey") >> 2;
export const JUMP_TAG = at("jumpTag") >> 2;
export const JUMP_GENERATION = at("jumpGeneration") >> 2;
export const TLB_BASE = at("tlbBase") >> 2;
export const FAULT_VECTOR = at("faultVector") >> 2;
export const FAULT_ERROR = at("faultErrorCode") >> 2;
export const INTERRUPT_SHADOW = at("interruptShadow") >> 2;
export const DEBUG_PENDING = at("debugPending") >> 2;
export const ARG0 = at("arg0") >> 2;
export const ARG1 = at("arg1") >> 2;
export const ARG2 = at("arg2") >> 2;
export const ARG3 = at("arg3") >> 2;
export const DR = at("dr") >> 2;

const FOUR_GIB = 0x1_0000_0000;

/**
 * A 64-bit field as a signed number. Canonical addresses fit exactly; others lose low bits but stay non-canonical, so they
 * fault as they should.
 */
export function getAddress(i32: Int32Array, word: number): number {
	return (i32[word + 1] as number) * FOUR_GIB + ((i32[word] as number) >>> 0);
}

/** Writes a whole number below 2^53 in magnitude as a 64-bit field. */
export function setAddress(i32: Int32Array, word: number, value: number): void {
	i32[word] = value;
	i32[word + 1] = Math.floor(value / FOUR_GIB);
}

/** Writes both halves. */
export function setPair(i32: Int32Array, word: number, low: number, high: number): void {
	i32[word] = low;
	i32[word + 1] = high;
}

/** A signed-number address that 48-bit translation accepts. */
export function isCanonical(address: number): boolean {
	return address >= -0x8000_0000_0000 && address < 0x8000_0000_0000;
}
