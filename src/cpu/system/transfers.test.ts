import { describe, expect, test } from "vitest";
import { peek32, poke32, poke64, ramAt, type TestCpu } from "../mmu/fixture.ts";
import { FLAG } from "../state/flags.ts";
import { EXIT } from "../state/layout.ts";
import { farReturnHelpers } from "./far-return.ts";
import { farTransferHelpers } from "./far-transfer.ts";
import { fastCallHelpers } from "./fast-calls.ts";
import {
	descriptor,
	gateDescriptor,
	KIND,
	longCpu,
	outcome,
	protectedCpu,
	putDescriptor,
	realCpu,
	SELECTOR,
	STACK0,
	segmentOf,
	stackWords,
	TSS,
} from "./fixture.ts";
import { SEG, updateMode } from "./mode.ts";
import { readRflags, writeRflags } from "./rflags.ts";
import { setNull, setSegment } from "./segments.ts";

const ring = (cpu: TestCpu) => cpu.state.get("cpl");

function jump(cpu: TestCpu, selector: number, offset: number, opBytes = 4) {
	cpu.state.setLow("arg0", offset);
	return outcome(cpu, farTransferHelpers.jumpFar, 7, selector, opBytes);
}

function call(cpu: TestCpu, selector: number, offset = 0, opBytes = 4) {
	cpu.state.setLow("arg0", offset);
	return outcome(cpu, farTransferHelpers.callFar, 7, selector, opBytes);
}

function pushWords(cpu: TestCpu, ...words: number[]): void {
	const top = cpu.state.getLow("gpr", 4) - 4 * words.length;
	words.forEach((word, i) => {
		poke32(cpu, top + 4 * i, word);
	});
	cpu.state.setLow("gpr", top, 4);
}

function pushQuads(cpu: TestCpu, ...quads: (number | bigint)[]): void {
	const top = cpu.state.getLow("gpr", 4) - 8 * quads.length;
	quads.forEach((quad, i) => {
		poke64(cpu, top + 8 * i, BigInt(quad));
	});
	cpu.state.setLow("gpr", top, 4);
}

