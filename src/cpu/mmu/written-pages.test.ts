import { expect, test } from "vitest";
import { CR0 } from "./access.ts";
import { peek32, poke32, scratchOf, type TestCpu, testCpu } from "./fixture.ts";
import { TLB } from "./tlb.ts";

const P = 1;
const RW = 2;
const US = 4;
const A = 0x20;
const D = 0x40;

/** Directory at 0x1000, table at 0x2000; linear 0x5000 is physical 0x9000. */
function paged(): TestCpu {
	const cpu = testCpu();
	cpu.state.setLow("cr0", CR0.PE | CR0.PG | CR0.WP);
	cpu.state.setLow("cr3", 0x1000);
	poke32(cpu, 0x1000, 0x2000 | P | RW | US | A);
	poke32(cpu, 0x2014, 0x9000 | P | RW | US | A | D);
	return cpu;
}

const canStore = (cpu: TestCpu, lin: number): boolean => cpu.mmu.tables.lookup(TLB.kernel, lin, 0, true) !== 0;

function load(cpu: TestCpu, lin: number): number {
	cpu.state.set64("arg0", BigInt(lin));
	return cpu.memory.view.getUint32(cpu.mmu.slowLoad(4) >>> 0, true);
}

function store(cpu: TestCpu, lin: number, value: number): void {
	cpu.state.set64("arg0", BigInt(lin));
	cpu.memory.view.setUint32(scratchOf(cpu), value, true);
	cpu.mmu.slowStore(4);
}

test("stores pass the TLB only while their page counts as written", () => {
	const cpu = paged();
	const { pages } = cpu.memory;
	cpu.memory.pages.onSeal = () => cpu.mmu.dropAllWriteTags();
	load(cpu, 0x5000);
	expect(canStore(cpu, 0x5000)).toBe(false);
	store(cpu, 0x5000, 1);
	expect(canStore(cpu, 0x5000)).toBe(true);
	expect([...pages.seal()]).toEqual([9]);
	expect(canStore(cpu, 0x5000)).toBe(false);
	const kept: number[] = [];
	pages.onHeld = (page) => kept.push(page, peek32(cpu, page * 4096));
	store(cpu, 0x5000, 2);
	expect(kept).toEqual([9, 1]);
	expect([...pages.seal()]).toEqual([9]);
});

test("accessed and dirty flags that a walk sets are writes, too", () => {
	const cpu = paged();
	poke32(cpu, 0x2014, 0x9000 | P | RW | US);
	load(cpu, 0x5000);
	expect([...cpu.memory.pages.seal()]).toEqual([2]);
	store(cpu, 0x5000, 1);
	expect([...cpu.memory.pages.seal()]).toEqual([2, 9]);
});

test("absent pages come in for the walk and for the access", () => {
	const cpu = paged();
	const { pages } = cpu.memory;
	const brought: number[] = [];
	pages.onAbsent = (page) => {
		brought.push(page);
		if (page === 9) poke32(cpu, 0x9000, 77);
	};
	for (const page of [1, 2, 9, 10]) pages.markAbsent(page);
	expect(load(cpu, 0x5000)).toBe(77);
	expect(brought).toEqual([1, 2, 9]);
});
