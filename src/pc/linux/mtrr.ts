import type { MsrValue } from "./entry.ts";

const IA32_MTRR_PHYSBASE0 = 0x200;
const IA32_MTRR_PHYSMASK0 = 0x201;
const IA32_MTRR_FIX64K_00000 = 0x250;
const IA32_MTRR_FIX16K_80000 = 0x258;
const IA32_MTRR_FIX16K_A0000 = 0x259;
const IA32_MTRR_FIX4K_C0000 = 0x268;
const IA32_MTRR_DEF_TYPE = 0x2ff;
const WRITE_BACK = 6n;
const UNCACHEABLE = 0n;
const ENABLE = 1n << 11n;
const ENABLE_FIXED = 1n << 10n;
const ALL_WRITE_BACK = 0x0606_0606_0606_0606n;

/**
 * Memory types as PC firmware leaves them (Intel SDM Vol. 3A §12.11, "Memory Type Range Registers (MTRRs)"): everything
 * write-back but the video window and the device range from `deviceFirst` (a power of two below 4 GiB) to 4 GiB.
 */
export function firmwareMtrrs(deviceFirst: number, physAddrBits: number): readonly MsrValue[] {
	const sizeBytes = 2 ** 32 - deviceFirst;
	const mask = ((1n << BigInt(physAddrBits)) - 1n) & ~(BigInt(sizeBytes) - 1n);
	const fixed = [IA32_MTRR_FIX64K_00000, IA32_MTRR_FIX16K_80000];
	for (let i = 0; i < 8; i++) fixed.push(IA32_MTRR_FIX4K_C0000 + i);
	return [
		...fixed.map((index) => ({ index, value: ALL_WRITE_BACK })),
		{ index: IA32_MTRR_FIX16K_A0000, value: 0n },
		{ index: IA32_MTRR_PHYSBASE0, value: BigInt(deviceFirst) | UNCACHEABLE },
		{ index: IA32_MTRR_PHYSMASK0, value: mask | ENABLE },
		{ index: IA32_MTRR_DEF_TYPE, value: ENABLE | ENABLE_FIXED | WRITE_BACK },
	];
}
