import { Register } from "iced-x86";

/** The decoder's register numbers against the architecture's. */
export interface RegisterPlace {
	/** Hardware number of the general register it is (part of), or -1. */
	readonly gpr: number;
	readonly bits: number;
	/** AH, CH, DH, BH. */
	readonly isHigh: boolean;
}

const NONE: RegisterPlace = { gpr: -1, bits: 0, isHigh: false };

export const PLACES: readonly RegisterPlace[] = Array.from({ length: 256 }, (_, register) => placeOf(register));

function placeOf(register: number): RegisterPlace {
	if (register >= Register.AL && register <= Register.BL) return { gpr: register - Register.AL, bits: 8, isHigh: false };
	if (register >= Register.AH && register <= Register.BH) return { gpr: register - Register.AH, bits: 8, isHigh: true };
	if (register >= Register.SPL && register <= Register.R15L) return { gpr: register - Register.SPL + 4, bits: 8, isHigh: false };
	if (register >= Register.AX && register <= Register.R15W) return { gpr: register - Register.AX, bits: 16, isHigh: false };
	if (register >= Register.EAX && register <= Register.R15D) return { gpr: register - Register.EAX, bits: 32, isHigh: false };
	if (register >= Register.RAX && register <= Register.R15) return { gpr: register - Register.RAX, bits: 64, isHigh: false };
	return NONE;
}

/** 0–5 for ES CS SS DS FS GS, or -1. */
export function segmentIndex(register: number): number {
	return register >= Register.ES && register <= Register.GS ? register - Register.ES : -1;
}

export const RCX = 1;
export const RDX = 2;
export const RSP = 4;
