import { describe, expect, test } from "vitest";
import { peek32, poke32, poke64, type TestCpu } from "../mmu/fixture.ts";
import { FLAG } from "../state/flags.ts";
import { EXIT } from "../state/layout.ts";
import {
	gateDescriptor,
	IDT,
	longCpu,
	outcome,
	protectedCpu,
	putDescriptor,
	realCpu,
	SELECTOR,
	STACK0,
	segmentOf,
	stackQuads,
	stackWords,
	TSS,
} from "./fixture.ts";
import { deliverEvent, deliverFault, EVENT, serviceInterrupts } from "./interrupts.ts";
import { SEG, updateMode } from "./mode.ts";
import { readRflags, writeRflags } from "./rflags.ts";
import { setVirtual8086 } from "./segments.ts";
import { softwareInterruptHelpers } from "./software-interrupts.ts";

const INTERRUPT32 = 0x8e;
const TRAP32 = 0x8f;
const INTERRUPT16 = 0x86;

function putGate(cpu: TestCpu, vector: number, offset: number, access = INTERRUPT32, selector: number = SELECTOR.code0): void {
	poke64(cpu, IDT + 8 * vector, gateDescriptor(selector, offset, access));
}

function putGate64(cpu: TestCpu, vector: number, offset: bigint, access = INTERRUPT32, ist = 0): void {
	poke64(cpu, IDT + 16 * vector, gateDescriptor(SELECTOR.code64, Number(offset & 0xffff_ffffn), access, ist));
	poke64(cpu, IDT + 16 * vector + 8, offset >> 32n);
}

function fault(cpu: TestCpu, vector: number, error: number): number {
	cpu.state.set("faultVector", vector);
	cpu.state.set("faultErrorCode", error);
	return deliverFault(cpu);
}

describe("real mode (SDM 3B §20.1.4)", () => {
	test("pushes FLAGS, CS, IP; clears IF and TF", () => {
		const cpu = realCpu();
		cpu.state.setLow("gpr", 0xabcd_0100, 4);
		cpu.state.setLow("rip", 0x1234);
		writeRflags(cpu.state, FLAG.IF | FLAG.TF | FLAG.CF, -1);
		poke32(cpu, 0x21 * 4, 0x5678_9abc);
		expect(outcome(cpu, softwareInterruptHelpers.interrupt, 2, 0x21)).toBe(EXIT.lookup);
		expect(segmentOf(cpu, SEG.CS)).toMatchObject({ selector: 0x5678, base: 0x56780 });
		expect(cpu.state.getLow("rip")).toBe(0x9abc);
		expect(cpu.state.getLow("gpr", 4)).toBe(0xabcd_00fa);
		expect(peek32(cpu, 0xfa)).toBe(0xf000_1236);
		expect(peek32(cpu, 0xfe) & 0xffff).toBe(FLAG.IF | FLAG.TF | FLAG.CF | 2);
		expect(readRflags(cpu.state)).toBe(FLAG.CF | 2);
	});

	test("beyond the table's limit: the fault itself finds no vector, and the CPU shuts down", () => {
		const cpu = realCpu();
		cpu.state.set("idtrLimit", 3);
		expect(fault(cpu, 6, -1)).toBe(EXIT.resync);
		expect(cpu.board.shutdowns).toBe(1);
		expect(cpu.state.get("activity")).toBe(3);
	});
});

