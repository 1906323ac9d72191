import { describe, expect, test } from "vitest";
import { at, MODE, TLB_ENTRY, TLB_KERNEL, TLB_USER } from "../state/layout.ts";
import { CR0, CR4, EFER } from "./access.ts";
import { peek32, peek64, poke32, poke64, ramAt, scratchOf, setPrivilege, type TestCpu, testCpu } from "./fixture.ts";

const P = 1;
const RW = 2;
const US = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const G = 0x100;
const XD = 1n << 63n;

function load(cpu: TestCpu, lin: bigint, bytes = 4): number {
	cpu.state.set64("arg0", BigInt.asUintN(64, lin));
	return cpu.mmu.slowLoad(bytes) >>> 0;
}

function store(cpu: TestCpu, lin: bigint, bytes: number, value: number): number {
	cpu.state.set64("arg0", BigInt.asUintN(64, lin));
	cpu.memory.view.setUint32(scratchOf(cpu), value, true);
	return cpu.mmu.slowStore(bytes);
}

function probe(cpu: TestCpu, lin: bigint, bytes = 4): number {
	cpu.state.set64("arg0", BigInt.asUintN(64, lin));
	return cpu.mmu.slowProbe(bytes);
}

const fault = (cpu: TestCpu) => ({
	vector: cpu.state.get("faultVector"),
	error: cpu.state.get("faultErrorCode"),
	cr2: cpu.state.get64("cr2"),
});

/** Directory at 0x1000, table at 0x2000. */
function paging32(): TestCpu {
	const cpu = testCpu();
	cpu.state.setLow("cr0", CR0.PE | CR0.PG | CR0.WP);
	cpu.state.setLow("cr3", 0x1000);
	poke32(cpu, 0x1000, 0x2000 | P | RW | US);
	return cpu;
}

/** PML4 0x1000, PDPT 0x2000, PD 0x3000, PT 0x4000 mapping linear 0 up. */
function paging4Level(): TestCpu {
	const cpu = testCpu();
	cpu.state.setLow("cr0", CR0.PE | CR0.PG | CR0.WP);
	cpu.state.setLow("cr4", CR4.PAE | CR4.PGE);
	cpu.state.setLow("efer", EFER.LME | EFER.LMA | EFER.NXE);
	cpu.state.setLow("cr3", 0x1000);
	cpu.state.set("modeKey", MODE.code64);
	for (const table of [0x1000, 0x2000, 0x3000]) poke64(cpu, table, BigInt(table + 0x1000) | 7n);
	return cpu;
}

