import { beforeEach, describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { SteppedClock } from "../machine/clock.ts";
import type { Device } from "../machine/device.ts";
import { GuestMemory } from "../machine/memory.ts";
import { type PciDevice, PciFunction, type PciFunctionState } from "../machine/pci.ts";
import type { CpuBoard, CpuPins } from "../machine/processor.ts";
import { OpenWire } from "../machine/wire.ts";
import { announceGeneration, bootLinux } from "./boot.ts";
import { PcError } from "./error.ts";
import { Pc } from "./pc.ts";

/** A CPU that only writes down what its pins tell it. */
class FakeCpu implements CpuPins {
	readonly intr = new OpenWire();
	readonly log: string[] = [];
	nmi(): void {
		this.log.push("nmi");
	}
	init(): void {
		this.log.push("init");
	}
	startup(vector: number): void {
		this.log.push(`startup ${vector}`);
	}
	reset(): void {
		this.log.push("reset");
	}
}

class Card implements PciDevice<PciFunctionState>, Device<PciFunctionState> {
	readonly name = "card";
	readonly pci = new PciFunction("card", { vendorId: 0x1af4, deviceId: 0x1042, classCode: 0x010000, interruptPin: 1 });
	constructor() {
		this.pci.addBar(4, { kind: "mem64", sizeBytes: 0x4000, handler: { accessBytes: { min: 1, max: 4 }, read: () => 7, write: () => {} } });
		this.pci.addBar(0, { kind: "io", sizeBytes: 32, handler: { accessBytes: { min: 1, max: 4 }, read: () => 9, write: () => {} } });
		this.pci.addMsix(2, { bar: 1 });
	}
	reset(): void {
		this.pci.reset();
	}
	save(): PciFunctionState {
		return this.pci.save();
	}
	load(state: PciFunctionState): void {
		this.pci.load(state);
	}
}

let clock: SteppedClock;
let events: string[];
let sent: number[];
let card: Card;
let cpus: FakeCpu[];
let pc: Pc;
let board: CpuBoard;
let memory: GuestMemory;

function build(): Pc {
	clock = new SteppedClock();
	events = [];
	sent = [];
	card = new Card();
	cpus = [new FakeCpu(), new FakeCpu()];
	memory = new GuestMemory(32 * MIB);
	const made = new Pc({
		memory,
		clock,
		cpuCount: 2,
		wallTimeMs: Date.UTC(2024, 1, 29, 12, 34, 56),
		events: {
			onPowerOff: () => events.push("off"),
			onReset: (cause, how) => events.push(`${cause}: ${how}`),
			onDebugExit: (code) => events.push(`exit ${code}`),
		},
		serialLines: [{ onTransmit: (byte) => sent.push(byte) }, { onTransmit: () => {} }],
		pciDevices: [card],
		replugs: [card],
		hasDebugExit: true,
	});
	cpus.forEach((cpu, index) => {
		made.attachCpu(index, cpu);
	});
	return made;
}

beforeEach(() => {
	pc = build();
	board = pc.cpuBoard(0);
});

const out = (port: number, value: number, bytes = 1) => pc.io.write(port, bytes, value);
const inp = (port: number, bytes = 1) => pc.io.read(port, bytes);

function initPics(mask1: number, mask2: number): void {
	for (const [base, vector, cascade] of [
		[0x20, 0x20, 4],
		[0xa0, 0x28, 2],
	] as const) {
		out(base, 0x11);
		out(base + 1, vector);
		out(base + 1, cascade);
		out(base + 1, 1);
	}
	out(0x21, mask1);
	out(0xa1, mask2);
}

const IOAPIC = 0xfec0_0000;
const LAPIC = 0xfee0_0000;

function redirect(pin: number, low: number, destination = 0): void {
	memory.writePhys(IOAPIC, 4, 0x11 + 2 * pin);
	memory.writePhys(IOAPIC + 0x10, 4, destination * 2 ** 24);
	memory.writePhys(IOAPIC, 4, 0x10 + 2 * pin);
	memory.writePhys(IOAPIC + 0x10, 4, low);
}

function enableLapics(): void {
	for (const index of [0, 1]) {
		pc.accessingCpu = index;
		memory.writePhys(LAPIC + 0xf0, 4, 0x1ff);
	}
	pc.accessingCpu = 0;
}

/** What CPU 0 is interrupted with, once; ended. */
function take(): number | undefined {
	if (!cpus[0]!.intr.isHigh) return undefined;
	const vector = board.acknowledgeInterrupt();
	memory.writePhys(LAPIC + 0xb0, 4, 0);
	return vector;
}

function startTimer(hz: number): void {
	const count = Math.round(1_193_182 / hz);
	out(0x43, 0x34);
	out(0x40, count & 0xff);
	out(0x40, count >> 8);
}

describe("interrupt wiring", () => {
	test("virtual wire mode: the timer's IRQ 0 comes through both 8259 and LINT0", () => {
		pc.interrupts.lapics[0]!.enterVirtualWireMode();
		startTimer(1000);
		initPics(0xfe, 0xff);
		clock.advance(900_000);
		expect(cpus[0]!.intr.isHigh).toBe(false);
		clock.advance(200_000);
		expect(board.acknowledgeInterrupt()).toBe(0x20);
		expect(cpus[0]!.intr.isHigh).toBe(false);
		out(0x20, 0x20);
		clock.advance(1_000_000);
		expect(board.acknowledgeInterrupt()).toBe(0x20);
	});

	test("the second 8259 hangs on IRQ 2", () => {
		pc.interrupts.lapics[0]!.enterVirtualWireMode();
		initPics(0xfb, 0xfe);
		out(0x70, 0x0b);
		out(0x71, 0x12);
		clock.advance(1_100_000_000);
		expect(board.acknowledgeInterrupt()).toBe(0x28);
		out(0x70, 0x0c);
		expect(inp(0x71) & 0x90).toBe(0x90);
	});

	test("the timer is input 2 of the I/O APIC", () => {
		enableLapics();
		startTimer(1000);
		redirect(2, 0x30);
		clock.advance(1_100_000);
		expect([take(), take()]).toEqual([0x30, undefined]);
	});

	test("HPET in legacy replacement mode takes the place of the 8254", () => {
		enableLapics();
		startTimer(1000);
		redirect(2, 0x30);
		memory.writePhys(0xfed0_0100, 4, 0x10c);
		memory.writePhys(0xfed0_0100, 4, 0x14c);
		memory.writePhys(0xfed0_0108, 4, 250_000);
		memory.writePhys(0xfed0_0108, 4, 250_000);
		memory.writePhys(0xfed0_0010, 4, 3);
		clock.advance(2_000_000);
		expect(take()).toBeUndefined();
		clock.advance(600_000);
		expect([take(), take()]).toEqual([0x30, undefined]);
		memory.writePhys(0xfed0_0010, 4, 0);
		clock.advance(2_000_000);
		expect(take()).toBe(0x30);
	});

	test("a PCI interrupt is level-triggered at inputs 16–19, and at its ISA interrupt too", () => {
		bootLikeFirmware();
		enableLapics();
		card.pci.intx.set(true);
		const pin = 16 + ((2 + 1 - 1) % 4);
		redirect(pin, 0xa000 | 0x41);
		expect(take()).toBe(0x41);
		expect(take()).toBe(0x41);
		card.pci.intx.set(false);
		expect(take()).toBe(0x41);
		expect(take()).toBeUndefined();
		card.pci.intx.set(true);
		out(0xa0, 0x0a);
		expect(inp(0xa0) & 0x0c).not.toBe(0);
	});

	test("MSI-X goes straight to the local APIC that it names", () => {
		bootLikeFirmware();
		enableLapics();
		card.pci.config.write(4, 2, 6);
		const bar = card.pci.bars.find(({ index }) => index === 1)!.address;
		memory.writePhys(bar, 4, 0xfee0_1000);
		memory.writePhys(bar + 8, 4, 0x55);
		memory.writePhys(bar + 12, 4, 0);
		card.pci.config.write(card.pci.config.get(0x34, 1) + 2, 2, 0x8000);
		card.pci.msix!.notify(0);
		expect([cpus[0]!.intr.isHigh, cpus[1]!.intr.isHigh]).toEqual([false, true]);
		expect(pc.cpuBoard(1).acknowledgeInterrupt()).toBe(0x55);
	});

	test("each processor sees its own local APIC; INIT and SIPI reach the other", () => {
		enableLapics();
		expect(memory.readPhys(LAPIC + 0x20, 4) >>> 24).toBe(0);
		pc.accessingCpu = 1;
		expect(memory.readPhys(LAPIC + 0x20, 4) >>> 24).toBe(1);
		pc.accessingCpu = 0;
		memory.writePhys(LAPIC + 0x310, 4, 0x0100_0000);
		memory.writePhys(LAPIC + 0x300, 4, 0x4500);
		memory.writePhys(LAPIC + 0x310, 4, 0x0100_0000);
		memory.writePhys(LAPIC + 0x300, 4, 0x4608);
		expect(cpus[1]!.log).toEqual(["init", "startup 8"]);
		expect(cpus[0]!.log).toEqual([]);
	});

	test("NMI comes in at LINT1 unless bit 7 of port 70 masks it", () => {
		pc.interrupts.lapics[0]!.enterVirtualWireMode();
		out(0x70, 0x80);
		pc.pressNmiButton();
		expect(cpus[0]!.log).toEqual([]);
		out(0x70, 0x0f);
		pc.pressNmiButton();
		expect(cpus[0]!.log).toEqual(["nmi"]);
	});
});

function bootLikeFirmware(): void {
	try {
		bootLinux(pc, { kernel: new Uint8Array(100) });
	} catch (error) {
		expect((error as PcError).kind).toBe("not-a-kernel");
	}
}

describe("acting as firmware", () => {
	test("gives the BARs places, steers interrupts and sets their level", () => {
		bootLikeFirmware();
		const bars = card.pci.bars;
		for (const bar of bars) expect(bar.address % bar.sizeBytes).toBe(0);
		expect(inp(bars[0]!.address)).toBe(9);
		expect(memory.readPhys(bars[2]!.address, 4)).toBe(7);
		expect(card.pci.config.get(4, 2)).toBe(3);
		expect([inp(0x4d0), inp(0x4d1)]).toEqual([0, 0x0e]);
		expect(card.pci.config.get(0x3c, 1)).toBe(11);
	});

	test("RSDP, SMBIOS anchor, EBDA pointer and CMOS are where they are looked for", () => {
		bootLikeFirmware();
		const anchor = new Uint8Array(8);
		memory.read(0xf0000, anchor);
		expect(String.fromCharCode(...anchor)).toBe("RSD PTR ");
		memory.read(0xf0040, anchor);
		expect(String.fromCharCode(...anchor.subarray(0, 5))).toBe("_SM3_");
		expect(memory.readPhys(0x40e, 2)).toBe(0x9fc0);
		expect(memory.readPhys(0x413, 2)).toBe(639);
		expect(memory.readPhys(0x400, 4)).toBe(0x02f8_03f8);
		out(0x70, 0x5f);
		expect(inp(0x71)).toBe(1);
		out(0x70, 0x34);
		expect(inp(0x71)).toBe(((16 * MIB) / 65536 / 1) & 0xff);
	});
});

describe("power and reset", () => {
	test("ACPI 6.5 §4.8: the power button raises the SCI, and S5 switches off", () => {
		enableLapics();
		redirect(9, 0x8000 | 0x39);
		expect(pc.pressPowerButton()).toBe(false);
		out(0x600, 0xffff, 2);
		out(0xb2, 0xf1);
		expect(inp(0x604, 2) & 1).toBe(1);
		out(0x602, 0x0100, 2);
		expect(pc.pressPowerButton()).toBe(true);
		expect(take()).toBe(0x39);
		expect(inp(0x600, 2) & 0x100).toBe(0x100);
		out(0x600, 0x0100, 2);
		out(0x604, 0x2001 | (5 << 10), 2);
		expect(events).toEqual(["off"]);
	});

	test("a new generation id is told by its general-purpose event", () => {
		bootLikeFirmware();
		enableLapics();
		redirect(9, 0x8000 | 0x39);
		out(0xb2, 0xf1);
		out(0x622, 1 << 5);
		announceGeneration(pc, new Uint8Array(16).fill(0x77));
		expect(take()).toBe(0x39);
		expect(inp(0x620)).toBe(1 << 5);
		expect(memory.readPhys(0xe0040, 4)).toBe(0x7777_7777);
	});

	test("a card is taken out and put in anew: asked for, ejected, announced", () => {
		bootLikeFirmware();
		enableLapics();
		redirect(9, 0x8000 | 0x39);
		out(0xb2, 0xf1);
		out(0x622, 1 << 6);
		pc.replugCard(card);
		expect(take()).toBe(0x39);
		out(0x620, 1 << 6);
		expect([inp(0x634, 4), inp(0x630, 4), inp(0x630, 4)]).toEqual([0, 1 << 2, 0]);
		expect(card.pci.bars.some(({ isDecoded }) => isDecoded)).toBe(true);
		out(0x638, 1 << 2, 4);
		expect(card.pci.bars.some(({ isDecoded }) => isDecoded)).toBe(false);
		expect(inp(0x620)).toBe(1 << 6);
		const saved = pc.save();
		expect([inp(0x634, 4), inp(0x634, 4)]).toEqual([1 << 2, 0]);
		pc.load(structuredClone(saved) as typeof saved);
		expect(inp(0x634, 4)).toBe(1 << 2);
		// Slots whose cards stay are none of the guest's affair.
		out(0x638, 0xffff_fffb, 4);
		expect(inp(0x634, 4)).toBe(0);
	});

	test("port CF9, port 92 and a shut-down processor ask for a reset", () => {
		out(0xcf9, 2);
		out(0xcf9, 6);
		out(0x92, 3);
		board.shutdown();
		expect(events).toEqual(["request: port CF9, hard", "request: port 92", "triple-fault: CPU 0 shut down"]);
	});

	test("reset leaves a quiet board and then resets the processors", () => {
		bootLikeFirmware();
		enableLapics();
		redirect(18, 0xa000 | 0x41);
		card.pci.intx.set(true);
		startTimer(1000);
		pc.reset();
		expect(cpus.map((cpu) => [cpu.intr.isHigh, cpu.log])).toEqual([
			[false, ["reset"]],
			[false, ["reset"]],
		]);
		expect(memory.pageAt(0xf0000).kind).toBe("none");
		expect(card.pci.bars.some(({ isDecoded }) => isDecoded)).toBe(false);
		out(0x70, 0x5f);
		expect(inp(0x71)).toBe(1);
		clock.advance(10_000_000);
		expect(cpus[0]!.intr.isHigh).toBe(false);
		bootLikeFirmware();
		expect(memory.pageAt(0xf0000).kind).toBe("ram");
	});
});

describe("system ports", () => {
	test("port 61: refresh toggles, counter 2 is gated and seen", () => {
		const refresh = new Set<number>();
		for (let i = 0; i < 8; i++) {
			clock.advance(10_000);
			refresh.add(inp(0x61) & 0x10);
		}
		expect(refresh.size).toBe(2);
		out(0x61, 1);
		out(0x43, 0xb0);
		out(0x42, 0x9c);
		out(0x42, 0x2e);
		expect(inp(0x61) & 0x20).toBe(0);
		clock.advance(9_990_000);
		expect(inp(0x61) & 0x20).toBe(0);
		clock.advance(20_000);
		expect(inp(0x61) & 0x20).toBe(0x20);
	});

	test("the clock shows the host's time", () => {
		const read = (index: number) => {
			out(0x70, index);
			return inp(0x71).toString(16).padStart(2, "0");
		};
		expect([0x32, 9, 8, 7, 4, 2, 0].map(read).join("")).toBe("20240229123456");
	});

	test("serial ports send, and interrupt once OUT2 is on", () => {
		enableLapics();
		redirect(4, 0x34);
		out(0x3fb, 3);
		out(0x3fc, 0x0b);
		out(0x3f9, 2);
		out(0x3f8, 0x41);
		expect(sent).toEqual([0x41]);
		expect(take()).toBe(0x34);
	});

	test("a key press comes by IRQ 1; the keyboard controller resets the machine and gates A20", () => {
		enableLapics();
		redirect(1, 0x31);
		pc.isa.keyboard.keyDown(0x1e);
		clock.advance(10_000_000);
		expect([take(), inp(0x60)]).toEqual([0x31, 0x1e]);
		expect(board.isA20Enabled).toBe(true);
		out(0x64, 0xd1);
		out(0x60, 0xdd);
		expect(board.isA20Enabled).toBe(false);
		out(0x92, 2);
		expect(board.isA20Enabled).toBe(true);
		out(0x64, 0xfe);
		expect(events).toEqual(["request: keyboard controller"]);
	});

	test("port F4 ends the run with the byte written; DMA pages and channels answer", () => {
		out(0xf4, 0x1_23, 4);
		expect(events).toEqual(["exit 35"]);
		out(0x81, 0x5a);
		out(0xc4, 0x34);
		out(0xc4, 0x12);
		out(0xd8, 0);
		expect([inp(0x81), inp(0xc4), inp(0xc4)]).toEqual([0x5a, 0x34, 0x12]);
	});

	test("port 80 keeps the POST code, nobody answers at a free port", () => {
		out(0x80, 0x42);
		expect(inp(0x80)).toBe(0x42);
		expect(inp(0x1234, 4)).toBe(0xffff_ffff);
	});
});

describe("state", () => {
	test("goes round with interrupts on their way", () => {
		bootLikeFirmware();
		enableLapics();
		redirect(18, 0xa000 | 0x41);
		redirect(2, 0x30);
		startTimer(1000);
		clock.advance(5_300_000);
		card.pci.intx.set(true);
		out(0x61, 3);
		inp(0x600, 2);
		const saved = pc.save();
		const nowNs = clock.nowNs;
		const before = cpus[0]!.intr.isHigh;
		pc = build();
		clock.advance(nowNs);
		pc.load(saved);
		expect(pc.save()).toEqual(saved);
		expect(cpus[0]!.intr.isHigh).toBe(before);
		expect(memory.pageAt(0xf0000).kind).toBe("ram");
		board = pc.cpuBoard(0);
		expect([take(), take()]).toEqual([0x41, 0x41]);
		card.pci.intx.set(false);
		expect([take(), take(), take()]).toEqual([0x41, 0x30, undefined]);
		clock.advance(1_000_000);
		expect(take()).toBe(0x30);
	});

	test("a snapshot of another board is refused, naming the device", () => {
		const { version, devices } = pc.save();
		const { pit: _pit, ...rest } = devices;
		expect(() => pc.load({ version, devices: rest })).toThrow(/lacks the device "pit"/);
		expect(() => pc.load({ version, devices: { ...devices, sound: null } })).toThrow(/"sound"/);
		expect(() => pc.load({ version: 99, devices })).toThrow(/version 99/);
	});
});

test("a configuration that no board can have is refused", () => {
	const { config } = pc;
	expect(() => new Pc({ ...config, memory: new GuestMemory(MIB), cpuCount: 0 })).toThrow(PcError);
	expect(() => new Pc({ ...config, memory: new GuestMemory(MIB), firmware: new Uint8Array(5) })).toThrow(PcError);
	expect(() => new Pc({ ...config, memory: new GuestMemory(MIB), pciDevices: [new Card(), new Card()] })).toThrow(/named/);
});

test("a guest that writes nonsense everywhere harms nothing", () => {
	let seed = 12345;
	const random = () => {
		seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
		return seed >>> 8;
	};
	const widths = [1, 2, 4] as const;
	const pages = [IOAPIC, LAPIC, 0xfed0_0000, 0xc000_0000, 0xc000_4000];
	bootLikeFirmware();
	for (let i = 0; i < 60_000; i++) {
		const bytes = widths[random() % 3] as number;
		const port = random() % 4 === 0 ? random() & 0xffff : random() % 0x1000;
		const value = ((random() << 12) ^ random()) >>> 0;
		if (random() % 2 === 0) pc.io.write(port, bytes, bytes === 4 ? value : value & (2 ** (8 * bytes) - 1));
		else expect(pc.io.read(port, bytes)).toBeLessThan(2 ** (8 * bytes));
		const addr = (pages[random() % pages.length] as number) + (random() & 0xfff & -bytes);
		if (random() % 2 === 0) memory.writePhys(addr, bytes, value);
		else memory.readPhys(addr, bytes);
		if (cpus[0]!.intr.isHigh) board.acknowledgeInterrupt();
		if (i % 16 === 0) clock.advance(random() % 100_000);
	}
	expect(pc.save().version).toBe(1);
});
