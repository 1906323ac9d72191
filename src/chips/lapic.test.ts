import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import type { CpuPins } from "../machine/processor.ts";
import { OpenWire } from "../machine/wire.ts";
import { ApicBus } from "./apic-bus.ts";
import { IoApic } from "./ioapic.ts";
import { IA32_APIC_BASE, IA32_TSC_DEADLINE, LocalApic } from "./lapic.ts";

class RecordingPins implements CpuPins {
	readonly intr = new OpenWire();
	readonly events: string[] = [];
	nmi(): void {
		this.events.push("nmi");
	}
	init(): void {
		this.events.push("init");
	}
	startup(vector: number): void {
		this.events.push(`startup ${vector}`);
	}
	reset(): void {
		this.events.push("reset");
	}
}

let clock: SteppedClock;
let bus: ApicBus;
let pins: RecordingPins[];
let lapics: LocalApic[];
let ioapic: IoApic;
let externalVectors: number[];

const lapic = (n: number) => lapics[n] as LocalApic;
const cpu = (n: number) => pins[n] as RecordingPins;
const read = (n: number, offset: number) => lapic(n).registers.read(offset, 4);
const write = (n: number, offset: number, value: number) => lapic(n).registers.write(offset, 4, value >>> 0);
function redirect(pin: number, low: number, high: number): void {
	ioapic.registers.write(0, 4, 0x11 + 2 * pin);
	ioapic.registers.write(0x10, 4, high >>> 0);
	ioapic.registers.write(0, 4, 0x10 + 2 * pin);
	ioapic.registers.write(0x10, 4, low);
}
function redirectionLow(pin: number): number {
	ioapic.registers.write(0, 4, 0x10 + 2 * pin);
	return ioapic.registers.read(0x10, 4);
}

beforeEach(() => {
	clock = new SteppedClock();
	bus = new ApicBus();
	externalVectors = [];
	pins = [];
	lapics = [];
	for (let n = 0; n < 4; n++) {
		const created = new LocalApic({
			name: `lapic${n}`,
			clock,
			bus,
			apicId: n,
			isBootProcessor: n === 0,
			externalAcknowledge: () => externalVectors.shift() ?? -1,
		});
		const pin = new RecordingPins();
		created.attachCpu(pin);
		lapics.push(created);
		pins.push(pin);
		write(n, 0xf0, 0x1ff);
	}
	ioapic = new IoApic({ name: "ioapic", bus, id: 4 });
});