describe("32-bit paging (SDM 3A §4.3)", () => {
	test("a 4 KiB page: address, accessed and dirty flags, TLB entry", () => {
		const cpu = paging32();
		poke32(cpu, 0x2000 + 5 * 4, 0x8000 | P | RW);
		expect(load(cpu, 0x5123n)).toBe(ramAt(0x8123));
		expect(peek32(cpu, 0x2014)).toBe(0x8000 | P | RW | A);
		expect(peek32(cpu, 0x1000) & A).toBe(A);
		const entry = TLB_KERNEL + 5 * 32;
		expect(cpu.state.view.getUint32(entry + TLB_ENTRY.readTag, true)).toBe(0x5000);
		expect(cpu.state.view.getInt32(entry + TLB_ENTRY.writeTag, true)).toBe(-1);
		expect(store(cpu, 0x5124n, 4, 0xdeadbeef)).toBe(0);
		expect(peek32(cpu, 0x8124)).toBe(0xdeadbeef);
		expect(peek32(cpu, 0x2014) & D).toBe(D);
		expect(cpu.state.view.getUint32(entry + TLB_ENTRY.writeTag, true)).toBe(0x5000);
		expect((cpu.state.view.getInt32(entry + TLB_ENTRY.addend, true) + 0x5123) >>> 0).toBe(ramAt(0x8123));
	});

	test("§4.7 error codes: not present, protection, user, write", () => {
		const cpu = paging32();
		expect(load(cpu, 0x6004n)).toBe(0);
		expect(fault(cpu)).toEqual({ vector: 14, error: 0, cr2: 0x6004n });
		poke32(cpu, 0x2000 + 6 * 4, 0x8000 | P);
		expect(store(cpu, 0x6004n, 4, 1)).toBe(1);
		expect(fault(cpu).error).toBe(3);
		setPrivilege(cpu, 3);
		expect(load(cpu, 0x6004n)).toBe(0);
		expect(fault(cpu).error).toBe(5);
		expect(store(cpu, 0x40_0000n, 4, 1)).toBe(1);
		expect(fault(cpu)).toEqual({ vector: 14, error: 6, cr2: 0x40_0000n });
	});

	test("CR0.WP = 0 lets the supervisor write read-only pages", () => {
		const cpu = paging32();
		cpu.state.setLow("cr0", CR0.PE | CR0.PG);
		poke32(cpu, 0x2000, 0x8000 | P | US);
		expect(store(cpu, 0n, 4, 7)).toBe(0);
		setPrivilege(cpu, 3);
		expect(store(cpu, 0n, 4, 7)).toBe(1);
		expect(fault(cpu).error).toBe(7);
	});

	test("4 MiB pages and PSE-36; bit 21 is reserved", () => {
		const cpu = paging32();
		cpu.state.setLow("cr4", CR4.PSE);
		poke32(cpu, 0x1004, P | RW | PS);
		expect(load(cpu, 0x40_5678n)).toBe(ramAt(0x5678));
		poke32(cpu, 0x1008, P | RW | PS | (1 << 13));
		load(cpu, 0x80_0000n);
		expect(cpu.mmu.walker.physPage).toBe(0x1_0000_0000);
		poke32(cpu, 0x100c, P | RW | PS | (1 << 21));
		expect(load(cpu, 0xc0_0000n)).toBe(0);
		expect(fault(cpu).error).toBe(9);
	});

	test("an access across pages checks both before it writes", () => {
		const cpu = paging32();
		poke32(cpu, 0x2000, 0x8000 | P | RW);
		poke32(cpu, 0x2004, 0xa000 | P);
		expect(store(cpu, 0xffen, 4, 0x11223344)).toBe(1);
		expect(fault(cpu)).toEqual({ vector: 14, error: 3, cr2: 0x1000n });
		expect(peek32(cpu, 0x8ffc)).toBe(0);
		poke32(cpu, 0x2004, 0xa000 | P | RW);
		expect(store(cpu, 0xffen, 4, 0x11223344)).toBe(0);
		expect(peek32(cpu, 0x8ffc)).toBe(0x33440000);
		expect(peek32(cpu, 0xa000)).toBe(0x1122);
		expect(load(cpu, 0xffen)).toBe(scratchOf(cpu));
		expect(cpu.memory.view.getUint32(scratchOf(cpu), true)).toBe(0x11223344);
		expect(probe(cpu, 0xffen)).toBe(-1);
	});

	test("32-bit addresses wrap at 4 GiB", () => {
		const cpu = paging32();
		poke32(cpu, 0x1000 + 1023 * 4, 0x3000 | P | RW);
		poke32(cpu, 0x3000 + 1023 * 4, 0x8000 | P | RW);
		poke32(cpu, 0x2000, 0xa000 | P | RW);
		expect(store(cpu, 0xffff_fffen, 4, 0x55667788)).toBe(0);
		expect(peek32(cpu, 0xa000)).toBe(0x5566);
	});
});

describe("PAE paging (SDM 3A §4.4)", () => {
	test("goes through the loaded PDPTEs; 2 MiB pages; XD is reserved without NXE", () => {
		const cpu = testCpu();
		cpu.state.setLow("cr0", CR0.PE | CR0.PG | CR0.WP);
		cpu.state.setLow("cr4", CR4.PAE);
		cpu.state.set64("pdpte", 0x3001n, 3);
		poke64(cpu, 0x3000, 0x20_0000n | BigInt(P | RW | PS));
		expect(load(cpu, 0xc000_1234n)).toBe(ramAt(0x20_1234));
		expect(load(cpu, 0x1000n)).toBe(0);
		expect(fault(cpu).error).toBe(0);
		poke64(cpu, 0x3008, XD | 0x20_0000n | BigInt(P | RW | PS));
		expect(load(cpu, 0xc020_0000n)).toBe(0);
		expect(fault(cpu).error).toBe(9);
		cpu.state.setLow("efer", EFER.NXE);
		expect(load(cpu, 0xc020_0000n)).toBe(ramAt(0x20_0000));
		expect(cpu.mmu.translateCode(0xc020_0000 | 0, 0)).toBe(-1);
		expect(fault(cpu).error).toBe(0x11);
	});
});

