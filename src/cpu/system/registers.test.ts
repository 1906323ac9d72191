import { describe, expect, test } from "vitest";
import { CR0, CR4, EFER } from "../mmu/access.ts";
import { poke64, ramAt, type TestCpu } from "../mmu/fixture.ts";
import { FLAG } from "../state/flags.ts";
import { at, EXIT, MODE } from "../state/layout.ts";
import { clockHelpers } from "./clock.ts";
import { controlRegisterHelpers } from "./control-registers.ts";
import { cpuid } from "./cpuid.ts";
import { beginStep, debugHelpers, finishStep, needsSteps } from "./debug.ts";
import { descriptorTableHelpers } from "./descriptor-tables.ts";
import { farTransferHelpers } from "./far-transfer.ts";
import {
	descriptor,
	faultOf,
	gateDescriptor,
	IDT,
	KIND,
	longCpu,
	outcome,
	protectedCpu,
	putDescriptor,
	rangesOf,
	realCpu,
	SELECTOR,
	segmentOf,
	stackWords,
	TSS,
} from "./fixture.ts";
import { flagHelpers } from "./flag-instructions.ts";
import { fpuImageHelpers } from "./fpu-image.ts";
import { SYSTEM_HELPERS } from "./helpers.ts";
import { SEG } from "./mode.ts";
import { MSR, msrHelpers } from "./msr.ts";
import { portHelpers } from "./ports.ts";
import { privilegedHelpers } from "./privileged.ts";
import { initCpu, resetCpu, startCpu } from "./reset.ts";
import { readRflags, writeRflags } from "./rflags.ts";
import { setVirtual8086 } from "./segments.ts";

const GP = { vector: 13, error: 0 };
const UD = { vector: 6, error: -1 };

function writeCr(cpu: TestCpu, number: number, value: bigint | number) {
	cpu.state.set64("arg0", BigInt(typeof value === "number" ? value >>> 0 : value));
	return outcome(cpu, controlRegisterHelpers.writeCr, 3, number);
}

function wrmsr(cpu: TestCpu, index: number, value: bigint) {
	cpu.state.set64("arg0", value);
	return outcome(cpu, msrHelpers.wrmsr, 2, index | 0);
}

function rdmsr(cpu: TestCpu, index: number) {
	const result = outcome(cpu, msrHelpers.rdmsr, index | 0);
	return result === 0 ? cpu.state.get64("arg0") : result;
}

