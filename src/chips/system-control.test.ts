import { beforeEach, describe, expect, it } from "vitest";
import { SteppedClock } from "../machine/clock.ts";
import { CallbackWire, OpenWire } from "../machine/wire.ts";
import { debugExit } from "./debug-exit.ts";
import { I8254 } from "./i8254.ts";
import { NmiStatusControl, PostCode, ResetControl, SystemControlA } from "./system-control.ts";

let clock: SteppedClock;
beforeEach(() => {
	clock = new SteppedClock();
});

describe("NMI status and control", () => {
	it("gates the timer and shows its output, as a calibration loop expects", () => {
		const pit = new I8254({ name: "pit", clock, out: [undefined, undefined, undefined] });
		const speaker = new OpenWire();
		const port = new NmiStatusControl({
			name: "port-b",
			clock,
			timerGate: pit.gate(2),
			isTimerOutHigh: () => pit.isOutHigh(2),
			speaker,
		});
		port.register.write(0, 1, (port.register.read(0, 1) & ~0x02) | 0x01);
		pit.registers.write(3, 1, 0xb0);
		pit.registers.write(2, 1, 0x9c);
		pit.registers.write(2, 1, 0x2e);
		expect(port.register.read(0, 1) & 0x23).toBe(0x01);
		clock.advance(10_000_000);
		expect(port.register.read(0, 1) & 0x20).toBe(0);
		clock.advance(2_000);
		expect(port.register.read(0, 1) & 0x20).toBe(0x20);
		port.register.write(0, 1, 0x03);
		expect(speaker.isHigh).toBe(true);
		const state = port.save();
		port.reset();
		expect(speaker.isHigh).toBe(false);
		port.load(state);
		expect(speaker.isHigh).toBe(true);
	});

	it("toggles the refresh bit", () => {
		const port = new NmiStatusControl({
			name: "port-b",
			clock,
			timerGate: new OpenWire(),
			isTimerOutHigh: () => false,
			speaker: new OpenWire(),
		});
		const before = port.register.read(0, 1);
		clock.advance(15_085);
		expect(port.register.read(0, 1)).toBe(before ^ 0x10);
	});
});

describe("system control port A", () => {
	it("drives A20, and reset on a rising bit only", () => {
		const a20 = new OpenWire();
		let resets = 0;
		const port = new SystemControlA(
			"port-a",
			a20,
			new CallbackWire((high) => {
				if (high) resets++;
			}),
		);
		port.register.write(0, 1, 0x02);
		expect([a20.isHigh, port.register.read(0, 1), resets]).toEqual([true, 2, 0]);
		port.register.write(0, 1, 0x03);
		port.register.write(0, 1, 0x03);
		expect(resets).toBe(1);
		port.reset();
		expect(a20.isHigh).toBe(false);
	});
});

describe("reset control", () => {
	it("resets hard or soft on a rising RST_CPU", () => {
		const resets: boolean[] = [];
		const control = new ResetControl("rc", (isHard) => resets.push(isHard));
		control.register.write(0, 1, 0x02);
		expect(resets).toEqual([]);
		control.register.write(0, 1, 0x06);
		control.register.write(0, 1, 0x04);
		expect(resets).toEqual([true, false]);
		control.load({ value: 2 });
		expect(control.register.read(0, 1)).toBe(2);
	});
});

describe("debug registers", () => {
	it("calls back with the lowest byte, and keeps the last code", () => {
		const codes: number[] = [];
		const exit = debugExit((code) => codes.push(code));
		exit.write(0, 1, 0x10);
		exit.write(0, 4, 0x1234_5678);
		expect(codes).toEqual([0x10, 0x78]);
		const post = new PostCode("post");
		post.register.write(0, 1, 0x55);
		expect([post.code, post.register.read(0, 1), post.save().code]).toEqual([0x55, 0x55, 0x55]);
	});
});