describe("4-level paging (SDM 3A §4.5)", () => {
	test("4 KiB, 2 MiB and 1 GiB pages", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x4008, 0x9007n);
		expect(load(cpu, 0x1008n, 8)).toBe(ramAt(0x9008));
		poke64(cpu, 0x3008, 0x20_0000n | 7n | BigInt(PS));
		expect(load(cpu, 0x20_0010n)).toBe(ramAt(0x20_0010));
		poke64(cpu, 0x2008, 7n | BigInt(PS));
		expect(load(cpu, 0x4000_2345n)).toBe(ramAt(0x2345));
		poke64(cpu, 0x2010, 7n | BigInt(PS) | 0x2000n);
		expect(load(cpu, 0x8000_0000n)).toBe(0);
		expect(fault(cpu).error).toBe(9);
	});

	test("address bits above MAXPHYADDR are reserved", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x4000, 7n | (1n << 40n));
		expect(load(cpu, 0n)).toBe(0);
		expect(fault(cpu).error).toBe(9);
	});

	test("the upper half; non-canonical addresses are #GP(0), #SS(0) on the stack", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x1ff8, 0x2003n);
		poke64(cpu, 0x2ff0, 0x3003n);
		poke64(cpu, 0x4000, 0x9003n);
		expect(load(cpu, 0xffff_ffff_8000_0010n)).toBe(ramAt(0x9010));
		expect(cpu.mmu.read(-0x8000_0000 + 0x10, 4)).toBe(0);
		expect(load(cpu, 0x8000_0000_0000n)).toBe(0);
		expect(fault(cpu)).toMatchObject({ vector: 13, error: 0 });
		expect(load(cpu, 0x8000_0000_0000n, 4 | 0x100)).toBe(0);
		expect(fault(cpu)).toMatchObject({ vector: 12, error: 0 });
	});

	test("§4.6 SMAP, SMEP", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x4000, 0x9007n);
		cpu.state.setLow("cr4", CR4.PAE | CR4.SMAP | CR4.SMEP);
		expect(load(cpu, 0n)).toBe(0);
		expect(fault(cpu).error).toBe(1);
		cpu.state.set("tlbBase", cpu.state.base + TLB_KERNEL + (TLB_USER - TLB_KERNEL) / 2);
		expect(load(cpu, 0n)).toBe(ramAt(0x9000));
		expect(cpu.mmu.read(0, 4)).toBe(-1);
		expect(cpu.mmu.translateCode(0, 0)).toBe(-1);
		expect(fault(cpu).error).toBe(0x11);
		setPrivilege(cpu, 3);
		expect(cpu.mmu.translateCode(4, 0)).toBe(0x9004);
	});
});

describe("TLB", () => {
	test("global pages survive a flush that keeps them, and INVLPG takes a large page whole", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x4000, 0x9003n | BigInt(G));
		poke64(cpu, 0x4008, 0xa003n);
		poke64(cpu, 0x3008, 0x20_0000n | 3n | BigInt(PS | G));
		for (const lin of [0n, 0x1000n, 0x20_3000n, 0x20_5000n]) load(cpu, lin);
		const cached = (lo: number) => cpu.mmu.tables.lookup(0, lo, 0, false) !== 0;
		cpu.mmu.flush(true);
		expect([0, 0x1000, 0x20_3000].map(cached)).toEqual([true, false, true]);
		cpu.mmu.invalidatePage(0x20_0000, 0);
		expect([0, 0x20_3000, 0x20_5000].map(cached)).toEqual([true, false, false]);
		cpu.mmu.flush(false);
		expect(cached(0)).toBe(false);
		expect(cpu.code.flushes).toBe(2);
	});

	test("INVLPG of a page that code was fetched from voids the jump cache", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x4000, 0x9003n);
		expect(cpu.mmu.translateCode(0x10, 0)).toBe(0x9010);
		poke64(cpu, 0x4000, 0xa003n);
		expect(cpu.mmu.translateCode(0x10, 0)).toBe(0x9010);
		cpu.mmu.invalidatePage(0x1000, 0);
		expect(cpu.code.flushes).toBe(0);
		cpu.mmu.invalidatePage(0, 0);
		expect(cpu.code.flushes).toBe(1);
		expect(cpu.mmu.translateCode(0x10, 0)).toBe(0xa010);
	});

	test("code pages take no write tag; the tracker sees each store and may demand single steps", () => {
		const cpu = paging32();
		poke32(cpu, 0x2000, 0x8000 | P | RW);
		store(cpu, 0n, 4, 1);
		expect(cpu.mmu.tables.lookup(0, 0, 0, true)).not.toBe(0);
		cpu.code.pages.add(8);
		cpu.mmu.dropWriteTags(8);
		expect(cpu.mmu.tables.lookup(0, 0, 0, true)).toBe(0);
		expect(store(cpu, 4n, 4, 2)).toBe(0);
		expect(cpu.code.stores).toEqual([{ physAddr: 0x8004, bytes: 4 }]);
		expect(probe(cpu, 0n)).toBe(-1);
		cpu.code.isRunning = true;
		expect(store(cpu, 4n, 4, 3)).toBe(2);
		expect(peek32(cpu, 0x8004)).toBe(2);
	});

	test("an access that runs out of the lower half is #GP before its first page is looked for", () => {
		const cpu = paging4Level();
		expect(load(cpu, 0x7fff_ffff_fffdn)).toBe(0);
		expect(cpu.state.get("faultVector")).toBe(13);
	});

	test("32-bit code does not meet entries above 4 GiB", () => {
		const cpu = paging4Level();
		poke64(cpu, 0x1ff8, 0x2003n);
		poke64(cpu, 0x2ff0, 0x3003n);
		poke64(cpu, 0x4000, 0x9003n);
		load(cpu, 0xffff_ffff_8000_0000n);
		cpu.state.set("modeKey", MODE.code32);
		cpu.mmu.modeChanged(false);
		expect(cpu.mmu.tables.lookup(0, 0x8000_0000 | 0, -1, false)).toBe(0);
	});
});

