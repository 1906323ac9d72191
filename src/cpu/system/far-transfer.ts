import type { CpuContext } from "../context.ts";
import { EXIT, MODE } from "../state/layout.ts";
import { Descriptor, fetchDescriptor, isNull, markAccessed, SYSTEM_TYPE } from "./descriptors.ts";
import { guarded, raise, readMemory, VECTOR } from "./fault.ts";
import { ATTR, isLongMode, isProtected, SEG, updateMode } from "./mode.ts";
import { isVirtual8086 } from "./rflags.ts";
import { setCode, setFromDescriptor, setNull, setReal, setVirtual8086 } from "./segments.ts";
import { StackCursor } from "./stack.ts";
import { TSS64_RSP0, tssStackPointer, useInnerStack } from "./task-stack.ts";
import { switchTask } from "./task-switch.ts";
import { ARG0, CPL, GPR, getAddress, isCanonical, MODE_KEY, RIP, RSP, SEG_LIMIT, SEG_SELECTOR, setAddress } from "./words.ts";

const FOUR_GIB = 0x1_0000_0000;
const gate = new Descriptor();
const target = new Descriptor();
const stackSegment = new Descriptor();
const cursor = new StackCursor();
const outer = new StackCursor();

/** Offset of the next instruction, as the running code counts. */
export function nextRip(cpu: CpuContext, length: number): number {
	const i32 = cpu.state.i32;
	const next = getAddress(i32, RIP) + length;
	const code = (i32[MODE_KEY] as number) & MODE.codeMask;
	if (code === MODE.code64) return next;
	return next >>> 0;
}

/** Real and virtual-8086 mode: CS is loaded without looking. */
function enterUnprotected(cpu: CpuContext, selector: number, offset: number): void {
	if (offset > (cpu.state.i32[SEG_LIMIT + SEG.CS] as number) >>> 0) raise(cpu, VECTOR.GP, 0);
	if (isProtected(cpu)) setVirtual8086(cpu, SEG.CS, selector);
	else setReal(cpu, SEG.CS, selector);
	setAddress(cpu.state.i32, RIP, offset);
	updateMode(cpu);
}

/** Checks `offset` against a code segment about to be loaded; in 64-bit code it must be canonical instead. */
export function checkTarget(cpu: CpuContext, into: Descriptor, offset: number): void {
	if (isLongMode(cpu) && (into.high & ATTR.L) !== 0) {
		if (!isCanonical(offset)) raise(cpu, VECTOR.GP, 0);
	} else if (offset > into.limit) raise(cpu, VECTOR.GP, 0);
}

/** L and D together are nobody's code (Intel SDM Vol. 3A §5.2.1). */
export function checkCodeKind(cpu: CpuContext, from: Descriptor, code: number): void {
	if (isLongMode(cpu) && (from.high & (ATTR.L | ATTR.DB)) === (ATTR.L | ATTR.DB)) raise(cpu, VECTOR.GP, code);
}

/** Far JMP or CALL straight to the code segment in `target` (§5.8.1). */
function checkDirect(cpu: CpuContext, selector: number, offset: number): void {
	const code = selector & 0xfffc;
	const cpl = cpu.state.i32[CPL] as number;
	if (target.isConforming ? target.dpl > cpl : (selector & 3) > cpl || target.dpl !== cpl) raise(cpu, VECTOR.GP, code);
	checkCodeKind(cpu, target, code);
	if (!target.isPresent) raise(cpu, VECTOR.NP, code);
	checkTarget(cpu, target, offset);
}

/** The target offset in arg0, as wide as the operand. */
function targetOffset(cpu: CpuContext, opBytes: number): number {
	const i32 = cpu.state.i32;
	const low = (i32[ARG0] as number) >>> 0;
	if (opBytes === 2) return low & 0xffff;
	return opBytes === 8 ? (i32[ARG0 + 1] as number) * FOUR_GIB + low : low;
}