describe("control registers (SDM 3A §2.5)", () => {
	test("from real mode through protected mode to 64-bit mode and back", () => {
		const cpu = protectedCpu();
		const { state } = cpu;
		poke64(cpu, 0x10000, 0x11007n);
		poke64(cpu, 0x11000, 0x12007n);
		poke64(cpu, 0x12000, 0xe7n);
		expect(writeCr(cpu, 4, CR4.PAE)).toBe(0);
		expect(writeCr(cpu, 3, 0x10000)).toBe(0);
		expect(wrmsr(cpu, MSR.EFER, BigInt(EFER.LME))).toBe(EXIT.lookup);
		expect(writeCr(cpu, 0, CR0.PE | CR0.PG)).toBe(0);
		expect(rdmsr(cpu, MSR.EFER)).toBe(BigInt(EFER.LME | EFER.LMA));
		expect(state.get("modeKey") & MODE.codeMask).toBe(MODE.code32);
		state.setLow("arg0", 0x6000);
		expect(farTransferHelpers.jumpFar(cpu, 7, SELECTOR.code64, 4)).toBe(0);
		expect(state.get("modeKey") & MODE.codeMask).toBe(MODE.code64);
		expect(writeCr(cpu, 4, 0)).toEqual(GP);
		expect(writeCr(cpu, 0, CR0.PE)).toEqual(GP);
		expect(wrmsr(cpu, MSR.EFER, 0n)).toEqual(GP);
		state.setLow("arg0", 0x6000);
		expect(farTransferHelpers.jumpFar(cpu, 7, SELECTOR.code0, 4)).toBe(0);
		expect(writeCr(cpu, 0, CR0.PE)).toBe(0);
		expect(rdmsr(cpu, MSR.EFER)).toBe(BigInt(EFER.LME));
		expect(writeCr(cpu, 0, 0)).toBe(0);
		expect(rangesOf(cpu, SEG.CS)[2]).toBe(0);
	});

	test("values that CR0, CR3, CR4, CR8 refuse", () => {
		const cpu = longCpu();
		expect(writeCr(cpu, 0, 1n << 32n)).toEqual(GP);
		expect(writeCr(cpu, 0, CR0.PG)).toEqual(GP);
		expect(writeCr(cpu, 0, CR0.PE | CR0.PG | CR0.NW)).toEqual(GP);
		expect(writeCr(cpu, 3, 1n << 41n)).toEqual(GP);
		expect(writeCr(cpu, 4, CR4.PAE | (1 << 13))).toEqual(GP);
		cpu.state.setLow("cr3", 0x10001);
		expect(writeCr(cpu, 4, CR4.PAE | CR4.PCIDE)).toEqual(GP);
		expect(writeCr(cpu, 8, 16)).toEqual(GP);
		expect(writeCr(cpu, 8, 9)).toBe(EXIT.resync);
		expect(cpu.board.taskPriority).toBe(9);
		expect(writeCr(cpu, 1, 0)).toEqual(UD);
		const user = protectedCpu(3);
		expect(writeCr(user, 0, 0)).toEqual(GP);
	});

	test("§4.4.1 PAE loads the PDPTEs, and refuses reserved bits in them", () => {
		const cpu = protectedCpu();
		poke64(cpu, 0x10000, 0x1_1001n);
		writeCr(cpu, 4, CR4.PAE);
		writeCr(cpu, 3, 0x10000);
		expect(cpu.state.get64("pdpte")).toBe(0n);
		poke64(cpu, 0x11000, 0xe3n);
		expect(writeCr(cpu, 0, CR0.PE | CR0.PG)).toBe(0);
		expect(cpu.state.get64("pdpte")).toBe(0x1_1001n);
		poke64(cpu, 0x10020, 0x1_1007n);
		expect(writeCr(cpu, 3, 0x10020)).toEqual(GP);
		expect(cpu.state.getLow("cr3")).toBe(0x10000);
	});

	test("CR3 keeps global pages, INVPCID and CR4 do not", () => {
		const cpu = longCpu();
		const { tables } = cpu.mmu;
		/** Whether an entry for a global page is there still after `change`. */
		const survives = (change: () => void): boolean => {
			tables.fill(0, 0x5000, 0, 0x9000, true, true, 5, 12);
			change();
			return tables.lookup(0, 0x5000, 0, false) !== 0;
		};
		expect(survives(() => writeCr(cpu, 4, CR4.PAE | CR4.PGE))).toBe(false);
		expect(survives(() => writeCr(cpu, 3, 0x10000))).toBe(true);
		cpu.state.setLow("arg0", 2);
		expect(survives(() => expect(outcome(cpu, privilegedHelpers.invpcid, 5)).toBe(0))).toBe(false);
	});

	test("LMSW sets PE and cannot clear it; CLTS; XSETBV", () => {
		const cpu = protectedCpu();
		expect(outcome(cpu, controlRegisterHelpers.lmsw, 3, 8)).toBe(0);
		expect(cpu.state.getLow("cr0") & 9).toBe(9);
		outcome(cpu, controlRegisterHelpers.clts, 2);
		expect(cpu.state.getLow("cr0") & 9).toBe(1);
		expect(outcome(cpu, controlRegisterHelpers.xsetbv, 3)).toEqual(UD);
		writeCr(cpu, 4, CR4.OSXSAVE);
		cpu.state.setLow("gpr", 3);
		cpu.state.setLow("gpr", 0, 2);
		expect(outcome(cpu, controlRegisterHelpers.xsetbv, 3)).toBe(0);
		expect(cpu.state.getLow("xcr0")).toBe(3);
		cpu.state.setLow("gpr", 7);
		expect(outcome(cpu, controlRegisterHelpers.xsetbv, 3)).toEqual(GP);
	});
});

