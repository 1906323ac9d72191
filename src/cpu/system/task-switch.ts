import type { CpuContext } from "../context.ts";
import { CR0 } from "../mmu/access.ts";
import { FLAG } from "../state/flags.ts";
import { loadPageDirectoryPointers } from "./control-registers.ts";
import { Descriptor, fetchDescriptor, isNull, markAccessed, SYSTEM_TYPE } from "./descriptors.ts";
import { NO_ERROR_CODE, probeWrite, raise, readMemory, VECTOR, writeMemory } from "./fault.ts";
import { SEG, updateMode } from "./mode.ts";
import { isVirtual8086, readRflags, writeRflags } from "./rflags.ts";
import { checkStackSegment, setCode, setFromDescriptor, setNull, setSegment, setVirtual8086 } from "./segments.ts";
import { StackCursor } from "./stack.ts";
import { isTss32, tssBase, tssLimit } from "./task-stack.ts";
import {
	CPL,
	CR0_WORD,
	CR3_WORD,
	DEBUG_PENDING,
	DR,
	GDTR_BASE,
	GPR,
	getAddress,
	RIP,
	SEG_LIMIT,
	SEG_SELECTOR,
	setAddress,
	setPair,
} from "./words.ts";

/** "gate": an interrupt or exception through a task gate of the IDT; its nesting is CALL's. */
export type TaskSwitchSource = "jump" | "call" | "gate" | "iret";

/** Where a TSS keeps what, by its layout (Intel SDM Vol. 3A §7.2.1, figure 7-2; §7.6, figure 7-10). */
interface TssLayout {
	readonly bytes: 2 | 4;
	readonly lowestLimit: number;
	readonly ip: number;
	readonly flags: number;
	readonly gpr: number;
	readonly segments: number;
	readonly segmentCount: number;
	readonly ldt: number;
}

const TSS32: TssLayout = { bytes: 4, lowestLimit: 103, ip: 0x20, flags: 0x24, gpr: 0x28, segments: 0x48, segmentCount: 6, ldt: 0x60 };
const TSS16: TssLayout = { bytes: 2, lowestLimit: 43, ip: 0x0e, flags: 0x10, gpr: 0x12, segments: 0x22, segmentCount: 4, ldt: 0x2a };
const TSS32_CR3 = 0x1c;
const TSS32_TRAP = 0x64;
/** DR6.BT. */
const DEBUG_TASK_SWITCH = 1 << 15;
/** DR7's L0–L3 and LE. */
const LOCAL_ENABLES = 0x155;

const tss = new Descriptor();
const segment = new Descriptor();
const cursor = new StackCursor();

/**
 * Switches to the task whose TSS `selector` names (§7.3, "Task Switching"). Privilege has been checked. Once the new task's
 * state is in the registers, faults are that task's: rip is its own by then.
 * @param returnRip what the old task resumes at
 * @param errorCode pushed on the new task's stack unless NO_ERROR_CODE
 * @param flags image of EFLAGS for the old task
 */
