import type { CpuContext } from "../context.ts";
import { EXIT } from "../state/layout.ts";
import { checkUmip } from "./control-registers.ts";
import { Descriptor, isNull, lookUpDescriptor, SYSTEM_TYPE } from "./descriptors.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { isLongMode, isProtected, SEG } from "./mode.ts";
import { isVirtual8086 } from "./rflags.ts";
import { advance } from "./segments.ts";
import { ARG0, ARG1, CPL, GDTR_BASE, GDTR_LIMIT, getAddress, IDTR_BASE, IDTR_LIMIT, isCanonical, SEG_SELECTOR, setPair } from "./words.ts";

const descriptor = new Descriptor();

/** LAR, LSL, VERR, VERW, ARPL, LLDT, LTR, SLDT and STR do not exist in real and virtual-8086 mode. */
function requireSegmentation(cpu: CpuContext): void {
	if (!isProtected(cpu) || isVirtual8086(cpu.state)) raise(cpu, VECTOR.UD);
}

/** System types whose access rights LAR tells (Intel SDM Vol. 2A, "LAR", table 3-51), and limit LSL tells ("LSL", table 3-55). */
const LAR_TYPES = [1, 2, 3, 4, 5, 9, 11, 12];
const LAR_TYPES_LONG = [SYSTEM_TYPE.ldt, SYSTEM_TYPE.tss32, SYSTEM_TYPE.busyTss32, SYSTEM_TYPE.callGate32];
const LSL_TYPES = [1, 2, 3, 9, 11];
const LSL_TYPES_LONG = [SYSTEM_TYPE.ldt, SYSTEM_TYPE.tss32, SYSTEM_TYPE.busyTss32];

/** Whether the descriptor exists, has one of the system types if it is none of code and data, and CPL and RPL may see it. */
function canSee(cpu: CpuContext, selector: number, systemTypes: readonly number[]): boolean {
	if (isNull(selector) || !lookUpDescriptor(cpu, descriptor, selector)) return false;
	if (descriptor.isSystem && !systemTypes.includes(descriptor.type)) return false;
	if (descriptor.isCode && descriptor.isConforming) return true;
	return descriptor.dpl >= (cpu.state.i32[CPL] as number) && descriptor.dpl >= (selector & 3);
}

function answer(cpu: CpuContext, isFound: boolean, value: number): number {
	setPair(cpu.state.i32, ARG0, value, 0);
	setPair(cpu.state.i32, ARG1, isFound ? 1 : 0, 0);
	return 0;
}

function loadTable(cpu: CpuContext, length: number, limit: number, base: number, limitWord: number): number {
	const i32 = cpu.state.i32;
	if (i32[CPL] !== 0) raise(cpu, VECTOR.GP, 0);
	if (!isCanonical(getAddress(i32, ARG0))) raise(cpu, VECTOR.GP, 0);
	setPair(i32, base, i32[ARG0] as number, i32[ARG0 + 1] as number);
	i32[limitWord] = limit & 0xffff;
	advance(cpu, length);
	return EXIT.lookup;
}

function storeTable(cpu: CpuContext, base: number, limitWord: number): number {
	checkUmip(cpu);
	const i32 = cpu.state.i32;
	setPair(i32, ARG0, i32[base] as number, i32[base + 1] as number);
	setPair(i32, ARG1, i32[limitWord] as number, 0);
	return 0;
}

export const descriptorTableHelpers = {
	/** System. a: length, b: limit; arg0: base (cut to 24 bits already if the operand size is 16). */
	lgdt: guarded((cpu, length, limit) => loadTable(cpu, length, limit, GDTR_BASE, GDTR_LIMIT)),
	/** System. a: length, b: limit; arg0: base. */
	lidt: guarded((cpu, length, limit) => loadTable(cpu, length, limit, IDTR_BASE, IDTR_LIMIT)),
	/** Query; base in arg0, limit in arg1. */
	sgdt: guarded((cpu) => storeTable(cpu, GDTR_BASE, GDTR_LIMIT)),
	/** Query; base in arg0, limit in arg1. */
	sidt: guarded((cpu) => storeTable(cpu, IDTR_BASE, IDTR_LIMIT)),
	/** Query; selector in arg0. */
	sldt: guarded((cpu) => {
		requireSegmentation(cpu);
		checkUmip(cpu);
		return answer(cpu, true, cpu.state.i32[SEG_SELECTOR + SEG.LDTR] as number);
	}),
	/** Query; selector in arg0. */
	str: guarded((cpu) => {
		requireSegmentation(cpu);
		checkUmip(cpu);
		return answer(cpu, true, cpu.state.i32[SEG_SELECTOR + SEG.TR] as number);
	}),
	/** Query; #UD where LLDT, LTR and their like do not exist. */
	checkSegmentation: guarded((cpu) => {
		requireSegmentation(cpu);
		return 0;
	}),
	/** Query. a: selector; access rights in arg0, ZF in arg1. */
	lar: guarded((cpu, selector) => {
		requireSegmentation(cpu);
		const isFound = canSee(cpu, selector & 0xffff, isLongMode(cpu) ? LAR_TYPES_LONG : LAR_TYPES);
		return answer(cpu, isFound, descriptor.high & 0x00ff_ff00);
	}),
	/** Query. a: selector; limit in arg0, ZF in arg1. */
	lsl: guarded((cpu, selector) => {
		requireSegmentation(cpu);
		const isFound = canSee(cpu, selector & 0xffff, isLongMode(cpu) ? LSL_TYPES_LONG : LSL_TYPES);
		return answer(cpu, isFound, descriptor.limit);
	}),
	/** Query. a: selector, b: 1 for VERW, 0 for VERR; ZF in arg1. */
	verify: guarded((cpu, selector, isWrite) => {
		requireSegmentation(cpu);
		const isVisible = canSee(cpu, selector & 0xffff, []);
		return answer(cpu, isVisible && (isWrite !== 0 ? descriptor.isWritableData : descriptor.isReadable), 0);
	}),
} as const;