describe("model-specific registers", () => {
	test("kept, checked, or #GP", () => {
		const cpu = longCpu();
		expect(wrmsr(cpu, MSR.LSTAR, 0x8000_0000_0000n)).toEqual(GP);
		expect(wrmsr(cpu, MSR.GS_BASE, 0xffff_8880_0000_0000n)).toBe(0);
		expect(cpu.state.get64("segBase", 5)).toBe(0xffff_8880_0000_0000n);
		expect(wrmsr(cpu, MSR.PAT, 0x0007_0406_0007_0402n)).toEqual(GP);
		expect(wrmsr(cpu, MSR.EFER, BigInt(EFER.SCE | EFER.LME | (1 << 12)))).toEqual(GP);
		expect(rdmsr(cpu, 0x1234)).toEqual(GP);
		expect(rdmsr(cpu, MSR.APIC_BASE)).toBe(0xfee0_0900n);
		expect(wrmsr(cpu, MSR.MTRR_FIX4K + 7, 0x0606_0606_0606_0606n)).toBe(0);
		expect(cpu.state.get64("mtrrFixed", 10)).toBe(0x0606_0606_0606_0606n);
		expect((rdmsr(cpu, MSR.HWCR) as bigint) & 0x100_0000n).toBe(0x100_0000n);
	});

	test("the time-stamp counter counts guest nanoseconds and can be set", () => {
		const cpu = longCpu();
		cpu.clock.advance(1000);
		expect(rdmsr(cpu, MSR.TSC)).toBe(1000n);
		wrmsr(cpu, MSR.TSC, 5n);
		cpu.clock.advance(10);
		clockHelpers.rdtsc(cpu, 0, 0, 0);
		expect(cpu.state.get64("arg0")).toBe(15n);
		cpu.state.set("cpl", 3);
		cpu.state.setLow("cr4", CR4.PAE | CR4.TSD);
		expect(outcome(cpu, clockHelpers.rdtsc)).toEqual(GP);
	});
});

describe("CPUID", () => {
	const text = (...words: number[]) =>
		words.map((word) => String.fromCharCode(word & 255, (word >> 8) & 255, (word >> 16) & 255, word >>> 24)).join("");

	test("names", () => {
		const cpu = longCpu();
		const [, b, c, d] = cpuid(cpu, 0, 0);
		expect(text(b, d, c)).toBe("AuthenticAMD");
		const [, hb, hc, hd] = cpuid(cpu, 0x4000_0000, 0);
		expect(text(hb, hc, hd)).toBe("BasenjiVPC  ");
		const brand = [2, 3, 4].map((n) => text(...cpuid(cpu, 0x8000_0000 + n, 0))).join("");
		expect(brand.replaceAll("\0", "")).toBe("Basenji Virtual CPU");
	});

	test("OSXSAVE and APIC follow their registers; topology follows the number of CPUs", () => {
		const cpu = longCpu();
		expect((cpuid(cpu, 1, 0)[2] >>> 27) & 1).toBe(0);
		cpu.state.setLow("cr4", CR4.PAE | CR4.OSXSAVE);
		expect((cpuid(cpu, 1, 0)[2] >>> 27) & 1).toBe(1);
		expect((cpuid(cpu, 1, 0)[3] >>> 9) & 1).toBe(1);
		cpu.board.apicMsrs.set(0x1b, 0xfee0_0000n);
		expect((cpuid(cpu, 1, 0)[3] >>> 9) & 1).toBe(0);
		const six = { ...cpu, cpuCount: 6 };
		expect(cpuid(six, 0xb, 1)).toEqual([3, 6, 0x201, 0]);
		expect(cpuid(six, 0x8000_0008, 0)[2]).toBe(5 | (3 << 12));
		expect(cpuid(cpu, 0xb, 1)).toEqual([0, 1, 0x201, 0]);
	});

	test("no AVX, no VMX, no SVM; XSAVE covers x87 and SSE", () => {
		const cpu = longCpu();
		const [, , c] = cpuid(cpu, 1, 0);
		expect(c & ((1 << 5) | (1 << 12) | (1 << 28) | (1 << 3))).toBe(0);
		expect(cpuid(cpu, 0xd, 0)).toEqual([3, 576, 576, 0]);
		expect(cpuid(cpu, 0x8000_0001, 0)[2] & 4).toBe(0);
	});
});

