import { CR0, CR4, EFER } from "../mmu/access.ts";
import { poke32, poke64, ramAt, type TestCpu, testCpu } from "../mmu/fixture.ts";
import { at, EXIT } from "../state/layout.ts";
import { writeCr0 } from "./control-registers.ts";
import type { Helper } from "./fault.ts";
import { SEG, updateMode } from "./mode.ts";
import { resetCpu } from "./reset.ts";
import { setNull, setSegment } from "./segments.ts";

/** Where the tests' tables lie. */
export const GDT = 0x1000;
export const IDT = 0x2000;
export const TSS = 0x3000;
export const STACK0 = 0x8000;

/** Access bytes of descriptors: code and data by privilege, all accessed already unless said. */
export const KIND = {
	code0: 0x9b,
	code3: 0xfb,
	conforming0: 0x9f,
	data0: 0x93,
	data3: 0xf3,
	readOnly0: 0x91,
	expandDown0: 0x97,
	ldt: 0x82,
	tss16: 0x81,
	tss32: 0x89,
	busyTss32: 0x8b,
	taskGate: 0x85,
} as const;

/** Flags nibble: G = 8, D/B = 4, L = 2. */
export function descriptor(base: number, limit: number, access: number, flags = 0xc): bigint {
	const low = ((limit & 0xffff) | ((base & 0xffff) << 16)) >>> 0;
	const high = (((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf0000) | (flags << 20) | (base & 0xff000000)) >>> 0;
	return (BigInt(high) << 32n) | BigInt(low);
}

export function gateDescriptor(selector: number, offset: number, access: number, parameters = 0): bigint {
	const low = ((offset & 0xffff) | (selector << 16)) >>> 0;
	const high = ((offset & 0xffff0000) | (access << 8) | parameters) >>> 0;
	return (BigInt(high) << 32n) | BigInt(low);
}

/** Selectors of the tests' GDT. */
export const SELECTOR = { code0: 0x08, data0: 0x10, code3: 0x1b, data3: 0x23, tss: 0x28, code64: 0x38, free: 0x40 } as const;

export function putDescriptor(cpu: TestCpu, selector: number, value: bigint): void {
	poke64(cpu, GDT + (selector & 0xfff8), value);
}

/** 0x00 null, flat code and data for CPL 0 and 3, a 32-bit TSS (in use) whose CPL 0 stack is data0:STACK0, 64-bit code. */
function buildTables(cpu: TestCpu): void {
	putDescriptor(cpu, SELECTOR.code0, descriptor(0, 0xfffff, KIND.code0));
	putDescriptor(cpu, SELECTOR.data0, descriptor(0, 0xfffff, KIND.data0));
	putDescriptor(cpu, SELECTOR.code3, descriptor(0, 0xfffff, KIND.code3));
	putDescriptor(cpu, SELECTOR.data3, descriptor(0, 0xfffff, KIND.data3));
	putDescriptor(cpu, SELECTOR.tss, descriptor(TSS, 0x67, KIND.busyTss32, 0));
	putDescriptor(cpu, SELECTOR.code64, descriptor(0, 0xfffff, KIND.code0, 0xa));
	poke32(cpu, TSS + 4, STACK0);
	poke32(cpu, TSS + 8, SELECTOR.data0);
	const { state } = cpu;
	state.setLow("gdtrBase", GDT);
	state.set("gdtrLimit", 0x7f);
	state.setLow("idtrBase", IDT);
	state.set("idtrLimit", 0x7ff);
}

export function realCpu(): TestCpu {
	const cpu = testCpu();
	resetCpu(cpu);
	return cpu;
}

/** Flat 32-bit protected mode at CPL 0 or 3, no paging. */
export function protectedCpu(cpl: 0 | 3 = 0): TestCpu {
	const cpu = realCpu();
	buildTables(cpu);
	writeCr0(cpu, CR0.PE | CR0.ET, 0);
	const dpl = cpl << 13;
	setSegment(cpu, SEG.CS, cpl === 0 ? SELECTOR.code0 : SELECTOR.code3, 0, -1, 0xc09b00 | dpl);
	for (const seg of [SEG.ES, SEG.SS, SEG.DS]) setSegment(cpu, seg, cpl === 0 ? SELECTOR.data0 : SELECTOR.data3, 0, -1, 0xc09300 | dpl);
	setNull(cpu, SEG.FS, 0);
	setNull(cpu, SEG.GS, 0);
	setSegment(cpu, SEG.TR, SELECTOR.tss, TSS, 0x67, 0x8b00);
	cpu.state.set("cpl", cpl);
	cpu.state.setLow("rip", 0x5000);
	cpu.state.setLow("gpr", 0x9000, 4);
	updateMode(cpu);
	return cpu;
}

/** 64-bit code at CPL 0 with the first 4 MiB identity-mapped for everybody: PML4 at 0x10000 and up. */
export function longCpu(): TestCpu {
	const cpu = protectedCpu(0);
	poke64(cpu, 0x10000, 0x11007n);
	poke64(cpu, 0x11000, 0x12007n);
	poke64(cpu, 0x12000, 0x0000e7n);
	poke64(cpu, 0x12008, 0x2000e7n);
	const { state } = cpu;
	state.setLow("cr4", CR4.PAE);
	state.setLow("cr3", 0x10000);
	state.setLow("efer", EFER.LME | EFER.SCE | EFER.NXE);
	writeCr0(cpu, CR0.PE | CR0.PG | CR0.WP | CR0.ET, 0);
	setSegment(cpu, SEG.CS, SELECTOR.code64, 0, -1, 0xa09b00);
	updateMode(cpu);
	return cpu;
}

/** The outcome of a helper: its exit, or the fault. */
export function outcome(cpu: TestCpu, helper: Helper, a = 0, b = 0, c = 0): number | { vector: number; error: number } {
	const exit = helper(cpu, a, b, c);
	return exit === EXIT.fault ? faultOf(cpu) : exit;
}

export function faultOf(cpu: TestCpu): { vector: number; error: number } {
	return { vector: cpu.state.get("faultVector"), error: cpu.state.get("faultErrorCode") };
}

/** 32-bit words on the current stack (base 0) from the top. */
export function stackWords(cpu: TestCpu, count: number): number[] {
	const top = ramAt(cpu.state.getLow("gpr", 4));
	return Array.from({ length: count }, (_, i) => cpu.memory.view.getUint32(top + 4 * i, true));
}

export function stackQuads(cpu: TestCpu, count: number): bigint[] {
	const top = ramAt(cpu.state.getLow("gpr", 4));
	return Array.from({ length: count }, (_, i) => cpu.memory.view.getBigUint64(top + 8 * i, true));
}

/** Segment's selector, base, limit and attributes. */
export function segmentOf(cpu: TestCpu, seg: number): { selector: number; base: number; limit: number; attr: number } {
	const { state } = cpu;
	return {
		selector: state.get("segSelector", seg),
		base: state.getLow("segBase", seg),
		limit: state.get("segLimit", seg) >>> 0,
		attr: state.get("segAttr", seg),
	};
}

/** Lowest and highest offsets for reading and for writing, unsigned. */
export function rangesOf(cpu: TestCpu, seg: number): number[] {
	const fields = ["segReadLow", "segReadHigh", "segWriteLow", "segWriteHigh"] as const;
	return fields.map((field) => cpu.state.view.getUint32(at(field, seg), true));
}
