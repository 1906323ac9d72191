import { beforeEach, describe, expect, test } from "vitest";
import { MIB } from "../../base/units.ts";
import { IoBus, type IoHandler } from "../../machine/bus.ts";
import { GuestMemory } from "../../machine/memory.ts";
import { PciFunction } from "../../machine/pci.ts";
import { CallbackWire } from "../../machine/wire.ts";
import { PciBus } from "./bus.ts";
import { currentPam, makeHostBridge, setAllPam } from "./i440fx.ts";
import { PirqRouter, pirqOf } from "./irq-router.ts";
import { ConfigMechanism1 } from "./mechanism1.ts";
import { makeIsaBridge } from "./piix3.ts";
import { ShadowMap } from "./shadow.ts";

function registers(log: string[]): IoHandler {
	return {
		accessBytes: { min: 1, max: 4 },
		read: (offset, bytes) => {
			log.push(`read ${offset.toString(16)} ${bytes}`);
			return 0x1234_5678;
		},
		write: (offset, bytes, value) => {
			log.push(`write ${offset.toString(16)} ${bytes} ${value.toString(16)}`);
		},
	};
}

let memory: GuestMemory;
let ports: IoBus;
let bus: PciBus;
let card: PciFunction;
let log: string[];
let resets: number;
let messages: [number, number][];
let ioapicInputs: boolean[];
let isaLines: boolean[];
let router: PirqRouter;

beforeEach(() => {
	memory = new GuestMemory(4 * MIB, 2 * MIB);
	ports = new IoBus();
	log = [];
	messages = [];
	resets = 0;
	ioapicInputs = [false, false, false, false];
	isaLines = new Array<boolean>(16).fill(false);
	router = new PirqRouter({
		ioapic: (index) =>
			new CallbackWire((high) => {
				ioapicInputs[index] = high;
			}),
		isa: (irq) =>
			new CallbackWire((high) => {
				isaLines[irq] = high;
			}),
	});
	bus = new PciBus({
		ports,
		memory,
		interruptPin: (slot, pin) => router.pin(slot, pin),
		deliverMsi: (address, data) => messages.push([address, data]),
	});
	const mechanism = new ConfigMechanism1(bus);
	const reset: IoHandler = { accessBytes: { min: 1, max: 1 }, read: () => 0x0e, write: () => void resets++ };
	ports.claim("pci-config", 0xcf8, 4, mechanism.addressPorts(reset));
	ports.claim("pci-config", 0xcfc, 4, mechanism.dataPorts);
	bus.attach(
		makeHostBridge(() => {}),
		0,
	);
	bus.attach(
		makeIsaBridge((pirq, control) => router.steer(pirq, control)),
		1,
	);
	card = new PciFunction("card", { vendorId: 0x1af4, deviceId: 0x1042, classCode: 0x010000, interruptPin: 1 });
	card.addBar(0, { kind: "io", sizeBytes: 64, handler: registers(log) });
	card.addBar(1, { kind: "mem32", sizeBytes: 4096, handler: registers(log) });
	card.addBar(4, { kind: "mem64", sizeBytes: 0x4000, isPrefetchable: true, handler: registers(log) });
	card.addMsix(3, { bar: 2 });
	bus.attach(card, 2);
});

function address(slot: number, register: number): void {
	ports.write(0xcf8, 4, 0x8000_0000 + slot * 0x800 + (register & 0xfc));
}

function configRead(slot: number, register: number, bytes: number): number {
	address(slot, register);
	return ports.read(0xcfc + (register & 3), bytes);
}

function configWrite(slot: number, register: number, bytes: number, value: number): void {
	address(slot, register);
	ports.write(0xcfc + (register & 3), bytes, value);
}

describe("PCI 3.0 §3.2.2.3.2: configuration mechanism #1", () => {
	test("reads bytes, words and dwords; nobody there gives ones", () => {
		expect(configRead(2, 0, 4)).toBe(0x1042_1af4);
		expect(configRead(2, 2, 2)).toBe(0x1042);
		expect(configRead(2, 0x0b, 1)).toBe(0x01);
		expect(configRead(0, 0, 4)).toBe(0x1237_8086);
		expect(configRead(9, 0, 4)).toBe(0xffff_ffff);
		ports.write(0xcf8, 4, 0x8001_0000);
		expect(ports.read(0xcfc, 2)).toBe(0xffff);
	});

	test("only a dword reaches CONFIG_ADDRESS, and reserved bits read zero", () => {
		ports.write(0xcf8, 4, 0xffff_ffff);
		expect(ports.read(0xcf8, 4)).toBe(0x80ff_fffc);
		ports.write(0xcf8, 2, 0);
		expect(ports.read(0xcf8, 4)).toBe(0x80ff_fffc);
		ports.write(0xcf9, 1, 6);
		expect([resets, ports.read(0xcf9, 1)]).toEqual([1, 0x0e]);
		ports.write(0xcf8, 4, 0);
		expect(ports.read(0xcfc, 4)).toBe(0xffff_ffff);
	});
});

