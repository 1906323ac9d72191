import type { CpuContext } from "../context.ts";
import { FLAG } from "../state/flags.ts";
import { EXIT } from "../state/layout.ts";
import { Descriptor, fetchDescriptor, isNull, markAccessed, SYSTEM_TYPE } from "./descriptors.ts";
import { exitOf, NO_ERROR_CODE, raise, readMemory, readMemoryPair, VECTOR } from "./fault.ts";
import { ATTR, isLongMode, isProtected, SEG, updateMode } from "./mode.ts";
import { isVirtual8086, readRflags, writeRflags } from "./rflags.ts";
import { setCode, setFromDescriptor, setNull, setReal } from "./segments.ts";
import { StackCursor } from "./stack.ts";
import { TSS64_IST1, TSS64_RSP0, tssStackPointer, useInnerStack } from "./task-stack.ts";
import { switchTask } from "./task-switch.ts";
import {
	ARG0,
	CPL,
	DEBUG_PENDING,
	DR,
	FAULT_ERROR,
	FAULT_VECTOR,
	GPR,
	getAddress,
	IDTR_BASE,
	IDTR_LIMIT,
	INTERRUPT_SHADOW,
	isCanonical,
	RIP,
	RSP,
	SEG_SELECTOR,
	setAddress,
} from "./words.ts";

/** Where an event comes from decides privilege checks, error codes and the way to a double fault. */
export const EVENT = {
	/** INTR, NMI, INT1, and debug traps between instructions. */
	external: 0,
	/** A fault or trap that an instruction met. */
	exception: 1,
	/** INT n, INT3, INTO: the gate's DPL counts. */
	software: 2,
} as const;

const FOUR_GIB = 0x1_0000_0000;
/** IDT bit of an error code (Intel SDM Vol. 3A §6.13). */
const CODE_IDT = 2;

const gate = new Descriptor();
const target = new Descriptor();
const stackSegment = new Descriptor();
const cursor = new StackCursor();

/**
 * Delivers an event through the IVT or IDT (Intel SDM Vol. 3A chapter 6). Faults met on the way become double faults or a
 * shutdown as §6.15 ("Interrupt 8—Double Fault") says; those of INT n itself are returned as EXIT.fault.
 * @param errorCode NO_ERROR_CODE where the vector pushes none
 * @param returnRip offset pushed, a signed number
 */
export function deliverEvent(cpu: CpuContext, vector: number, errorCode: number, kind: number, returnRip: number): number {
	const { i32, base, deliver } = cpu.state;
	if (deliver !== undefined) {
		setAddress(i32, ARG0, returnRip);
		if (deliver(base, vector, errorCode, kind) !== 0) return EXIT.lookup;
	}
	for (;;) {
		try {
			enterHandler(cpu, vector, errorCode, kind, returnRip);
			i32[DEBUG_PENDING] = 0;
			i32[INTERRUPT_SHADOW] = 0;
			cpu.state.set("activity", 0);
			return EXIT.lookup;
		} catch (thrown) {
			const exit = exitOf(thrown);
			if (kind === EVENT.software || exit !== EXIT.fault) return exit;
		}
		const next = i32[FAULT_VECTOR] as number;
		if (kind === EVENT.exception && vector === VECTOR.DF) return shutDown(cpu);
		const isDouble = kind === EVENT.exception && makesDoubleFault(vector, next);
		vector = isDouble ? VECTOR.DF : next;
		errorCode = isDouble ? 0 : (i32[FAULT_ERROR] as number);
		kind = EVENT.exception;
		// A task switch may have gone through before the fault: then it belongs to the new task.
		returnRip = getAddress(i32, RIP);
	}
}

/** A triple fault: the processor stops until RESET (or INIT, NMI), and tells the board. */
export function shutDown(cpu: CpuContext): number {
	cpu.state.set("activity", 3);
	cpu.board.shutdown();
	return EXIT.resync;
}

function isContributory(vector: number): boolean {
	return vector === VECTOR.DE || (vector >= VECTOR.TS && vector <= VECTOR.GP);
}

function makesDoubleFault(first: number, second: number): boolean {
	if (first === VECTOR.PF) return second === VECTOR.PF || isContributory(second);
	return isContributory(first) && isContributory(second);
}

/** The run loop's answer to EXIT.fault: rip stands at the instruction, vector and code in the state. */
export function deliverFault(cpu: CpuContext): number {
	const i32 = cpu.state.i32;
	return deliverEvent(cpu, i32[FAULT_VECTOR] as number, i32[FAULT_ERROR] as number, EVENT.exception, getAddress(i32, RIP));
}