export function switchTask(
	cpu: CpuContext,
	selector: number,
	source: TaskSwitchSource,
	returnRip: number,
	ext: number,
	errorCode: number = NO_ERROR_CODE,
	flags: number = readRflags(cpu.state),
): void {
	const i32 = cpu.state.i32;
	const vector = source === "iret" ? VECTOR.TS : VECTOR.GP;
	const code = (selector & 0xfffc) | ext;
	if ((selector & 4) !== 0) raise(cpu, vector, code);
	fetchDescriptor(cpu, tss, selector, vector, ext);
	const isWide = (tss.type & 8) !== 0;
	const wanted = (isWide ? SYSTEM_TYPE.tss32 : SYSTEM_TYPE.tss16) | (source === "iret" ? 2 : 0);
	if (!tss.isSystem || tss.type !== wanted) raise(cpu, vector, code);
	if (!tss.isPresent) raise(cpu, VECTOR.NP, code);
	const layout = isWide ? TSS32 : TSS16;
	if (tss.limit < layout.lowestLimit) raise(cpu, VECTOR.TS, code);
	const newBase = tss.base;
	const oldSelector = i32[SEG_SELECTOR + SEG.TR] as number;
	const oldLayout = isTss32(cpu) ? TSS32 : TSS16;
	if (tssLimit(cpu) < oldLayout.lowestLimit) raise(cpu, VECTOR.TS, (oldSelector & 0xfffc) | ext);
	probeWrite(cpu, tssBase(cpu), oldLayout.lowestLimit + 1);
	probeWrite(cpu, newBase, layout.lowestLimit + 1);
	probeWrite(cpu, tss.address, 8);

	const image = readImage(cpu, newBase, layout);
	if (source === "jump" || source === "iret") setBusy(cpu, oldSelector, false);
	saveTask(cpu, oldLayout, returnRip, source === "iret" ? flags & ~FLAG.NT : flags);
	const isNested = source === "call" || source === "gate";
	if (isNested) writeMemory(cpu, newBase, 2, oldSelector);
	if (source !== "iret") {
		tss.high |= 2 << 8;
		writeMemory(cpu, tss.address + 5, 1, (tss.high >> 8) & 0xff);
	}
	setSegment(cpu, SEG.TR, selector, newBase, tss.limit, tss.attr | (2 << 8));
	if (isNested) image.flags |= FLAG.NT;
	loadRegisters(cpu, layout, image);
	loadSegments(cpu, image, ext);
	if (errorCode !== NO_ERROR_CODE) {
		cursor.useCurrent(cpu);
		cursor.push(layout.bytes, errorCode);
		cursor.commit();
	}
	if (image.ip > (i32[SEG_LIMIT + SEG.CS] as number) >>> 0) raise(cpu, VECTOR.GP, ext);
	if (image.hasTrap) i32[DEBUG_PENDING] = (i32[DEBUG_PENDING] as number) | DEBUG_TASK_SWITCH;
}

function setBusy(cpu: CpuContext, selector: number, isBusy: boolean): void {
	const at = getAddress(cpu.state.i32, GDTR_BASE) + (selector & 0xfff8) + 5;
	const access = readMemory(cpu, at, 1);
	writeMemory(cpu, at, 1, isBusy ? access | 2 : access & ~2);
}

function saveTask(cpu: CpuContext, layout: TssLayout, returnRip: number, flags: number): void {
	const i32 = cpu.state.i32;
	const base = tssBase(cpu);
	const { bytes } = layout;
	writeMemory(cpu, base + layout.ip, bytes, returnRip);
	writeMemory(cpu, base + layout.flags, bytes, flags);
	for (let n = 0; n < 8; n++) writeMemory(cpu, base + layout.gpr + n * bytes, bytes, i32[GPR + 2 * n] as number);
	for (let seg = 0; seg < layout.segmentCount; seg++)
		writeMemory(cpu, base + layout.segments + seg * bytes, 2, i32[SEG_SELECTOR + seg] as number);
}

interface TaskImage {
	readonly cr3: number;
	readonly ip: number;
	flags: number;
	readonly gpr: readonly number[];
	/** ES, CS, SS, DS, FS, GS; a 16-bit TSS has no FS and GS. */
	readonly segments: readonly number[];
	readonly ldt: number;
	readonly hasTrap: boolean;
}

function readImage(cpu: CpuContext, base: number, layout: TssLayout): TaskImage {
	const { bytes } = layout;
	const isWide = bytes === 4;
	const gpr: number[] = [];
	for (let n = 0; n < 8; n++) gpr.push(readMemory(cpu, base + layout.gpr + n * bytes, bytes));
	const segments = [0, 0, 0, 0, 0, 0];
	for (let seg = 0; seg < layout.segmentCount; seg++) segments[seg] = readMemory(cpu, base + layout.segments + seg * bytes, 2);
	return {
		cr3: isWide ? readMemory(cpu, base + TSS32_CR3, 4) : 0,
		ip: readMemory(cpu, base + layout.ip, bytes),
		flags: readMemory(cpu, base + layout.flags, bytes),
		gpr,
		segments,
		ldt: readMemory(cpu, base + layout.ldt, 2),
		hasTrap: isWide && (readMemory(cpu, base + TSS32_TRAP, 2) & 1) !== 0,
	};
}

