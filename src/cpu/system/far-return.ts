import type { CpuContext } from "../context.ts";
import { CR4 } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { EXIT } from "../state/layout.ts";
import { Descriptor, fetchDescriptor, isNull, markAccessed } from "./descriptors.ts";
import { checkCodeKind, checkTarget, nextRip } from "./far-transfer.ts";
import { guarded, raise, VECTOR } from "./fault.ts";
import { exitAfterFlags } from "./flag-instructions.ts";
import { ATTR, isCode64, isLongMode, isProtected, SEG, updateMode } from "./mode.ts";
import { iopl, isVirtual8086, RFLAGS_MASK, writeRflags } from "./rflags.ts";
import { checkStackSegment, dropInaccessibleSegments, setCode, setFromDescriptor, setNull, setReal, setVirtual8086 } from "./segments.ts";
import { StackCursor } from "./stack.ts";
import { backLink, switchTask } from "./task-switch.ts";
import { CPL, CR4_WORD, DR, FLAGS, RIP, RSP, SEG_ATTR, SEG_LIMIT, setAddress } from "./words.ts";

const FOUR_GIB = 0x1_0000_0000;
const target = new Descriptor();
const stackSegment = new Descriptor();
const cursor = new StackCursor();

/** The code segment that a return goes to: its RPL becomes CPL (Intel SDM Vol. 2B, "RET", "IRET"). Leaves it in `target`. */
function fetchReturnTarget(cpu: CpuContext, selector: number): void {
	const rpl = selector & 3;
	const code = selector & 0xfffc;
	if (isNull(selector)) raise(cpu, VECTOR.GP, 0);
	fetchDescriptor(cpu, target, selector, VECTOR.GP);
	if (!target.isCode || rpl < (cpu.state.i32[CPL] as number)) raise(cpu, VECTOR.GP, code);
	if (target.isConforming ? target.dpl > rpl : target.dpl !== rpl) raise(cpu, VECTOR.GP, code);
	checkCodeKind(cpu, target, code);
	if (!target.isPresent) raise(cpu, VECTOR.NP, code);
}

/** SS of a return that changes stacks; true: a null selector, which 64-bit code above CPL 3 may have. */
function fetchReturnStack(cpu: CpuContext, selector: number, cpl: number): boolean {
	if (isNull(selector)) {
		if (!isLongMode(cpu) || (target.high & ATTR.L) === 0 || cpl === 3 || (selector & 3) !== cpl) raise(cpu, VECTOR.GP, 0);
		return true;
	}
	checkStackSegment(cpu, stackSegment, selector, cpl, VECTOR.GP);
	return false;
}

/** Loads SS and as much of rSP as the new stack is wide. */
function loadStack(cpu: CpuContext, selector: number, isNullStack: boolean, low: number, high: number): void {
	const i32 = cpu.state.i32;
	if (isNullStack) setNull(cpu, SEG.SS, selector);
	else {
		markAccessed(cpu, stackSegment);
		setFromDescriptor(cpu, SEG.SS, selector, stackSegment);
	}
	const isLong = isLongMode(cpu) && ((i32[SEG_ATTR + SEG.CS] as number) & ATTR.L) !== 0;
	if (isLong) {
		i32[RSP] = low;
		i32[RSP + 1] = high;
	} else if (((i32[SEG_ATTR + SEG.SS] as number) & ATTR.DB) !== 0) {
		i32[RSP] = low;
		i32[RSP + 1] = 0;
	} else i32[RSP] = ((i32[RSP] as number) & -0x1_0000) | (low & 0xffff);
}

/** Real and virtual-8086 mode. */
function returnUnprotected(cpu: CpuContext, offset: number, selector: number): void {
	if (offset > (cpu.state.i32[SEG_LIMIT + SEG.CS] as number) >>> 0) raise(cpu, VECTOR.GP, 0);
	if (isProtected(cpu)) setVirtual8086(cpu, SEG.CS, selector);
	else setReal(cpu, SEG.CS, selector);
	setAddress(cpu.state.i32, RIP, offset);
}

function returnFar(cpu: CpuContext, _length: number, opBytes: number, release: number): number {
	const i32 = cpu.state.i32;
	cursor.useCurrent(cpu);
	const offset = cursor.popAddress(opBytes);
	const selector = cursor.pop(opBytes) & 0xffff;
	if (!isProtected(cpu) || isVirtual8086(cpu.state)) {
		returnUnprotected(cpu, offset, selector);
		cursor.skip(release);
		cursor.commit();
		updateMode(cpu);
		return EXIT.lookup;
	}
	fetchReturnTarget(cpu, selector);
	const newCpl = selector & 3;
	cursor.skip(release);
	if (newCpl === i32[CPL]) {
		checkTarget(cpu, target, offset);
		setCode(cpu, selector, target, newCpl);
		cursor.commit();
	} else {
		const low = cursor.pop(opBytes);
		const high = cursor.high;
		const stackSelector = cursor.pop(opBytes) & 0xffff;
		const isNullStack = fetchReturnStack(cpu, stackSelector, newCpl);
		checkTarget(cpu, target, offset);
		setCode(cpu, selector, target, newCpl);
		const released = (high | 0) * FOUR_GIB + low + release;
		loadStack(cpu, stackSelector, isNullStack, released | 0, Math.floor(released / FOUR_GIB));
		dropInaccessibleSegments(cpu);
	}
	setAddress(i32, RIP, offset);
	updateMode(cpu);
	return EXIT.lookup;
}