describe("debug exceptions (SDM 3B §17)", () => {
	function setDr(cpu: TestCpu, number: number, value: bigint | number) {
		cpu.state.set64("arg0", BigInt(value));
		return outcome(cpu, debugHelpers.writeDr, 3, number);
	}

	function withHandler(): TestCpu {
		const cpu = protectedCpu();
		poke64(cpu, IDT + 8, gateDescriptor(SELECTOR.code0, 0x7000, 0x8f));
		return cpu;
	}

	test("single steps: a trap with BS, TF cleared in the handler", () => {
		const cpu = withHandler();
		writeRflags(cpu.state, FLAG.TF, -1);
		expect(needsSteps(cpu)).toBe(true);
		expect(beginStep(cpu)).toBe(-1);
		cpu.state.setLow("rip", 0x5001);
		expect(finishStep(cpu)).toBe(0);
		expect(stackWords(cpu, 3)).toEqual([0x5001, SELECTOR.code0, FLAG.TF | 2]);
		expect(cpu.state.getLow("dr", 6)).toBe(0xffff_4ff0);
		expect(readRflags(cpu.state)).toBe(2);
		expect(needsSteps(cpu)).toBe(false);
	});

	test("instruction breakpoints are faults without RF, and RF passes them once", () => {
		const cpu = withHandler();
		setDr(cpu, 0, 0x5006);
		setDr(cpu, 7, 1);
		expect(beginStep(cpu)).toBe(0);
		expect(stackWords(cpu, 3)).toEqual([0x5006, SELECTOR.code0, 2]);
		expect(cpu.state.getLow("dr", 6) & 15).toBe(1);
		cpu.state.setLow("rip", 0x5006);
		writeRflags(cpu.state, FLAG.RF, FLAG.RF);
		expect(beginStep(cpu)).toBe(-1);
		expect(readRflags(cpu.state) & FLAG.RF).toBe(0);
	});

	test("general detect, DR4 with CR4.DE, upper halves", () => {
		const cpu = withHandler();
		expect(setDr(cpu, 7, 1n << 32n)).toEqual(GP);
		cpu.state.setLow("cr4", CR4.DE);
		expect(outcome(cpu, debugHelpers.readDr, 4)).toEqual(UD);
		setDr(cpu, 7, 1 << 13);
		expect(outcome(cpu, debugHelpers.readDr, 0)).toEqual({ vector: 1, error: -1 });
		expect(cpu.state.getLow("dr", 6) & (1 << 13)).not.toBe(0);
	});
});

describe("flags and ports", () => {
	test("CLI and STI need IOPL, or work on VIF (SDM 3B §20.3, §20.4)", () => {
		const cpu = protectedCpu(3);
		expect(outcome(cpu, flagHelpers.cli, 1)).toEqual(GP);
		cpu.state.setLow("cr4", CR4.PVI);
		expect(outcome(cpu, flagHelpers.sti, 1)).toBe(0);
		expect(readRflags(cpu.state)).toBe(FLAG.VIF | 2);
		writeRflags(cpu.state, FLAG.VIP, FLAG.VIP | FLAG.VIF);
		expect(outcome(cpu, flagHelpers.sti, 1)).toEqual(GP);
		const kernel = protectedCpu();
		kernel.state.set("intrLine", 1);
		expect(outcome(kernel, flagHelpers.sti, 1)).toBe(EXIT.resync);
		expect(kernel.state.get("interruptShadow")).toBe(1);
	});

	test("POPF keeps what the privilege does not reach", () => {
		const cpu = protectedCpu(3);
		cpu.state.setLow("arg0", 0xffff_ffff);
		expect(outcome(cpu, flagHelpers.popf, 1, 4)).toBe(EXIT.resync);
		expect(readRflags(cpu.state)).toBe(0x24_4dd7 | 2);
	});

	test("the I/O permission bitmap (SDM 1 §18.5.2)", () => {
		const cpu = protectedCpu(3);
		cpu.memory.view.setUint16(ramAt(TSS + 0x66), 0x68, true);
		expect(outcome(cpu, portHelpers.portRead, 0x60, 1)).toEqual(GP);
		cpu.state.set("segLimit", 0x68 + 0x20, SEG.TR);
		cpu.memory.bytes.fill(0xff, ramAt(TSS + 0x68), ramAt(TSS + 0x90));
		cpu.memory.bytes[ramAt(TSS + 0x68 + 12)] = 0xfc;
		expect(outcome(cpu, portHelpers.portRead, 0x60, 2)).toBe(0);
		expect(cpu.state.getLow("arg0")).toBe(0xffff);
		expect(outcome(cpu, portHelpers.portRead, 0x60, 4)).toEqual(GP);
		expect(outcome(cpu, portHelpers.out, 1, 0x61 | (1 << 16), 5)).toBe(0);
		expect(outcome(cpu, portHelpers.out, 1, 0x200 | (1 << 16), 5)).toEqual(GP);
	});
});