describe("protected mode (SDM 3A §6.12)", () => {
	test("same privilege: EFLAGS, CS, EIP, error code; faults have RF in their image", () => {
		const cpu = protectedCpu();
		writeRflags(cpu.state, FLAG.IF, -1);
		putGate(cpu, 13, 0x1_2345, TRAP32);
		expect(fault(cpu, 13, 0x58)).toBe(EXIT.lookup);
		expect(stackWords(cpu, 4)).toEqual([0x58, 0x5000, SELECTOR.code0, FLAG.IF | FLAG.RF | 2]);
		expect(cpu.state.getLow("rip")).toBe(0x1_2345);
		expect(readRflags(cpu.state)).toBe(FLAG.IF | 2);
	});

	test("from CPL 3: the TSS's stack, SS and ESP pushed first", () => {
		const cpu = protectedCpu(3);
		writeRflags(cpu.state, FLAG.IF | FLAG.NT, -1);
		putGate(cpu, 0x80, 0x7000, INTERRUPT32 | 0x60);
		expect(outcome(cpu, softwareInterruptHelpers.interrupt, 2, 0x80)).toBe(EXIT.lookup);
		expect(cpu.state.getLow("gpr", 4)).toBe(STACK0 - 20);
		expect(stackWords(cpu, 5)).toEqual([0x5002, SELECTOR.code3, FLAG.IF | FLAG.NT | 2, 0x9000, SELECTOR.data3]);
		expect(segmentOf(cpu, SEG.SS).selector).toBe(SELECTOR.data0);
		expect(cpu.state.get("cpl")).toBe(0);
		expect(readRflags(cpu.state)).toBe(2);
	});

	test("§6.12.1.2 gates: DPL for INT n only; absent; beyond the limit; wrong type", () => {
		const cpu = protectedCpu(3);
		const int = (vector: number) => outcome(cpu, softwareInterruptHelpers.interrupt, 2, vector);
		putGate(cpu, 0x30, 0x7000);
		expect(int(0x30)).toEqual({ vector: 13, error: 0x30 * 8 + 2 });
		putGate(cpu, 0x31, 0x7000, 0x6e);
		expect(int(0x31)).toEqual({ vector: 11, error: 0x31 * 8 + 2 });
		cpu.state.set("idtrLimit", 0xff);
		expect(int(0x20)).toEqual({ vector: 13, error: 0x20 * 8 + 2 });
		putGate(cpu, 0x10, 0x7000, 0xec);
		expect(int(0x10)).toEqual({ vector: 13, error: 0x10 * 8 + 2 });
		putGate(cpu, 0x11, 0x7000, 0xee, SELECTOR.data0);
		expect(int(0x11)).toEqual({ vector: 13, error: 0x10 });
		putGate(cpu, 0x12, 0x7000, 0xee, 0);
		expect(int(0x12)).toEqual({ vector: 13, error: 0 });
		expect(cpu.state.getLow("rip")).toBe(0x5000);
	});

	test("16-bit gates push words", () => {
		const cpu = protectedCpu();
		putGate(cpu, 3, 0x1_7000, INTERRUPT16);
		expect(outcome(cpu, softwareInterruptHelpers.trap, 1, 3)).toBe(EXIT.lookup);
		expect(cpu.state.getLow("gpr", 4)).toBe(0x9000 - 6);
		expect(stackWords(cpu, 1)).toEqual([(SELECTOR.code0 << 16) | 0x5001]);
		expect(cpu.state.getLow("rip")).toBe(0x7000);
	});

	test("§6.15 a fault while delivering #GP becomes #DF with code 0; a third one shuts down", () => {
		const cpu = protectedCpu();
		putGate(cpu, 13, 0x7000, 0x0e);
		putGate(cpu, 8, 0x7800);
		fault(cpu, 13, 0);
		expect(stackWords(cpu, 2)).toEqual([0, 0x5000]);
		expect(cpu.state.getLow("rip")).toBe(0x7800);
		putGate(cpu, 8, 0x7800, 0x0e);
		expect(fault(cpu, 13, 0)).toBe(EXIT.resync);
		expect(cpu.board.shutdowns).toBe(1);
	});

	test("a benign exception that cannot be delivered leaves the second one, with EXT", () => {
		const cpu = protectedCpu();
		putGate(cpu, 6, 0x7000, 0x0e);
		putGate(cpu, 11, 0x7800);
		fault(cpu, 6, -1);
		expect(stackWords(cpu, 1)).toEqual([6 * 8 + 2 + 1]);
		expect(cpu.state.getLow("rip")).toBe(0x7800);
	});

	test("a bad inner stack is #TS", () => {
		const cpu = protectedCpu(3);
		poke32(cpu, TSS + 8, SELECTOR.data3);
		putGate(cpu, 0x80, 0x7000, INTERRUPT32 | 0x60);
		expect(outcome(cpu, softwareInterruptHelpers.interrupt, 2, 0x80)).toEqual({ vector: 10, error: 0x20 });
	});
});

test("INTR: only with IF, outside shadows; wakes a halted CPU", () => {
	const cpu = protectedCpu();
	putGate(cpu, 0x20, 0x7000);
	cpu.state.set("intrLine", 1);
	expect(serviceInterrupts(cpu)).toBe(-1);
	writeRflags(cpu.state, FLAG.IF, FLAG.IF);
	cpu.state.set("interruptShadow", 1);
	expect(serviceInterrupts(cpu)).toBe(-1);
	cpu.state.set("interruptShadow", 0);
	cpu.state.set("activity", 1);
	expect(serviceInterrupts(cpu)).toBe(EXIT.lookup);
	expect(cpu.state.get("activity")).toBe(0);
	expect(cpu.state.getLow("rip")).toBe(0x7000);
	putGate(cpu, 2, 0x7100);
	cpu.state.set("nmiPending", 1);
	expect(serviceInterrupts(cpu)).toBe(EXIT.lookup);
	expect(cpu.state.get("nmiBlocked")).toBe(1);
	cpu.state.set("nmiPending", 1);
	expect(serviceInterrupts(cpu)).toBe(-1);
});

