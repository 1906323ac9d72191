import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import { CallbackWire } from "../machine/wire.ts";
import { Mc146818 } from "./mc146818.ts";
import { calendarOf, dayOfWeek, secondsOf } from "./mc146818-calendar.ts";

const MS = 1e6;
const S = 1e9;
let clock: SteppedClock;
let rtc: Mc146818;
let rises: number[];

const create = (initialWallTimeS: number) =>
	new Mc146818({
		name: "rtc",
		clock,
		irq: new CallbackWire((high) => {
			if (high) rises.push(clock.nowNs);
		}),
		initialWallTimeS,
		centuryIndex: 0x32,
	});
function read(index: number): number {
	rtc.registers.write(0, 1, index | 0x80);
	return rtc.registers.read(1, 1);
}
function write(index: number, value: number): void {
	rtc.registers.write(0, 1, index);
	rtc.registers.write(1, 1, value);
}
const time = () => [0x32, 9, 8, 7, 4, 2, 0].map((index) => read(index).toString(16).padStart(2, "0")).join(" ");

beforeEach(() => {
	clock = new SteppedClock();
	rises = [];
	rtc = create(Date.UTC(2024, 1, 28, 23, 59, 58) / 1000);
	write(5, 0x12); // no alarm at midnight
});

describe("calendar", () => {
	it("agrees with another implementation over four centuries", () => {
		for (let seconds = -2_208_988_800; seconds < 10_413_792_000; seconds += 86_400 * 13 + 7919) {
			const date = new Date(seconds * 1000);
			const calendar = calendarOf(seconds);
			expect([calendar.year, calendar.month, calendar.day, calendar.hour, calendar.minute, calendar.second]).toEqual([
				date.getUTCFullYear(),
				date.getUTCMonth() + 1,
				date.getUTCDate(),
				date.getUTCHours(),
				date.getUTCMinutes(),
				date.getUTCSeconds(),
			]);
			expect(dayOfWeek(seconds)).toBe(date.getUTCDay() + 1);
			expect(secondsOf(calendar)).toBe(seconds);
		}
	});
});

describe("MC146818", () => {
	it("tells the time in BCD and counts into a leap day", () => {
		expect(time()).toBe("20 24 02 28 23 59 58");
		expect(read(6)).toBe(4);
		clock.advance(2 * S);
		expect(time()).toBe("20 24 02 29 00 00 00");
		expect(read(6)).toBe(5);
		expect(read(0x0d)).toBe(0x80);
	});

	it("starts within a second", () => {
		rtc = create(1_000_000_000.75);
		expect(read(0)).toBe(0x40);
		clock.advance(250 * MS);
		expect(read(0)).toBe(0x41);
	});

	it("shows UIP only just before an update", () => {
		clock.advance(997 * MS);
		expect(read(0x0a)).toBe(0x26);
		clock.advance(1 * MS);
		expect(read(0x0a)).toBe(0xa6);
		clock.advance(2 * MS);
		expect(read(0x0a)).toBe(0x26);
		expect(read(0)).toBe(0x59);
	});

	it("keeps binary and 12-hour forms", () => {
		write(0x0b, 0x80);
		write(4, 0x92); // 12 pm
		write(0x0b, 0x00);
		clock.advance(2 * S);
		expect(read(4)).toBe(0x81);
		write(0x0b, 0x86);
		for (const [index, value] of [
			[0, 58],
			[2, 59],
			[4, 23],
			[7, 31],
			[8, 12],
			[9, 99],
		] as const)
			write(index, value);
		write(0x0b, 0x06);
		clock.advance(2 * S);
		expect([9, 8, 7, 4, 2, 0].map(read)).toEqual([0, 1, 1, 0, 0, 0]);
		expect(read(0x32)).toBe(0x21);
	});

	it("holds still under SET and starts half a second after the divider", () => {
		write(0x0b, 0x82);
		clock.advance(10 * S);
		expect(time()).toBe("20 24 02 28 23 59 58");
		write(0x0a, 0x76);
		clock.advance(10 * S + 123);
		write(0x0a, 0x26);
		write(0x0b, 0x02);
		clock.advance(499 * MS);
		expect(read(0)).toBe(0x58);
		clock.advance(1 * MS);
		expect(read(0)).toBe(0x59);
	});

	it("interrupts periodically, once until register C is read", () => {
		write(0x0a, 0x26);
		write(0x0b, 0x42);
		clock.advance(10 * MS);
		expect(rises).toEqual([976_563]);
		expect(read(0x0c)).toBe(0xc0);
		expect(read(0x0c)).toBe(0);
		for (let n = 0; n < 2000; n++) {
			clock.advance(S / 1024);
			read(0x0c);
		}
		expect(rises.length).toBe(2001);
	});

	it("interrupts after updates and at alarms", () => {
		write(0x0b, 0x12);
		clock.advance(2.5 * S);
		expect(rises).toEqual([1 * S]);
		expect(read(0x0c) & 0xb0).toBe(0x90);
		write(1, 0x05);
		write(3, 0xff);
		write(5, 0xc0);
		write(0x0b, 0x22);
		clock.advance(100 * S);
		expect(rises).toEqual([1 * S, 7 * S]);
		expect(read(0x0c) & 0xb0).toBe(0xb0);
		clock.advance(25 * S);
		expect(rises).toEqual([1 * S, 7 * S, 127 * S]);
	});

	it("sets flags without interrupts, too", () => {
		clock.advance(3 * S);
		expect(read(0x0c)).toBe(0x50);
		expect(rises).toEqual([]);
	});

	it("round-trips its state", () => {
		write(0x0b, 0x72);
		write(0x40, 0xa5);
		clock.advance(3.3 * S);
		const state = structuredClone(rtc.save());
		const other = create(0);
		other.load(state);
		expect(other.save()).toEqual(rtc.save());
		clock.advance(5 * S);
		expect(other.readByte(0)).toBe(rtc.readByte(0));
		expect(other.readByte(0x40)).toBe(0xa5);
	});
});
