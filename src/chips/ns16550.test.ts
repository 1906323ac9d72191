import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import { OpenWire } from "../machine/wire.ts";
import { Ns16550 } from "./ns16550.ts";

let clock: SteppedClock;
let irq: OpenWire;
let uart: Ns16550;
let sent: number[];
let spaceCalls: number;

const read = (offset: number) => uart.registers.read(offset, 1);
const write = (offset: number, value: number) => uart.registers.write(offset, 1, value);
const bytes = (count: number) => Uint8Array.from({ length: count }, (_, n) => n & 0xff);

beforeEach(() => {
	clock = new SteppedClock();
	irq = new OpenWire();
	sent = [];
	spaceCalls = 0;
	uart = new Ns16550({
		name: "com1",
		clock,
		irq,
		onTransmit: (byte) => sent.push(byte),
		onSpace: () => spaceCalls++,
		queueBytes: 64,
	});
	write(3, 0x83);
	write(0, 1);
	write(1, 0);
	write(3, 0x03);
	write(4, 0x0b);
	read(6);
});

describe("16550A", () => {
	it("is what a driver's probing expects of a 16550A", () => {
		write(1, 0x00);
		expect(read(1)).toBe(0);
		write(1, 0xff);
		expect(read(1)).toBe(0x0f);
		write(1, 0);
		write(4, 0x1a);
		expect(read(6) & 0xf0).toBe(0x90);
		write(4, 0x0b);
		expect(read(2)).toBe(0x01);
		write(2, 0x01);
		expect(read(2)).toBe(0xc1);
		write(2, 0x21);
		expect(read(2) & 0x20).toBe(0);
		write(7, 0xa5);
		expect(read(7)).toBe(0xa5);
		expect(uart.baud).toBe(115_200);
	});

	it("raises THRE whenever it is enabled, once per read of IIR", () => {
		write(1, 0x02);
		expect(irq.isHigh).toBe(true);
		expect(read(2)).toBe(0x02);
		expect(read(2)).toBe(0x01);
		expect(irq.isHigh).toBe(false);
		write(1, 0);
		write(1, 0x02);
		expect(read(2)).toBe(0x02);
		write(0, 0x41);
		expect(sent).toEqual([0x41]);
		expect(read(5)).toBe(0x60);
		expect(irq.isHigh).toBe(true);
		expect(read(2)).toBe(0x02);
	});

	it("keeps its interrupt off the bus without OUT2", () => {
		write(4, 0x03);
		write(1, 0x02);
		expect(irq.isHigh).toBe(false);
		write(4, 0x0b);
		expect(irq.isHigh).toBe(true);
	});

	it("interrupts at the trigger level, and after four characters below it", () => {
		write(2, 0x81);
		write(1, 0x01);
		expect(uart.receive(bytes(3))).toBe(3);
		expect(irq.isHigh).toBe(false);
		clock.advance(4 * 86_806);
		expect(read(2)).toBe(0xcc);
		expect(read(5)).toBe(0x61);
		expect([read(0), read(0)]).toEqual([0, 1]);
		expect(irq.isHigh).toBe(false);
		expect(read(0)).toBe(2);
		expect(read(5)).toBe(0x60);
		clock.advance(1e6);
		expect(irq.isHigh).toBe(false);
		uart.receive(bytes(8));
		expect(read(2)).toBe(0xc4);
		read(0);
		expect(irq.isHigh).toBe(false);
	});

	it("takes the host's bytes at the line's pace and says when there is room", () => {
		write(2, 0x81);
		expect(uart.receive(bytes(100))).toBe(80);
		expect(uart.spaceBytes).toBe(0);
		expect(spaceCalls).toBe(0);
		const got: number[] = [];
		const drain = () => {
			while ((read(5) & 1) !== 0) got.push(read(0));
		};
		drain();
		expect(got.length).toBe(16);
		for (let n = 0; n < 100; n++) {
			clock.advance(86_806);
			drain();
		}
		expect(got).toEqual([...bytes(80)]);
		expect(spaceCalls).toBe(1);
	});

	it("loops back, overruns, and keeps the host out of it", () => {
		write(4, 0x1b);
		write(1, 0x05);
		write(0, 0x11);
		expect(read(2)).toBe(0x04);
		write(0, 0x22);
		expect(read(2)).toBe(0x06);
		expect(read(5)).toBe(0x63);
		expect(read(5)).toBe(0x61);
		expect(read(0)).toBe(0x22);
		expect(sent).toEqual([]);
		uart.receive(bytes(1));
		expect(read(5)).toBe(0x60);
		write(4, 0x0b);
		expect(read(5)).toBe(0x61);
	});

	it("reports modem changes", () => {
		write(1, 0x08);
		expect(read(6)).toBe(0xb0);
		uart.cts.set(false);
		expect(read(2)).toBe(0x00);
		expect(read(6)).toBe(0xa1);
		uart.ri.set(true);
		expect(irq.isHigh).toBe(false);
		uart.ri.set(false);
		expect(read(6)).toBe(0xa4);
		expect(irq.isHigh).toBe(false);
	});

	it("receives a break as a marked zero", () => {
		write(1, 0x04);
		write(2, 0x01);
		uart.receiveBreak();
		expect(read(2)).toBe(0xc6);
		expect(read(5)).toBe(0xf9);
		expect(read(5)).toBe(0x61);
		expect(read(0)).toBe(0);
	});

	it("round-trips its state", () => {
		write(2, 0x81);
		write(1, 0x0f);
		uart.receive(bytes(40));
		clock.advance(100);
		const state = structuredClone(uart.save());
		const otherIrq = new OpenWire();
		const other = new Ns16550({ name: "com1", clock, irq: otherIrq, onTransmit: () => {} });
		other.load(state);
		expect(other.save()).toEqual(state);
		expect(otherIrq.isHigh).toBe(true);
	});
});
