import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import { CallbackWire } from "../machine/wire.ts";
import { I8254, PIT_HZ } from "./i8254.ts";
import { TickRate } from "./ticks.ts";

const rate = new TickRate(PIT_HZ);
let clock: SteppedClock;
let pit: I8254;
let rises: number[];
let falls: number[];

const write = (offset: number, ...values: number[]) => {
	for (const value of values) pit.registers.write(offset, 1, value);
};
const read16 = (offset: number) => pit.registers.read(offset, 1) | (pit.registers.read(offset, 1) << 8);
const stepTicks = (ticks: number) => clock.advance(rate.nsOf(rate.ticksAt(clock.nowNs) + ticks) - clock.nowNs);

beforeEach(() => {
	clock = new SteppedClock();
	rises = [];
	falls = [];
	const out0 = new CallbackWire((high) => (high ? rises : falls).push(rate.ticksAt(clock.nowNs)));
	pit = new I8254({ name: "pit", clock, out: [out0, undefined, undefined] });
	write(3, 0x34);
	rises.length = falls.length = 0;
});

describe("TickRate", () => {
	it("never drifts and inverts exactly", () => {
		for (const ns of [0, 1, 838, 839, 999_999_999, 1_000_000_000, 3_600_000_000_007]) {
			const ticks = rate.ticksAt(ns);
			expect(rate.nsOf(ticks)).toBeLessThanOrEqual(ns);
			expect(rate.nsOf(ticks + 1)).toBeGreaterThan(ns);
		}
		expect(rate.ticksAt(86_400e9)).toBe(86_400 * PIT_HZ);
	});
});

describe("8254", () => {
	it("mode 0 raises OUT one tick after the count has run down, and GATE pauses it", () => {
		write(3, 0x30);
		write(0, 100, 0);
		expect(falls).toEqual([0]);
		stepTicks(50);
		pit.gate(0).set(false);
		stepTicks(1000);
		write(3, 0x00);
		expect(read16(0)).toBe(51);
		pit.gate(0).set(true);
		stepTicks(51);
		expect(rises).toEqual([1101]);
		stepTicks(9);
		expect(read16(0)).toBe(0x10000 - 9);
	});

	it("mode 1 makes a one-shot that GATE retriggers", () => {
		write(3, 0x32);
		write(0, 10, 0);
		stepTicks(100);
		expect(falls).toEqual([]);
		pit.gate(0).set(false);
		pit.gate(0).set(true);
		stepTicks(5);
		pit.gate(0).set(false);
		pit.gate(0).set(true);
		stepTicks(20);
		expect(falls).toEqual([100]);
		expect(rises).toEqual([116]);
	});

	it("mode 2 pulses once a period, and takes a new count at its end", () => {
		write(3, 0x34);
		write(0, 0xe8, 0x03);
		stepTicks(2001);
		expect(rises).toEqual([1001, 2001]);
		expect(falls).toEqual([1000, 2000]);
		write(0, 100, 0);
		stepTicks(1100);
		expect(rises).toEqual([1001, 2001, 3001, 3101]);
	});

	it("mode 2 keeps its phase over a long time", () => {
		write(3, 0x34);
		write(0, 0x9c, 0x2e); // 11932: 100 Hz nearly
		clock.advance(100e9);
		expect(rises.length).toBe(Math.floor((100 * PIT_HZ - 1) / 11932));
		expect(rises.at(-1)).toBe(rises.length * 11932 + 1);
	});

	it("mode 2 shows edges that a late host missed as one", () => {
		write(3, 0x34);
		write(0, 100, 0);
		let lateNs = 0;
		const late = {
			get nowNs() {
				return lateNs;
			},
			timer: clock.timer.bind(clock),
		};
		const edges: boolean[] = [];
		const other = new I8254({ name: "late", clock: late, out: [new CallbackWire((high) => edges.push(high)), undefined, undefined] });
		other.registers.write(3, 1, 0x34);
		other.registers.write(0, 1, 100);
		other.registers.write(0, 1, 0);
		edges.length = 0;
		lateNs = rate.nsOf(1050);
		other.registers.read(0, 1);
		expect(edges).toEqual([false, true]);
	});

	it("mode 3 runs very short periods together", () => {
		write(3, 0x36);
		write(0, 2, 0);
		stepTicks(1200);
		expect(rises.length).toBeGreaterThan(80);
		expect(rises.length).toBeLessThan(110);
	});

	it("mode 3 makes a square wave, the odd tick in the high half", () => {
		write(3, 0x36);
		write(0, 101, 0);
		stepTicks(205);
		expect(falls).toEqual([52, 153]);
		expect(rises).toEqual([102, 203]);
	});

	it("mode 4 strobes once, mode 5 on GATE", () => {
		write(3, 0x38);
		write(0, 5, 0);
		stepTicks(20);
		expect(falls).toEqual([6]);
		expect(rises).toEqual([7]);
		write(3, 0x3a);
		write(0, 5, 0);
		stepTicks(20);
		pit.gate(0).set(false);
		pit.gate(0).set(true);
		stepTicks(20);
		expect(falls).toEqual([6, 46]);
		expect(rises).toEqual([7, 47]);
	});

	it("latches counts until they are read, and counts in BCD", () => {
		write(3, 0x35);
		write(0, 0x00, 0x10);
		stepTicks(2);
		write(3, 0x00);
		stepTicks(50);
		write(3, 0x00);
		expect(read16(0)).toBe(0x0999);
		expect(read16(0)).toBe(0x0949);
	});

	it("reads back status and count together", () => {
		write(3, 0xb4);
		write(2, 0x10, 0x00);
		write(3, 0xc8);
		expect(pit.registers.read(2, 1)).toBe(0xf4); // OUT, null count, RW 3, mode 2
		expect(read16(2)).toBe(0x10);
		stepTicks(3);
		write(3, 0xe8);
		expect(pit.registers.read(2, 1)).toBe(0xb4);
	});

	it("lets counter 2 be polled through OUT, without any alarm", () => {
		pit.gate(2).set(false);
		write(3, 0xb0);
		write(2, 0x34, 0x12);
		stepTicks(100);
		expect(pit.isOutHigh(2)).toBe(false);
		pit.gate(2).set(true);
		stepTicks(0x1233);
		expect(pit.isOutHigh(2)).toBe(false);
		stepTicks(1);
		expect(pit.isOutHigh(2)).toBe(true);
	});

	it("goes on from a saved state without edges", () => {
		write(3, 0x36);
		write(0, 0, 0x10);
		stepTicks(3000);
		const state = structuredClone(pit.save());
		const edges: [boolean, number][] = [];
		const out = new CallbackWire((high) => edges.push([high, rate.ticksAt(clock.nowNs)]));
		const other = new I8254({ name: "pit", clock, out: [out, undefined, undefined] });
		other.load(state);
		expect(other.save()).toEqual(pit.save());
		rises.length = 0;
		stepTicks(0x1000);
		expect(edges).toEqual([
			[true, 4097],
			[false, 6145],
		]);
		expect(rises[0]).toBe(4097);
	});
});
