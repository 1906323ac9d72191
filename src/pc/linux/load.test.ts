import { describe, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { GuestMemory } from "../../machine/memory.ts";
import type { PcErrorKind } from "../error.ts";
import { PcError } from "../error.ts";
import { e820Map } from "./e820.ts";
import { loadLinux } from "./load.ts";
import { firmwareMtrrs } from "./mtrr.ts";

/** A bzImage with just enough header; its protected-mode part counts up. */
function bzImage(change: (view: DataView) => void = () => {}): Uint8Array {
	const payloadBytes = 0x10000;
	const image = new Uint8Array(1024 + payloadBytes);
	const view = new DataView(image.buffer);
	view.setUint8(0x1f1, 1);
	view.setUint32(0x1f4, payloadBytes / 16, true);
	view.setUint16(0x1fe, 0xaa55, true);
	view.setUint16(0x200, 0x6aeb, true);
	view.setUint32(0x202, 0x5372_6448, true);
	view.setUint16(0x206, 0x020f, true);
	view.setUint8(0x211, 1);
	view.setUint32(0x22c, 0x7fff_ffff, true);
	view.setUint16(0x236, 1, true);
	view.setUint32(0x238, 2047, true);
	view.setBigUint64(0x258, 0x100_0000n, true);
	view.setUint32(0x260, 0x80_0000, true);
	for (let i = 1024; i < image.length; i++) image[i] = i & 0xff;
	change(view);
	return image;
}

function place(memory: GuestMemory) {
	return { e820: e820Map(memory), rsdpAddr: 0xf0000, msrs: firmwareMtrrs(0xc000_0000, 40) };
}

function kindOf(run: () => unknown): PcErrorKind | undefined {
	try {
		run();
	} catch (error) {
		if (error instanceof PcError) return error.kind;
		throw error;
	}
	return undefined;
}

const memory = new GuestMemory(64 * MIB);

describe("bzImage", () => {
	test("boot.rst, 64-bit protocol: long mode, flat CS 0x10, RSI at the zero page, kernel at its preferred address", () => {
		const initrd = new Uint8Array(5000).fill(0xab);
		const cpu = loadLinux(memory, { kernel: bzImage(), initrd, commandLine: "console=ttyS0 ä" }, place(memory));
		expect(cpu.mode).toBe("long");
		expect(cpu.rip).toBe(0x100_0200n);
		expect(cpu.segments.cs).toEqual({ selector: 0x10, base: 0n, limit: 0xffff_ffff, attributes: 0x00a0_9b00 });
		expect(cpu.segments.ds.selector).toBe(0x18);
		const params = Number(cpu.gpr.rsi);
		expect(memory.readPhys(params + 0x202, 4)).toBe(0x5372_6448);
		expect(memory.readPhys(params + 0x210, 1)).toBe(0xff);
		expect(memory.readPhys(params + 0x70, 4)).toBe(0xf0000);
		const initrdAddr = memory.readPhys(params + 0x218, 4);
		expect(initrdAddr % 4096).toBe(0);
		expect(memory.readPhys(params + 0x21c, 4)).toBe(5000);
		expect(memory.readPhys(initrdAddr + 4999, 1)).toBe(0xab);
		expect(initrdAddr + 5000).toBeLessThanOrEqual(64 * MIB);
		const commandLine = memory.readPhys(params + 0x228, 4);
		const text = new Uint8Array(17);
		memory.read(commandLine, text);
		expect([...text]).toEqual([...Buffer.from("console=ttyS0 ä\0")]);
		expect(memory.readPhys(0x100_0000, 4)).toBe(0x0302_0100);
	});

	test("the identity map covers the first 4 GiB in 2 MiB pages", () => {
		const cpu = loadLinux(memory, { kernel: bzImage() }, place(memory));
		const translate = (addr: number): number => {
			const pml4e = memory.readPhys(Number(cpu.cr3), 4);
			const pdpte = memory.readPhys((pml4e & ~0xfff) + 8 * Math.floor(addr / 2 ** 30), 4);
			const pde = memory.readPhys((pdpte & ~0xfff) + 8 * (Math.floor(addr / 2 ** 21) % 512), 4);
			expect(pde & 0x83).toBe(0x83);
			return ((pde & ~0xfff) >>> 0) + (addr % 2 ** 21);
		};
		for (const addr of [0, 0x10000, 0x100_0200, 0xbfff_ffff, 0xffff_fff0]) expect(translate(addr)).toBe(addr);
	});

	test("without XLF_KERNEL_64 the 32-bit protocol: paging off, ESI at the zero page", () => {
		const cpu = loadLinux(memory, { kernel: bzImage((view) => view.setUint16(0x236, 0, true)) }, place(memory));
		expect(cpu.mode).toBe("protected");
		expect(cpu.rip).toBe(0x100_0000n);
		expect(cpu.cr0 & 0x8000_0001n).toBe(1n);
		expect(cpu.segments.cs.attributes).toBe(0x00c0_9b00);
	});

	test("the E820 map leaves out EBDA and firmware", () => {
		const cpu = loadLinux(memory, { kernel: bzImage() }, place(memory));
		const params = Number(cpu.gpr.rsi);
		const count = memory.readPhys(params + 0x1e8, 1);
		const entries = Array.from({ length: count }, (_, i) => {
			const at = params + 0x2d0 + 20 * i;
			return [memory.readPhys(at, 4), memory.readPhys(at + 8, 4), memory.readPhys(at + 16, 4)];
		});
		expect(entries).toEqual([
			[0, 0x9fc00, 1],
			[0x9fc00, 0x400, 2],
			[0xe0000, 0x20000, 2],
			[0x100000, 63 * MIB, 1],
		]);
	});

	test("an RNG seed hangs in the list of setup data", () => {
		const cpu = loadLinux(memory, { kernel: bzImage(), rngSeed: new Uint8Array(32).fill(7) }, place(memory));
		const block = memory.readPhys(Number(cpu.gpr.rsi) + 0x250, 4);
		expect([memory.readPhys(block, 4), memory.readPhys(block + 8, 4), memory.readPhys(block + 12, 4)]).toEqual([0, 9, 32]);
	});

	test("what cannot be booted is refused by kind", () => {
		const load = (kernel: Uint8Array, more = {}) => kindOf(() => loadLinux(memory, { kernel, ...more }, place(memory)));
		expect(load(new Uint8Array(0))).toBe("kernel-truncated");
		expect(load(new Uint8Array(100_000))).toBe("not-a-kernel");
		expect(load(bzImage().subarray(0, 0x220))).toBe("kernel-truncated");
		expect(load(bzImage().subarray(0, 40_000))).toBe("kernel-truncated");
		expect(load(bzImage((view) => view.setUint16(0x206, 0x0201, true)))).toBe("kernel-unsupported");
		expect(load(bzImage((view) => view.setUint8(0x211, 0)))).toBe("kernel-unsupported");
		expect(load(bzImage((view) => view.setUint32(0x260, 64 * MIB, true)))).toBe("too-little-memory");
		expect(load(bzImage(), { initrd: new Uint8Array(50 * MIB) })).toBe("initrd-too-large");
		expect(load(bzImage(), { commandLine: "x".repeat(3000) })).toBe("command-line-too-long");
	});
});

/** An ELF64 with one loadable segment and the PVH note. */
function elf(noteType = 18): Uint8Array {
	const image = new Uint8Array(0x2000);
	const view = new DataView(image.buffer);
	image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
	view.setUint16(18, 62, true);
	view.setBigUint64(32, 64n, true);
	view.setUint16(54, 56, true);
	view.setUint16(56, 2, true);
	const header = (i: number, type: number, offset: number, addr: number, fileBytes: number, memoryBytes: number) => {
		const at = 64 + 56 * i;
		view.setUint32(at, type, true);
		view.setBigUint64(at + 8, BigInt(offset), true);
		view.setBigUint64(at + 24, BigInt(addr), true);
		view.setBigUint64(at + 32, BigInt(fileBytes), true);
		view.setBigUint64(at + 40, BigInt(memoryBytes), true);
	};
	header(0, 1, 0x1000, 0x100_0000, 0x800, 0x3000);
	header(1, 4, 0x200, 0, 20, 20);
	view.setUint32(0x200, 4, true);
	view.setUint32(0x204, 4, true);
	view.setUint32(0x208, noteType, true);
	image.set([0x58, 0x65, 0x6e, 0], 0x20c);
	view.setUint32(0x210, 0x100_0040, true);
	image.fill(0x90, 0x1000, 0x1800);
	return image;
}

describe("PVH", () => {
	test("enters 32-bit protected mode with EBX at hvm_start_info", () => {
		memory.write(0x100_0800, new Uint8Array(16).fill(0xff));
		const cpu = loadLinux(memory, { kernel: elf(), initrd: new Uint8Array(16), commandLine: "quiet" }, place(memory));
		expect(cpu.rip).toBe(0x100_0040n);
		const info = Number(cpu.gpr.rbx);
		expect(memory.readPhys(info, 4)).toBe(0x336e_c578);
		expect(memory.readPhys(info + 12, 4)).toBe(1);
		expect(memory.readPhys(memory.readPhys(info + 24, 4), 4)).toBe(0x6569_7571);
		expect(memory.readPhys(info + 32, 4)).toBe(0xf0000);
		expect(memory.readPhys(info + 48, 4)).toBe(4);
		expect(memory.readPhys(0x100_0800, 4)).toBe(0);
	});

	test("an ELF without the note, or cut short, is refused", () => {
		expect(kindOf(() => loadLinux(memory, { kernel: elf(1) }, place(memory)))).toBe("kernel-unsupported");
		expect(kindOf(() => loadLinux(memory, { kernel: elf().subarray(0, 0x1100) }, place(memory)))).toBe("kernel-truncated");
	});
});