describe("local APIC", () => {
	it("identifies itself", () => {
		expect(read(2, 0x20)).toBe(0x0200_0000);
		expect(read(0, 0x30)).toBe(0x0005_0014);
		expect(lapic(0).readApicMsr(IA32_APIC_BASE)).toBe(0xfee0_0900n);
		expect(lapic(1).readApicMsr(IA32_APIC_BASE)).toBe(0xfee0_0800n);
	});

	it("delivers by priority class and holds lower ones until EOI", () => {
		write(0, 0x300, 0x0004_0041);
		write(0, 0x300, 0x0004_0071);
		expect(cpu(0).intr.isHigh).toBe(true);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x71);
		expect(read(0, 0xa0)).toBe(0x70);
		expect(cpu(0).intr.isHigh).toBe(false);
		write(0, 0x300, 0x0004_0079);
		expect(cpu(0).intr.isHigh).toBe(false);
		write(0, 0xb0, 0);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x79);
		write(0, 0xb0, 0);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x41);
		expect(read(0, 0x120)).toBe(2);
	});

	it("gives the spurious vector when TPR has taken the request away", () => {
		write(0, 0x300, 0x0004_0041);
		lapic(0).writeTaskPriority(4);
		expect(read(0, 0x80)).toBe(0x40);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0xff);
		lapic(0).writeTaskPriority(3);
		expect(lapic(0).readTaskPriority()).toBe(3);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x41);
	});

	it("sends INIT, STARTUP and NMI, and shorthands", () => {
		write(0, 0x310, 1 << 24);
		write(0, 0x300, 0x0000_c500);
		write(0, 0x300, 0x0000_8500);
		write(0, 0x300, 0x0000_0608);
		write(0, 0x300, 0x000c_0400);
		expect(cpu(1).events).toEqual(["init", "startup 8", "nmi"]);
		expect(cpu(0).events).toEqual([]);
		expect(read(1, 0xf0)).toBe(0xff);
		write(0, 0x300, 0x0008_00fd);
		expect([0, 1, 2, 3].map((n) => cpu(n).intr.isHigh)).toEqual([true, false, true, true]);
	});

	it("matches logical destinations, flat and clustered", () => {
		for (let n = 0; n < 4; n++) write(n, 0xd0, (1 << n) << 24);
		write(0, 0x310, 0x0a << 24);
		write(0, 0x300, 0x0000_0850);
		expect([0, 1, 2, 3].map((n) => cpu(n).intr.isHigh)).toEqual([false, true, false, true]);
		for (let n = 0; n < 4; n++) {
			write(n, 0xe0, 0x0fff_ffff);
			write(n, 0xd0, (((n >> 1) << 4) | (1 << (n & 1))) << 24);
		}
		write(0, 0x310, 0x11 << 24);
		write(0, 0x300, 0x0000_0851);
		expect([0, 1, 2, 3].map((n) => (read(n, 0x220) >>> 17) & 1)).toEqual([0, 0, 1, 0]);
	});

	it("gives a lowest-priority message to the idlest", () => {
		for (let n = 0; n < 4; n++) write(n, 0xd0, (1 << n) << 24);
		for (const n of [0, 1, 3]) write(n, 0x80, 0x20);
		bus.deliverMsi(0xfee0_f00c, 0x0161);
		expect([0, 1, 2, 3].map((n) => cpu(n).intr.isHigh)).toEqual([false, false, true, false]);
	});

	it("passes ExtINT on through LINT0, and as if absent when switched off", () => {
		write(0, 0xf0, 0xff);
		lapic(0).lint0.set(true);
		expect(cpu(0).intr.isHigh).toBe(false);
		lapic(0).enterVirtualWireMode();
		expect(cpu(0).intr.isHigh).toBe(true);
		externalVectors.push(0x30);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x30);
		lapic(0).lint0.set(false);
		expect(cpu(0).intr.isHigh).toBe(false);
		lapic(0).lint1.set(true);
		expect(cpu(0).events).toEqual(["nmi"]);
		expect(lapic(0).writeApicMsr(IA32_APIC_BASE, 0xfee0_0100n)).toBe(true);
		lapic(0).lint0.set(true);
		externalVectors.push(0x31);
		expect(cpu(0).intr.isHigh).toBe(true);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x31);
		expect(read(0, 0x20)).toBe(0xffff_ffff);
	});

	it("reports illegal vectors", () => {
		write(0, 0x370, 0x00fe);
		write(0, 0x300, 0x0004_0003);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0xfe);
		expect(read(0, 0x280)).toBe(0);
		write(0, 0x280, 0);
		expect(read(0, 0x280)).toBe(0x20);
		write(0, 0x280, 0);
		expect(read(0, 0x280)).toBe(0);
	});

	it("switches modes only along the legal paths", () => {
		const base = (flags: bigint) => lapic(0).writeApicMsr(IA32_APIC_BASE, 0xfee0_0100n | flags);
		expect(lapic(0).readApicMsr(0x802)).toBeUndefined();
		expect(base(0x400n)).toBe(false);
		expect(base(0xc00n)).toBe(true);
		expect(lapic(0).readApicMsr(0x802)).toBe(0n);
		expect(base(0x800n)).toBe(false);
		expect(base(0n)).toBe(true);
		expect(base(0xc00n)).toBe(false);
		expect(base(0x800n)).toBe(true);
		expect(read(0, 0xf0)).toBe(0xff);
	});

	it("speaks x2APIC", () => {
		for (let n = 0; n < 4; n++) expect(lapic(n).writeApicMsr(IA32_APIC_BASE, 0xfee0_0c00n)).toBe(true);
		expect(lapic(3).readApicMsr(0x80d)).toBe(8n);
		expect(lapic(0).writeApicMsr(0x830, (0x5n << 32n) | 0x0000_0862n)).toBe(true);
		expect([0, 1, 2, 3].map((n) => cpu(n).intr.isHigh)).toEqual([true, false, true, false]);
		expect(lapic(0).readApicMsr(0x823)).toBe(4n);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x62);
		expect(lapic(0).writeApicMsr(0x80b, 1n)).toBe(false);
		expect(lapic(0).writeApicMsr(0x80b, 0n)).toBe(true);
		expect(lapic(1).writeApicMsr(0x83f, 0x44n)).toBe(true);
		expect(lapic(1).acknowledgeInterrupt()).toBe(0x44);
		expect(lapic(0).readApicMsr(0x80e)).toBeUndefined();
		expect(lapic(0).writeApicMsr(0x80f, 0x2_0000n)).toBe(false);
	});

	it("counts one-shot and periodic time", () => {
		write(0, 0x3e0, 0x3);
		write(0, 0x320, 0x0000_0040);
		write(0, 0x380, 1000);
		clock.advance(8000);
		expect(read(0, 0x390)).toBe(500);
		clock.advance(7999);
		expect(cpu(0).intr.isHigh).toBe(false);
		clock.advance(1);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x40);
		expect(read(0, 0x390)).toBe(0);
		write(0, 0xb0, 0);
		write(0, 0x320, 0x0002_0040);
		write(0, 0x3e0, 0xb);
		write(0, 0x380, 100_000);
		let count = 0;
		for (let step = 0; step < 1000; step++) {
			clock.advance(10_001);
			if (!cpu(0).intr.isHigh) continue;
			lapic(0).acknowledgeInterrupt();
			write(0, 0xb0, 0);
			count++;
		}
		expect(count).toBe(100);
		expect(read(0, 0x390)).toBe(100_000 - 1000);
	});

	it("keeps TSC deadlines", () => {
		lapic(0).writeApicMsr(IA32_TSC_DEADLINE, 5n);
		expect(lapic(0).readApicMsr(IA32_TSC_DEADLINE)).toBe(0n);
		write(0, 0x320, 0x0004_0040);
		lapic(0).writeApicMsr(IA32_TSC_DEADLINE, 5000n);
		clock.advance(4999);
		expect(cpu(0).intr.isHigh).toBe(false);
		expect(lapic(0).readApicMsr(IA32_TSC_DEADLINE)).toBe(5000n);
		clock.advance(1);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x40);
		expect(lapic(0).readApicMsr(IA32_TSC_DEADLINE)).toBe(0n);
		write(0, 0xb0, 0);
		lapic(0).writeApicMsr(IA32_TSC_DEADLINE, 17n);
		expect(cpu(0).intr.isHigh).toBe(true);
		lapic(0).writeApicMsr(IA32_TSC_DEADLINE, 0xffff_ffff_ffff_ffffn);
	});

	it("round-trips its state", () => {
		write(0, 0x320, 0x0002_0040);
		write(0, 0x380, 100_000);
		write(0, 0x300, 0x0004_0041);
		clock.advance(30_000);
		const state = structuredClone(lapic(0).save());
		const other = new LocalApic({ name: "copy", clock, bus: new ApicBus(), apicId: 0, isBootProcessor: true });
		const otherPins = new RecordingPins();
		other.attachCpu(otherPins);
		other.load(state);
		expect(other.save()).toEqual(state);
		expect(otherPins.intr.isHigh).toBe(true);
		expect(other.registers.read(0x390, 4)).toBe(read(0, 0x390));
	});
});