/** Which bits of the popped image count, at the privilege and IOPL before the return. */
function flagsMask(cpu: CpuContext, opBytes: number): number {
	const cpl = cpu.state.i32[CPL] as number;
	let mask = RFLAGS_MASK & ~(FLAG.VM | FLAG.VIF | FLAG.VIP | FLAG.IOPL | FLAG.IF);
	if (cpl === 0) mask |= FLAG.IOPL | FLAG.VIF | FLAG.VIP;
	if (cpl <= iopl(cpu.state)) mask |= FLAG.IF;
	return opBytes === 2 ? mask & 0xffff : mask;
}

/** RF matters to instruction breakpoints only; without any it is not kept. */
function loadFlags(cpu: CpuContext, image: number, mask: number): void {
	const hasBreakpoints = ((cpu.state.i32[DR + 14] as number) & 0xff) !== 0;
	writeRflags(cpu.state, hasBreakpoints ? image : image & ~FLAG.RF, mask);
}

function interruptReturn(cpu: CpuContext, length: number, opBytes: number): number {
	const state = cpu.state;
	state.set("nmiBlocked", 0);
	cursor.useCurrent(cpu);
	if (!isProtected(cpu)) returnReal(cpu, opBytes);
	else if (isVirtual8086(state)) returnVirtual(cpu, opBytes);
	else if (((state.i32[FLAGS] as number) & FLAG.NT) !== 0) {
		if (isLongMode(cpu)) raise(cpu, VECTOR.GP, 0);
		switchTask(cpu, backLink(cpu), "iret", nextRip(cpu, length), 0);
	} else returnProtected(cpu, opBytes);
	updateMode(cpu);
	return exitAfterFlags(cpu);
}

function returnReal(cpu: CpuContext, opBytes: number): void {
	const offset = cursor.popAddress(opBytes);
	const selector = cursor.pop(opBytes) & 0xffff;
	const flags = cursor.pop(opBytes);
	returnUnprotected(cpu, offset, selector);
	cursor.commit();
	loadFlags(cpu, flags, flagsMask(cpu, opBytes) & ~(FLAG.VIF | FLAG.VIP));
}

/** From virtual-8086 mode to itself (Intel SDM Vol. 3B §20.2.7, §20.3.3.4 for the virtual interrupt flag). */
function returnVirtual(cpu: CpuContext, opBytes: number): void {
	const state = cpu.state;
	const isPrivileged = iopl(state) === 3;
	if (!isPrivileged && (opBytes !== 2 || ((state.i32[CR4_WORD] as number) & CR4.VME) === 0)) raise(cpu, VECTOR.GP, 0);
	const offset = cursor.popAddress(opBytes);
	const selector = cursor.pop(opBytes) & 0xffff;
	let flags = cursor.pop(opBytes);
	let mask = flagsMask(cpu, opBytes) & ~FLAG.IOPL;
	if (!isPrivileged) {
		const enables = (flags & FLAG.IF) !== 0;
		if ((flags & FLAG.TF) !== 0 || (enables && ((state.i32[FLAGS] as number) & FLAG.VIP) !== 0)) raise(cpu, VECTOR.GP, 0);
		flags = enables ? flags | FLAG.VIF : flags & ~FLAG.VIF;
		mask = (mask & ~FLAG.IF) | FLAG.VIF;
	}
	returnUnprotected(cpu, offset, selector);
	cursor.commit();
	loadFlags(cpu, flags, mask);
}

function returnProtected(cpu: CpuContext, opBytes: number): void {
	const i32 = cpu.state.i32;
	const cpl = i32[CPL] as number;
	const offset = cursor.popAddress(opBytes);
	const selector = cursor.pop(opBytes) & 0xffff;
	const flags = cursor.pop(opBytes);
	if ((flags & FLAG.VM) !== 0 && cpl === 0 && opBytes === 4 && !isLongMode(cpu)) {
		returnToVirtual(cpu, offset, selector, flags);
		return;
	}
	const mask = flagsMask(cpu, opBytes);
	fetchReturnTarget(cpu, selector);
	const newCpl = selector & 3;
	if (newCpl === cpl && !isCode64(cpu)) {
		checkTarget(cpu, target, offset);
		setCode(cpu, selector, target, newCpl);
		cursor.commit();
	} else {
		const low = cursor.pop(opBytes);
		const high = cursor.high;
		const stackSelector = cursor.pop(opBytes) & 0xffff;
		const isNullStack = fetchReturnStack(cpu, stackSelector, newCpl);
		checkTarget(cpu, target, offset);
		setCode(cpu, selector, target, newCpl);
		loadStack(cpu, stackSelector, isNullStack, low, high);
		if (newCpl > cpl) dropInaccessibleSegments(cpu);
	}
	setAddress(i32, RIP, offset);
	loadFlags(cpu, flags, mask);
}

/** From CPL 0 into a virtual-8086 task (§20.2.5): everything comes from the stack. */
function returnToVirtual(cpu: CpuContext, offset: number, selector: number, flags: number): void {
	const i32 = cpu.state.i32;
	const esp = cursor.pop(4);
	const segments = [SEG.SS, SEG.ES, SEG.DS, SEG.FS, SEG.GS].map((seg) => ({ seg, selector: cursor.pop(4) & 0xffff }));
	setVirtual8086(cpu, SEG.CS, selector);
	for (const loaded of segments) setVirtual8086(cpu, loaded.seg, loaded.selector);
	i32[CPL] = 3;
	i32[RSP] = esp;
	i32[RSP + 1] = 0;
	setAddress(i32, RIP, offset & 0xffff);
	loadFlags(cpu, flags, RFLAGS_MASK);
}

export const farReturnHelpers = {
	/** System. a: length, b: operand bytes, c: bytes to release. Far RET. */
	returnFar: guarded(returnFar),
	/** System. a: length, b: operand bytes. */
	iret: guarded(interruptReturn),
} as const;