describe("far JMP and CALL (SDM 3A §5.8)", () => {
	test("to code: CS keeps CPL, the limit is checked", () => {
		const cpu = protectedCpu();
		putDescriptor(cpu, SELECTOR.free, descriptor(0x100, 0xfff, KIND.code0 & ~1, 4));
		expect(jump(cpu, SELECTOR.free, 0x1000)).toEqual({ vector: 13, error: 0 });
		expect(jump(cpu, SELECTOR.free, 0xfff)).toBe(EXIT.lookup);
		expect(segmentOf(cpu, SEG.CS)).toEqual({ selector: 0x40, base: 0x100, limit: 0xfff, attr: 0x409b00 });
		expect(jump(cpu, SELECTOR.data0, 0)).toEqual({ vector: 13, error: 0x10 });
		expect(jump(cpu, 0, 0)).toEqual({ vector: 13, error: 0 });
		expect(jump(cpu, SELECTOR.code3, 0)).toEqual({ vector: 13, error: 0x18 });
	});

	test("conforming code runs at the caller's privilege", () => {
		const cpu = protectedCpu(3);
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, KIND.conforming0));
		expect(jump(cpu, SELECTOR.free, 0x6000)).toBe(EXIT.lookup);
		expect(segmentOf(cpu, SEG.CS).selector).toBe(0x43);
		expect(ring(cpu)).toBe(3);
		expect(jump(cpu, SELECTOR.code0, 0)).toEqual({ vector: 13, error: 8 });
	});

	test("real mode", () => {
		const cpu = realCpu();
		cpu.state.setLow("gpr", 0x100, 4);
		expect(call(cpu, 0x2000, 0x34, 2)).toBe(EXIT.lookup);
		expect(segmentOf(cpu, SEG.CS)).toMatchObject({ selector: 0x2000, base: 0x20000 });
		expect(peek32(cpu, 0xfc)).toBe(0xf000_fff7);
		expect(outcome(cpu, farReturnHelpers.returnFar, 1, 2, 4)).toBe(EXIT.lookup);
		expect(cpu.state.getLow("rip")).toBe(0xfff7);
		expect(cpu.state.getLow("gpr", 4)).toBe(0x104);
	});

	test("§5.8.4 a call gate to CPL 0 copies parameters; RET n goes back and drops segments", () => {
		const cpu = protectedCpu(3);
		putDescriptor(cpu, SELECTOR.free, gateDescriptor(SELECTOR.code0, 0x7000, 0xec, 2));
		pushWords(cpu, 0x11, 0x22);
		expect(call(cpu, SELECTOR.free | 3)).toBe(EXIT.lookup);
		expect(stackWords(cpu, 6)).toEqual([0x5007, SELECTOR.code3, 0x11, 0x22, 0x8ff8, SELECTOR.data3]);
		expect(cpu.state.getLow("gpr", 4)).toBe(STACK0 - 24);
		expect(ring(cpu)).toBe(0);
		setSegment(cpu, SEG.DS, SELECTOR.data0, 0, -1, 0xc09300);
		expect(outcome(cpu, farReturnHelpers.returnFar, 3, 4, 8)).toBe(EXIT.lookup);
		expect(ring(cpu)).toBe(3);
		expect(cpu.state.getLow("rip")).toBe(0x5007);
		expect(cpu.state.getLow("gpr", 4)).toBe(0x9000);
		expect(segmentOf(cpu, SEG.SS).selector).toBe(SELECTOR.data3);
		expect(segmentOf(cpu, SEG.DS)).toMatchObject({ selector: 0, attr: 0 });
		expect(segmentOf(cpu, SEG.ES).selector).toBe(SELECTOR.data3);
	});

	test("gates: DPL and presence; JMP may not change privilege through one", () => {
		const cpu = protectedCpu(3);
		putDescriptor(cpu, SELECTOR.free, gateDescriptor(SELECTOR.code0, 0x7000, 0x8c));
		expect(call(cpu, SELECTOR.free | 3)).toEqual({ vector: 13, error: 0x40 });
		putDescriptor(cpu, SELECTOR.free, gateDescriptor(SELECTOR.code0, 0x7000, 0x6c));
		expect(call(cpu, SELECTOR.free | 3)).toEqual({ vector: 11, error: 0x40 });
		putDescriptor(cpu, SELECTOR.free, gateDescriptor(SELECTOR.code0, 0x7000, 0xec));
		expect(jump(cpu, SELECTOR.free | 3, 0)).toEqual({ vector: 13, error: 8 });
	});

	test("a 64-bit call gate switches to RSP0 with a null SS", () => {
		const cpu = longCpu();
		poke64(cpu, 0x1000 + 0x40, gateDescriptor(SELECTOR.code64, 0x7000, 0xec));
		poke64(cpu, 0x1000 + 0x48, 0xffff_8000n);
		poke64(cpu, TSS + 4, 0xb000n);
		setSegment(cpu, SEG.CS, 0x3b, 0, -1, 0xa0fb00);
		setSegment(cpu, SEG.SS, SELECTOR.data3, 0, -1, 0xc0f300);
		cpu.state.set("cpl", 3);
		updateMode(cpu);
		expect(call(cpu, SELECTOR.free | 3)).toBe(EXIT.lookup);
		expect(cpu.state.get64("rip")).toBe(0xffff_8000_0000_7000n);
		expect(cpu.state.getLow("gpr", 4)).toBe(0xb000 - 32);
		expect(segmentOf(cpu, SEG.SS)).toMatchObject({ selector: 0, attr: 0 });
	});
});

