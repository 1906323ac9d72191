import { describe, expect, it } from "vitest";
import { ENGINE_BYTES, GuestMemory } from "../../machine/memory.ts";
import type { KeptCode } from "../kept-code.ts";
import { SoftwareEngine } from "../software-engine.ts";
import { enablePaging, flatProcessor } from "./fixture.ts";

/** So many loops, each of them a region. */
const LOOPS = 100;
const RET = 0xc3;
const [ADD, XOR] = [0x05, 0x35];

/** As files are, but in memory. */
class Shelf implements KeptCode {
	readonly files = new Map<string, Uint8Array>();

	read(name: string): Uint8Array | undefined {
		return this.files.get(name);
	}

	write(name: string, parts: readonly Uint8Array[]): void {
		this.files.set(name, Uint8Array.from(Buffer.concat(parts)));
	}
}

interface Layout {
	/** Where the code stands, physically and linearly: on a page border. */
	readonly code: number;
	/** Where a function is that all loops call. */
	readonly callee: number;
	/** What the absolute addresses in the code count from. */
	readonly addresses: number;
	/** What the loops whose number can be divided by 3 do with such an address: an opcode with EAX and four bytes. */
	readonly opcode?: number;
}

const HERE: Layout = { code: 0x30000, callee: 0x20000, addresses: 0xc100_0000 };

const word = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];

/** mov ecx, 60; again: add eax, address; lea edx, [ecx + address]; add ebx, edx; call callee; dec ecx; jnz again — for each loop; hlt. */
function program({ code, callee, addresses, opcode = ADD }: Layout): number[] {
	const bytes: number[] = [];
	for (let n = 0; n < LOOPS; n++) {
		bytes.push(0xb9, ...word(60));
		const again = bytes.length;
		bytes.push(n % 3 === 0 ? opcode : ADD, ...word(addresses + n), 0x8d, 0x91, ...word(addresses + 16 * n), 0x01, 0xd3);
		bytes.push(0xe8, ...word(callee - (code + bytes.length + 5)), 0x49, 0x75);
		bytes.push(again - (bytes.length + 1));
	}
	return [...bytes, 0xf4];
}

/** Another process is on for a while after so many slices, and modules happen to be compiled then. */
const SLICES_OF_A_TURN = 8;

/** Runs the program to its end. @param hasTurns the program is not the only one */
function run(layout: Layout, hotThreshold: number, kept?: KeptCode, hasTurns = false) {
	const memory = new GuestMemory(1 << 20);
	memory.bytes.set(program(layout), ENGINE_BYTES + layout.code);
	// inc esi; ret
	memory.bytes.set([0x46, RET], ENGINE_BYTES + layout.callee);
	const engine = new SoftwareEngine(memory, { hotThreshold, kept, guest: "test" });
	const cpu = flatProcessor(engine, layout.code);
	if (hasTurns) enablePaging(cpu);
	for (let slice = 0; slice < 5000 && cpu.run(50, true) !== "halted"; slice++) {
		if (!hasTurns || slice % SLICES_OF_A_TURN !== 0) continue;
		enablePaging(cpu, layout.code >> 12);
		engine.translator?.compile();
		enablePaging(cpu);
	}
	expect(cpu.isHalted).toBe(true);
	engine.dispose();
	const registers = Array.from({ length: 8 }, (_, i) => cpu.state.getLow("gpr", i) >>> 0);
	return { registers, count: cpu.instructionCount, stats: engine.translator?.stats };
}

describe("translations that outlive a machine", () => {
	const shelf = new Shelf();
	const first = run(HERE, 20, shelf);

	it("are kept", () => {
		expect(first.stats).toMatchObject({ recalled: 0 });
		expect(first.stats?.regions).toBeGreaterThanOrEqual(LOOPS);
		expect([...shelf.files.keys()]).toContain("regions-test");
	});

	it.each([
		["where they were made", HERE],
		["on another page", { ...HERE, code: 0x40000, callee: 0x50000 }],
		["with other absolute addresses", { ...HERE, addresses: 0xd340_0000 }],
		["calling what lies at another distance", { ...HERE, callee: 0x31230 }],
	])("are taken over %s", (_, layout) => {
		const { registers, count, stats } = run(layout, 20, shelf);
		const interpreted = run(layout, 0);
		expect({ registers, count }).toEqual({ registers: interpreted.registers, count: interpreted.count });
		expect(stats?.recalled).toBeGreaterThanOrEqual(LOOPS);
		expect(stats?.regions).toBeLessThan(LOOPS / 10);
	});

	it("are looked for again when another process was on as they were to be taken over", () => {
		const { registers, count, stats } = run(HERE, 20, shelf, true);
		expect({ registers, count }).toEqual({ registers: first.registers, count: first.count });
		expect(stats?.recalled).toBeGreaterThanOrEqual(LOOPS);
		expect(stats?.regions).toBeLessThan(LOOPS / 10);
	});

	it("are left where the code is not the same", () => {
		const layout = { ...HERE, opcode: XOR };
		const { registers, stats } = run(layout, 20, shelf);
		expect(registers).toEqual(run(layout, 0).registers);
		expect(registers).not.toEqual(first.registers);
		expect(stats?.recalled).toBeLessThan((LOOPS * 5) / 6);
		expect(stats?.regions).toBeGreaterThanOrEqual(Math.floor(LOOPS / 3));
	});

	it("are no others' than the guest's, and nothing of a run that has to be repeatable", () => {
		const memory = new GuestMemory(1 << 20);
		const engines = [{ guest: "" }, { guest: "test", isRepeatable: true }].map((options) => {
			const own = new Shelf();
			new SoftwareEngine(memory, { ...options, kept: own }).dispose();
			return [...own.files.keys()].filter((name) => name.startsWith("regions"));
		});
		expect(engines).toEqual([[], []]);
	});
});