/** Delivers what is pending between two instructions: NMI, then INTR if IF lets it. -1: nothing. */
export function serviceInterrupts(cpu: CpuContext): number {
	const state = cpu.state;
	if (state.i32[INTERRUPT_SHADOW] !== 0) return -1;
	if (state.get("nmiPending") !== 0 && state.get("nmiBlocked") === 0) {
		state.set("nmiPending", 0);
		state.set("nmiBlocked", 1);
		return deliverEvent(cpu, VECTOR.NMI, NO_ERROR_CODE, EVENT.external, getAddress(state.i32, RIP));
	}
	if (state.get("intrLine") === 0 || ((state.get("flags") as number) & FLAG.IF) === 0) return -1;
	const vector = cpu.board.acknowledgeInterrupt() & 0xff;
	return deliverEvent(cpu, vector, NO_ERROR_CODE, EVENT.external, getAddress(state.i32, RIP));
}

function enterHandler(cpu: CpuContext, vector: number, errorCode: number, kind: number, returnRip: number): void {
	if (vector === VECTOR.DB && kind !== EVENT.software) {
		// Debug handlers run with general detection off (SDM Vol. 3B §17.2.4).
		cpu.state.i32[DR + 14] = (cpu.state.i32[DR + 14] as number) & ~(1 << 13);
	}
	if (!isProtected(cpu)) enterReal(cpu, vector, returnRip);
	else enterProtected(cpu, vector, errorCode, kind, returnRip);
}

/** Through the interrupt vector table (SDM Vol. 3B §20.1.4, "Interrupt and Exception Handling" in real-address mode). */
function enterReal(cpu: CpuContext, vector: number, returnRip: number): void {
	const i32 = cpu.state.i32;
	if (vector * 4 + 3 > (i32[IDTR_LIMIT] as number)) raise(cpu, VECTOR.GP, vector * 8 + CODE_IDT);
	const entry = getAddress(i32, IDTR_BASE) + vector * 4;
	const offset = readMemory(cpu, entry, 2);
	const selector = readMemory(cpu, entry + 2, 2);
	cursor.useCurrent(cpu);
	cursor.push(2, readRflags(cpu.state));
	cursor.push(2, i32[SEG_SELECTOR + SEG.CS] as number);
	cursor.push(2, returnRip);
	cursor.commit();
	writeRflags(cpu.state, 0, FLAG.IF | FLAG.TF | FLAG.AC | FLAG.RF);
	setReal(cpu, SEG.CS, selector);
	setAddress(i32, RIP, offset);
	updateMode(cpu);
}

/** The image of RFLAGS that goes onto the stack: faults have RF set so that a breakpoint on the instruction is met once (§17.3.1.1). */
function flagsImage(cpu: CpuContext, vector: number, kind: number): number {
	const flags = readRflags(cpu.state);
	const isFault = kind === EVENT.exception && vector !== VECTOR.DB && vector !== VECTOR.DF && vector !== VECTOR.MC;
	return isFault ? flags | FLAG.RF : flags;
}

function readGate(cpu: CpuContext, vector: number, ext: number): void {
	const i32 = cpu.state.i32;
	const bytes = isLongMode(cpu) ? 16 : 8;
	const code = vector * 8 + CODE_IDT + ext;
	if (vector * bytes + bytes - 1 > (i32[IDTR_LIMIT] as number)) raise(cpu, VECTOR.GP, code);
	gate.address = getAddress(i32, IDTR_BASE) + vector * bytes;
	gate.low = readMemoryPair(cpu, gate.address);
	gate.high = cpu.mmu.pairHigh;
	const isWide = gate.type === SYSTEM_TYPE.interruptGate32 || gate.type === SYSTEM_TYPE.trapGate32;
	const isNarrow = gate.type === SYSTEM_TYPE.interruptGate16 || gate.type === SYSTEM_TYPE.trapGate16 || gate.type === SYSTEM_TYPE.taskGate;
	if (!gate.isSystem || (!isWide && (!isNarrow || bytes === 16))) raise(cpu, VECTOR.GP, code);
}