describe("virtual-8086 mode (SDM 3B §20.3)", () => {
	function vm86(flags = 0): TestCpu {
		const cpu = protectedCpu(3);
		for (let seg = 0; seg < 6; seg++) setVirtual8086(cpu, seg, 0x100 + seg);
		writeRflags(cpu.state, FLAG.VM | flags, -1);
		cpu.state.setLow("gpr", 0x400, 4);
		updateMode(cpu);
		return cpu;
	}

	test("an exception goes to CPL 0 with the segment registers on the stack", () => {
		const cpu = vm86(FLAG.IF);
		putGate(cpu, 13, 0x7000);
		fault(cpu, 13, 0);
		expect(stackWords(cpu, 10)).toEqual([0, 0x5000, 0x101, FLAG.VM | FLAG.IF | FLAG.RF | 2, 0x400, 0x102, 0x100, 0x103, 0x104, 0x105]);
		expect(segmentOf(cpu, SEG.GS)).toMatchObject({ selector: 0, attr: 0 });
		expect(readRflags(cpu.state) & FLAG.VM).toBe(0);
	});

	test("INT n is #GP(0) below IOPL 3, unless VME redirects it to the program's own table", () => {
		const cpu = vm86();
		expect(outcome(cpu, softwareInterruptHelpers.interrupt, 2, 0x21)).toEqual({ vector: 13, error: 0 });
		const vme = vm86(FLAG.VIF);
		vme.state.setLow("cr4", 1);
		vme.state.set("segLimit", 0x2000, SEG.TR);
		poke32(vme, TSS + 0x64, (0x68 + 32) << 16);
		poke32(vme, 0x21 * 4, 0x0200_0300);
		expect(outcome(vme, softwareInterruptHelpers.interrupt, 2, 0x21)).toBe(EXIT.lookup);
		expect(segmentOf(vme, SEG.CS).selector).toBe(0x200);
		expect(vme.state.getLow("rip")).toBe(0x300);
		// The image on the program's stack: IF as VIF was, IOPL 3.
		expect(peek32(vme, 0x1020 + 0x3fe) & 0xffff).toBe(FLAG.IF | FLAG.IOPL | 2);
		expect(readRflags(vme.state)).toBe(FLAG.VM | 2);
	});
});

describe("64-bit mode (SDM 3A §6.14)", () => {
	test("16-byte gates, aligned stack, SS:RSP always pushed", () => {
		const cpu = longCpu();
		cpu.state.setLow("gpr", 0x900c, 4);
		putGate64(cpu, 14, 0x7000n);
		fault(cpu, 14, 2);
		expect(stackQuads(cpu, 6)).toEqual([2n, 0x5000n, BigInt(SELECTOR.code64), BigInt(FLAG.RF | 2), 0x900cn, BigInt(SELECTOR.data0)]);
		expect(cpu.state.getLow("gpr", 4)).toBe(0x9000 - 48);
		expect(cpu.state.get64("rip")).toBe(0x7000n);
	});

	test("IST, and the null SS of a change of privilege", () => {
		const cpu = longCpu();
		poke64(cpu, TSS + 0x24 + 8, 0xa008n);
		poke64(cpu, TSS + 4, 0xb000n);
		putGate64(cpu, 2, 0x7000n, INTERRUPT32, 2);
		putGate64(cpu, 0x20, 0x7000n);
		deliverEvent(cpu, 2, -1, EVENT.external, 0x5000);
		expect(cpu.state.getLow("gpr", 4)).toBe(0xa000 - 40);
		expect(segmentOf(cpu, SEG.SS).selector).toBe(SELECTOR.data0);
		cpu.state.set("cpl", 3);
		updateMode(cpu);
		deliverEvent(cpu, 0x20, -1, EVENT.external, -0x1000);
		expect(cpu.state.getLow("gpr", 4)).toBe(0xb000 - 40);
		expect(stackQuads(cpu, 1)).toEqual([0xffff_ffff_ffff_f000n]);
		expect(segmentOf(cpu, SEG.SS)).toMatchObject({ selector: 0, attr: 0 });
		expect(cpu.state.get("cpl")).toBe(0);
	});

	test("handlers must be 64-bit code; targets canonical", () => {
		const cpu = longCpu();
		poke64(cpu, IDT + 16 * 0x30, gateDescriptor(SELECTOR.code0, 0x7000, INTERRUPT32));
		expect(outcome(cpu, softwareInterruptHelpers.interrupt, 2, 0x30)).toEqual({ vector: 13, error: 8 });
		putGate64(cpu, 0x31, 0x8000_0000_0000n);
		expect(outcome(cpu, softwareInterruptHelpers.interrupt, 2, 0x31)).toEqual({ vector: 13, error: 0 });
		putDescriptor(cpu, SELECTOR.free, 0n);
	});
});