function jumpFar(cpu: CpuContext, length: number, selector: number, opBytes: number): number {
	const offset = targetOffset(cpu, opBytes);
	if (!isProtected(cpu) || isVirtual8086(cpu.state)) {
		enterUnprotected(cpu, selector, offset);
		return EXIT.lookup;
	}
	fetchDescriptor(cpu, target, selector, VECTOR.GP);
	const cpl = cpu.state.i32[CPL] as number;
	if (target.isCode) {
		checkDirect(cpu, selector, offset);
		arrive(cpu, cpl, offset);
		return EXIT.lookup;
	}
	if (takeSystemTarget(cpu, selector, "jump", nextRip(cpu, length))) return EXIT.resync;
	fetchGateTarget(cpu);
	if (target.isConforming ? target.dpl > cpl : target.dpl !== cpl) raise(cpu, VECTOR.GP, target.selector & 0xfffc);
	if (!target.isPresent) raise(cpu, VECTOR.NP, target.selector & 0xfffc);
	const gateTarget = gateOffset(cpu);
	checkTarget(cpu, target, gateTarget);
	arrive(cpu, cpl, gateTarget);
	return EXIT.lookup;
}

/** CS:rIP become the checked target. */
function arrive(cpu: CpuContext, cpl: number, offset: number): void {
	setCode(cpu, target.selector, target, cpl);
	setAddress(cpu.state.i32, RIP, offset);
	updateMode(cpu);
}

/**
 * A far target that is no code segment: switches tasks (true), or leaves a call gate, checked, in `gate` (false). Anything else
 * is #GP.
 */
function takeSystemTarget(cpu: CpuContext, selector: number, source: "jump" | "call", returnRip: number): boolean {
	const code = selector & 0xfffc;
	const cpl = cpu.state.i32[CPL] as number;
	const { type } = target;
	const isLong = isLongMode(cpu);
	const isTss = type === SYSTEM_TYPE.tss16 || type === SYSTEM_TYPE.tss32;
	const isGate16 = type === SYSTEM_TYPE.callGate16 || type === SYSTEM_TYPE.taskGate;
	if (!target.isSystem || (!isTss && !isGate16 && type !== SYSTEM_TYPE.callGate32)) raise(cpu, VECTOR.GP, code);
	if (isLong && type !== SYSTEM_TYPE.callGate32) raise(cpu, VECTOR.GP, code);
	if (target.dpl < cpl || target.dpl < (selector & 3)) raise(cpu, VECTOR.GP, code);
	if (!target.isPresent) raise(cpu, VECTOR.NP, code);
	if (isTss || type === SYSTEM_TYPE.taskGate) {
		switchTask(cpu, isTss ? selector : target.gateSelector, source, returnRip, 0);
		return true;
	}
	gate.selector = target.selector;
	gate.address = target.address;
	gate.low = target.low;
	gate.high = target.high;
	return false;
}

function fetchGateTarget(cpu: CpuContext): void {
	const selector = gate.gateSelector;
	if (isNull(selector)) raise(cpu, VECTOR.GP, 0);
	fetchDescriptor(cpu, target, selector, VECTOR.GP);
	const code = selector & 0xfffc;
	if (!target.isCode) raise(cpu, VECTOR.GP, code);
	// §5.8.3.1: the gates of IA-32e mode lead to 64-bit code.
	if (isLongMode(cpu) && (target.high & (ATTR.L | ATTR.DB)) !== ATTR.L) raise(cpu, VECTOR.GP, code);
}

/** Entry point that the gate holds: 16, 32 or (IA-32e mode) 64 bits. */
function gateOffset(cpu: CpuContext): number {
	if (isLongMode(cpu)) {
		if ((readMemory(cpu, gate.address + 12, 4) & 0x1f00) !== 0) raise(cpu, VECTOR.GP, gate.selector & 0xfffc);
		return (readMemory(cpu, gate.address + 8, 4) | 0) * FOUR_GIB + gate.gateOffset;
	}
	return gate.type === SYSTEM_TYPE.callGate16 ? gate.gateOffset & 0xffff : gate.gateOffset;
}

