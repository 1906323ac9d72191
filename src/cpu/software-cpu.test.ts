import { describe, expect, it } from "vitest";
import { IoBus } from "../machine/bus.ts";
import { SteppedClock } from "../machine/clock.ts";
import { ENGINE_BYTES, GuestMemory } from "../machine/memory.ts";
import type { CpuBoard } from "../machine/processor.ts";
import { ramAt } from "./mmu/fixture.ts";
import { SoftwareCpu } from "./software-cpu.ts";
import { SoftwareEngine } from "./software-engine.ts";
import { descriptor, KIND } from "./system/fixture.ts";
import { updateMode } from "./system/mode.ts";
import { setReal, setSegment } from "./system/segments.ts";

const CODE = 0x1000;
/** Interpreted, translated as soon as can be, a little later, and as in a machine. */
const THRESHOLDS = [0, 1, 2, undefined] as const;
const board: CpuBoard = {
	acknowledgeInterrupt: () => 0x20,
	readTaskPriority: () => 0,
	writeTaskPriority: () => {},
	readApicMsr: () => undefined,
	writeApicMsr: () => false,
	isA20Enabled: true,
	shutdown: () => {},
};

/** A processor in real mode at 0000:1000 with a stack at 0000:0FF0; HLT ends a program. */
function processor(code: readonly number[], hotThreshold: number | undefined, onPause = () => {}, pcBoard = board): SoftwareCpu {
	const memory = new GuestMemory(1 << 20);
	memory.bytes.set(code, ENGINE_BYTES + CODE);
	const engine = new SoftwareEngine(memory, hotThreshold === undefined ? {} : { hotThreshold });
	let seed = 1;
	const entropy = { next32: () => seed++ };
	const cpu = new SoftwareCpu(engine, {
		index: 0,
		cpuCount: 1,
		io: new IoBus(),
		clock: new SteppedClock(),
		board: pcBoard,
		entropy,
		onPause,
	});
	for (let seg = 0; seg < 6; seg++) setReal(cpu.context, seg, 0);
	cpu.state.set64("rip", BigInt(CODE));
	cpu.state.setLow("gpr", 0xff0, 4);
	updateMode(cpu.context);
	return cpu;
}

const registers = (cpu: SoftwareCpu) => Array.from({ length: 8 }, (_, i) => cpu.state.getLow("gpr", i));

// mov cx, 3000; xor ax, ax; loop: add ax, cx; test al, 1; jz even; add ax, 3; even: jmp next (to the next instruction);
// next: push ax; pop bx; dec cx; jnz loop; hlt
const BRANCHES = [
	0xb9, 0xb8, 0x0b, 0x31, 0xc0, 0x01, 0xc8, 0xa8, 0x01, 0x74, 0x03, 0x83, 0xc0, 0x03, 0xeb, 0x00, 0x50, 0x5b, 0x49, 0x75, 0xf0, 0xf4,
];