/** Through the IDT (§6.12, "Exception and Interrupt Handling"; §6.14 in 64-bit mode). */
function enterProtected(cpu: CpuContext, vector: number, errorCode: number, kind: number, returnRip: number): void {
	const i32 = cpu.state.i32;
	const cpl = i32[CPL] as number;
	const ext = kind === EVENT.software ? 0 : 1;
	readGate(cpu, vector, ext);
	const gateCode = vector * 8 + CODE_IDT + ext;
	if (kind === EVENT.software && gate.dpl < cpl) raise(cpu, VECTOR.GP, gateCode);
	if (!gate.isPresent) raise(cpu, VECTOR.NP, gateCode);
	if (gate.type === SYSTEM_TYPE.taskGate) {
		switchTask(cpu, gate.gateSelector, "gate", returnRip, ext, errorCode, flagsImage(cpu, vector, kind));
		return;
	}
	const selector = gate.gateSelector;
	if (isNull(selector)) raise(cpu, VECTOR.GP, ext);
	const code = (selector & 0xfffc) | ext;
	fetchDescriptor(cpu, target, selector, VECTOR.GP, ext);
	if (!target.isCode || target.dpl > cpl) raise(cpu, VECTOR.GP, code);
	const isLong = isLongMode(cpu);
	if (isLong && (target.high & (ATTR.L | ATTR.DB)) !== ATTR.L) raise(cpu, VECTOR.GP, code);
	if (!target.isPresent) raise(cpu, VECTOR.NP, code);
	const newCpl = target.isConforming ? cpl : target.dpl;
	if (isVirtual8086(cpu.state) && newCpl !== 0) raise(cpu, VECTOR.GP, code);
	const flags = flagsImage(cpu, vector, kind);
	const isTrapGate = (gate.type & 1) !== 0;
	if (isLong) enterLong(cpu, newCpl, errorCode, flags, returnRip, ext);
	else enterLegacy(cpu, newCpl, errorCode, flags, returnRip, ext);
	const cleared = FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM | (isTrapGate ? 0 : FLAG.IF);
	writeRflags(cpu.state, 0, cleared);
	updateMode(cpu);
}

function enterLong(cpu: CpuContext, newCpl: number, errorCode: number, flags: number, returnRip: number, ext: number): void {
	const i32 = cpu.state.i32;
	const isInner = newCpl !== i32[CPL];
	const ist = gate.high & 7;
	const offset = (readMemory(cpu, gate.address + 8, 4) | 0) * FOUR_GIB + gate.gateOffset;
	if (!isCanonical(offset)) raise(cpu, VECTOR.GP, ext);
	let stack: number;
	if (ist !== 0) stack = tssStackPointer(cpu, TSS64_IST1 + 8 * (ist - 1), ext);
	else if (isInner) stack = tssStackPointer(cpu, TSS64_RSP0 + 8 * newCpl, ext);
	else stack = getAddress(i32, RSP);
	// §6.14.2: aligned down to 16 bytes before anything is pushed.
	cursor.use64(cpu, Math.floor(stack / 16) * 16, newCpl);
	cursor.push(8, i32[SEG_SELECTOR + SEG.SS] as number);
	cursor.push(8, i32[RSP] as number, i32[RSP + 1] as number);
	cursor.push(8, flags);
	cursor.push(8, i32[SEG_SELECTOR + SEG.CS] as number);
	cursor.pushAddress(8, returnRip);
	if (errorCode !== NO_ERROR_CODE) cursor.push(8, errorCode);
	setCode(cpu, target.selector, target, newCpl);
	if (isInner) setNull(cpu, SEG.SS, newCpl);
	cursor.commit();
	setAddress(i32, RIP, offset);
}

function enterLegacy(cpu: CpuContext, newCpl: number, errorCode: number, flags: number, returnRip: number, ext: number): void {
	const i32 = cpu.state.i32;
	const bytes = (gate.type & 8) !== 0 ? 4 : 2;
	const isInner = newCpl !== i32[CPL];
	const wasVirtual = isVirtual8086(cpu.state);
	let stackSelector = 0;
	if (isInner) stackSelector = useInnerStack(cpu, cursor, stackSegment, newCpl, ext);
	else cursor.useCurrent(cpu);
	const offset = bytes === 2 ? gate.gateOffset & 0xffff : gate.gateOffset;
	if (offset > target.limit) raise(cpu, VECTOR.GP, ext);
	if (isInner) {
		if (wasVirtual) for (const seg of [SEG.GS, SEG.FS, SEG.DS, SEG.ES]) cursor.push(bytes, i32[SEG_SELECTOR + seg] as number);
		cursor.push(bytes, i32[SEG_SELECTOR + SEG.SS] as number);
		cursor.push(bytes, i32[GPR + 8] as number);
	}
	cursor.push(bytes, flags);
	cursor.push(bytes, i32[SEG_SELECTOR + SEG.CS] as number);
	cursor.push(bytes, returnRip);
	if (errorCode !== NO_ERROR_CODE) cursor.push(bytes, errorCode);
	if (isInner) {
		markAccessed(cpu, stackSegment);
		setFromDescriptor(cpu, SEG.SS, stackSelector, stackSegment);
		if (wasVirtual) for (const seg of [SEG.GS, SEG.FS, SEG.DS, SEG.ES]) setNull(cpu, seg, 0);
	}
	setCode(cpu, target.selector, target, newCpl);
	cursor.commit();
	setAddress(i32, RIP, offset);
}