describe("looking at descriptors", () => {
	test("LAR, LSL, VERR, VERW", () => {
		const cpu = protectedCpu(3);
		const zf = () => cpu.state.getLow("arg1");
		descriptorTableHelpers.lar(cpu, SELECTOR.data3, 0, 0);
		expect([cpu.state.getLow("arg0"), zf()]).toEqual([0xcff300, 1]);
		descriptorTableHelpers.lsl(cpu, SELECTOR.data3, 0, 0);
		expect([cpu.state.getLow("arg0"), zf()]).toEqual([0xffff_ffff, 1]);
		descriptorTableHelpers.lar(cpu, SELECTOR.data0, 0, 0);
		expect(zf()).toBe(0);
		descriptorTableHelpers.verify(cpu, SELECTOR.code3, 0, 0);
		expect(zf()).toBe(1);
		descriptorTableHelpers.verify(cpu, SELECTOR.code3, 1, 0);
		expect(zf()).toBe(0);
		putDescriptor(cpu, SELECTOR.free, descriptor(0, 0xfffff, KIND.conforming0));
		descriptorTableHelpers.verify(cpu, SELECTOR.free, 0, 0);
		expect(zf()).toBe(1);
		expect(outcome(realCpu(), descriptorTableHelpers.lar, 8)).toEqual(UD);
		expect(outcome(realCpu(), descriptorTableHelpers.sldt)).toEqual(UD);
	});

	test("UMIP hides the tables from CPL 3", () => {
		const cpu = protectedCpu(3);
		expect(outcome(cpu, descriptorTableHelpers.sgdt)).toBe(0);
		expect([cpu.state.getLow("arg0"), cpu.state.getLow("arg1")]).toEqual([0x1000, 0x7f]);
		cpu.state.setLow("cr4", CR4.UMIP);
		expect(outcome(cpu, descriptorTableHelpers.sgdt)).toEqual(GP);
	});
});