function loadRegisters(cpu: CpuContext, layout: TssLayout, image: TaskImage): void {
	const i32 = cpu.state.i32;
	if (layout.bytes === 4 && ((i32[CR0_WORD] as number) & CR0.PG) !== 0) {
		setPair(i32, CR3_WORD, image.cr3, 0);
		loadPageDirectoryPointers(cpu, image.cr3);
		cpu.mmu.flush(true);
	}
	setAddress(i32, RIP, image.ip);
	writeRflags(cpu.state, image.flags, layout.bytes === 4 ? -1 : 0xffff);
	for (let n = 0; n < 8; n++) {
		// A 16-bit task leaves the upper halves as they are.
		const upper = layout.bytes === 4 ? 0 : (i32[GPR + 2 * n] as number) & -0x1_0000;
		setPair(i32, GPR + 2 * n, upper | (image.gpr[n] as number), 0);
	}
	i32[CR0_WORD] = (i32[CR0_WORD] as number) | CR0.TS;
	i32[DR + 14] = (i32[DR + 14] as number) & ~LOCAL_ENABLES;
	cpu.mmu.breakpointsChanged();
	const isVirtual = (image.flags & FLAG.VM) !== 0 && layout.bytes === 4;
	i32[CPL] = isVirtual ? 3 : (image.segments[SEG.CS] as number) & 3;
	// Selectors are in place before the descriptors are checked: a handler of the fault sees them (§7.3, step 12).
	for (let seg = 0; seg < 6; seg++) setNull(cpu, seg, image.segments[seg] as number);
	setNull(cpu, SEG.LDTR, image.ldt);
	updateMode(cpu);
}

function loadSegments(cpu: CpuContext, image: TaskImage, ext: number): void {
	loadTable(cpu, image.ldt, ext);
	const i32 = cpu.state.i32;
	if (isVirtual8086(cpu.state)) {
		for (let seg = 0; seg < 6; seg++) setVirtual8086(cpu, seg, image.segments[seg] as number);
		updateMode(cpu);
		return;
	}
	loadCode(cpu, image.segments[SEG.CS] as number, ext);
	const stack = image.segments[SEG.SS] as number;
	if (isNull(stack)) raise(cpu, VECTOR.TS, (stack & 0xfffc) | ext);
	checkStackSegment(cpu, segment, stack, i32[CPL] as number, VECTOR.TS, ext);
	markAccessed(cpu, segment);
	setFromDescriptor(cpu, SEG.SS, stack, segment);
	updateMode(cpu);
	for (const seg of [SEG.ES, SEG.DS, SEG.FS, SEG.GS]) loadData(cpu, seg, image.segments[seg] as number, ext);
	updateMode(cpu);
}

function loadTable(cpu: CpuContext, selector: number, ext: number): void {
	if (isNull(selector)) return;
	const code = (selector & 0xfffc) | ext;
	if ((selector & 4) !== 0) raise(cpu, VECTOR.TS, code);
	fetchDescriptor(cpu, segment, selector, VECTOR.TS, ext);
	if (!segment.isSystem || segment.type !== SYSTEM_TYPE.ldt || !segment.isPresent) raise(cpu, VECTOR.TS, code);
	setFromDescriptor(cpu, SEG.LDTR, selector, segment);
}

function loadCode(cpu: CpuContext, selector: number, ext: number): void {
	const code = (selector & 0xfffc) | ext;
	fetchDescriptor(cpu, segment, selector, VECTOR.TS, ext);
	const rpl = selector & 3;
	if (!segment.isCode || (segment.isConforming ? segment.dpl > rpl : segment.dpl !== rpl)) raise(cpu, VECTOR.TS, code);
	if (!segment.isPresent) raise(cpu, VECTOR.NP, code);
	setCode(cpu, selector, segment, rpl);
}

function loadData(cpu: CpuContext, seg: number, selector: number, ext: number): void {
	if (isNull(selector)) return;
	const code = (selector & 0xfffc) | ext;
	fetchDescriptor(cpu, segment, selector, VECTOR.TS, ext);
	if (!segment.isReadable) raise(cpu, VECTOR.TS, code);
	const isConformingCode = segment.isCode && segment.isConforming;
	const cpl = cpu.state.i32[CPL] as number;
	if (!isConformingCode && ((selector & 3) > segment.dpl || cpl > segment.dpl)) raise(cpu, VECTOR.TS, code);
	if (!segment.isPresent) raise(cpu, VECTOR.NP, code);
	markAccessed(cpu, segment);
	setFromDescriptor(cpu, seg, selector, segment);
}

/** Back link of the TSS in use: where IRET with NT goes. */
export function backLink(cpu: CpuContext): number {
	return readMemory(cpu, tssBase(cpu), 2);
}
