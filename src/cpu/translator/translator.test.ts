import { describe, expect, it } from "vitest";
import { IoBus } from "../../machine/bus.ts";
import { SteppedClock } from "../../machine/clock.ts";
import { ENGINE_BYTES, GuestMemory } from "../../machine/memory.ts";
import { TestBoard } from "../mmu/fixture.ts";
import { SoftwareCpu } from "../software-cpu.ts";
import { SoftwareEngine } from "../software-engine.ts";
import { MODE } from "../state/layout.ts";
import { ATTR, SEG, updateMode } from "../system/mode.ts";
import { setSegment } from "../system/segments.ts";

const CODE = 0x1fe0;
const FLAT = ATTR.P | ATTR.S | ATTR.accessed | ATTR.writable | ATTR.G | ATTR.DB;

// 300 times fib(9), a recursive function that the page border runs through:
// mov ecx, 300; again: mov eax, 9; call fib; dec ecx; jnz again; hlt; 12 times nop
// fib: cmp eax, 2; jb done; push eax; dec eax; call fib; pop ebx; push eax; lea eax, [ebx-2]; call fib; pop ebx; add eax, ebx; done: ret
const FIBONACCI = [
	...[0xb9, 0x2c, 0x01, 0, 0, 0xb8, 0x09, 0, 0, 0, 0xe8, 0x10, 0, 0, 0, 0x49, 0x75, 0xf3, 0xf4],
	...new Array<number>(12).fill(0x90),
	...[0x83, 0xf8, 0x02, 0x72, 0x14, 0x50, 0x48, 0xe8, 0xf4, 0xff, 0xff, 0xff, 0x5b, 0x50, 0x8d, 0x43, 0xfe],
	...[0xe8, 0xea, 0xff, 0xff, 0xff, 0x5b, 0x01, 0xd8, 0xc3],
];

/** A processor in flat 32-bit protected mode without paging. */
function processor(code: readonly number[], hotThreshold: number): { cpu: SoftwareCpu; engine: SoftwareEngine } {
	const memory = new GuestMemory(1 << 20);
	memory.bytes.set(code, ENGINE_BYTES + CODE);
	const engine = new SoftwareEngine(memory, { hotThreshold });
	const entropy = { next32: () => 1 };
	const environment = {
		index: 0,
		cpuCount: 1,
		io: new IoBus(),
		clock: new SteppedClock(),
		board: new TestBoard(),
		entropy,
		onPause: () => {},
	};
	const cpu = new SoftwareCpu(engine, environment);
	cpu.state.set64("cr0", 0x11n);
	for (let seg = 0; seg < 6; seg++) setSegment(cpu.context, seg, 8, 0, -1, seg === SEG.CS ? FLAT | ATTR.code : FLAT);
	cpu.state.setLow("rip", CODE);
	cpu.state.setLow("gpr", 0x8000, 4);
	updateMode(cpu.context);
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
			return { registers: Array.from({ length: 8 }, (_, i) => cpu.state.getLow("gpr", i)), count: cpu.instructionCount };
		});
		expect(outcomes[1]).toEqual(outcomes[0]);
		expect(outcomes[0]?.registers[0]).toBe(34);
	});

	it("makes no more WebAssembly of an instruction than it did", () => {
		const { cpu, engine } = processor(FIBONACCI, 20);
		for (let slice = 0; slice < 100; slice++) cpu.run(500);
		const { bytes, instructions } = engine.translator?.stats ?? { bytes: 0, instructions: 0 };
		// 154 when this was written: pushes, pops and calls are the longest, each an access to memory with its way out.
		expect(Math.round(bytes / instructions)).toBeLessThan(165);
	});
});