describe("FXSAVE and XSAVE images (SDM 1 §10.5, §13)", () => {
	function filled(): TestCpu {
		const cpu = longCpu();
		const { state } = cpu;
		state.setLow("cr4", CR4.PAE | CR4.OSFXSR | CR4.OSXSAVE);
		state.setLow("xcr0", 3);
		for (let i = 0; i < 16; i++) state.set64("xmm", BigInt(i + 1), i);
		state.view.setBigUint64(at("fpr", 5), 0x8000_0000_0000_0005n, true);
		state.view.setUint16(at("fpr", 5) + 8, 0x3fff, true);
		state.set("ftop", 5);
		state.set("ftagValid", 0x20);
		state.set("fsw", 0x4000);
		state.set64("fip", 0x1234_5678_9abcn);
		state.setLow("arg0", 0x20000);
		return cpu;
	}

	test("FXSAVE puts ST(0) first and FXRSTOR takes it back", () => {
		const cpu = filled();
		expect(outcome(cpu, fpuImageHelpers.fxsave, 4, 1)).toBe(0);
		const view = new DataView(cpu.memory.memory.buffer, ramAt(0x20000), 512);
		expect([view.getUint16(2, true), view.getUint8(4)]).toEqual([0x4000 | (5 << 11), 0x20]);
		expect(view.getBigUint64(8, true)).toBe(0x1234_5678_9abcn);
		expect([view.getBigUint64(32, true), view.getUint16(40, true)]).toEqual([0x8000_0000_0000_0005n, 0x3fff]);
		expect(view.getBigUint64(160 + 15 * 16, true)).toBe(16n);
		const { state } = cpu;
		for (const name of ["ftop", "ftagValid", "fsw"] as const) state.set(name, 0);
		state.bytes.fill(0, at("fpr"), at("fpr", 8));
		state.set64("xmm", 99n);
		expect(outcome(cpu, fpuImageHelpers.fxrstor, 4, 1)).toBe(0);
		expect([state.get("ftop"), state.get("fsw"), state.get64("xmm")]).toEqual([5, 0x4000, 1n]);
		expect(state.get64("fpr", 5)).toBe(0x8000_0000_0000_0005n);
		state.setLow("arg0", 0x20008);
		expect(outcome(cpu, fpuImageHelpers.fxrstor, 4, 1)).toEqual(GP);
	});

	test("XSAVE of one component leaves the rest; XRSTOR initialises what the bitmap lacks", () => {
		const cpu = filled();
		cpu.state.setLow("gpr", 2);
		expect(outcome(cpu, fpuImageHelpers.xsave, 4, 1)).toBe(0);
		const view = new DataView(cpu.memory.memory.buffer, ramAt(0x20000), 576);
		expect([view.getUint32(512, true), view.getUint16(2, true), view.getBigUint64(160, true)]).toEqual([2, 0, 1n]);
		cpu.state.setLow("gpr", 3);
		expect(outcome(cpu, fpuImageHelpers.xrstor, 4, 1)).toBe(0);
		expect([cpu.state.get("fcw"), cpu.state.get("ftop"), cpu.state.get("ftagValid")]).toEqual([0x37f, 0, 0]);
		view.setUint32(512, 4, true);
		expect(outcome(cpu, fpuImageHelpers.xrstor, 4, 1)).toEqual(GP);
		view.setUint32(512, 2, true);
		view.setUint32(24, 0x1_0000, true);
		expect(outcome(cpu, fpuImageHelpers.xrstor, 4, 1)).toEqual(GP);
	});

	test("CR0.TS is #NM", () => {
		const cpu = filled();
		cpu.state.setLow("cr0", cpu.state.getLow("cr0") | CR0.TS);
		expect(outcome(cpu, fpuImageHelpers.fxsave, 4, 0)).toEqual({ vector: 7, error: -1 });
	});
});

test("RESET, INIT, SIPI (SDM 3A §9.1.1, table 9-1)", () => {
	const cpu = longCpu();
	cpu.state.set64("pat", 0x0606n);
	cpu.state.set64("xmm", 7n, 3);
	initCpu(cpu);
	expect([cpu.state.get64("pat"), cpu.state.get64("xmm", 3)]).toEqual([0x0606n, 7n]);
	expect([cpu.state.getLow("cr0"), cpu.state.getLow("efer"), cpu.state.getLow("rip")]).toEqual([0x10, 0, 0xfff0]);
	expect(cpu.state.get("modeKey")).toBe(MODE.code16);
	startCpu(cpu, 0x9a);
	expect(segmentOf(cpu, SEG.CS)).toMatchObject({ selector: 0x9a00, base: 0x9a000 });
	expect(cpu.state.getLow("rip")).toBe(0);
	resetCpu(cpu);
	expect([cpu.state.getLow("cr0"), cpu.state.get64("xmm", 3), cpu.state.get("mxcsr")]).toEqual([0x6000_0010, 0n, 0x1f80]);
});

test("HLT waits; privileged helpers refuse CPL 3 and virtual-8086 mode", () => {
	const cpu = protectedCpu();
	expect(outcome(cpu, privilegedHelpers.hlt, 1)).toBe(EXIT.resync);
	expect([cpu.state.get("activity"), cpu.state.getLow("rip")]).toEqual([1, 0x5001]);
	const user = protectedCpu(3);
	for (const name of ["hlt", "clts", "wrmsr", "invlpg", "lgdt", "lidt"]) {
		expect(outcome(user, SYSTEM_HELPERS[name] as NonNullable<(typeof SYSTEM_HELPERS)[string]>, 2), name).toEqual(GP);
	}
	for (let seg = 0; seg < 6; seg++) setVirtual8086(user, seg, 0);
	writeRflags(user.state, FLAG.VM, FLAG.VM);
	expect(outcome(user, descriptorTableHelpers.checkSegmentation)).toEqual(UD);
	expect(faultOf(user).vector).toBe(6);
});