describe("IRET", () => {
	const iret = (cpu: TestCpu, opBytes = 4) => outcome(cpu, farReturnHelpers.iret, 1, opBytes);

	test("same privilege; IF and IOPL only as CPL allows", () => {
		const cpu = protectedCpu(3);
		pushWords(cpu, 0x6000, SELECTOR.code3, FLAG.IF | FLAG.IOPL | FLAG.CF | FLAG.AC);
		expect(iret(cpu)).toBe(EXIT.lookup);
		expect(readRflags(cpu.state)).toBe(FLAG.CF | FLAG.AC | 2);
		expect(cpu.state.getLow("rip")).toBe(0x6000);
	});

	test("to CPL 3, and faults that leave everything alone", () => {
		const cpu = protectedCpu();
		cpu.state.set("nmiBlocked", 1);
		pushWords(cpu, 0x6000, SELECTOR.code3, FLAG.IF | 2, 0xabcd, SELECTOR.data0);
		const before = cpu.state.getLow("gpr", 4);
		expect(iret(cpu)).toEqual({ vector: 13, error: 0x10 });
		expect(cpu.state.getLow("gpr", 4)).toBe(before);
		expect(ring(cpu)).toBe(0);
		poke32(cpu, before + 16, SELECTOR.data3);
		expect(iret(cpu)).toBe(EXIT.lookup);
		expect(ring(cpu)).toBe(3);
		expect(cpu.state.getLow("gpr", 4)).toBe(0xabcd);
		expect(cpu.state.get("nmiBlocked")).toBe(0);
	});

	test("a 16-bit stack takes SP only", () => {
		const cpu = protectedCpu();
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xffff, KIND.data3, 0));
		cpu.state.setLow("gpr", 0x1_9000, 4);
		pushWords(cpu, 0x6000, SELECTOR.code3, 2, 0x1234, SELECTOR.free | 3);
		expect(iret(cpu)).toBe(EXIT.lookup);
		expect(cpu.state.getLow("gpr", 4)).toBe(0x1_1234);
	});

	test("to virtual-8086 mode and its segments", () => {
		const cpu = protectedCpu();
		pushWords(cpu, 0x123, 0x1000, FLAG.VM | FLAG.IF | 2, 0xfff0, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000);
		expect(iret(cpu)).toBe(EXIT.lookup);
		expect([0, 1, 2, 3, 4, 5].map((seg) => segmentOf(cpu, seg).selector)).toEqual([0x3000, 0x1000, 0x2000, 0x4000, 0x5000, 0x6000]);
		expect(segmentOf(cpu, SEG.CS)).toMatchObject({ base: 0x10000, limit: 0xffff });
		expect(ring(cpu)).toBe(3);
		expect(readRflags(cpu.state)).toBe(FLAG.VM | FLAG.IF | 2);
	});

	test("64-bit: SS:RSP always come along, SS may be null above CPL 3", () => {
		const cpu = longCpu();
		pushQuads(cpu, 0xffff_8000_0000_1234n, SELECTOR.code64, 2, 0x1234, 0);
		expect(iret(cpu, 8)).toBe(EXIT.lookup);
		expect(cpu.state.get64("rip")).toBe(0xffff_8000_0000_1234n);
		expect(cpu.state.getLow("gpr", 4)).toBe(0x1234);
		expect(segmentOf(cpu, SEG.SS).attr).toBe(0);
		cpu.state.setLow("gpr", 0x9000, 4);
		pushQuads(cpu, 0x8000_0000_0000n, SELECTOR.code64, 2, 0x1234, 0);
		expect(iret(cpu, 8)).toEqual({ vector: 13, error: 0 });
		cpu.state.setLow("gpr", 0x9000, 4);
		pushQuads(cpu, 0x6000, SELECTOR.code3, 2, 0x1234, SELECTOR.data3);
		expect(iret(cpu, 8)).toBe(EXIT.lookup);
		expect(cpu.state.get("modeKey") & 3).toBe(1);
		writeRflags(cpu.state, FLAG.NT, FLAG.NT);
		expect(iret(cpu, 4)).toEqual({ vector: 13, error: 0 });
	});
});

describe("SYSCALL, SYSRET (APM 2 §6.1.1), SYSENTER, SYSEXIT (SDM 3A §5.8.7)", () => {
	test("to LSTAR and back", () => {
		const cpu = longCpu();
		const { state } = cpu;
		state.set64("star", (0x0023n << 48n) | (0x0008n << 32n));
		state.set64("lstar", 0xffff_ffff_8100_0000n);
		state.set64("sfmask", BigInt(FLAG.IF | FLAG.TF));
		setSegment(cpu, SEG.CS, 0x33, 0, -1, 0xa0fb00);
		state.set("cpl", 3);
		updateMode(cpu);
		writeRflags(state, FLAG.IF | FLAG.ZF, -1);
		expect(outcome(cpu, fastCallHelpers.syscall, 2)).toBe(EXIT.lookup);
		expect(state.get64("rip")).toBe(0xffff_ffff_8100_0000n);
		expect(state.get64("gpr", 1)).toBe(0x5002n);
		expect(state.get64("gpr", 11)).toBe(BigInt(FLAG.IF | FLAG.ZF | 2));
		expect(readRflags(state)).toBe(FLAG.ZF | 2);
		expect(segmentOf(cpu, SEG.CS)).toEqual({ selector: 8, base: 0, limit: 0xffff_ffff, attr: 0xa09b00 });
		expect(segmentOf(cpu, SEG.SS).selector).toBe(0x10);
		expect(outcome(cpu, fastCallHelpers.sysret, 3, 1)).toBe(EXIT.lookup);
		expect(state.get64("rip")).toBe(0x5002n);
		expect(segmentOf(cpu, SEG.CS)).toMatchObject({ selector: 0x33, attr: 0xa0fb00 });
		expect(segmentOf(cpu, SEG.SS)).toMatchObject({ selector: 0x2b, attr: 0xc0f300 });
		expect(readRflags(state)).toBe(FLAG.IF | FLAG.ZF | 2);
	});

	test("without EFER.SCE they are undefined", () => {
		expect(outcome(protectedCpu(), fastCallHelpers.syscall, 2)).toEqual({ vector: 6, error: -1 });
	});

	test("SYSENTER in legacy mode, #UD in long mode", () => {
		const cpu = protectedCpu(3);
		expect(outcome(cpu, fastCallHelpers.sysenter, 2)).toEqual({ vector: 13, error: 0 });
		cpu.state.setLow("sysenterCs", 8);
		cpu.state.setLow("sysenterEsp", 0xb000);
		cpu.state.setLow("sysenterEip", 0x7000);
		expect(outcome(cpu, fastCallHelpers.sysenter, 2)).toBe(EXIT.lookup);
		expect([cpu.state.getLow("rip"), cpu.state.getLow("gpr", 4), ring(cpu)]).toEqual([0x7000, 0xb000, 0]);
		cpu.state.setLow("gpr", 0xc000, 1);
		cpu.state.setLow("gpr", 0x5002, 2);
		expect(outcome(cpu, fastCallHelpers.sysexit, 2)).toBe(EXIT.lookup);
		expect([cpu.state.getLow("rip"), cpu.state.getLow("gpr", 4), ring(cpu)]).toEqual([0x5002, 0xc000, 3]);
		expect([segmentOf(cpu, SEG.CS).selector, segmentOf(cpu, SEG.SS).selector]).toEqual([0x1b, 0x23]);
		expect(outcome(longCpu(), fastCallHelpers.sysenter, 2)).toEqual({ vector: 6, error: -1 });
	});
});