describe("PCI 3.0 §6.2.5.1: base address registers", () => {
	test("size themselves by what sticks", () => {
		for (const register of [0x10, 0x14, 0x18, 0x20, 0x24]) configWrite(2, register, 4, 0xffff_ffff);
		expect(configRead(2, 0x10, 4)).toBe(0xffc1);
		expect(configRead(2, 0x14, 4)).toBe(0xffff_f000);
		expect(configRead(2, 0x18, 4)).toBe(0xffff_f000);
		expect(configRead(2, 0x1c, 4)).toBe(0);
		expect(configRead(2, 0x20, 4)).toBe(0xffff_c00c);
		expect(configRead(2, 0x24, 4)).toBe(0xffff_ffff);
		expect(configRead(2, 0x30, 4)).toBe(0);
	});

	test("decode while enabled, move, and go away", () => {
		configWrite(2, 0x10, 4, 0xc000);
		configWrite(2, 0x14, 4, 0xe000_0000);
		expect(ports.ownerOf(0xc000)).toBeUndefined();
		configWrite(2, 0x04, 2, 3);
		ports.write(0xc004, 4, 0xabcd);
		memory.readPhys(0xe000_0010, 4);
		expect(log).toEqual(["write 4 4 abcd", "read 10 4"]);
		configWrite(2, 0x10, 4, 0xd000);
		expect([ports.ownerOf(0xc000), ports.ownerOf(0xd000)]).toEqual([undefined, "card BAR 0"]);
		configWrite(2, 0x04, 2, 0);
		expect(ports.ownerOf(0xd000)).toBeUndefined();
		expect(memory.pageAt(0xe000_0000).kind).toBe("none");
	});

	test("a BAR laid over RAM or another device stays off until it moves", () => {
		configWrite(2, 0x14, 4, 0x10_0000);
		configWrite(2, 0x04, 2, 2);
		expect(memory.pageAt(0x10_0000).kind).toBe("ram");
		configWrite(2, 0x20, 4, 0xe000_0000);
		configWrite(2, 0x14, 4, 0xe000_1000);
		memory.readPhys(0xe000_1004, 4);
		expect(log).toEqual(["read 1004 4"]);
		configWrite(2, 0x20, 4, 0xe001_0000);
		memory.readPhys(0xe000_1004, 4);
		expect(log).toEqual(["read 1004 4", "read 4 4"]);
	});

	test("a 64-bit BAR above 4 GiB", () => {
		configWrite(2, 0x20, 4, 0);
		configWrite(2, 0x24, 4, 0x10);
		configWrite(2, 0x04, 2, 2);
		memory.readPhys(0x10_0000_3ffc, 4);
		expect(log).toEqual(["read 3ffc 4"]);
	});
});

describe("interrupts", () => {
	test("INTA# of slot 2 reaches its I/O APIC input and the ISA interrupt it is steered to", () => {
		const pirq = pirqOf(2, 1);
		card.intx.set(true);
		expect(ioapicInputs[pirq]).toBe(true);
		expect(isaLines.includes(true)).toBe(false);
		configWrite(1, 0x60 + pirq, 1, 11);
		expect(isaLines[11]).toBe(true);
		configWrite(1, 0x60 + pirq, 1, 10);
		expect([isaLines[10], isaLines[11]]).toEqual([true, false]);
		configWrite(1, 0x60 + pirq, 1, 0x8a);
		expect(isaLines[10]).toBe(false);
		expect(configRead(2, 0x06, 2) & 8).toBe(8);
	});

	test("PCI 3.0 §6.2.2: Interrupt Disable takes the request off the pin", () => {
		card.intx.set(true);
		configWrite(2, 0x04, 2, 0x400);
		expect(ioapicInputs).not.toContain(true);
		configWrite(2, 0x04, 2, 0);
		expect(ioapicInputs).toContain(true);
	});

	test("PCI 3.0 §6.8.2: MSI-X delivers, masks by vector and by function, and keeps what is pending", () => {
		const capability = configRead(2, 0x34, 1);
		expect(configRead(2, capability, 2) & 0xff).toBe(0x11);
		expect(configRead(2, capability + 2, 2)).toBe(2);
		configWrite(2, 0x18, 4, 0xe000_0000);
		configWrite(2, 0x04, 2, 6);
		const table = 0xe000_0000 + (configRead(2, capability + 4, 4) & ~7);
		const pending = 0xe000_0000 + (configRead(2, capability + 8, 4) & ~7);
		expect(memory.readPhys(table + 12, 4)).toBe(1);
		memory.writePhys(table + 16, 4, 0xfee0_1000);
		memory.writePhys(table + 24, 4, 0x41);
		configWrite(2, capability + 2, 2, 0x8000);
		card.msix?.notify(1);
		expect(messages).toEqual([]);
		expect(memory.readPhys(pending, 4)).toBe(2);
		memory.writePhys(table + 28, 4, 0);
		expect(messages).toEqual([[0xfee0_1000, 0x41]]);
		configWrite(2, capability + 2, 2, 0xc000);
		card.msix?.notify(1);
		expect(messages).toHaveLength(1);
		configWrite(2, capability + 2, 2, 0x8000);
		expect(messages).toHaveLength(2);
		card.intx.set(true);
		expect(ioapicInputs).not.toContain(true);
	});
});

