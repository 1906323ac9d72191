import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import { CallbackWire, OpenWire } from "../machine/wire.ts";
import { Hpet } from "./hpet.ts";

let clock: SteppedClock;
let hpet: Hpet;
let events: string[];
let legacy: OpenWire;

const create = () =>
	new Hpet({
		name: "hpet",
		clock,
		route: (timer, input) => new CallbackWire((high) => events.push(`${timer}>${input}${high ? "+" : "-"} ${clock.nowNs}`)),
		routeMask: 0x00f0_0000,
		legacyOut: [0, 1].map((n) => new CallbackWire((high) => high && events.push(`legacy${n} ${clock.nowNs}`))) as unknown as [
			OpenWire,
			OpenWire,
		],
		legacyReplacement: legacy,
		onMessage: (address, data) => events.push(`msi ${address.toString(16)} ${data.toString(16)}`),
	});
const read = (offset: number) => hpet.registers.read(offset, 4);
const write = (offset: number, value: number) => hpet.registers.write(offset, 4, value >>> 0);

beforeEach(() => {
	clock = new SteppedClock();
	events = [];
	legacy = new OpenWire();
	hpet = create();
});

describe("HPET", () => {
	it("describes itself", () => {
		expect(read(0)).toBe(0x8086_a201);
		expect(read(4)).toBe(10_000_000);
		expect(read(0x100)).toBe(0x8030);
		expect(read(0x104)).toBe(0x00f0_0000);
	});

	it("counts only while enabled", () => {
		clock.advance(1000);
		expect(read(0xf0)).toBe(0);
		write(0xf0, 0xffff_fff0);
		write(0x10, 1);
		clock.advance(1000);
		expect([read(0xf0), read(0xf4)]).toEqual([84, 1]);
		write(0x10, 0);
		clock.advance(1000);
		expect([read(0xf0), read(0xf4)]).toEqual([84, 1]);
	});

	it("matches once", () => {
		write(0x10, 1);
		write(0x120, (21 << 9) | 0x04);
		write(0x128, 500);
		write(0x12c, 0);
		clock.advance(100_000);
		expect(events).toEqual(["1>21+ 5000", "1>21- 5000"]);
	});

	it("stands in for the 8254 periodically, without drift", () => {
		write(0x10, 3);
		expect(legacy.isHigh).toBe(true);
		clock.advance(100);
		write(0x100, 0x14c);
		write(0x108, 1010);
		write(0x108, 1000);
		clock.advance(35_000);
		expect(events).toEqual(["legacy0 10100", "legacy0 20100", "legacy0 30100"]);
		expect(read(0x108)).toBe(4010);
		clock.advance(1e9);
		expect(events.length).toBe(3 + 100_000);
		expect(read(0x108)).toBe(100_004_010);
	});

	it("holds a level until its status is cleared", () => {
		write(0x10, 1);
		write(0x140, (20 << 9) | 0x06);
		write(0x148, 100);
		write(0x14c, 0);
		clock.advance(2000);
		expect(read(0x20)).toBe(4);
		expect(events).toEqual(["2>20+ 1000"]);
		write(0x20, 4);
		expect(events.at(-1)).toBe("2>20- 2000");
		expect(read(0x20)).toBe(0);
	});

	it("comes round after 2^32 ticks in 32-bit mode", () => {
		write(0x10, 1);
		write(0x120, (21 << 9) | 0x104);
		write(0x128, 5);
		clock.advance(50 + 2 ** 32 * 10);
		expect(events.length).toBe(4);
	});

	it("sends messages", () => {
		write(0x10, 1);
		write(0x120, 0x4004);
		write(0x130, 0x41);
		write(0x134, 0xfee0_1000);
		write(0x12c, 0);
		write(0x128, 7);
		clock.advance(70);
		expect(events).toEqual(["msi fee01000 41"]);
		write(0x120, 0x0004);
		write(0x128, 20);
		clock.advance(1000);
		expect(events.length).toBe(1);
	});

	it("round-trips its state", () => {
		write(0x10, 3);
		write(0x100, 0x14c);
		write(0x108, 1000);
		clock.advance(15_000);
		const state = structuredClone(hpet.save());
		const other = create();
		other.load(state);
		expect(other.save()).toEqual(state);
		events.length = 0;
		clock.advance(5000);
		expect(events).toEqual(["legacy0 20000", "legacy0 20000"]);
	});
});
