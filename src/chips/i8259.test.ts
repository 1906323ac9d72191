import { beforeEach, describe, expect, it } from "vitest";
import { OpenWire } from "../machine/wire.ts";
import { I8259 } from "./i8259.ts";

let int: OpenWire;
let master: I8259;
let slave: I8259;

function initialise(pic: I8259, vector: number, icw3: number, icw4 = 0x01): void {
	pic.registers.write(0, 1, 0x11);
	pic.registers.write(1, 1, vector);
	pic.registers.write(1, 1, icw3);
	pic.registers.write(1, 1, icw4);
}
const eoi = (pic: I8259) => pic.registers.write(0, 1, 0x20);
const ocw3 = (pic: I8259, value: number) => pic.registers.write(0, 1, value);
function pulse(pic: I8259, n: number): void {
	pic.irq(n).set(true);
	pic.irq(n).set(false);
}

beforeEach(() => {
	int = new OpenWire();
	master = new I8259({ name: "pic1", int, isMaster: true, elcrWritableMask: 0xf8 });
	slave = new I8259({ name: "pic2", int: master.irq(2), isMaster: false, elcrWritableMask: 0xde });
	master.attachSlave(2, slave);
	initialise(master, 0x30, 0x04);
	initialise(slave, 0x38, 0x02);
});

describe("8259A", () => {
	it("delivers by priority, nested, and waits for EOI", () => {
		pulse(master, 4);
		pulse(master, 1);
		expect(int.isHigh).toBe(true);
		expect(master.acknowledge()).toBe(0x31);
		expect(int.isHigh).toBe(false);
		pulse(master, 0);
		expect(master.acknowledge()).toBe(0x30);
		eoi(master);
		expect(int.isHigh).toBe(false);
		eoi(master);
		expect(int.isHigh).toBe(true);
		expect(master.acknowledge()).toBe(0x34);
		ocw3(master, 0x0b);
		expect(master.registers.read(0, 1)).toBe(0x10);
	});

	it("passes a slave's requests on, one after another", () => {
		pulse(slave, 4);
		pulse(slave, 0);
		expect(master.acknowledge()).toBe(0x38);
		eoi(slave);
		eoi(master);
		expect(int.isHigh).toBe(true);
		expect(master.acknowledge()).toBe(0x3c);
	});

	it("answers 7 for a request that vanished, without an ISR bit", () => {
		pulse(slave, 3);
		slave.registers.write(1, 1, 0xff);
		expect(int.isHigh).toBe(false);
		expect(slave.acknowledge()).toBe(0x3f);
		ocw3(slave, 0x0b);
		expect(slave.registers.read(0, 1)).toBe(0);
		expect(master.acknowledge()).toBe(0x37);
		ocw3(master, 0x0b);
		expect(master.registers.read(0, 1)).toBe(0);
	});

	it("follows the line in level mode", () => {
		master.edgeLevelControl.write(0, 1, 0xff);
		expect(master.edgeLevelControl.read(0, 1)).toBe(0xf8);
		master.irq(5).set(true);
		expect(master.acknowledge()).toBe(0x35);
		eoi(master);
		expect(int.isHigh).toBe(true);
		master.irq(5).set(false);
		expect(int.isHigh).toBe(false);
	});

	it("masks, keeps the request, and delivers on unmask", () => {
		master.registers.write(1, 1, 0xff);
		pulse(master, 6);
		expect(int.isHigh).toBe(false);
		expect(master.registers.read(0, 1)).toBe(0x40);
		master.registers.write(1, 1, 0xbf);
		expect(int.isHigh).toBe(true);
		expect(master.registers.read(1, 1)).toBe(0xbf);
	});

	it("rotates priorities", () => {
		pulse(master, 3);
		master.acknowledge();
		master.registers.write(0, 1, 0xa0); // rotate on non-specific EOI
		pulse(master, 3);
		pulse(master, 5);
		expect(master.acknowledge()).toBe(0x35);
		master.registers.write(0, 1, 0x65); // specific EOI 5
		expect(master.acknowledge()).toBe(0x33);
		master.registers.write(0, 1, 0x63);
		master.registers.write(0, 1, 0xc7); // set priority: 7 lowest
		pulse(master, 5);
		pulse(master, 3);
		expect(master.acknowledge()).toBe(0x33);
	});

	it("ends by itself in automatic EOI mode", () => {
		initialise(master, 0x30, 0x04, 0x03);
		pulse(master, 1);
		expect(master.acknowledge()).toBe(0x31);
		ocw3(master, 0x0b);
		expect(master.registers.read(0, 1)).toBe(0);
	});

	it("lets lower levels through in special mask mode", () => {
		pulse(master, 1);
		master.acknowledge();
		pulse(master, 5);
		expect(int.isHigh).toBe(false);
		master.registers.write(1, 1, 0x02);
		ocw3(master, 0x68);
		expect(int.isHigh).toBe(true);
		expect(master.acknowledge()).toBe(0x35);
		eoi(master);
		ocw3(master, 0x0b);
		expect(master.registers.read(0, 1)).toBe(0x02);
	});

	it("nests a slave within itself in special fully nested mode", () => {
		pulse(slave, 5);
		master.acknowledge();
		pulse(slave, 1);
		expect(int.isHigh).toBe(false);
		initialise(master, 0x30, 0x04, 0x11);
		initialise(slave, 0x38, 0x02);
		pulse(slave, 5);
		expect(master.acknowledge()).toBe(0x3d);
		pulse(slave, 1);
		expect(int.isHigh).toBe(true);
		expect(master.acknowledge()).toBe(0x39);
	});

	it("serves a poll like INTA", () => {
		pulse(master, 4);
		ocw3(master, 0x0c);
		expect(master.registers.read(0, 1)).toBe(0x84);
		ocw3(master, 0x0b);
		expect(master.registers.read(0, 1)).toBe(0x10);
		ocw3(master, 0x0c);
		expect(master.registers.read(0, 1)).toBe(0x07);
	});

	it("round-trips its state without edges", () => {
		pulse(master, 4);
		master.irq(6).set(true);
		const state = master.save();
		const otherInt = new OpenWire();
		const other = new I8259({ name: "pic1", int: otherInt, isMaster: true });
		other.load(state);
		expect(other.save()).toEqual(state);
		expect(otherInt.isHigh).toBe(true);
		other.acknowledge();
		other.registers.write(0, 1, 0x20);
		other.acknowledge();
		other.registers.write(0, 1, 0x20);
		other.irq(6).set(true);
		expect(otherInt.isHigh).toBe(false);
	});
});
