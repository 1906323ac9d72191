import type { CpuContext } from "../context.ts";
import { CR4 } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { at, EXIT } from "../state/layout.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { isProtected, updateMode } from "./mode.ts";
import { iopl, isVirtual8086, RFLAGS_MASK, readRflags, writeRflags } from "./rflags.ts";
import { advance } from "./segments.ts";
import { ARG0, CPL, CR4_WORD, DEBUG_PENDING, FLAGS, INTERRUPT_SHADOW } from "./words.ts";

const INTR_LINE = at("intrLine") >> 2;
const NMI_PENDING = at("nmiPending") >> 2;

/** How to go on when RFLAGS may have been opened: the run loop must look if an interrupt or a step is now due. */
export function exitAfterFlags(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	const flags = i32[FLAGS] as number;
	if ((flags & FLAG.TF) !== 0 || i32[DEBUG_PENDING] !== 0 || i32[NMI_PENDING] !== 0) return EXIT.resync;
	return (flags & FLAG.IF) !== 0 && i32[INTR_LINE] !== 0 ? EXIT.resync : EXIT.lookup;
}

/** CLI and STI work on VIF: virtual-8086 mode with CR4.VME, or CPL 3 with CR4.PVI (Intel SDM Vol. 3B §20.3, §20.4). */
function usesVirtualFlag(cpu: CpuContext): boolean {
	const cr4 = cpu.state.i32[CR4_WORD] as number;
	if (isVirtual8086(cpu.state)) return (cr4 & CR4.VME) !== 0;
	return cpu.state.i32[CPL] === 3 && (cr4 & CR4.PVI) !== 0;
}

function isPrivileged(cpu: CpuContext): boolean {
	return !isProtected(cpu) || (cpu.state.i32[CPL] as number) <= iopl(cpu.state);
}

function disableInterrupts(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	if (isPrivileged(cpu)) i32[FLAGS] = (i32[FLAGS] as number) & ~FLAG.IF;
	else if (usesVirtualFlag(cpu)) i32[FLAGS] = (i32[FLAGS] as number) & ~FLAG.VIF;
	else raise(cpu, VECTOR.GP, 0);
}

function enableInterrupts(cpu: CpuContext): void {
	const i32 = cpu.state.i32;
	const flags = i32[FLAGS] as number;
	if (isPrivileged(cpu)) {
		if ((flags & FLAG.IF) === 0) i32[INTERRUPT_SHADOW] = 1;
		i32[FLAGS] = flags | FLAG.IF;
	} else if (usesVirtualFlag(cpu) && (flags & FLAG.VIP) === 0) i32[FLAGS] = flags | FLAG.VIF;
	else raise(cpu, VECTOR.GP, 0);
}

/** The image that PUSHF stores: RF and VM read as 0 (Intel SDM Vol. 2B, "PUSHF/PUSHFD/PUSHFQ"). */
function pushImage(cpu: CpuContext, opBytes: number): number {
	const state = cpu.state;
	const flags = readRflags(state) & ~(FLAG.RF | FLAG.VM);
	if (!isVirtual8086(state) || iopl(state) === 3) return flags;
	if (opBytes !== 2 || ((state.i32[CR4_WORD] as number) & CR4.VME) === 0) raise(cpu, VECTOR.GP, 0);
	// The program sees its virtual interrupt flag, and IOPL 3.
	return (flags & ~FLAG.IF) | ((flags & FLAG.VIF) !== 0 ? FLAG.IF : 0) | FLAG.IOPL;
}

function popImage(cpu: CpuContext, image: number, opBytes: number): void {
	const state = cpu.state;
	const cpl = state.i32[CPL] as number;
	let mask = RFLAGS_MASK & ~(FLAG.VM | FLAG.VIF | FLAG.VIP | FLAG.RF);
	if (isVirtual8086(state)) {
		mask &= ~FLAG.IOPL;
		if (iopl(state) !== 3) {
			if (opBytes !== 2 || ((state.i32[CR4_WORD] as number) & CR4.VME) === 0) raise(cpu, VECTOR.GP, 0);
			const enables = (image & FLAG.IF) !== 0;
			if ((image & FLAG.TF) !== 0 || (enables && (readRflags(state) & FLAG.VIP) !== 0)) raise(cpu, VECTOR.GP, 0);
			writeRflags(state, enables ? FLAG.VIF : 0, FLAG.VIF);
			mask &= ~FLAG.IF;
		}
	} else if (isProtected(cpu)) {
		if (cpl !== 0) mask &= ~FLAG.IOPL;
		if (cpl > iopl(state)) mask &= ~FLAG.IF;
	}
	writeRflags(state, image, opBytes === 2 ? mask & 0xffff : mask);
}

export const flagHelpers = {
	/** System. a: length. */
	cli: guarded((cpu, length) => {
		disableInterrupts(cpu);
		advance(cpu, length);
		return EXIT.lookup;
	}),
	/** System. a: length. */
	sti: guarded((cpu, length) => {
		enableInterrupts(cpu);
		advance(cpu, length);
		if (cpu.state.i32[INTERRUPT_SHADOW] === 1) cpu.state.set64("shadowRip", cpu.state.get64("rip"));
		return exitAfterFlags(cpu);
	}),
	/** Query. a: operand bytes; the image to push in arg0. */
	pushf: guarded((cpu, opBytes) => {
		cpu.state.setLow("arg0", pushImage(cpu, opBytes));
		return 0;
	}),
	/** Query. a: operand bytes: #GP(0) where POPF may not be used at all. */
	checkPopf: guarded((cpu, opBytes) => {
		pushImage(cpu, opBytes);
		return 0;
	}),
	/** System. a: length, b: operand bytes; arg0: the image popped. */
	popf: guarded((cpu, length, opBytes) => {
		popImage(cpu, cpu.state.i32[ARG0] as number, opBytes);
		updateMode(cpu);
		advance(cpu, length);
		return exitAfterFlags(cpu);
	}),
	/** System. a: length, b: 1 for STAC, 0 for CLAC. */
	setAc: guarded((cpu, length, on) => {
		const i32 = cpu.state.i32;
		if (i32[CPL] !== 0) raise(cpu, VECTOR.UD);
		i32[FLAGS] = on !== 0 ? (i32[FLAGS] as number) | FLAG.AC : (i32[FLAGS] as number) & ~FLAG.AC;
		updateMode(cpu);
		advance(cpu, length);
		return EXIT.lookup;
	}),
} as const;