function callFar(cpu: CpuContext, length: number, selector: number, opBytes: number): number {
	const i32 = cpu.state.i32;
	const offset = targetOffset(cpu, opBytes);
	const returnRip = nextRip(cpu, length);
	cursor.useCurrent(cpu);
	if (!isProtected(cpu) || isVirtual8086(cpu.state)) {
		cursor.push(opBytes, i32[SEG_SELECTOR + SEG.CS] as number);
		cursor.push(opBytes, returnRip);
		enterUnprotected(cpu, selector, offset);
		cursor.commit();
		return EXIT.lookup;
	}
	fetchDescriptor(cpu, target, selector, VECTOR.GP);
	if (target.isCode) {
		checkDirect(cpu, selector, offset);
		cursor.push(opBytes, i32[SEG_SELECTOR + SEG.CS] as number);
		cursor.pushAddress(opBytes, returnRip);
		cursor.commit();
		arrive(cpu, i32[CPL] as number, offset);
		return EXIT.lookup;
	}
	if (takeSystemTarget(cpu, selector, "call", returnRip)) return EXIT.resync;
	callThroughGate(cpu, returnRip);
	return EXIT.lookup;
}

/** §5.8.4, "Accessing a Code Segment Through a Call Gate". */
function callThroughGate(cpu: CpuContext, returnRip: number): void {
	const i32 = cpu.state.i32;
	fetchGateTarget(cpu);
	const cpl = i32[CPL] as number;
	const code = target.selector & 0xfffc;
	if (target.dpl > cpl) raise(cpu, VECTOR.GP, code);
	if (!target.isPresent) raise(cpu, VECTOR.NP, code);
	const offset = gateOffset(cpu);
	const isLong = isLongMode(cpu);
	const bytes = isLong ? 8 : gate.type === SYSTEM_TYPE.callGate32 ? 4 : 2;
	const newCpl = target.isConforming ? cpl : target.dpl;
	const isInner = newCpl < cpl;
	if (isInner && isLong) {
		cursor.use64(cpu, tssStackPointer(cpu, TSS64_RSP0 + 8 * newCpl, 0), newCpl);
		cursor.push(8, i32[SEG_SELECTOR + SEG.SS] as number);
		cursor.push(8, i32[RSP] as number, i32[RSP + 1] as number);
	} else if (isInner) pushInnerFrame(cpu, newCpl, bytes);
	else if (isLong) cursor.use64(cpu, getAddress(i32, RSP), cpl);
	checkTarget(cpu, target, offset);
	cursor.push(bytes, i32[SEG_SELECTOR + SEG.CS] as number);
	cursor.pushAddress(bytes, returnRip);
	if (isInner && isLong) setNull(cpu, SEG.SS, newCpl);
	else if (isInner) {
		markAccessed(cpu, stackSegment);
		setFromDescriptor(cpu, SEG.SS, stackSegment.selector, stackSegment);
	}
	setCode(cpu, target.selector, target, newCpl);
	cursor.commit();
	setAddress(i32, RIP, offset);
	updateMode(cpu);
}

/** The old stack's address and the parameters, copied to the inner stack. */
function pushInnerFrame(cpu: CpuContext, newCpl: number, bytes: number): void {
	const i32 = cpu.state.i32;
	outer.useCurrent(cpu);
	useInnerStack(cpu, cursor, stackSegment, newCpl, 0);
	cursor.push(bytes, i32[SEG_SELECTOR + SEG.SS] as number);
	cursor.push(bytes, i32[GPR + 8] as number);
	for (let left = (gate.high & 31) - 1; left >= 0; left--) cursor.push(bytes, outer.peek(left * bytes, bytes));
}

export const farTransferHelpers = {
	/** System. a: length, b: selector, c: operand bytes 2, 4, 8; arg0: offset. Far JMP. */
	jumpFar: guarded(jumpFar),
	/** System. a: length, b: selector, c: operand bytes; arg0: offset. Far CALL. */
	callFar: guarded(callFar),
} as const;