describe("devices, ROM, A20, alignment", () => {
	test("device registers are read and written in pieces, and never cached", () => {
		const cpu = testCpu();
		const seen: string[] = [];
		cpu.memory.claim("test", 0xfee0_0000, 0x1000, {
			accessBytes: { min: 1, max: 4 },
			read: (offset, bytes) => {
				seen.push(`r${offset}/${bytes}`);
				return 0x1234_0000 + offset;
			},
			write: (offset, bytes, value) => void seen.push(`w${offset}/${bytes}=${value}`),
		});
		expect(load(cpu, 0xfee0_0008n, 8)).toBe(scratchOf(cpu));
		expect(cpu.memory.view.getBigUint64(scratchOf(cpu), true)).toBe(0x1234_000c_1234_0008n);
		expect(store(cpu, 0xfee0_0010n, 2, 0x1beef)).toBe(0);
		expect(seen).toEqual(["r8/4", "r12/4", `w16/2=${0xbeef}`]);
		expect(probe(cpu, 0xfee0_0010n)).toBe(-1);
		expect(load(cpu, 0xd000_0000n)).toBe(scratchOf(cpu));
		expect(cpu.memory.view.getUint32(scratchOf(cpu), true)).toBe(0xffff_ffff);
	});

	test("ROM reads, and swallows writes", () => {
		const cpu = testCpu();
		cpu.memory.addRom("bios", 0xffff_f000, new Uint8Array(4096).fill(0x5a));
		const host = load(cpu, 0xffff_f010n);
		expect(cpu.memory.view.getUint32(host, true)).toBe(0x5a5a5a5a);
		expect(store(cpu, 0xffff_f010n, 4, 0)).toBe(0);
		expect(cpu.memory.view.getUint32(host, true)).toBe(0x5a5a5a5a);
	});

	test("a closed A20 gate drops address bit 20", () => {
		const cpu = testCpu();
		cpu.board.isA20Enabled = false;
		expect(load(cpu, 0x10_0010n)).toBe(ramAt(0x10));
		expect(load(cpu, 0x20_0010n)).toBe(ramAt(0x20_0010));
	});

	test("§6.15 #AC: user accesses that are not aligned, when asked for", () => {
		const cpu = testCpu();
		setPrivilege(cpu, 3);
		cpu.mmu.modeChanged(true);
		expect(load(cpu, 0x1002n)).toBe(0);
		expect(fault(cpu)).toMatchObject({ vector: 17, error: 0 });
		expect(load(cpu, 0x1002n, 2)).toBe(ramAt(0x1002));
		expect(cpu.mmu.tables.lookup(2, 0x1000, 0, false)).toBe(0);
	});

	test("data breakpoints note their DR6 bit and keep the page out of the TLB (SDM 3B §17.2)", () => {
		const cpu = testCpu();
		cpu.state.set64("dr", 0x2004n, 1);
		cpu.state.set64("dr", (1n << 2n) | (1n << 20n) | (3n << 22n), 7);
		cpu.mmu.breakpointsChanged();
		load(cpu, 0x2004n);
		expect(cpu.state.get("debugPending")).toBe(0);
		store(cpu, 0x2003n, 1, 0);
		expect(cpu.state.get("debugPending")).toBe(0);
		store(cpu, 0x2002n, 4, 0);
		expect(cpu.state.get("debugPending")).toBe(2);
		expect(cpu.mmu.tables.lookup(0, 0x2000, 0, false)).toBe(0);
	});

	test("blocks cross pages", () => {
		const cpu = testCpu();
		const block = Uint8Array.from({ length: 512 }, (_, i) => i & 0xff);
		expect(cpu.mmu.writeBlock(0x2f00, block, 0)).toBe(0);
		const back = new Uint8Array(512);
		expect(cpu.mmu.readBlock(0x2f00, back, 0)).toBe(true);
		expect(back).toEqual(block);
		expect(peek64(cpu, 0x3000)).toBe(0x0706050403020100n);
		expect(at("scratch") % 16).toBe(0);
	});
});