describe("interpreter and translator", () => {
	it.each([0, 2])("tell of PAUSE, where the turn of a CPU that spins may end (threshold %i)", (hotThreshold) => {
		// inc ax; pause; jmp back
		const cpu = processor([0x40, 0xf3, 0x90, 0xeb, 0xfb], hotThreshold, () => cpu.stop());
		for (let turn = 0; turn < 10; turn++) expect(cpu.run(1_000_000)).toBe("stopped");
		expect(registers(cpu)[0]).toBeLessThanOrEqual(20);
	});

	it("come to the same registers and the same count of instructions", () => {
		const interpreted = processor(BRANCHES, 0);
		expect(interpreted.run(1_000_000)).toBe("halted");
		let ax = 0;
		for (let cx = 3000; cx > 0; cx--) {
			ax = (ax + cx) & 0xffff;
			if (ax & 1) ax = (ax + 3) & 0xffff;
		}
		expect(registers(interpreted)[0]).toBe(ax);
		for (const threshold of THRESHOLDS) {
			const translated = processor(BRANCHES, threshold);
			while (translated.run(5_000) !== "halted");
			expect(registers(translated)).toEqual(registers(interpreted));
			expect(translated.instructionCount).toBe(interpreted.instructionCount);
		}
	});

	it("go on behind loads of segments, flat and with a base by turns", () => {
		// mov ecx, 4000; mov edi, 3000h; loop: mov eax, 10h; mov es, eax; inc dword es:[edi]; mov al, 18h; mov es, eax;
		// add dword es:[edi], 2; push 20h; pop fs; inc dword fs:[edi]; dec ecx; jnz loop; hlt
		const code = [
			...[0xb9, 0xa0, 0x0f, 0, 0, 0xbf, 0, 0x30, 0, 0, 0xb8, 0x10, 0, 0, 0, 0x8e, 0xc0, 0x26, 0xff, 0x07, 0xb0, 0x18, 0x8e, 0xc0],
			...[0x26, 0x83, 0x07, 0x02, 0x6a, 0x20, 0x0f, 0xa1, 0x64, 0xff, 0x07, 0x49, 0x75, 0xe4, 0xf4],
		];
		for (const threshold of THRESHOLDS) {
			const cpu = processor(code, threshold);
			const { state, memory } = cpu.context;
			const table = [0n, descriptor(0, 0xfffff, KIND.code0), ...[0, 0x100, 0x200].map((base) => descriptor(base, 0xfffff, KIND.data0))];
			for (const [n, entry] of table.entries()) memory.view.setBigUint64(ramAt(0x2000 + 8 * n), entry, true);
			state.setLow("gdtrBase", 0x2000);
			state.set("gdtrLimit", 8 * table.length - 1);
			state.setLow("cr0", state.getLow("cr0") | 1);
			setSegment(cpu.context, 1, 8, 0, -1, 0xc09b00);
			for (const seg of [0, 2, 3, 4, 5]) setSegment(cpu.context, seg, 0x10, 0, -1, 0xc09300);
			updateMode(cpu.context);
			while (cpu.run(5_000) !== "halted");
			const at = (place: number) => memory.view.getUint32(ramAt(place), true);
			expect([at(0x3000), at(0x3100), at(0x3200)]).toEqual([4000, 8000, 4000]);
			expect(cpu.instructionCount).toBe(2 + 4000 * 11 + 1);
		}
	});

	it("let an interrupt in behind the instruction behind STI, and not before", () => {
		// cli; sti; inc ax; inc bx; jmp inc bx. The handler at 0000:0500: mov dx, ax; mov cx, bx; hlt
		const code = [0xfa, 0xfb, 0x40, 0x43, 0xeb, 0xfd];
		for (const threshold of THRESHOLDS)
			for (const before of [0, 1, 2, 3, 40]) {
				const cpu = processor(code, threshold);
				const { bytes, view } = cpu.context.memory;
				bytes.set([0x89, 0xc2, 0x89, 0xd9, 0xf4], ramAt(0x500));
				view.setUint32(ramAt(4 * 0x20), 0x500, true);
				for (let count = 0; count < before; count++) cpu.run(1, true);
				cpu.save();
				expect(cpu.state.get("interruptShadow"), `after ${before}`).toBe(before === 2 ? 1 : 0);
				cpu.pins.intr.set(true);
				expect(cpu.run(1000)).toBe("halted");
				// ax, and bx by what had run.
				expect([2, 1].map((register) => (registers(cpu)[register] as number) & 0xffff)).toEqual([
					1,
					Math.max(0, Math.ceil((before - 3) / 2)),
				]);
			}
	});

	it("stop after exactly as many instructions as asked", () => {
		for (const threshold of THRESHOLDS) {
			const cpu = processor(BRANCHES, threshold);
			for (let i = 0; i < 50; i++) cpu.run(101, true);
			expect(cpu.instructionCount).toBe(50 * 101);
		}
	});
});

describe("code that changes itself", () => {
	it("runs what it has just written, in its own loop too", () => {
		// mov cx, 100; loop: inc byte [patch + 1]; patch: mov al, 0; dec cx; jnz loop; hlt
		const code = [0xb9, 0x64, 0x00, 0xfe, 0x06, 0x08, 0x10, 0xb0, 0x00, 0x49, 0x75, 0xf7, 0xf4];
		for (const threshold of THRESHOLDS) {
			const cpu = processor(code, threshold);
			expect(cpu.run(10_000)).toBe("halted");
			expect(registers(cpu)[0]).toBe(100);
		}
	});
});

describe("repeated string instructions", () => {
	it("fill and copy as many elements as counted, over page boundaries and slices", () => {
		// cld; mov di, 2FF0; mov al, 5A; mov cx, 2000; rep stosb; mov si, 2FF0; mov di, 5001; mov cx, 2000; rep movsb; hlt
		const code = [
			0xfc, 0xbf, 0xf0, 0x2f, 0xb0, 0x5a, 0xb9, 0xd0, 0x07, 0xf3, 0xaa, 0xbe, 0xf0, 0x2f, 0xbf, 0x01, 0x50, 0xb9, 0xd0, 0x07, 0xf3, 0xa4,
			0xf4,
		];
		const cpu = processor(code, 0);
		for (let slices = 0; slices < 10_000 && cpu.run(64) !== "halted"; slices++);
		const { bytes } = cpu.context.memory;
		const copied = bytes.subarray(ENGINE_BYTES + 0x5000, ENGINE_BYTES + 0x5001 + 2001);
		expect(copied[0]).toBe(0);
		expect(copied.subarray(1, 2001).every((byte) => byte === 0x5a)).toBe(true);
		expect(copied[2001]).toBe(0);
		expect(registers(cpu)[7]).toBe(0x5001 + 2000);
	});
});