test("PCI 3.0 §6.8.1: MSI gives the granted vectors in its data's low bits, masks and keeps pending ones", () => {
	const plain = new PciFunction("plain", { vendorId: 0x8086, deviceId: 1, classCode: 0x020000, interruptPin: 1 });
	const msi = plain.addMsi(4);
	bus.attach(plain, 3);
	const at = configRead(3, 0x34, 1);
	expect(configRead(3, at + 2, 2)).toBe(0x0184);
	configWrite(3, 0x04, 2, 4);
	configWrite(3, at + 4, 4, 0xfee0_0003);
	configWrite(3, at + 12, 2, 0x43);
	msi.notify(1);
	expect(messages).toEqual([]);
	configWrite(3, at + 2, 2, 0x0021);
	msi.notify(2);
	msi.notify(7);
	expect(messages).toEqual([
		[0xfee0_0000, 0x42],
		[0xfee0_0000, 0x40],
	]);
	configWrite(3, at + 16, 4, 0xffff_ffff);
	expect(configRead(3, at + 16, 4)).toBe(0xf);
	msi.notify(1);
	expect(configRead(3, at + 20, 4)).toBe(2);
	configWrite(3, at + 16, 4, 0);
	expect([messages.length, configRead(3, at + 20, 4)]).toEqual([3, 0]);
});

test("a function's state goes round, and its ranges come back with it", () => {
	configWrite(2, 0x14, 4, 0xe000_0000);
	configWrite(2, 0x04, 2, 2);
	card.intx.set(true);
	const saved = card.save();
	card.reset();
	expect([memory.pageAt(0xe000_0000).kind, ioapicInputs.includes(true), configRead(2, 0x14, 4)]).toEqual(["none", false, 0]);
	card.load(saved);
	expect([memory.pageAt(0xe000_0000).kind, ioapicInputs.includes(true)]).toEqual(["mmio", true]);
	expect(card.save()).toEqual(saved);
});

test("bus mastering gates memory access", () => {
	memory.write(0x1000, Uint8Array.of(1, 2, 3));
	const got = new Uint8Array(3);
	card.dma.read(0x1000, got);
	expect([...got]).toEqual([255, 255, 255]);
	configWrite(2, 0x04, 2, 4);
	card.dma.read(0x1000, got);
	expect([...got]).toEqual([1, 2, 3]);
});

test("82441FX PAM: ROM shows through until a range is shadowed", () => {
	const rom = new Uint8Array(256 * 1024).fill(0x5a);
	memory.addRom("bios", 2 ** 32 - rom.length, rom);
	const shadow = new ShadowMap(memory);
	const bridge = makeHostBridge((ranges) => shadow.apply(ranges));
	shadow.apply(currentPam(bridge));
	expect(memory.readPhys(0xf_fff0, 1)).toBe(0x5a);
	memory.writePhys(0xf_fff0, 1, 1);
	expect(memory.readPhys(0xf_fff0, 1)).toBe(0x5a);
	setAllPam(bridge, 3);
	memory.writePhys(0xf_fff0, 1, 1);
	expect(memory.readPhys(0xf_fff0, 1)).toBe(1);
	setAllPam(bridge, 1);
	memory.writePhys(0xf_fff0, 1, 2);
	expect(memory.readPhys(0xf_fff0, 1)).toBe(1);
	setAllPam(bridge, 0);
	expect(memory.readPhys(0xf_fff0, 1)).toBe(0x5a);
});

test("a memory BAR moved below 1 MiB is not decoded, so that PAM finds its ranges free", () => {
	const shadow = new ShadowMap(memory);
	const bridge = makeHostBridge((ranges) => shadow.apply(ranges));
	configWrite(2, 0x14, 4, 0xc_4000);
	configWrite(2, 4, 2, 7);
	expect(memory.readPhys(0xc_4000, 4)).toBe(0xffff_ffff);
	setAllPam(bridge, 3);
	memory.writePhys(0xc_4000, 4, 5);
	expect(memory.readPhys(0xc_4000, 4)).toBe(5);
	expect(log).toEqual([]);
});