describe("task switches (SDM 3A §7.3)", () => {
	const OTHER = 0x3800;

	function twoTasks(): TestCpu {
		const cpu = protectedCpu();
		putDescriptor(cpu, SELECTOR.free, descriptor(OTHER, 0x67, KIND.tss32, 0));
		const words: Record<number, number> = {
			32: 0x6000,
			36: FLAG.CF | 2,
			40: 0x101,
			56: 0xa000,
			72: SELECTOR.data0,
			76: SELECTOR.code0,
			80: SELECTOR.data0,
			84: SELECTOR.data0,
		};
		for (const [offset, value] of Object.entries(words)) poke32(cpu, OTHER + Number(offset), value);
		return cpu;
	}

	test("JMP saves one task and loads the other; busy bits move", () => {
		const cpu = twoTasks();
		cpu.state.setLow("gpr", 0x77, 3);
		expect(jump(cpu, SELECTOR.free, 0)).toBe(EXIT.resync);
		expect(cpu.state.getLow("rip")).toBe(0x6000);
		expect(cpu.state.getLow("gpr", 0)).toBe(0x101);
		expect(cpu.state.getLow("gpr", 4)).toBe(0xa000);
		expect(readRflags(cpu.state)).toBe(FLAG.CF | 2);
		expect(cpu.state.getLow("cr0") & 8).toBe(8);
		expect(peek32(cpu, TSS + 0x20)).toBe(0x5007);
		expect(peek32(cpu, TSS + 0x34)).toBe(0x77);
		expect(peek32(cpu, TSS + 0x4c)).toBe(SELECTOR.code0);
		const access = (selector: number) => cpu.memory.bytes[ramAt(0x1000 + selector + 5)];
		expect([access(SELECTOR.tss), access(SELECTOR.free)]).toEqual([KIND.tss32, KIND.busyTss32]);
		expect(jump(cpu, SELECTOR.free, 0)).toEqual({ vector: 13, error: 0x40 });
	});

	test("CALL nests, IRET with NT returns", () => {
		const cpu = twoTasks();
		expect(call(cpu, SELECTOR.free)).toBe(EXIT.resync);
		expect(readRflags(cpu.state) & FLAG.NT).toBe(FLAG.NT);
		expect(peek32(cpu, OTHER) & 0xffff).toBe(SELECTOR.tss);
		expect(outcome(cpu, farReturnHelpers.iret, 1, 4)).toBe(EXIT.lookup);
		expect(cpu.state.getLow("rip")).toBe(0x5007);
		expect(segmentOf(cpu, SEG.TR).selector).toBe(SELECTOR.tss);
		expect(peek32(cpu, OTHER + 0x24) & FLAG.NT).toBe(0);
	});

	test("a short TSS is #TS before, a bad segment #TS after the switch", () => {
		const cpu = twoTasks();
		putDescriptor(cpu, SELECTOR.free, descriptor(OTHER, 0x66, KIND.tss32, 0));
		expect(jump(cpu, SELECTOR.free, 0)).toEqual({ vector: 10, error: 0x40 });
		expect(cpu.state.getLow("rip")).toBe(0x5000);
		const late = twoTasks();
		poke32(late, OTHER + 0x54, SELECTOR.tss);
		expect(jump(late, SELECTOR.free, 0)).toEqual({ vector: 10, error: 0x28 });
		expect(late.state.getLow("rip")).toBe(0x6000);
		expect(segmentOf(late, SEG.TR).selector).toBe(SELECTOR.free);
	});

	test("through a task gate", () => {
		const cpu = twoTasks();
		putDescriptor(cpu, SELECTOR.free + 8, gateDescriptor(SELECTOR.free, 0, KIND.taskGate));
		expect(call(cpu, SELECTOR.free + 8)).toBe(EXIT.resync);
		expect(cpu.state.getLow("rip")).toBe(0x6000);
		setNull(cpu, SEG.FS, 0);
	});
});