describe("code segments", () => {
	it("tells code at the same offset of two segments apart", () => {
		// mov al, 1; jmp 0:1008; nop…; 1008: mov bl, 1; jmp 0100:1008 — 2008: mov cl, 2; hlt
		for (const threshold of THRESHOLDS) {
			const cpu = processor([0xb0, 0x01, 0xea, 0x08, 0x10, 0, 0, 0x90, 0xb3, 0x01, 0xea, 0x08, 0x10, 0x00, 0x01], threshold);
			cpu.context.memory.bytes.set([0xb1, 0x02, 0xf4], ENGINE_BYTES + 0x2008);
			expect(cpu.run(1000)).toBe("halted");
			const [ax, cx, , bx] = registers(cpu);
			expect([ax, bx, cx]).toEqual([1, 1, 2]);
		}
	});

	it("ends at its limit: what crosses it is #GP, not the segment's start", () => {
		// jmp 0:FFFE — FFFE: mov al, 1 fits, the next instruction does not. Vector 13 at 0:3000: hlt
		const cpu = processor([0xea, 0xfe, 0xff, 0x00, 0x00], 0);
		const { memory } = cpu.context;
		memory.bytes.set([0xb0, 0x01, 0xb0, 0x02, 0xf4], ENGINE_BYTES + 0xfffe);
		memory.bytes.set([0xb0, 0x03, 0xf4], ENGINE_BYTES);
		memory.bytes.set([0xf4], ENGINE_BYTES + 0x3000);
		memory.view.setUint32(ENGINE_BYTES + 4 * 13, 0x3000, true);
		expect(cpu.run(1000)).toBe("halted");
		expect(registers(cpu)[0]).toBe(1);
		expect(cpu.state.get64("rip")).toBe(0x3001n);
	});
});

describe("x87 exceptions without CR0.NE", () => {
	it.each(THRESHOLDS)("wait for the board's interrupt, and go on when it says so (threshold %s)", (threshold) => {
		// fninit; fldcw [1030] (division by 0 unmasked); fld1; fldz; fdivp; fwait; mov bl, 1; hlt
		const code = [0xdb, 0xe3, 0xd9, 0x2e, 0x30, 0x10, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b, 0xb3, 0x01, 0xf4];
		for (const clears of [true, false]) {
			const signals: boolean[] = [];
			let isIgnored = false;
			const signalFloatError = (isPending: boolean) => {
				signals.push(isPending);
				cpu.pins.intr.set(isPending && !isIgnored);
				return isIgnored;
			};
			const cpu = processor(code, threshold, undefined, { ...board, signalFloatError });
			const { memory, io } = cpu.context;
			io.claim("ignne", 0xf0, 1, {
				accessBytes: { min: 1, max: 1 },
				read: () => 0,
				write: () => {
					isIgnored = true;
					cpu.pins.intr.set(false);
				},
			});
			memory.view.setUint16(ENGINE_BYTES + 0x1030, 0x37b, true);
			// Vector 20h: fnclex, or out F0h, al; mov cl, 1; iret
			memory.bytes.set([...(clears ? [0xdb, 0xe2] : [0xe6, 0xf0]), 0xb1, 0x01, 0xcf], ENGINE_BYTES + 0x2000);
			memory.view.setUint32(ENGINE_BYTES + 4 * 0x20, 0x2000, true);
			cpu.state.set("flags", 2);
			expect(cpu.run(100)).toBe("budget");
			expect(registers(cpu)[3]).toBe(0);
			cpu.state.set("flags", 0x202);
			expect(cpu.run(100)).toBe("halted");
			expect([registers(cpu)[3], (registers(cpu)[1] as number) & 0xff]).toEqual([1, 1]);
			expect(signals.at(-1)).toBe(!clears);
		}
	});
});

describe("interrupts", () => {
	it("are taken between two instructions, when IF lets them, and wake a halted processor", () => {
		// sti; hlt; mov bl, 1; hlt — vector 20h at 0000:2000: mov al, 77; iret
		const cpu = processor([0xfb, 0xf4, 0xb3, 0x01, 0xf4], 0);
		const { memory } = cpu.context;
		memory.bytes.set([0xb0, 0x77, 0xcf], ENGINE_BYTES + 0x2000);
		memory.view.setUint32(ENGINE_BYTES + 4 * 0x20, 0x2000, true);
		expect(cpu.run(100)).toBe("halted");
		expect(cpu.isHalted).toBe(true);
		cpu.pins.intr.set(true);
		expect(cpu.isHalted).toBe(false);
		cpu.run(2);
		cpu.pins.intr.set(false);
		expect(cpu.run(100)).toBe("halted");
		expect(registers(cpu)[0]).toBe(0x77);
		expect(registers(cpu)[3]).toBe(1);
	});
});
