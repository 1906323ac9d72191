import { describe, expect, it } from "vitest";
import { ENGINE_BYTES, GuestMemory } from "../../machine/memory.ts";
import type { SoftwareCpu } from "../software-cpu.ts";
import { SoftwareEngine } from "../software-engine.ts";
import { MODE } from "../state/layout.ts";
import { enablePaging, flatProcessor } from "./fixture.ts";

const CODE = 0x1fe0;

// 300 times fib(9), a recursive function that the page border runs through:
// mov ecx, 300; again: mov eax, 9; call fib; dec ecx; jnz again; hlt; 12 times nop
// fib: cmp eax, 2; jb done; push eax; dec eax; call fib; pop ebx; push eax; lea eax, [ebx-2]; call fib; pop ebx; add eax, ebx; done: ret
const FIBONACCI = [
	...[0xb9, 0x2c, 0x01, 0, 0, 0xb8, 0x09, 0, 0, 0, 0xe8, 0x10, 0, 0, 0, 0x49, 0x75, 0xf3, 0xf4],
	...new Array<number>(12).fill(0x90),
	...[0x83, 0xf8, 0x02, 0x72, 0x14, 0x50, 0x48, 0xe8, 0xf4, 0xff, 0xff, 0xff, 0x5b, 0x50, 0x8d, 0x43, 0xfe],
	...[0xe8, 0xea, 0xff, 0xff, 0xff, 0x5b, 0x01, 0xd8, 0xc3],
];

// mov ecx, 200; again: push ecx; pop eax; add ebx, eax; push ecx; xor dword ptr [0x1101c], 0x1000; invlpg [0x7000]; pop edx; add esi, edx;
// dec ecx; jnz again; hlt
const STACK_MOVED = [
	...[0xb9, 0xc8, 0, 0, 0, 0x51, 0x58, 0x01, 0xc3, 0x51, 0x81, 0x35, 0x1c, 0x10, 0x01, 0, 0, 0x10, 0, 0],
	...[0x0f, 0x01, 0x3d, 0, 0x70, 0, 0, 0x5a, 0x01, 0xd6, 0x49, 0x75, 0xe4, 0xf4],
];

const registers = (cpu: SoftwareCpu) => Array.from({ length: 8 }, (_, i) => cpu.state.getLow("gpr", i));

/** A processor in flat 32-bit protected mode without paging. */
function processor(code: readonly number[], hotThreshold: number): { cpu: SoftwareCpu; engine: SoftwareEngine } {
	const memory = new GuestMemory(1 << 20);
	memory.bytes.set(code, ENGINE_BYTES + CODE);
	const engine = new SoftwareEngine(memory, { hotThreshold });
	const cpu = flatProcessor(engine, CODE);
	expect(cpu.state.get("modeKey")).toBe(MODE.code32 | MODE.stack32 | MODE.flat);
	return { cpu, engine };
}

describe("the translator", () => {
	it("follows calls over a page border, comes back, and counts as the interpreter does", () => {
		const outcomes = [0, 20].map((threshold) => {
			const { cpu, engine } = processor(FIBONACCI, threshold);
			let end = "";
			for (let slice = 0; slice < 2000 && end !== "halted"; slice++) end = cpu.run(500, true);
			expect(end).toBe("halted");
			if (threshold !== 0) {
				expect(engine.translator?.stats.secondRegions).toBeGreaterThan(0);
				expect(engine.translator?.stats.refused).toBe(0);
			}
			return { registers: registers(cpu), count: cpu.instructionCount };
		});
		expect(outcomes[1]).toEqual(outcomes[0]);
		expect(outcomes[0]?.registers[0]).toBe(34);
	});

	it.each([0x7010, 0x7012])("keeps a stack that a page border runs through (from %i)", (esp) => {
		const { cpu } = processor(FIBONACCI, 20);
		cpu.state.setLow("gpr", esp, 4);
		for (let slice = 0; slice < 5000 && cpu.run(500, true) !== "halted"; slice++);
		expect([registers(cpu)[0], registers(cpu)[4]]).toEqual([34, esp]);
	});

	it("looks for the stack's page again when that has been mapped elsewhere", () => {
		const [interpreted, translated] = [0, 20].map((threshold) => {
			const { cpu, engine } = processor(STACK_MOVED, threshold);
			enablePaging(cpu);
			for (let slice = 0; slice < 100 && cpu.run(500, true) !== "halted"; slice++);
			expect(cpu.isHalted).toBe(true);
			expect(engine.translator?.stats.regions ?? 1).toBeGreaterThan(0);
			return registers(cpu);
		});
		// Each pop finds what was pushed two rounds before.
		expect(translated).toEqual(interpreted);
		expect(translated?.[6]).not.toBe(translated?.[3]);
	});

	it("makes no more WebAssembly of an instruction than it did", () => {
		const { cpu, engine } = processor(FIBONACCI, 20);
		for (let slice = 0; slice < 100; slice++) cpu.run(500);
		const { bytes, instructions } = engine.translator?.stats ?? { bytes: 0, instructions: 0 };
		// 154 when this was written: pushes, pops and calls are the longest, each an access to memory with its way out.
		expect(Math.round(bytes / instructions)).toBeLessThan(165);
	});
});
