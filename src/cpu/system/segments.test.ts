import { describe, expect, test } from "vitest";
import { CR0 } from "../mmu/access.ts";
import { peek64, poke64 } from "../mmu/fixture.ts";
import { FLAG } from "../state/flags.ts";
import { MODE, TLB_KERNEL, TLB_KERNEL_AC, TLB_USER } from "../state/layout.ts";
import { writeCr0 } from "./control-registers.ts";
import { descriptor, GDT, KIND, longCpu, outcome, protectedCpu, putDescriptor, rangesOf, realCpu, SELECTOR, segmentOf } from "./fixture.ts";
import { SEG, updateMode } from "./mode.ts";
import { loadSegment, segmentHelpers } from "./segments.ts";

const EMPTY = [0xffff_ffff, 0, 0xffff_ffff, 0];

describe("real mode (SDM 3B §20.1.1)", () => {
	test("a load moves the base only; limits of protected mode stay", () => {
		const cpu = protectedCpu();
		writeCr0(cpu, CR0.ET, 0);
		loadSegment(cpu, SEG.DS, 0x1234);
		expect(segmentOf(cpu, SEG.DS)).toMatchObject({ selector: 0x1234, base: 0x12340, limit: 0xffff_ffff });
		expect(rangesOf(cpu, SEG.DS)).toEqual([0, 0xffff_ffff, 0, 0xffff_ffff]);
		loadSegment(realCpu(), SEG.DS, 0x1234);
	});

	test("everything is readable and writable within 64 KiB after reset", () => {
		const cpu = realCpu();
		expect(rangesOf(cpu, SEG.CS)).toEqual([0, 0xffff, 0, 0xffff]);
		expect(segmentOf(cpu, SEG.CS)).toMatchObject({ selector: 0xf000, base: 0xffff_0000 });
		expect(cpu.state.getLow("rip")).toBe(0xfff0);
		expect(cpu.state.get("modeKey")).toBe(MODE.code16);
	});
});

