import type { Insn } from "../../x86/decode/insn.ts";
import { memoryOperand } from "../interpreter/record.ts";

/** Registers by number that instructions touch. */
export interface Touched {
	gprRead: number;
	gprWritten: number;
	/** Written whatever happens, short of a fault. */
	gprAlways: number;
	xmmRead: number;
	xmmWritten: number;
	xmmAlways: number;
}

/**
 * Which registers and flags an instruction touches: its operands by their place (bit n: operand n), so that it holds for all
 * instructions of a shape, and registers that its meaning names itself by number (bit i: register i).
 */
export interface Effects extends Touched {
	operandsRead: number;
	operandsWritten: number;
	operandsAlways: number;
	/** The memory operand's base and index are read. */
	readsAddress: boolean;
	flags: FlagEffect;
	/** It puts everything into the state block, works there, and takes everything out again. */
	isInMemory: boolean;
}

export type FlagEffect = "none" | "sometimes" | "always";

export const noEffects = (): Effects => ({
	gprRead: 0,
	gprWritten: 0,
	gprAlways: 0,
	xmmRead: 0,
	xmmWritten: 0,
	xmmAlways: 0,
	operandsRead: 0,
	operandsWritten: 0,
	operandsAlways: 0,
	readsAddress: false,
	flags: "none",
	isInMemory: false,
});

export function forget(effects: Effects): void {
	effects.gprRead = 0;
	effects.gprWritten = 0;
	effects.gprAlways = 0;
	effects.xmmRead = 0;
	effects.xmmWritten = 0;
	effects.xmmAlways = 0;
	effects.operandsRead = 0;
	effects.operandsWritten = 0;
	effects.operandsAlways = 0;
	effects.readsAddress = false;
	effects.flags = "none";
	effects.isInMemory = false;
}

export function areEqual(a: Effects, b: Effects): boolean {
	return (
		a.gprRead === b.gprRead &&
		a.gprWritten === b.gprWritten &&
		a.gprAlways === b.gprAlways &&
		a.xmmRead === b.xmmRead &&
		a.xmmWritten === b.xmmWritten &&
		a.xmmAlways === b.xmmAlways &&
		a.operandsRead === b.operandsRead &&
		a.operandsWritten === b.operandsWritten &&
		a.operandsAlways === b.operandsAlways &&
		a.readsAddress === b.readsAddress &&
		a.flags === b.flags &&
		a.isInMemory === b.isInMemory
	);
}

/** What `insn`, whose shape has these effects, touches. */
export function resolve(effects: Effects, insn: Insn, touched: Touched): void {
	let { gprRead, gprWritten, gprAlways, xmmRead, xmmWritten, xmmAlways } = effects;
	const { operands } = insn;
	const { operandsRead, operandsWritten, operandsAlways } = effects;
	if ((operandsRead | operandsWritten) !== 0)
		for (let n = 0; n < operands.length; n++) {
			const operand = operands[n] as Insn["operands"][number];
			if (operand.kind !== "reg") continue;
			const read = ((operandsRead >> n) & 1) << operand.index;
			const written = ((operandsWritten >> n) & 1) << operand.index;
			const always = ((operandsAlways >> n) & 1) << operand.index;
			if (operand.cls === "xmm") {
				xmmRead |= read;
				xmmWritten |= written;
				xmmAlways |= always;
			} else {
				gprRead |= read;
				gprWritten |= written;
				gprAlways |= always;
			}
		}
	if (effects.readsAddress) {
		const mem = memoryOperand(insn);
		if (mem !== undefined) gprRead |= (mem.base < 0 ? 0 : 1 << mem.base) | (mem.index < 0 ? 0 : 1 << mem.index);
	}
	touched.gprRead = gprRead;
	touched.gprWritten = gprWritten;
	touched.gprAlways = gprAlways;
	touched.xmmRead = xmmRead;
	touched.xmmWritten = xmmWritten;
	touched.xmmAlways = xmmAlways;
}