describe("I/O APIC", () => {
	it("describes itself and starts masked", () => {
		ioapic.registers.write(0, 4, 1);
		expect(ioapic.registers.read(0x10, 4)).toBe(0x0017_0020);
		expect(redirectionLow(23)).toBe(0x1_0000);
		ioapic.registers.write(0, 4, 0);
		expect(ioapic.registers.read(0x10, 4)).toBe(0x0400_0000);
	});

	it("sends one message per edge, and none for an edge on a masked input", () => {
		redirect(2, 0x1_0030, 0);
		ioapic.pin(2).set(true);
		redirect(2, 0x0_0030, 0x0100_0000);
		expect(cpu(1).intr.isHigh).toBe(false);
		ioapic.pin(2).set(false);
		ioapic.pin(2).set(true);
		expect(lapic(1).acknowledgeInterrupt()).toBe(0x30);
		write(1, 0xb0, 0);
		expect(cpu(1).intr.isHigh).toBe(false);
	});

	it("repeats a level until it falls, one at a time", () => {
		redirect(10, 0x0_a055, 0);
		ioapic.pin(10).set(true);
		expect(redirectionLow(10)).toBe(0x0_e055);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x55);
		expect(read(0, 0x180 + 0x20)).toBe(1 << 21);
		write(0, 0xb0, 0);
		expect(lapic(0).acknowledgeInterrupt()).toBe(0x55);
		ioapic.pin(10).set(false);
		write(0, 0xb0, 0);
		expect(cpu(0).intr.isHigh).toBe(false);
		expect(redirectionLow(10)).toBe(0x0_a055);
	});

	it("ends a level by its own EOI register, or by a turn in edge mode", () => {
		redirect(11, 0x0_8056, 0);
		ioapic.pin(11).set(true);
		lapic(0).acknowledgeInterrupt();
		ioapic.pin(11).set(false);
		ioapic.registers.write(0x40, 4, 0x56);
		expect(redirectionLow(11)).toBe(0x0_8056);
		ioapic.pin(11).set(true);
		redirect(11, 0x1_0056, 0);
		redirect(11, 0x1_8056, 0);
		expect(redirectionLow(11)).toBe(0x1_8056);
	});

	it("round-trips its state without messages", () => {
		redirect(5, 0x0_8060, 0);
		ioapic.pin(5).set(true);
		const state = structuredClone(ioapic.save());
		const otherBus = new ApicBus();
		const other = new IoApic({ name: "copy", bus: otherBus, id: 4 });
		other.load(state);
		expect(other.save()).toEqual(state);
		other.pin(5).set(true);
		expect(other.save()).toEqual(state);
	});
});