describe("data segments in protected mode (SDM 3A §5.6)", () => {
	const load = (cpu: ReturnType<typeof protectedCpu>, seg: number, selector: number) =>
		outcome(cpu, segmentHelpers.loadSegment, 2, seg, selector);

	test("loads, marks the descriptor accessed, moves rip", () => {
		const cpu = protectedCpu();
		putDescriptor(cpu, SELECTOR.free, descriptor(0x12345678, 0x1234, KIND.data0 & ~1, 4));
		expect(load(cpu, SEG.DS, SELECTOR.free)).toBe(0);
		expect(segmentOf(cpu, SEG.DS)).toEqual({ selector: 0x40, base: 0x12345678, limit: 0x1234, attr: 0x409300 });
		expect(peek64(cpu, GDT + 0x40)).toBe(descriptor(0x12345678, 0x1234, KIND.data0, 4));
		expect(cpu.state.getLow("rip")).toBe(0x5002);
		expect(cpu.state.get("modeKey") & MODE.flat).toBe(0);
	});

	test("faults: outside the table, wrong type, privilege, absence", () => {
		const cpu = protectedCpu(3);
		expect(load(cpu, SEG.DS, 0x80)).toEqual({ vector: 13, error: 0x80 });
		expect(load(cpu, SEG.DS, 0x0c)).toEqual({ vector: 13, error: 0x0c });
		expect(load(cpu, SEG.DS, SELECTOR.tss | 3)).toEqual({ vector: 13, error: 0x28 });
		expect(load(cpu, SEG.DS, SELECTOR.data0)).toEqual({ vector: 13, error: 0x10 });
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, KIND.data3 & ~0x80));
		expect(load(cpu, SEG.ES, SELECTOR.free | 3)).toEqual({ vector: 11, error: 0x40 });
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, 0xf9));
		expect(load(cpu, SEG.ES, SELECTOR.free | 3)).toEqual({ vector: 13, error: 0x40 });
		expect(cpu.state.getLow("rip")).toBe(0x5000);
		expect(load(cpu, SEG.CS, SELECTOR.code3)).toEqual({ vector: 6, error: -1 });
	});

	test("null is unusable; conforming code needs no privilege", () => {
		const cpu = protectedCpu(3);
		expect(load(cpu, SEG.DS, 3)).toBe(0);
		expect(rangesOf(cpu, SEG.DS)).toEqual(EMPTY);
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, KIND.conforming0));
		expect(load(cpu, SEG.FS, SELECTOR.free | 3)).toBe(0);
		expect(rangesOf(cpu, SEG.FS)).toEqual([0, 0xffff_ffff, 0xffff_ffff, 0]);
	});

	test("§3.4.5.1 expand-down, read-only", () => {
		const cpu = protectedCpu();
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfff, KIND.expandDown0, 4));
		load(cpu, SEG.DS, SELECTOR.free);
		expect(rangesOf(cpu, SEG.DS)).toEqual([0x1000, 0xffff_ffff, 0x1000, 0xffff_ffff]);
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfff, KIND.expandDown0, 0));
		load(cpu, SEG.DS, SELECTOR.free);
		expect(rangesOf(cpu, SEG.DS)).toEqual([0x1000, 0xffff, 0x1000, 0xffff]);
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, KIND.expandDown0, 0xc));
		load(cpu, SEG.DS, SELECTOR.free);
		expect(rangesOf(cpu, SEG.DS)).toEqual(EMPTY);
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfff, KIND.readOnly0, 4));
		load(cpu, SEG.DS, SELECTOR.free);
		expect(rangesOf(cpu, SEG.DS)).toEqual([0, 0xfff, 0xffff_ffff, 0]);
	});

	test("SS: RPL and DPL must be CPL, writable; #SS when absent; holds interrupts back", () => {
		const cpu = protectedCpu();
		expect(load(cpu, SEG.SS, 0)).toEqual({ vector: 13, error: 0 });
		expect(load(cpu, SEG.SS, SELECTOR.data0 | 1)).toEqual({ vector: 13, error: 0x10 });
		expect(load(cpu, SEG.SS, SELECTOR.data3)).toEqual({ vector: 13, error: 0x20 });
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, KIND.data0 & ~0x80));
		expect(load(cpu, SEG.SS, SELECTOR.free)).toEqual({ vector: 12, error: 0x40 });
		expect(load(cpu, SEG.SS, SELECTOR.data0)).toBe(0);
		expect(cpu.state.get("interruptShadow")).toBe(2);
	});

	test("64-bit mode takes a null SS above CPL 3, and LDTR and TR with wide bases", () => {
		const cpu = longCpu();
		expect(load(cpu, SEG.SS, 0)).toBe(0);
		putDescriptor(cpu, SELECTOR.free, descriptor(0x2000, 0xff, KIND.ldt, 0));
		poke64(cpu, GDT + 0x48, 0xffff_8000n);
		expect(outcome(cpu, segmentHelpers.lldt, 3, SELECTOR.free)).toBe(0);
		expect(cpu.state.get64("segBase", SEG.LDTR)).toBe(0xffff_8000_0000_2000n);
		poke64(cpu, GDT + 0x48, 0x0000_8000n);
		expect(outcome(cpu, segmentHelpers.lldt, 3, SELECTOR.free)).toEqual({ vector: 13, error: 0x40 });
	});

	test("LTR wants an available TSS and makes it busy", () => {
		const cpu = protectedCpu();
		expect(outcome(cpu, segmentHelpers.ltr, 3, SELECTOR.tss)).toEqual({ vector: 13, error: 0x28 });
		putDescriptor(cpu, SELECTOR.free, descriptor(0x3800, 0x67, KIND.tss32, 0));
		expect(outcome(cpu, segmentHelpers.ltr, 3, SELECTOR.free)).toBe(0);
		expect(peek64(cpu, GDT + 0x40)).toBe(descriptor(0x3800, 0x67, KIND.busyTss32, 0));
		expect(segmentOf(cpu, SEG.TR)).toMatchObject({ base: 0x3800, limit: 0x67 });
	});
});

test("modeKey and the TLB in force follow segments, CPL, AC and SMAP", () => {
	const cpu = protectedCpu();
	const tlb = () => cpu.state.get("tlbBase") - cpu.state.base;
	expect(cpu.state.get("modeKey")).toBe(MODE.code32 | MODE.stack32 | MODE.flat);
	expect(tlb()).toBe(TLB_KERNEL);
	cpu.state.setLow("cr4", 1 << 21);
	cpu.state.set("flags", FLAG.AC | 2);
	updateMode(cpu);
	expect(tlb()).toBe(TLB_KERNEL_AC);
	expect(protectedCpu(3).state.get("modeKey")).toBe(MODE.code32 | MODE.stack32 | MODE.flat | MODE.user);
	expect(protectedCpu(3).state.get("tlbBase") - cpu.state.base).toBe(TLB_USER);
	expect(longCpu().state.get("modeKey")).toBe(MODE.code64 | MODE.stack32 | MODE.flat);
});
