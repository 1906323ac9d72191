/** Offsets in the local APIC's page, and its bits (Intel SDM Vol. 3A table 11-1, "Local APIC Register Address Map"). */
export const ID = 0x20;
export const VERSION = 0x30;
export const TPR = 0x80;
export const APR = 0x90;
export const PPR = 0xa0;
export const EOI = 0xb0;
export const RRD = 0xc0;
export const LDR = 0xd0;
export const DFR = 0xe0;
export const SVR = 0xf0;
export const ISR = 0x100;
export const TMR = 0x180;
export const IRR = 0x200;
export const ESR = 0x280;
export const ICR_LOW = 0x300;
export const ICR_HIGH = 0x310;
export const LVT_TIMER = 0x320;
export const LVT_ERROR = 0x370;
export const TIMER_INITIAL_COUNT = 0x380;
export const TIMER_CURRENT_COUNT = 0x390;
export const TIMER_DIVIDE = 0x3e0;
export const SELF_IPI = 0x3f0;

/** Integrated APIC, entries 0–5 in the local vector table. */
export const VERSION_VALUE = 0x0005_0014;
export const SVR_ENABLE = 0x100;
export const SVR_WRITABLE = 0x3ff;
export const LVT_REMOTE_IRR = 1 << 14;
export const LVT_LEVEL = 1 << 15;
export const LVT_MASK = 1 << 16;
/** By entry: timer, thermal sensor, performance counters, LINT0, LINT1, error. */
export const LVT_WRITABLE = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff] as const;
export const LVT_READ_ONLY = (1 << 12) | LVT_REMOTE_IRR;
export const LINT0 = 3;
export const LINT1 = 4;
export const ERROR = 5;
export const ICR_LOGICAL = 1 << 11;
export const ICR_ASSERT = 1 << 14;
export const ICR_LEVEL = 1 << 15;
export const ICR_WRITABLE = 0x000c_cfff;
export const ESR_SEND_ILLEGAL_VECTOR = 1 << 5;
export const ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 6;
export const ESR_ILLEGAL_REGISTER = 1 << 7;

export const IA32_APIC_BASE = 0x1b;
export const IA32_TSC_DEADLINE = 0x6e0;
export const X2APIC_FIRST = 0x800;
export const X2APIC_LAST = 0x8ff;
export const BASE_BSP = 1 << 8;
export const BASE_EXTD = 1 << 10;
export const BASE_EN = 1 << 11;
export const BASE_RESERVED = ~0x000f_ffff_ffff_fd00n & 0xffff_ffff_ffff_ffffn;
export const BASE_RESET = 0xfee0_0000;
